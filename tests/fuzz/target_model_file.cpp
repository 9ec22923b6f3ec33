// Model files: a good one, damaged.  The input says where, and what text is read then.
#include <string>
#include <string_view>
#include <vector>

#include "encoder/heads.h"
#include "encoder/late_interaction.h"
#include "encoder/model.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tiny_model.h"

namespace pg_semantic::fuzz {

namespace {

// What a model that was opened may be asked; damaged numbers may make any answer, or a refusal.
void ask(const encoder::Model& model, std::string_view content) {
  const encoder::EmbedOptions options;
  std::vector<float> embedding(static_cast<size_t>(model.info().dimensions));
  (void)model.embed({&content, 1}, model.prompt_prefix(nullptr), options, embedding);
  std::vector<float> weights;
  (void)model.vocabulary_weights(content, options, &weights);
  (void)encoder::late_interaction(model, content, content, options);
  (void)encoder::classify_pair(model, content, content, options);
}

}  // namespace

// The input: which model, the damage, the text.
void fuzz_model_file(Bytes input) {
  static const std::vector<std::vector<std::byte>> models = tiny_model_files();
  if (input.empty()) return;
  std::vector<std::byte> damaged = models[input[0] % models.size()];
  const std::string text = as_utf8(damage(input.subspan(1), &damaged));
  // 64-byte alignment, as a mapping has.
  std::vector<std::byte> storage(damaged.size() + 64);
  const size_t shift = (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64;
  const std::span<std::byte> bytes = std::span(storage).subspan(shift, damaged.size());
  std::copy(damaged.begin(), damaged.end(), bytes.begin());

  const auto model = encoder::Model::open_bytes(bytes);
  if (!model) return;
  require(static_cast<size_t>((*model)->info().dimensions) <= bytes.size(),
          "a model that was opened has as many dimensions as its file has room for");
  ask(**model, text);
}

}  // namespace pg_semantic::fuzz
