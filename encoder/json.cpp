// JSON of untrusted files; see json.h.
#include "encoder/json.h"

#include <cmath>
#include <exception>

namespace pg_semantic::encoder {

using nlohmann::json;

namespace {

Status not_json(std::string_view what, std::string why) {
  return {StatusCode::kCorrupt, "could not read file \"" + std::string(what) + "\" as JSON", std::move(why)};
}

Status wrong_member(std::string_view what, std::string_view key, const std::string& should_be) {
  return {StatusCode::kCorrupt, "file \"" + std::string(what) + "\" has a wrong value",
          "The value of \"" + std::string(key) + "\" must be " + should_be + "."};
}

// Brackets outside strings; enough to bound the parser's recursion and the
// recursion of the value's destructor, whatever else is wrong with the text.
bool deeper_than(std::string_view text, int max_depth) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > max_depth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

Result<json> parse_json(std::string_view text, int max_depth, std::string_view what) {
  if (deeper_than(text, max_depth)) {
    return not_json(what, "Arrays and objects are nested more than " + std::to_string(max_depth) + " levels deep.");
  }
  try {
    return json::parse(text.begin(), text.end());
  } catch (const json::parse_error& e) {
    return not_json(what,
                    "The error is near byte " + std::to_string(e.byte) + " of " + std::to_string(text.size()) + ".");
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory", "Reading file \"" + std::string(what) + "\".");
  } catch (const std::exception& e) {
    return not_json(what, "A number or string in it is out of range.");
  }
}

const json* json_member(const json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return nullptr;
  return &*found;
}

Result<std::optional<int64_t>> json_integer(const json& object, std::string_view key, int64_t minimum, int64_t maximum,
                                            std::string_view what) {
  const json* member = json_member(object, key);
  if (member == nullptr) return std::optional<int64_t>();
  const std::string range = "an integer between " + std::to_string(minimum) + " and " + std::to_string(maximum);
  int64_t value = 0;
  if (member->is_number_unsigned()) {
    const auto unsigned_value = member->get<uint64_t>();
    if (unsigned_value > static_cast<uint64_t>(INT64_MAX)) return wrong_member(what, key, range);
    value = static_cast<int64_t>(unsigned_value);
  } else if (member->is_number_integer()) {
    value = member->get<int64_t>();
  } else if (member->is_number_float()) {
    const double number = member->get<double>();
    // 2^53: every whole number up to here is exact in a double.
    if (!(std::fabs(number) <= 9007199254740992.0) || number != std::floor(number)) {
      return wrong_member(what, key, range);
    }
    value = static_cast<int64_t>(number);
  } else {
    return wrong_member(what, key, range);
  }
  if (value < minimum || value > maximum) return wrong_member(what, key, range);
  return std::optional<int64_t>(value);
}

Result<std::optional<double>> json_number(const json& object, std::string_view key, std::string_view what) {
  const json* member = json_member(object, key);
  if (member == nullptr) return std::optional<double>();
  if (!member->is_number()) return wrong_member(what, key, "a number");
  return std::optional<double>(member->get<double>());
}

Result<std::optional<bool>> json_bool(const json& object, std::string_view key, std::string_view what) {
  const json* member = json_member(object, key);
  if (member == nullptr) return std::optional<bool>();
  if (!member->is_boolean()) return wrong_member(what, key, "true or false");
  return std::optional<bool>(member->get<bool>());
}

Result<std::optional<std::string>> json_string(const json& object, std::string_view key, std::string_view what) {
  const json* member = json_member(object, key);
  if (member == nullptr) return std::optional<std::string>();
  if (!member->is_string()) return wrong_member(what, key, "a string");
  return std::optional<std::string>(member->get<std::string>());
}

Status take_integer(const json& object, std::initializer_list<const char*> keys, std::string_view what,
                    int64_t* value) {
  constexpr int64_t kAnyInteger = int64_t{1} << 53;
  for (const char* key : keys) {
    const Result<std::optional<int64_t>> found = json_integer(object, key, -kAnyInteger, kAnyInteger, what);
    if (!found) return found.status();
    if (found->has_value()) {
      *value = **found;
      return Status::ok();
    }
  }
  return Status::ok();
}

Status take_bool(const json& object, const char* key, std::string_view what, bool* value) {
  const Result<std::optional<bool>> found = json_bool(object, key, what);
  if (!found) return found.status();
  if (found->has_value()) *value = **found;
  return Status::ok();
}

}  // namespace pg_semantic::encoder
