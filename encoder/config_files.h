// What the readers of a Hugging Face directory's configuration files share.
//
// Thread safety: functions of their arguments and of the files.
#ifndef PG_SEMANTIC_ENCODER_CONFIG_FILES_H
#define PG_SEMANTIC_ENCODER_CONFIG_FILES_H

#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "encoder/file_reader.h"
#include "encoder/json.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

inline constexpr size_t kMaxConfigFile = 4 << 20;

inline Status corrupt(const std::string& path, std::string detail) {
  return {StatusCode::kCorrupt, "file \"" + path + "\" has a wrong value", std::move(detail)};
}

inline Status unsupported(const std::string& path, std::string detail, std::string hint = "") {
  return {StatusCode::kUnsupported, "file \"" + path + "\" asks for something that is not supported", std::move(detail),
          std::move(hint)};
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

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_CONFIG_FILES_H
