// The models of tokenizers: they take one word apart into tokens of the vocabulary.
//
//   BPE        Sennrich et al., arXiv 1508.07909, section 3.2
//   Unigram    Kudo, arXiv 1804.10959, section 3.2, best segmentation by Viterbi
//   WordPiece  greedy longest match
//   WordLevel  the word itself
//
// Thread safety: const after construction.
// Invariant: the tables outlive the model.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_MODEL_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_MODEL_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/status.h"
#include "encoder/tokenizer_pipeline_tables.h"

namespace pg_semantic::encoder {

// What the token is called that stands for a byte of unknown characters, "<0x0A>".
inline std::string fallback_token(unsigned char byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
}

// A token and the bytes of the word that it stands for.
struct WordPart {
  int32_t id = 0;
  size_t start = 0;
  size_t end = 0;
};

class WordModel {
 public:
  virtual ~WordModel() = default;
  // Appends the tokens of a word that is not empty.
  virtual void tokenize(std::string_view word, std::vector<WordPart>* parts) const = 0;
  // How tokens begin that continue a word; "" where they do not tell.
  [[nodiscard]] virtual std::string_view continuing_prefix() const { return {}; }
  // What stands for words that are not in the vocabulary; -1: nothing.
  [[nodiscard]] virtual int32_t unknown_id() const = 0;
  // Whether an unknown token says what the text says, not what it is called.
  [[nodiscard]] virtual bool unknown_keeps_text() const { return false; }
};

// `description` is tokenizer.json's "model" without "vocab" and "merges".
// Errors: kCorrupt; kUnsupported for a type or an option that is not known.
Result<std::unique_ptr<WordModel>> read_word_model(const nlohmann::json& description, const PipelineTables& tables);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_MODEL_H
