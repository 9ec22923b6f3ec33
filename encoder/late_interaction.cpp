// See late_interaction.h.  Sequences as the published code makes them:
// colbert/modeling/tokenization/{query,doc}_tokenization.py and colbert/modeling/colbert.py
// (ColBERT 0.2), ColBERT.tokenize() and encode() of pylate/models/colbert.py.
#include "encoder/late_interaction.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>
#include <string>
#include <utility>

namespace pg_semantic::encoder {

namespace {

Status missing_token(const std::string& token) {
  return {StatusCode::kCorrupt, "the model's vocabulary lacks a token that its settings name",
          "There is no token \"" + token + "\", which marks texts for late interaction."};
}

// [CLS] marker text [SEP], at most `length` tokens.
TokenSequence marked_sequence(const Tokenizer& tokenizer, int32_t marker, int64_t length, std::string_view text) {
  const size_t room = single_room(tokenizer, static_cast<size_t>(length));
  const size_t limit = room - std::min<size_t>(room, marker >= 0 ? 1 : 0);
  TokenSequence sequence = single_sequence(tokenizer, leading_tokens(tokenizer, text, limit));
  if (marker >= 0) {
    sequence.ids.insert(sequence.ids.begin() + static_cast<std::ptrdiff_t>(sequence.first_text), marker);
  }
  return sequence;
}

void want_all_tokens(TokenSequence* sequence) {
  sequence->first_segment = sequence->ids.size();
  sequence->wanted.resize(sequence->ids.size());
  std::iota(sequence->wanted.begin(), sequence->wanted.end(), size_t{0});
}

// Rows of unit length.
struct TokenVectors {
  const std::vector<float>& rows;
  size_t dimensions;

  [[nodiscard]] size_t count() const { return rows.size() / dimensions; }
  [[nodiscard]] const float* row(size_t i) const { return rows.data() + i * dimensions; }
};

double squared_distance(size_t dimensions, const float* a, const float* b) {
  double sum = 0;
  for (size_t i = 0; i < dimensions; ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    sum += difference * difference;
  }
  return sum;
}

double inner_product(size_t dimensions, const float* a, const float* b) {
  double sum = 0;
  for (size_t i = 0; i < dimensions; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

Result<float> sum_of_greatest(const TokenVectors& query, const TokenVectors& document, bool squared,
                              const Interrupted& interrupted) {
  const size_t dimensions = query.dimensions;
  double sum = 0;
  for (size_t q = 0; q < query.count(); ++q) {
    if (interrupted && interrupted()) return Status::cancelled();
    double greatest = -INFINITY;
    for (size_t d = 0; d < document.count(); ++d) {
      const double similarity = squared ? -squared_distance(dimensions, query.row(q), document.row(d))
                                        : inner_product(dimensions, query.row(q), document.row(d));
      greatest = std::max(greatest, similarity);
    }
    sum += greatest;
  }
  return static_cast<float>(sum);
}

struct SequencePair {
  TokenSequence query;
  TokenSequence document;
};

Result<SequencePair> read_texts(const Model& model, std::string_view query, std::string_view document) {
  const Tokenizer& tokenizer = model.tokenizer();
  const LateInteractionConfig& config = model.late_interaction();
  SequencePair pair;
  if (config.projections.empty()) {
    const size_t limit = single_room(tokenizer, static_cast<size_t>(model.info().max_tokens));
    pair.query = single_sequence(tokenizer, leading_tokens(tokenizer, query, limit));
    pair.document = single_sequence(tokenizer, leading_tokens(tokenizer, document, limit));
    want_all_tokens(&pair.query);
    want_all_tokens(&pair.document);
    return pair;
  }
  const Result<LateInteractionTokens> tokens = LateInteractionTokens::resolve(config, tokenizer);
  if (!tokens) return tokens.status();
  const std::string prompt = model.prompt_prefix(nullptr);
  pair.query = query_sequence(config, *tokens, tokenizer, prompt + std::string(query));
  pair.document = document_sequence(config, *tokens, tokenizer, prompt + std::string(document));
  if (!pair.document.wanted.empty()) return pair;
  return Status(StatusCode::kInvalidArgument, "no token of the document is left",
                "The model's settings leave out every one of its tokens.");
}

Result<float> score(const Model& model, std::string_view query, std::string_view document,
                    const EmbedOptions& options) {
  const Result<SequencePair> pair = read_texts(model, query, document);
  if (!pair) return pair.status();
  const TokenSequence sequences[] = {pair->query, pair->document};
  std::vector<std::vector<float>> vectors;
  PG_SEMANTIC_RETURN_IF_ERROR(model.token_vectors(sequences, options, &vectors));
  const size_t dimensions = vectors[0].size() / pair->query.wanted.size();
  return sum_of_greatest({vectors[0], dimensions}, {vectors[1], dimensions}, model.late_interaction().squared_distance,
                         options.interrupted);
}

}  // namespace

Result<LateInteractionTokens> LateInteractionTokens::resolve(const LateInteractionConfig& config,
                                                             const Tokenizer& tokenizer) {
  LateInteractionTokens tokens;
  if (config.projections.empty()) return tokens;
  for (const auto& [marker, id] : {std::pair{&config.query_marker, &tokens.query_marker},
                                   std::pair{&config.document_marker, &tokens.document_marker}}) {
    if (marker->empty()) continue;
    *id = tokenizer.token_id(*marker);
    if (*id < 0) return missing_token(*marker);
  }
  if (config.expand_queries && tokenizer.mask_id() < 0) return missing_token("[MASK]");
  // As the published tokenizers answer, a word that is no token is the unknown one.
  for (const std::string& word : config.skipped_words) {
    const int32_t id = tokenizer.token_id(word);
    tokens.skipped.push_back(id < 0 ? tokenizer.unknown_id() : id);
  }
  if (config.pads_are_masks) tokens.skipped.push_back(tokenizer.pad_id());
  return tokens;
}

TokenSequence query_sequence(const LateInteractionConfig& config, const LateInteractionTokens& tokens,
                             const Tokenizer& tokenizer, std::string_view query) {
  TokenSequence sequence = marked_sequence(tokenizer, tokens.query_marker, config.query_length, query);
  if (config.pads_are_masks) {
    std::replace(sequence.ids.begin(), sequence.ids.end(), tokenizer.pad_id(), tokenizer.mask_id());
  }
  if (config.expand_queries) {
    if (!config.attend_to_expansion) sequence.attended = sequence.ids.size();
    sequence.ids.resize(static_cast<size_t>(config.query_length), tokenizer.mask_id());
  }
  want_all_tokens(&sequence);
  return sequence;
}

TokenSequence document_sequence(const LateInteractionConfig& config, const LateInteractionTokens& tokens,
                                const Tokenizer& tokenizer, std::string_view document) {
  TokenSequence sequence = marked_sequence(tokenizer, tokens.document_marker, config.document_length, document);
  want_all_tokens(&sequence);
  std::erase_if(sequence.wanted, [&](size_t token) {
    return std::find(tokens.skipped.begin(), tokens.skipped.end(), sequence.ids[token]) != tokens.skipped.end();
  });
  return sequence;
}

Result<float> late_interaction(const Model& model, std::string_view query, std::string_view document,
                               const EmbedOptions& options) {
  try {
    return score(model, query, document, options);
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory");
  }
}

}  // namespace pg_semantic::encoder
