// Fuzz targets: functions that take a stranger's bytes, feed them to one parser
// and stop the process when something that must always hold does not.
//
// tests/fuzz/libfuzzer_entry.cpp makes a libFuzzer program of each (`make fuzz`);
// tests/unit/fuzz_corpus_test.cpp runs each over its corpus, tests/fuzz/corpus/NAME,
// in every `make check`, also under the sanitizers.
//
// Thread safety: none; a target runs on one thread.
#ifndef PG_SEMANTIC_TESTS_FUZZ_FUZZ_H
#define PG_SEMANTIC_TESTS_FUZZ_FUZZ_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "encoder/tokenizer.h"

namespace pg_semantic::fuzz {

using Bytes = std::span<const uint8_t>;

struct Target {
  const char* name;  // of its corpus
  void (*run)(Bytes input);
};

void fuzz_safetensors(Bytes input);
void fuzz_model_directory(Bytes input);
void fuzz_tokenizer_files(Bytes input);
void fuzz_tokenizer_text(Bytes input);
void fuzz_tokenizer_tables(Bytes input);
void fuzz_model_file(Bytes input);

inline constexpr Target kTargets[] = {
    {"safetensors", fuzz_safetensors},           {"model_directory", fuzz_model_directory},
    {"tokenizer_files", fuzz_tokenizer_files},   {"tokenizer_text", fuzz_tokenizer_text},
    {"tokenizer_tables", fuzz_tokenizer_tables}, {"model_file", fuzz_model_file},
};

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: it does not hold that %s\n", what);
  std::abort();
}

// Several files in one input: "\x1eNAME\nCONTENT\x1eNAME\nCONTENT…"; what goes
// before the first mark is the file "".
std::map<std::string, std::string> split_files(Bytes input);

// A directory of the process, in memory where there is such a file system, with
// these files (and folders) and no others.  Names that leave it are left out.
const std::string& directory_with(const std::map<std::string, std::string>& files);

// Valid UTF-8: what is invalid becomes U+FFFD, as no other text reaches a tokenizer.
std::string as_utf8(std::string_view bytes);

// What holds for the tokens of any text, special ones included or not; the
// chunks of the text, and the tokens' forms.
void check_tokens(const encoder::Tokenizer& tokenizer, std::string_view text);

}  // namespace pg_semantic::fuzz

#endif  // PG_SEMANTIC_TESTS_FUZZ_FUZZ_H
