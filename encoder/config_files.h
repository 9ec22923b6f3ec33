// What the readers of a Hugging Face directory's configuration files share.
//
// Thread safety: functions of their arguments and of the files.
#ifndef PG_SEMANTIC_ENCODER_CONFIG_FILES_H
#define PG_SEMANTIC_ENCODER_CONFIG_FILES_H

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "encoder/file_reader.h"
#include "encoder/json.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

inline constexpr size_t kMaxConfigFile = 4 << 20;
inline constexpr int64_t kAnyInteger = int64_t{1} << 53;

inline Status corrupt(const std::string& path, std::string detail) {
  return {StatusCode::kCorrupt, "file \"" + path + "\" has a wrong value", std::move(detail)};
}

inline Status unsupported(const std::string& path, std::string detail) {
  return {StatusCode::kUnsupported, "file \"" + path + "\" asks for something that is not supported",
          std::move(detail)};
}

// The configuration files of one directory.
class ConfigFiles {
 public:
  explicit ConfigFiles(std::string directory) : directory_(std::move(directory)), reader_(directory_) {}

  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }

  [[nodiscard]] const FileReader& reader() const { return reader_; }

  // The parsed file; null when there is none.
  [[nodiscard]] Result<nlohmann::json> read(const std::string& name) const {
    Result<std::optional<std::string>> text = reader_.read_small_file(name, kMaxConfigFile);
    if (!text) return text.status();
    if (!text->has_value()) return nlohmann::json();
    Result<nlohmann::json> parsed = parse_json(**text, path(name));
    if (parsed && !parsed->is_structured()) return corrupt(path(name), "It is neither a JSON object nor an array.");
    return parsed;
  }

 private:
  std::string directory_;
  DirectoryReader reader_;
};

// Replaces *value by the first of `keys` that `object` has.
inline Status take_integer(const nlohmann::json& object, std::initializer_list<const char*> keys,
                           const std::string& path, int64_t* value) {
  for (const char* key : keys) {
    const Result<std::optional<int64_t>> found = json_integer(object, key, -kAnyInteger, kAnyInteger, path);
    if (!found) return found.status();
    if (found->has_value()) {
      *value = **found;
      return Status::ok();
    }
  }
  return Status::ok();
}

inline Status take_bool(const nlohmann::json& object, const char* key, const std::string& path, bool* value) {
  const Result<std::optional<bool>> found = json_bool(object, key, path);
  if (!found) return found.status();
  if (found->has_value()) *value = **found;
  return Status::ok();
}

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_CONFIG_FILES_H
