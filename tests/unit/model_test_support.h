// What the model tests share: where the test data lies, and directories that a
// test may break.
#ifndef PG_SEMANTIC_TESTS_UNIT_MODEL_TEST_SUPPORT_H
#define PG_SEMANTIC_TESTS_UNIT_MODEL_TEST_SUPPORT_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "encoder/model.h"

namespace pg_semantic::encoder {

// PG_SEMANTIC_SHARED, or ../shared beside the repository (tests run in its root).
inline std::filesystem::path shared_directory() {
  const char* set = std::getenv("PG_SEMANTIC_SHARED");
  return set != nullptr ? std::filesystem::path(set) : std::filesystem::path("../shared");
}

#define PG_SEMANTIC_SKIP_WITHOUT(path)                                                 \
  if (!std::filesystem::exists(path)) {                                                \
    GTEST_SKIP() << "test data is missing: " << (path) << " (set PG_SEMANTIC_SHARED)"; \
  }

// The checkpoints that make has built from tests/reference/<group>/checkpoints.py,
// which lie beside this program.
inline std::filesystem::path reference_checkpoints(const std::string& group) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "reference" / group;
}

// What is expected of them (tests run in the repository's root).
inline std::filesystem::path reference_expectations(const std::string& group) {
  return std::filesystem::path("tests/reference") / group / "expected";
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void write_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "pg_semantic_test_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Our own checkpoints of BERT's siblings have names apart from those of ../shared/conformance.
inline bool is_sibling(const std::string& name) {
  return std::filesystem::exists(reference_expectations("siblings") / (name + ".json"));
}

inline std::filesystem::path conformance_model(const std::string& name) {
  return (is_sibling(name) ? reference_checkpoints("siblings") : shared_directory() / "conformance/models") / name;
}

inline nlohmann::json conformance_expected(const std::string& name) {
  const std::filesystem::path directory =
      is_sibling(name) ? reference_expectations("siblings") : shared_directory() / "conformance/expected";
  return nlohmann::json::parse(read_file(directory / (name + ".json")));
}

// The checkpoints of ../shared, where it is there, and our own.
inline std::vector<std::string> conformance_names() {
  std::vector<std::string> names;
  for (const auto& directory : {shared_directory() / "conformance/expected", reference_expectations("siblings")}) {
    if (!std::filesystem::exists(directory)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Copies a conformance checkpoint, file by file, so that modes and times are the
// test's own, and adds the vocabulary that is not stored twice.
inline void copy_model(const std::string& name, const std::filesystem::path& to) {
  namespace fs = std::filesystem;
  const fs::path from = conformance_model(name);
  for (const auto& entry : fs::recursive_directory_iterator(from)) {
    const fs::path target = to / fs::relative(entry.path(), from);
    fs::create_directories(target.parent_path());
    if (entry.is_regular_file()) write_file(target, read_file(entry.path()));
  }
  if (fs::exists(to / "vocab.txt") || fs::exists(to / "tokenizer.json")) return;
  const nlohmann::json expected = conformance_expected(name);
  if (!expected.contains("vocab_file")) return;
  const std::string file = fs::path(expected["vocab_file"].get<std::string>()).filename();
  write_file(to / "vocab.txt", read_file(shared_directory() / "data/tokenizer" / file));
}

// Of two vectors of the same length; of zeros with anything: NaN, which no bound lets through.
template <typename Found, typename Expected>
double cosine(const Found& found, const Expected& expected) {
  double product = 0, found_norm = 0, expected_norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    product += static_cast<double>(found[i]) * expected[i];
    found_norm += static_cast<double>(found[i]) * found[i];
    expected_norm += static_cast<double>(expected[i]) * expected[i];
  }
  return product / std::sqrt(found_norm * expected_norm);
}

inline std::string explain(const Status& status) { return status.message() + " | " + status.detail(); }

// Compiles and opens the model in `directory`; nullptr and a failure otherwise.
inline std::unique_ptr<Model> load(const std::filesystem::path& directory, const std::filesystem::path& file,
                                   const std::string& model_precision = "fp32") {
  CompileOptions options;
  options.model_precision = model_precision;
  const Result<ModelInfo> info = compile_model(directory.string(), file.string(), options);
  EXPECT_TRUE(info.is_ok()) << directory << ": " << explain(info.status());
  if (!info) return nullptr;
  Result<std::unique_ptr<Model>> model = Model::open(file.string());
  EXPECT_TRUE(model.is_ok()) << explain(model.status());
  return model ? std::move(*model) : nullptr;
}

// A safetensors file's header, taken apart to be changed and put together again.
struct SafetensorsContent {
  nlohmann::json header;
  std::string data;

  static SafetensorsContent read(const std::filesystem::path& path) {
    const std::string bytes = read_file(path);
    uint64_t size = 0;
    std::memcpy(&size, bytes.data(), sizeof(size));
    return {nlohmann::json::parse(bytes.substr(8, size)), bytes.substr(8 + size)};
  }

  void write(const std::filesystem::path& path) const { write_raw(path, header.dump()); }

  void write_raw(const std::filesystem::path& path, const std::string& header_text) const {
    const uint64_t size = header_text.size();
    std::string bytes(sizeof(size), '\0');
    std::memcpy(bytes.data(), &size, sizeof(size));
    write_file(path, bytes + header_text + data);
  }
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_TESTS_UNIT_MODEL_TEST_SUPPORT_H
