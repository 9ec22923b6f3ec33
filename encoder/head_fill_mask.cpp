// Masked language modelling (heads.h), as transformers' fill-mask pipeline does it.
#include <algorithm>
#include <new>
#include <numeric>
#include <utility>

#include "encoder/head_scores.h"
#include "encoder/heads.h"
#include "encoder/model_config.h"
#include "encoder/token_decoder.h"
#include "encoder/token_sequence.h"

namespace pg_semantic::encoder {

namespace {

// Which of the tokens that are read is the one mask.
Result<size_t> find_mask(const Model& model, const std::vector<Token>& tokens) {
  const Tokenizer& tokenizer = model.tokenizer();
  const int32_t mask = tokenizer.mask_id();
  if (mask < 0) return Status(StatusCode::kUnsupported, "the model's vocabulary has no mask token");
  const auto is_mask = [mask](const Token& token) { return token.id == mask; };
  const auto masks = std::count_if(tokens.begin(), tokens.end(), is_mask);
  const std::string name(tokenizer.token_text(mask));
  if (masks != 1) {
    return Status(StatusCode::kInvalidArgument, "the text must have one " + name,
                  "It has " + (masks == 0 ? "none" : std::to_string(masks)) + ".",
                  "Write " + name + " where the word is to be guessed.");
  }
  const auto place = static_cast<size_t>(std::find_if(tokens.begin(), tokens.end(), is_mask) - tokens.begin());
  const size_t limit = single_room(tokenizer, static_cast<size_t>(model.info().max_tokens));
  const std::span<const Token> read = kept_tokens(tokenizer, tokens, limit);
  const auto found = std::find_if(read.begin(), read.end(), is_mask);
  if (found != read.end()) return static_cast<size_t>(found - read.begin());
  return Status(StatusCode::kInvalidArgument, "the " + name + " is too far from the beginning of the text",
                "It is token " + std::to_string(place + 1) + "; the model reads " + std::to_string(limit) + ".");
}

Result<std::vector<MaskFilling>> fill(const Model& model, std::string_view content, size_t top_k,
                                      const EmbedOptions& options) {
  const Tokenizer& tokenizer = model.tokenizer();
  const std::vector<Token> tokens = tokenizer.tokenize(content);
  const Result<size_t> place = find_mask(model, tokens);
  if (!place) return place.status();

  const size_t limit = single_room(tokenizer, static_cast<size_t>(model.info().max_tokens));
  const std::span<const Token> kept = kept_tokens(tokenizer, tokens, limit);
  TokenSequence sequence = single_sequence(tokenizer, kept);
  sequence.wanted = {sequence.first_text + *place};
  std::vector<std::vector<float>> logits;
  PG_SEMANTIC_RETURN_IF_ERROR(model.head_logits({&sequence, 1}, options, &logits));

  const std::vector<double> scores = softmax(logits[0]);
  std::vector<int32_t> best(scores.size());
  std::iota(best.begin(), best.end(), 0);
  top_k = std::min(top_k, best.size());
  std::partial_sort(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(top_k), best.end(),
                    [&](int32_t a, int32_t b) {
                      const double score_a = scores[static_cast<size_t>(a)];
                      const double score_b = scores[static_cast<size_t>(b)];
                      return is_better(score_a, score_b) || (!is_better(score_b, score_a) && a < b);
                    });
  std::vector<MaskFilling> fillings;
  for (size_t i = 0; i < top_k; ++i) {
    if (options.interrupted && options.interrupted()) return Status::cancelled();
    std::vector<std::string> read;
    for (size_t at = 0; at < kept.size(); ++at) {
      const int32_t id = at == *place ? best[i] : kept[at].id;
      read.emplace_back(tokenizer.token_text(id));
    }
    std::string text = tokenizer.decode(read);
    if (tokenizer.cleans_up_spaces()) text = clean_up_spaces(std::move(text));
    fillings.push_back({best[i], static_cast<float>(scores[static_cast<size_t>(best[i])]), std::move(text)});
  }
  return fillings;
}

}  // namespace

Result<std::vector<MaskFilling>> fill_mask(const Model& model, std::string_view content, int32_t top_k,
                                           const EmbedOptions& options) {
  PG_SEMANTIC_RETURN_IF_ERROR(require_task(model, kFillMask));
  if (top_k < 1) {
    return Status(StatusCode::kInvalidArgument, "top_k must be at least 1, not " + std::to_string(top_k));
  }
  try {
    return fill(model, content, static_cast<size_t>(top_k), options);
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory");
  }
}

}  // namespace pg_semantic::encoder
