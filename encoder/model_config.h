// What a model is, apart from its numbers: the part of a Hugging Face directory
// that decides shapes and steps.  Read from the published files by
// model_directory.cpp, kept as JSON in a model file, checked by the same
// function in both places.
//
// Thread safety: values.
#ifndef PG_SEMANTIC_ENCODER_MODEL_CONFIG_H
#define PG_SEMANTIC_ENCODER_MODEL_CONFIG_H

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/kernels.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

// Families that publish their tensors under the same names.
enum class Architecture : uint8_t { kDistilBert, kBert, kRoberta, kElectra, kMpnet, kAlbert, kMobileBert };

// The encoder proper.  The defaults are BERT's; a field that is none of BERT's
// has the value under which it changes nothing, and is kept in a model file only
// when it has another (fingerprints of models stay what they were).
struct TransformerConfig {
  Architecture architecture = Architecture::kBert;
  int64_t vocabulary_size = 30522;  // rows of the word embedding
  int64_t positions = 512;
  int64_t token_types = 2;  // 0: the architecture has none
  int64_t width = 768;
  int64_t layers = 12;
  int64_t heads = 12;
  int64_t feed_forward = 3072;
  Activation activation = Activation::kGelu;
  double layer_norm_epsilon = 1e-12;
  bool sinusoidal_positions = false;  // may be absent from the weights, computed then

  // RoBERTa and MPNet: positions are counted from padding_index + 1, over the tokens
  // whose id is not padding_index; those are all at padding_index.
  int64_t padding_index = -1;

  // Factorised embeddings (ALBERT, arXiv 1909.11942, section 3.1; ELECTRA; MobileBERT).
  int64_t embedding_width = 0;       // of the word embedding; 0: width
  bool projects_embeddings = false;  // the sum of the embeddings, normalised, is projected to width
  bool projects_words = false;       // the word embeddings are projected to width before they are summed up
  bool trigrams = false;             // what is projected is the next, this and the previous word side by side

  int64_t relative_buckets = 0;  // of distances, each with a bias on the scores (MPNet); 0: none

  // Layers that share weights (ALBERT): `layers` blocks, each of layers_per_group layers, take the
  // weights of layer_groups such groups in turn.
  int64_t layer_groups = 0;  // 0: nothing is shared
  int64_t layers_per_group = 1;

  // MobileBERT (Sun et al., arXiv 2004.02984, section 3).
  int64_t bottleneck_width = 0;       // of what attention and feed-forward networks work on; 0: width
  bool bottleneck_attention = false;  // queries, keys and values come from that; else from the hidden state
  bool shared_bottleneck = false;  // … or queries and keys from a bottleneck of their own, values from the hidden state
  int64_t feed_forwards = 1;       // in each layer
  bool no_norm = false;            // weight · x + bias in place of each LayerNorm

  [[nodiscard]] int64_t word_width() const { return embedding_width > 0 ? embedding_width : width; }
  [[nodiscard]] int64_t summed_width() const { return projects_words ? width : word_width(); }
  [[nodiscard]] int64_t inner_width() const { return bottleneck_width > 0 ? bottleneck_width : width; }
  [[nodiscard]] int64_t stored_layers() const { return layer_groups > 0 ? layer_groups * layers_per_group : layers; }
  // Longest text that has a position for each of its tokens.
  [[nodiscard]] int64_t usable_positions() const { return positions - padding_index - 1; }
};

// Several are concatenated in this order.
struct PoolingConfig {
  bool cls = false;
  bool max = false;
  bool mean = true;
  bool mean_sqrt_len = false;
  bool include_prompt = true;

  [[nodiscard]] int64_t modes() const {
    return static_cast<int64_t>(cls) + static_cast<int64_t>(max) + static_cast<int64_t>(mean) +
           static_cast<int64_t>(mean_sqrt_len);
  }
};

// A module after pooling.
struct ModuleConfig {
  enum class Kind : uint8_t { kDense, kNormalize };
  Kind kind = Kind::kNormalize;
  // Of a dense module:
  int64_t inputs = 0;
  int64_t outputs = 0;
  bool bias = true;
  Activation activation = Activation::kTanh;
};

// The tasks that a model may have a head for; "embedding" is without one.
inline constexpr std::string_view kSequenceClassification = "sequence-classification";
inline constexpr std::string_view kTokenClassification = "token-classification";
inline constexpr std::string_view kQuestionAnswering = "question-answering";
inline constexpr std::string_view kFillMask = "fill-mask";
inline constexpr std::string_view kMultipleChoice = "multiple-choice";

// What makes a task's numbers of a token's hidden state: a dense layer, its
// activation and a LayerNorm where the head has them, and a projection.
struct HeadConfig {
  int64_t outputs = 0;  // of the projection; 0: the model has no head
  int64_t width = 0;    // of what the dense layer makes of a hidden state; 0: the encoder's width
  // MobileBERT: inputs of the projection, the last ones, whose weight is not the word embedding's and
  // is kept transposed.
  int64_t extra_inputs = 0;
  bool transform = false;
  Activation transform_activation = Activation::kIdentity;
  bool norm = false;
  bool tied = false;                                   // the projection's weight is the word embedding
  bool multi_label = false;                            // a sigmoid for each label, no softmax over them
  Activation score_activation = Activation::kSigmoid;  // of a reranker's logit
};

// How the logits of a masked-LM head become a sparse embedding (SPLADE; Formal et
// al., arXiv 2107.05720 and 2109.10086): over the tokens, the greatest
// log(1 + relu(logit)) of each entry of the vocabulary.
struct SparsePoolingConfig {
  bool sum = false;        // the sum over the tokens
  bool log_twice = false;  // log(1 + log(1 + relu(logit))), as in arXiv 2504.14839

  bool operator==(const SparsePoolingConfig&) const = default;
};

// How queries and documents are read for late interaction (ColBERT; Khattab and
// Zaharia, arXiv 2004.12832).  Lengths are in tokens, special ones and the marker
// included.  Markers and words are as in the vocabulary.
struct LateInteractionConfig {
  std::vector<ModuleConfig> projections;  // dense modules after the encoder, of each token; none: a plain encoder
  std::string query_marker;               // the token after [CLS]; "": none
  std::string document_marker;
  int64_t query_length = 32;
  int64_t document_length = 180;
  bool expand_queries = true;              // up to query_length with [MASK]
  bool attend_to_expansion = false;        // whether the other tokens attend to these
  bool pads_are_masks = false;             // [PAD] in a query's text is read as [MASK], in a document's it is left out
  bool squared_distance = false;           // similarity is minus the squared Euclidean distance, else the inner product
  std::vector<std::string> skipped_words;  // left out of documents
};

inline constexpr size_t kMaxSkippedWords = 1024;

struct ModelConfig {
  std::string architecture_name;  // the class that config.json names, e.g. "DistilBertModel"
  std::string task = "embedding";
  std::string model_precision = "fp32";
  TransformerConfig transformer;
  PoolingConfig pooling;
  std::vector<ModuleConfig> modules;
  int64_t max_tokens = 512;  // special tokens included
  std::map<std::string, std::string> prompts;
  std::optional<std::string> default_prompt_name;
  std::vector<std::string> labels;  // by id
  HeadConfig head;
  SparsePoolingConfig sparse_pooling;
  LateInteractionConfig late_interaction;
};

inline constexpr int64_t kMaxParameters = int64_t{1} << 30;
inline constexpr int64_t kMaxWidth = 16384;
inline constexpr int64_t kRelativeBuckets = 32;  // the only number of them that MPNet's published code computes

// Sizes in range and consistent with each other: afterwards no product of the
// sizes that make up a tensor or a text's working memory overflows.  The
// message's detail names the value.
Status check_config(const ModelConfig& config);

bool is_model_precision(std::string_view name);  // "fp32", "fp16", "int8"

// Of a sentence embedding.
int64_t embedding_dimensions(const ModelConfig& config);
bool ends_normalized(const ModelConfig& config);
std::string pooling_name(const PoolingConfig& pooling);

std::string_view model_type(Architecture architecture);  // "distilbert", "bert", …

// transformers' and PyTorch's names of activations; nullopt for others.
std::optional<Activation> activation_from_name(std::string_view name);
std::optional<Activation> activation_from_torch_class(std::string_view class_name);

// The form kept in a model file and digested for the fingerprint.  Reading it
// back checks it: model files lie in a directory that others can write to.
nlohmann::json to_json(const ModelConfig& config);
Result<ModelConfig> config_from_json(std::string_view text);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_MODEL_CONFIG_H
