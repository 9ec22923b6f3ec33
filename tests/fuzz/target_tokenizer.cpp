// Tokenizers: their files, the texts they read, and the tables they are compiled to.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "encoder/tokenizer.h"
#include "encoder/tokenizer_config.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tiny_model.h"

namespace pg_semantic::fuzz {

namespace {

class FilesReader : public encoder::FileReader {
 public:
  explicit FilesReader(const std::map<std::string, std::string>& files) : files_(files) {}

  Result<std::optional<std::string>> read_small_file(const std::string& name, size_t max_bytes) const override {
    const auto found = files_.find(name);
    if (found == files_.end()) return std::optional<std::string>();
    if (found->second.size() > max_bytes) {
      return Status(StatusCode::kCorrupt, "file \"" + name + "\" is too large");
    }
    return std::optional<std::string>(found->second);
  }

 private:
  const std::map<std::string, std::string>& files_;
};

// Empty where the files are refused.
std::vector<std::byte> compile_files(const std::map<std::string, std::string>& files) {
  std::vector<std::byte> tables;
  const auto config = encoder::load_tokenizer_config(FilesReader(files));
  if (!config || !encoder::Tokenizer::compile(*config, &tables).is_ok()) tables.clear();
  return tables;
}

std::string_view text_of(Bytes input) { return {reinterpret_cast<const char*>(input.data()), input.size()}; }

// One kind of tokenizer for each of tiny_tokenizers(), compiled once.
const std::vector<std::vector<std::byte>>& tiny_tables() {
  static const auto all = [] {
    std::vector<std::vector<std::byte>> tables;
    for (const auto& files : tiny_tokenizers()) {
      tables.push_back(compile_files(files));
      require(!tables.back().empty(), "a tiny tokenizer's files are good");
    }
    return tables;
  }();
  return all;
}

}  // namespace

// The files as split_files() gives them; the unnamed one is the text.
void fuzz_tokenizer_files(Bytes input) {
  const std::map<std::string, std::string> files = split_files(input);
  (void)encoder::load_model_max_length(FilesReader(files));
  const std::vector<std::byte> tables = compile_files(files);
  if (tables.empty()) return;
  const auto tokenizer = encoder::Tokenizer::open(tables);
  require(tokenizer.is_ok(), "tables that were compiled can be opened");
  check_tokens(**tokenizer, as_utf8(files.at("")));
}

// Which tiny tokenizer, and the text.
void fuzz_tokenizer_text(Bytes input) {
  if (input.empty()) return;
  static const auto tokenizers = [] {
    std::vector<std::unique_ptr<encoder::Tokenizer>> opened;
    for (const std::vector<std::byte>& tables : tiny_tables()) {
      auto tokenizer = encoder::Tokenizer::open(tables);
      require(tokenizer.is_ok(), "tables that were compiled can be opened");
      opened.push_back(std::move(*tokenizer));
    }
    return opened;
  }();
  check_tokens(*tokenizers[input[0] % tokenizers.size()], as_utf8(text_of(input.subspan(1))));
}

// Which tiny tokenizer's tables, where they are damaged, and the text that they then read.
void fuzz_tokenizer_tables(Bytes input) {
  if (input.empty()) return;
  std::vector<std::byte> tables = tiny_tables()[input[0] % tiny_tables().size()];
  const std::string_view text = damage(input.subspan(1), &tables);
  const auto tokenizer = encoder::Tokenizer::open(tables);
  if (!tokenizer) return;
  // Damage that open() does not look for changes tokens, not what may be touched.
  for (const encoder::Token& token : (*tokenizer)->encode(as_utf8(text))) (*tokenizer)->token_text(token.id);
}

}  // namespace pg_semantic::fuzz
