// What fuzz targets share; see fuzz.h.
#include "tests/fuzz/fuzz.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <new>

#include "encoder/unicode.h"

namespace pg_semantic::fuzz {

namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFiles = 16;
constexpr char kMark = '\x1e';

// Made at the first call, removed when the process ends.
class OwnDirectory {
 public:
  OwnDirectory() {
    const fs::path parent = fs::is_directory("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
    std::string pattern = (parent / "pg_semantic_fuzz_XXXXXX").string();
    require(mkdtemp(pattern.data()) != nullptr, "a directory can be made");
    path_ = pattern;
  }
  ~OwnDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

bool stays_inside(const std::string& name) {
  if (name.empty() || name.front() == '/' || name.size() > 100 || name.find('\0') != std::string::npos) return false;
  for (const fs::path& part : fs::path(name)) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

void check_token(const encoder::Tokenizer& tokenizer, const encoder::Token& token, int32_t characters) {
  require(token.id >= 0 && token.id < tokenizer.vocabulary_size(), "a token's id is in the vocabulary");
  if (token.char_start == -1 && token.char_end == -1) return;
  require(token.char_start >= 0 && token.char_start <= token.char_end && token.char_end <= characters,
          "a token's offsets lie in the text");
}

constexpr int32_t kManyTokens = 64;

// Whether some token begins inside.
bool is_divisible(const std::vector<encoder::Token>& tokens, const encoder::Chunk& chunk) {
  return std::any_of(tokens.begin(), tokens.end(), [&](const encoder::Token& token) {
    return token.char_start > chunk.char_start && token.char_start < chunk.char_end;
  });
}

void check_chunks(const encoder::Tokenizer& tokenizer, const std::vector<encoder::Token>& tokens, std::string_view text,
                  int32_t max_tokens, int32_t overlap) {
  const auto chunks = encoder::chunk_text(tokenizer, text, max_tokens, overlap);
  if (!chunks) return;
  for (const encoder::Chunk& chunk : *chunks) {
    require(chunk.byte_start < chunk.byte_end && chunk.byte_end <= text.size(), "a chunk lies in the text");
    // Several tokens may stand for the same characters, and are in one chunk then whatever was asked for.
    require(chunk.tokens <= max_tokens || max_tokens < kManyTokens || !is_divisible(tokens, chunk),
            "a chunk that can be divided has no more tokens than asked for");
    const auto before = static_cast<int32_t>(encoder::count_code_points(text.substr(0, chunk.byte_start)));
    const auto inside = static_cast<int32_t>(
        encoder::count_code_points(text.substr(chunk.byte_start, chunk.byte_end - chunk.byte_start)));
    require(chunk.char_start == before && chunk.char_end == before + inside,
            "a chunk's offsets are those of its bytes");
  }
}

}  // namespace

std::map<std::string, std::string> split_files(Bytes input) {
  const std::string_view bytes(reinterpret_cast<const char*>(input.data()), input.size());
  std::map<std::string, std::string> files;
  const size_t first = std::min(bytes.find(kMark), bytes.size());
  files[""] = bytes.substr(0, first);
  for (size_t at = first; at < bytes.size() && files.size() <= kMaxFiles;) {
    const size_t end = std::min(bytes.find(kMark, at + 1), bytes.size());
    const std::string_view record = bytes.substr(at + 1, end - at - 1);
    const size_t line = std::min(record.find('\n'), record.size());
    files[std::string(record.substr(0, line))] = record.substr(std::min(line + 1, record.size()));
    at = end;
  }
  return files;
}

const std::string& directory_with(const std::map<std::string, std::string>& files) {
  static const OwnDirectory directory;
  for (const auto& entry : fs::directory_iterator(directory.path())) fs::remove_all(entry.path());
  for (const auto& [name, content] : files) {
    if (!stays_inside(name)) continue;
    const fs::path path = fs::path(directory.path()) / name;
    std::error_code error;  // a file where a folder is wanted: the input's own fault
    fs::create_directories(path.parent_path(), error);
    if (!error) std::ofstream(path, std::ios::binary) << content;
  }
  return directory.path();
}

std::string as_utf8(std::string_view bytes) {
  if (encoder::is_valid_utf8(bytes)) return std::string(bytes);
  std::string text;
  for (size_t i = 0; i < bytes.size();) {
    size_t length = std::min<size_t>(4, bytes.size() - i);
    while (length > 0 && !encoder::is_valid_utf8(bytes.substr(i, length))) --length;
    text += length > 0 ? bytes.substr(i, length) : "\xef\xbf\xbd";
    i += std::max<size_t>(length, 1);
  }
  return text;
}

void check_tokens(const encoder::Tokenizer& tokenizer, std::string_view text) {
  const auto characters = static_cast<int32_t>(encoder::count_code_points(text));
  std::vector<encoder::Token> tokens;
  try {
    tokens = tokenizer.tokenize(text);
  } catch (const std::bad_alloc&) {
    return;  // the tokenizer asks for more than its limits allow
  }
  const std::vector<encoder::Token> with_special = tokenizer.encode(text);
  require(with_special.size() >= tokens.size(), "special tokens are added, not taken away");
  for (const encoder::Token& token : with_special) {
    check_token(tokenizer, token, characters);
    tokenizer.token_text(token.id);
  }
  check_chunks(tokenizer, tokens, text, kManyTokens, 8);
  check_chunks(tokenizer, tokens, text, 8, 2);
  check_chunks(tokenizer, tokens, text, 3, 0);
}

}  // namespace pg_semantic::fuzz
