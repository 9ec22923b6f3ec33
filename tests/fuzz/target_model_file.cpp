// Model files: a good one, damaged.  The input says where, and what text is read then.
#include <string>
#include <string_view>
#include <vector>

#include "encoder/model.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tiny_model.h"

namespace pg_semantic::fuzz {

void fuzz_model_file(Bytes input) {
  // 64-byte alignment, as a mapping has.
  static const std::vector<std::byte> good = tiny_model_file();
  std::vector<std::byte> storage(good.size() + 64);
  const size_t shift = (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64;
  std::vector<std::byte> damaged = good;
  const std::string text = as_utf8(damage(input, &damaged));
  const std::span<std::byte> bytes = std::span(storage).subspan(shift, good.size());
  std::copy(damaged.begin(), damaged.end(), bytes.begin());

  const auto model = encoder::Model::open_bytes(bytes);
  if (!model) return;
  const std::string_view content = text;
  std::vector<float> embedding(static_cast<size_t>((*model)->info().dimensions));
  require(embedding.size() <= bytes.size(), "a model that was opened has as many dimensions as its file has room for");
  // Damaged numbers may make any vector, or a refusal.
  (void)(*model)->embed({&content, 1}, (*model)->prompt_prefix(nullptr), {}, embedding);
}

}  // namespace pg_semantic::fuzz
