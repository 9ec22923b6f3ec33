// The encoder's public face: a Hugging Face directory becomes one model file,
// a model file becomes a Model, a Model turns text into vectors.
//
// Architectures: DistilBERT (Sanh et al., arXiv 1910.01108), BERT, MiniLM and
// TinyBERT (Devlin et al., arXiv 1810.04805; Wang et al., 2002.10957; Jiao et al.,
// 1909.10351), RoBERTa with DistilRoBERTa, XLM-RoBERTa and CamemBERT (Liu et al.,
// 1907.11692), ELECTRA (Clark et al., 2003.10555), MPNet (Song et al., 2004.09297),
// ALBERT (Lan et al., 1909.11942) and MobileBERT (Sun et al., 2004.02984), with the
// pooling, dense and normalising modules of sentence-transformers (Reimers and
// Gurevych, 1908.10084).
//
// Thread safety: a Model is const after open(); its functions may be called by
// one thread at a time (they use the process's one thread pool and scratch).
#ifndef PG_SEMANTIC_ENCODER_MODEL_H
#define PG_SEMANTIC_ENCODER_MODEL_H

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "encoder/status.h"
#include "encoder/token_sequence.h"
#include "encoder/tokenizer.h"

namespace pg_semantic::encoder {

// Raised when the layout of model files changes; part of their file name.
inline constexpr uint32_t kModelFileVersion = 2;

// Polled during long work, from the calling thread only; true means stop now.
using Interrupted = std::function<bool()>;

// What the view semantic_models shows.
struct ModelInfo {
  std::string architecture;  // the class that config.json names: "DistilBertModel", "BertModel"
  std::string task;          // "embedding", "sequence-classification", …
  int32_t dimensions = 0;    // of a sentence embedding
  int32_t max_tokens = 0;    // special tokens included
  int32_t vocabulary_size = 0;
  int32_t layers = 0;
  int64_t parameters = 0;  // of the tensors that are used
  std::string pooling;     // "mean", "cls", "max", "mean_sqrt_len", joined by "+"
  bool normalized = false;
  std::string model_precision;  // "fp32", "fp16", "int8"
  int64_t bytes = 0;            // of the model file
  std::vector<std::string> labels;
  std::string fingerprint;  // SHA-256 of configuration, tokenizer and tensors as loaded, lower-case hex
};

struct HeadConfig;
struct LateInteractionConfig;

struct CompileOptions {
  // "fp16": weights in half precision, arithmetic in fp32.  "int8": the transformer's linear layers in 8 bits, each
  // token's inputs quantised as they come; everything else as in "fp16".
  std::string model_precision = "fp32";
  Interrupted interrupted;  // may be empty
};

// Checks a Hugging Face directory whole (safetensors, config.json, tokenizer
// files, sentence-transformers modules) and writes one model file, fsynced, to
// `output_path` (which must not exist; removed again on failure).
// Errors: kNotFound, kCorrupt, kUnsupported, kIoError, kDiskFull, kCancelled,
// with the file and what is wrong with it in the detail.  Needs little memory:
// tensors are streamed.  Never follows anything but regular files.
Result<ModelInfo> compile_model(const std::string& directory, const std::string& output_path,
                                const CompileOptions& options);

struct EmbedOptions {
  int32_t threads = 1;      // threads this call may use, the caller's included
  Interrupted interrupted;  // may be empty
};

// Hidden states of one text: states[i * width .. ) belongs to tokens[i].
struct TokenEmbeddings {
  std::vector<Token> tokens;  // [CLS] and [SEP] included, cut at max_tokens
  int32_t width = 0;
  std::vector<float> states;
};

class Model {
 public:
  // Maps the file read-only and shared: every process that opens it uses the
  // same physical pages.  Checks magic, version, size and every offset.
  static Result<std::unique_ptr<Model>> open(const std::string& path);

  // Where PostgreSQL's own files are not to be touched: the same from memory
  // that outlives the Model (tests, fuzzing).
  static Result<std::unique_ptr<Model>> open_bytes(std::span<const std::byte> bytes);

  virtual ~Model() = default;
  virtual const ModelInfo& info() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;

  // The text that goes before a content: the named prompt of the model; else
  // `prompt` itself; nullptr: the model's default prompt, or "".
  virtual std::string prompt_prefix(const std::string* prompt) const = 0;

  // Sentence embeddings of contents.size() texts (valid UTF-8), each after
  // `prefix`, into `out` (contents.size() × info().dimensions, row-major).
  // Texts are concatenated without padding; order and neighbours of a text do
  // not change its numbers beyond rounding.
  virtual Status embed(std::span<const std::string_view> contents, std::string_view prefix, const EmbedOptions& options,
                       std::span<float> out) const = 0;

  virtual Result<TokenEmbeddings> token_embeddings(std::string_view content, const EmbedOptions& options) const = 0;

  // What heads.h is made of: the model's head, and its logits at the wanted
  // tokens of each sequence, (*logits)[sequence] being [wanted, outputs].
  // Sequences are batched as texts are in embed().  kUnsupported when there is no head.
  virtual const HeadConfig& head() const = 0;
  virtual Status head_logits(std::span<const TokenSequence> sequences, const EmbedOptions& options,
                             std::vector<std::vector<float>>* logits) const = 0;

  // What sparse_embedding.h is made of: a weight ≥ 0 for each entry of the
  // vocabulary, pooled over the text's tokens.  For models with a masked-LM head.
  virtual Status vocabulary_weights(std::string_view content, const EmbedOptions& options,
                                    std::vector<float>* weights) const = 0;

  // What late_interaction.h is made of: the projected hidden states of the wanted
  // tokens of each sequence, of length 1, (*vectors)[sequence] being [wanted, dimensions].
  virtual const LateInteractionConfig& late_interaction() const = 0;
  virtual Status token_vectors(std::span<const TokenSequence> sequences, const EmbedOptions& options,
                               std::vector<std::vector<float>>* vectors) const = 0;
};

// Stops the threads of the process's pool, if any.  Called before exit.
void shut_down_threads();

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_MODEL_H
