// Small good examples for fuzz targets to start from, and a way to damage them.
//
// Thread safety: functions of their arguments.
#ifndef PG_SEMANTIC_TESTS_FUZZ_TINY_MODEL_H
#define PG_SEMANTIC_TESTS_FUZZ_TINY_MODEL_H

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace pg_semantic::fuzz {

// The files of a tokenizer of each kind that is supported: small ones, and those of
// tests/reference/tokenizers (programs run in the repository's root).
std::vector<std::map<std::string, std::string>> tiny_tokenizers();

// Compiled models of two layers: a sentence model, and one of each family and style that is
// computed in another way, each in every precision.
std::vector<std::vector<std::byte>> tiny_model_files();

// Applies the damage that `input` begins with, [count][offset offset offset value]…,
// and returns the rest as text.
std::string_view damage(Bytes input, std::vector<std::byte>* bytes);

}  // namespace pg_semantic::fuzz

#endif  // PG_SEMANTIC_TESTS_FUZZ_TINY_MODEL_H
