// What the readers of tokenizer.json's parts share.
//
// Thread safety: functions of their arguments only.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_JSON_VALUES_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_JSON_VALUES_H

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "encoder/json.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

inline constexpr std::string_view kTokenizerJson = "tokenizer.json";

inline Status corrupt_tokenizer(std::string detail) {
  return {StatusCode::kCorrupt, "file \"tokenizer.json\" is not a usable tokenizer", std::move(detail)};
}

inline Result<bool> flag_or(const nlohmann::json& object, const char* key, bool otherwise) {
  const Result<std::optional<bool>> value = json_bool(object, key, kTokenizerJson);
  if (!value) return value.status();
  return value->value_or(otherwise);
}

inline Result<std::string> string_or(const nlohmann::json& object, const char* key, const char* otherwise) {
  const Result<std::optional<std::string>> value = json_string(object, key, kTokenizerJson);
  if (!value) return value.status();
  return value->value_or(otherwise);
}

// `part` begins the message: "The model".
inline Result<std::string> required_string(const nlohmann::json& object, const char* key, const char* part) {
  const Result<std::optional<std::string>> value = json_string(object, key, kTokenizerJson);
  if (!value) return value.status();
  if (!value->has_value()) return corrupt_tokenizer(std::string(part) + " has no \"" + key + "\".");
  return **value;
}

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_JSON_VALUES_H
