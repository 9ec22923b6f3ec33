// Question answering (heads.h), as transformers' question-answering pipeline
// does it: windows over the context, spans by the product of the probabilities
// of their ends, widened to whole words.
#include <algorithm>
#include <new>
#include <unordered_map>
#include <utility>

#include "encoder/character_offsets.h"
#include "encoder/head_scores.h"
#include "encoder/heads.h"
#include "encoder/model_config.h"
#include "encoder/token_sequence.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

namespace {

// The pipeline's defaults: max_seq_len and doc_stride.
constexpr size_t kMaxWindowTokens = 384;
constexpr size_t kMaxOverlap = 128;
// Windows whose tokens are held at a time.
constexpr size_t kWaveWindows = 128;

// Tokens begin … end - 1 of the context.
struct Window {
  size_t begin = 0;
  size_t end = 0;
};

struct Span {
  size_t first = 0;  // tokens of the context, both inclusive
  size_t last = 0;
  double score = 0;
};

Result<std::vector<Window>> cut_windows(const Tokenizer& tokenizer, size_t context_tokens, size_t question_tokens,
                                        size_t window_tokens) {
  if (question_tokens >= pair_room(tokenizer, window_tokens)) {
    return Status(StatusCode::kInvalidArgument, "the question is too long",
                  "It leaves no room for the context: the model reads " + std::to_string(window_tokens) +
                      " tokens of both together.");
  }
  const size_t room = pair_room(tokenizer, window_tokens) - question_tokens;
  // The pipeline fails where the overlap would take all of the room.
  size_t overlap = std::min(window_tokens / 2, kMaxOverlap);
  if (overlap >= room) overlap = room / 2;
  std::vector<Window> windows;
  for (size_t begin = 0; begin < context_tokens; begin += room - overlap) {
    windows.push_back({begin, std::min(begin + room, context_tokens)});
    if (windows.back().end == context_tokens) break;
  }
  return windows;
}

// The `count` best spans of a window.  Of `logits` ([tokens, 2]) the first row is
// [CLS]'s, which takes its share of the probability but is no answer.
std::vector<Span> best_spans(const Window& window, std::span<const float> logits, size_t max_answer_tokens,
                             size_t count) {
  const size_t rows = logits.size() / 2;
  std::vector<float> starts;
  std::vector<float> ends;
  for (size_t i = 0; i < rows; ++i) {
    starts.push_back(logits[2 * i]);
    ends.push_back(logits[2 * i + 1]);
  }
  const std::vector<double> start = softmax(starts);
  const std::vector<double> end = softmax(ends);
  std::vector<Span> spans;
  for (size_t i = 1; i < rows; ++i) {
    for (size_t j = i; j < rows && j - i < max_answer_tokens; ++j) {
      const double score = start[i] * end[j];
      if (score > 0) spans.push_back({window.begin + i - 1, window.begin + j - 1, score});
    }
  }
  count = std::min(count, spans.size());
  std::partial_sort(spans.begin(), spans.begin() + static_cast<std::ptrdiff_t>(count), spans.end(),
                    [](const Span& a, const Span& b) { return a.score > b.score; });
  spans.resize(count);
  return spans;
}

std::string lower_cased(std::string_view text) {
  std::string lower;
  for (size_t i = 0; i < text.size();) {
    char32_t letters[2];
    const int count = lower_case(next_code_point(text, &i), letters);
    for (int n = 0; n < count; ++n) append_utf8(letters[n], &lower);
  }
  return lower;
}

// The answers of all windows: equal ones, whatever their case, are one.
class AnswerList {
 public:
  AnswerList(std::string_view context, const std::vector<Token>& tokens)
      : context_(context), tokens_(tokens), offsets_(context) {}

  void add(Span span, const Window& window) {
    while (span.first > window.begin && tokens_[span.first].continues_word) --span.first;
    while (span.last + 1 < window.end && tokens_[span.last + 1].continues_word) ++span.last;
    Answer answer;
    answer.char_start = tokens_[span.first].char_start;
    answer.char_end = tokens_[span.last].char_end;
    answer.byte_start = offsets_.byte_of(answer.char_start);
    answer.byte_end = offsets_.byte_of(answer.char_end);
    const std::string_view text = context_.substr(answer.byte_start, answer.byte_end - answer.byte_start);
    const auto [known, is_new] = places_.emplace(lower_cased(text), answers_.size());
    if (is_new) {
      answers_.push_back(answer);
      scores_.push_back(span.score);
    } else {
      scores_[known->second] += span.score;
    }
  }

  [[nodiscard]] std::vector<Answer> best(size_t count) const {
    std::vector<Ranked> ranked = rank(scores_);
    ranked.resize(std::min(count, ranked.size()));
    std::vector<Answer> answers;
    for (const Ranked& place : ranked) {
      answers.push_back(answers_[place.index]);
      answers.back().score = place.score;
    }
    return answers;
  }

 private:
  const std::string_view context_;
  const std::vector<Token>& tokens_;
  CharacterOffsets offsets_;
  std::unordered_map<std::string, size_t> places_;
  std::vector<Answer> answers_;
  std::vector<double> scores_;
};

TokenSequence window_sequence(const Tokenizer& tokenizer, std::span<const Token> question,
                              std::span<const Token> context) {
  TokenSequence sequence = pair_sequence(tokenizer, question, context);
  for (size_t i = 0; i < context.size(); ++i) sequence.wanted.push_back(sequence.second_text + i);
  return sequence;
}

Result<std::vector<Answer>> read_windows(const Model& model, std::string_view question, std::string_view context,
                                         const AnswerOptions& answering, const EmbedOptions& options) {
  const Tokenizer& tokenizer = model.tokenizer();
  const size_t window_tokens = std::min(static_cast<size_t>(model.info().max_tokens), kMaxWindowTokens);
  const std::vector<Token> question_tokens = leading_tokens(tokenizer, question, window_tokens);
  const std::vector<Token> tokens = tokenizer.tokenize(context);
  const Result<std::vector<Window>> windows =
      cut_windows(tokenizer, tokens.size(), question_tokens.size(), window_tokens);
  if (!windows) return windows.status();

  // Widening to words makes some candidates equal: hence more than are asked for.
  const size_t top_k = static_cast<size_t>(answering.top_k);
  AnswerList answers(context, tokens);
  for (size_t first = 0; first < windows->size(); first += kWaveWindows) {
    const std::span<const Window> wave =
        std::span(*windows).subspan(first, std::min(kWaveWindows, windows->size() - first));
    std::vector<TokenSequence> sequences;
    for (const Window& window : wave) {
      sequences.push_back(window_sequence(tokenizer, question_tokens,
                                          std::span(tokens).subspan(window.begin, window.end - window.begin)));
    }
    std::vector<std::vector<float>> logits;
    PG_SEMANTIC_RETURN_IF_ERROR(model.head_logits(sequences, options, &logits));
    for (size_t i = 0; i < wave.size(); ++i) {
      const auto limit = static_cast<size_t>(answering.max_answer_tokens);
      for (const Span& span : best_spans(wave[i], logits[i], limit, 2 * top_k + 10)) answers.add(span, wave[i]);
    }
  }
  return answers.best(top_k);
}

}  // namespace

Result<std::vector<Answer>> find_answers(const Model& model, std::string_view question, std::string_view context,
                                         const AnswerOptions& answering, const EmbedOptions& options) {
  PG_SEMANTIC_RETURN_IF_ERROR(require_task(model, kQuestionAnswering));
  const std::pair<const char*, int32_t> counts[] = {{"top_k", answering.top_k},
                                                    {"max_answer_tokens", answering.max_answer_tokens}};
  for (const auto& [name, value] : counts) {
    if (value < 1) {
      return Status(StatusCode::kInvalidArgument,
                    std::string(name) + " must be at least 1, not " + std::to_string(value));
    }
  }
  try {
    return read_windows(model, question, context, answering, options);
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory");
  }
}

}  // namespace pg_semantic::encoder
