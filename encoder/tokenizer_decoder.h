// The decoders that a tokenizer.json may name: tokens back to text.
//
// Thread safety: const after construction.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_DECODER_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_DECODER_H

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/status.h"

namespace pg_semantic::encoder {

class TokenDecoder {
 public:
  // `description` is tokenizer.json's "decoder"; null: tokens with spaces between
  // them.  Errors: kCorrupt; kUnsupported for what is not known, by its name.
  static Result<TokenDecoder> read(const nlohmann::json* description);

  [[nodiscard]] std::string decode(std::span<const std::string> tokens) const;

 private:
  using Step = std::function<void(std::vector<std::string>*)>;
  static Status read_into(const nlohmann::json& description, std::vector<Step>* steps);

  std::vector<Step> steps_;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_DECODER_H
