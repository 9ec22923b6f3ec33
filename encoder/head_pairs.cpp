// Heads that read [CLS] (heads.h): sequence classification, reranking, zero-shot
// classification and multiple choice.
#include <algorithm>
#include <cctype>
#include <new>
#include <optional>
#include <utility>

#include "encoder/head_scores.h"
#include "encoder/heads.h"
#include "encoder/kernels.h"
#include "encoder/model_config.h"
#include "encoder/token_sequence.h"

namespace pg_semantic::encoder {

namespace {

using Logits = std::vector<std::vector<float>>;

size_t max_tokens(const Model& model) { return static_cast<size_t>(model.info().max_tokens); }

Result<std::vector<Ranked>> classify_sequence(const Model& model, const TokenSequence& sequence,
                                              const EmbedOptions& options) {
  Logits logits;
  PG_SEMANTIC_RETURN_IF_ERROR(model.head_logits({&sequence, 1}, options, &logits));
  if (!model.head().multi_label) return rank(softmax(logits[0]));
  std::vector<double> scores;
  for (const float logit : logits[0]) scores.push_back(sigmoid(logit));
  return rank(scores);
}

// One logit for each pair of `first` with one of `seconds`.
Result<std::vector<float>> pair_logits(const Model& model, std::string_view first,
                                       std::span<const std::string_view> seconds, const EmbedOptions& options) {
  const PairEncoder encoder(model.tokenizer(), first, max_tokens(model));
  std::vector<TokenSequence> sequences;
  sequences.reserve(seconds.size());
  for (const std::string_view second : seconds) {
    if (options.interrupted && options.interrupted()) return Status::cancelled();
    sequences.push_back(encoder.encode(second));
  }
  Logits logits;
  PG_SEMANTIC_RETURN_IF_ERROR(model.head_logits(sequences, options, &logits));
  std::vector<float> flat;
  flat.reserve(logits.size());
  for (const std::vector<float>& of_pair : logits) flat.push_back(of_pair[0]);
  return flat;
}

// The labels of a model for natural language inference, as transformers'
// zero-shot pipeline finds them.
struct InferenceLabels {
  size_t entailment = 0;
  size_t contradiction = 0;
};

std::optional<InferenceLabels> inference_labels(const std::vector<std::string>& labels) {
  constexpr std::string_view kEntails = "entail";
  if (labels.size() < 2) return std::nullopt;
  for (size_t i = 0; i < labels.size(); ++i) {
    std::string start = labels[i].substr(0, kEntails.size());
    for (char& c : start) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (start == kEntails) return InferenceLabels{i, i == 0 ? labels.size() - 1 : 0};
  }
  return std::nullopt;
}

std::string fill_template(std::string_view hypothesis_template, std::string_view label) {
  std::string filled;
  for (size_t begin = 0; begin <= hypothesis_template.size();) {
    const size_t end = hypothesis_template.find("{}", begin);
    filled += hypothesis_template.substr(begin, end - begin);
    if (end == std::string_view::npos) break;
    filled += label;
    begin = end + 2;
  }
  return filled;
}

// The premise with each label's hypothesis; only the premise is cut.
Result<std::vector<TokenSequence>> hypotheses(const Model& model, std::string_view premise,
                                              std::span<const std::string_view> labels,
                                              std::string_view hypothesis_template) {
  const size_t limit = pair_room(model.tokenizer(), max_tokens(model));
  const std::vector<Token> premise_tokens = leading_tokens(model.tokenizer(), premise, limit);
  std::vector<TokenSequence> sequences;
  sequences.reserve(labels.size());
  for (const std::string_view label : labels) {
    const std::vector<Token> hypothesis =
        leading_tokens(model.tokenizer(), fill_template(hypothesis_template, label), limit + 1);
    // At least one token of a premise that has any.
    if (hypothesis.size() > limit || (hypothesis.size() == limit && !premise_tokens.empty())) {
      return Status(StatusCode::kInvalidArgument, "a label is too long",
                    "With the template it leaves no room for the text: the model reads " +
                        std::to_string(max_tokens(model)) + " tokens.");
    }
    const size_t room = std::min(premise_tokens.size(), limit - hypothesis.size());
    sequences.push_back(
        pair_sequence(model.tokenizer(), kept_tokens(model.tokenizer(), premise_tokens, room), hypothesis));
  }
  return sequences;
}

Result<std::vector<Ranked>> rank_hypotheses(const Model& model, std::string_view content,
                                            std::span<const std::string_view> labels, const ZeroShotOptions& zero_shot,
                                            const EmbedOptions& options) {
  PG_SEMANTIC_RETURN_IF_ERROR(require_task(model, kSequenceClassification));
  const std::optional<InferenceLabels> inference = inference_labels(model.info().labels);
  if (!inference) {
    return Status(StatusCode::kUnsupported, "the model is not one of natural language inference",
                  "None of its labels begins with \"entail\".");
  }
  if (zero_shot.hypothesis_template.find("{}") == std::string_view::npos) {
    return Status(StatusCode::kInvalidArgument, "the template has no place for a label", "",
                  "Write {} where the label goes.");
  }
  const Result<std::vector<TokenSequence>> sequences =
      hypotheses(model, content, labels, zero_shot.hypothesis_template);
  if (!sequences) return sequences.status();
  Logits logits;
  PG_SEMANTIC_RETURN_IF_ERROR(model.head_logits(*sequences, options, &logits));

  if (zero_shot.multi_label || labels.size() == 1) {
    std::vector<double> scores;
    for (const std::vector<float>& of_label : logits) {
      const float both[2] = {of_label[inference->contradiction], of_label[inference->entailment]};
      scores.push_back(softmax(both)[1]);
    }
    return rank(scores);
  }
  std::vector<float> entailment;
  for (const std::vector<float>& of_label : logits) entailment.push_back(of_label[inference->entailment]);
  return rank(softmax(entailment));
}

template <typename Function>
auto without_exceptions(const Function& function) -> decltype(function()) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory");
  }
}

}  // namespace

Result<std::vector<Ranked>> classify(const Model& model, std::string_view content, const EmbedOptions& options) {
  PG_SEMANTIC_RETURN_IF_ERROR(require_task(model, kSequenceClassification));
  return without_exceptions([&] {
    const Tokenizer& tokenizer = model.tokenizer();
    const std::vector<Token> tokens = leading_tokens(tokenizer, content, single_room(tokenizer, max_tokens(model)));
    return classify_sequence(model, single_sequence(tokenizer, tokens), options);
  });
}

Result<std::vector<Ranked>> classify_pair(const Model& model, std::string_view content, std::string_view pair,
                                          const EmbedOptions& options) {
  PG_SEMANTIC_RETURN_IF_ERROR(require_task(model, kSequenceClassification));
  return without_exceptions([&] {
    const PairEncoder encoder(model.tokenizer(), content, max_tokens(model));
    return classify_sequence(model, encoder.encode(pair), options);
  });
}

Status score_documents(const Model& model, std::string_view query, std::span<const std::string_view> documents,
                       const EmbedOptions& options, std::span<float> scores) {
  PG_SEMANTIC_RETURN_IF_ERROR(require_task(model, kSequenceClassification));
  if (model.head().outputs != 1) {
    return {StatusCode::kUnsupported, "the model does not score pairs of texts",
            "It has " + std::to_string(model.head().outputs) + " labels; a reranker has one."};
  }
  if (scores.size() != documents.size()) {
    return {StatusCode::kInvalidArgument, "the space for the scores has a wrong size"};
  }
  return without_exceptions([&] {
    const Result<std::vector<float>> logits = pair_logits(model, query, documents, options);
    if (!logits) return logits.status();
    std::copy(logits->begin(), logits->end(), scores.begin());
    kernels().add_bias(1, scores.size(), nullptr, model.head().score_activation, scores.data());
    return Status::ok();
  });
}

Result<std::vector<Ranked>> zero_shot(const Model& model, std::string_view content,
                                      std::span<const std::string_view> labels, const ZeroShotOptions& zero_shot,
                                      const EmbedOptions& options) {
  return without_exceptions([&] { return rank_hypotheses(model, content, labels, zero_shot, options); });
}

Result<std::vector<Ranked>> choose(const Model& model, std::string_view prompt,
                                   std::span<const std::string_view> choices, const EmbedOptions& options) {
  PG_SEMANTIC_RETURN_IF_ERROR(require_task(model, kMultipleChoice));
  return without_exceptions([&]() -> Result<std::vector<Ranked>> {
    const Result<std::vector<float>> logits = pair_logits(model, prompt, choices, options);
    if (!logits) return logits.status();
    return rank(softmax(*logits));
  });
}

}  // namespace pg_semantic::encoder
