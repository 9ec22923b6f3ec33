// JSON of untrusted files: parsed without exceptions leaving this file's .cpp,
// without deep recursion, and read with types and ranges checked.
//
// An absent member and a member that is null are the same thing here, as in
// Hugging Face's configurations.
//
// Thread safety: functions of their arguments only.
#ifndef PG_SEMANTIC_ENCODER_JSON_H
#define PG_SEMANTIC_ENCODER_JSON_H

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "encoder/status.h"

namespace pg_semantic::encoder {

inline constexpr int kMaxJsonDepth = 64;

// Parses `text` whole.  `what` names the file in messages.  kCorrupt for text
// that is not JSON or not UTF-8, and for nesting deeper than `max_depth`, which
// is checked before the parser sees it.  Of equal keys the last one counts, as
// in Python.
Result<nlohmann::json> parse_json(std::string_view text, int max_depth, std::string_view what);
inline Result<nlohmann::json> parse_json(std::string_view text, std::string_view what) {
  return parse_json(text, kMaxJsonDepth, what);
}

// The member `key` of `object`; nullptr when `object` is not an object, or the
// member is absent or null.
const nlohmann::json* json_member(const nlohmann::json& object, std::string_view key);

// Typed members: nullopt when absent or null; kCorrupt, naming `what` and the
// key, when there but of another type or out of range.  An integer may be
// written as a whole floating-point number (1e3), as some configurations do.
Result<std::optional<int64_t>> json_integer(const nlohmann::json& object, std::string_view key, int64_t minimum,
                                            int64_t maximum, std::string_view what);
Result<std::optional<double>> json_number(const nlohmann::json& object, std::string_view key, std::string_view what);
Result<std::optional<bool>> json_bool(const nlohmann::json& object, std::string_view key, std::string_view what);
Result<std::optional<std::string>> json_string(const nlohmann::json& object, std::string_view key,
                                               std::string_view what);

// Replaces *value by the first of `keys` that `object` has, if any.
Status take_integer(const nlohmann::json& object, std::initializer_list<const char*> keys, std::string_view what,
                    int64_t* value);
Status take_bool(const nlohmann::json& object, const char* key, std::string_view what, bool* value);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_JSON_H
