// BertNormalizer of Hugging Face's tokenizers, one character at a time: clean
// up, space around CJK ideographs, NFD without Mn, lower case; every character
// that comes out knows which characters of the original it stands for.
//
// Thread safety: none; one object per text.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_NORMALIZER_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_NORMALIZER_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "encoder/unicode.h"

namespace pg_semantic::encoder {

struct NormalizerOptions {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};

// Code points [start, end) of the original text.
struct CharSpan {
  int32_t start = 0;
  int32_t end = 0;
};

// Calls sink->emit(char32_t, CharSpan) for every character of the normalised text.
//
// Alignment is that of NormalizedString::transform: a character that NFD only
// moved or kept takes the span of the next original character not yet taken,
// one that NFD added shares the span taken last.  Spans thus stay ascending
// even where combining marks change places.
template <typename Sink>
class BertNormalizer {
 public:
  BertNormalizer(const NormalizerOptions& options, Sink* sink) : options_(options), sink_(sink) {}

  // One character of the original.
  void push(char32_t c, CharSpan span) {
    if (options_.clean_text) {
      if (c == 0 || c == kReplacementCharacter || is_bert_control(c)) return;
      if (is_white_space(c)) c = ' ';
    }
    if (options_.handle_chinese_chars && is_bert_cjk(c)) {
      decompose(' ', span);
      decompose(c, span);
      decompose(' ', span);
    } else {
      decompose(c, span);
    }
  }

  // The end of a piece: what follows does not combine with what went before.
  void flush() {
    if (!pending_.empty()) emit_pending();
  }

  // Whether nothing is held back, so that ASCII may go to the sink directly.
  [[nodiscard]] bool is_idle() const { return pending_.empty(); }

 private:
  // A part of a decomposition that waits for its place among combining marks.
  struct Pending {
    int combining_class;
    char32_t character;
    bool takes_span;  // the first part of a decomposition, or an undecomposed character
  };

  void decompose(char32_t c, CharSpan span) {
    if (!options_.strip_accents) {
      lower(c, span);
      return;
    }
    char32_t parts[kMaxDecomposition];
    const int count = canonical_decomposition(c, parts);
    spans_.push_back(span);
    for (int i = 0; i < count; ++i) {
      const int combining = combining_class(parts[i]);
      if (combining != 0) {
        pending_.push_back({combining, parts[i], i == 0});
      } else {
        flush();
        emit(parts[i], i == 0);
      }
    }
  }

  void emit_pending() {
    std::stable_sort(pending_.begin(), pending_.end(),
                     [](const Pending& a, const Pending& b) { return a.combining_class < b.combining_class; });
    for (const Pending& part : pending_) emit(part.character, part.takes_span);
    pending_.clear();
  }

  void emit(char32_t c, bool takes_span) {
    if (takes_span) {
      last_span_ = spans_[next_span_++];
      if (next_span_ == spans_.size()) {
        spans_.clear();
        next_span_ = 0;
      }
    }
    if (!is_nonspacing_mark(c)) lower(c, last_span_);
  }

  void lower(char32_t c, CharSpan span) {
    if (!options_.lowercase) {
      sink_->emit(c, span);
      return;
    }
    char32_t lowered[2];
    const int count = lower_case(c, lowered);
    for (int i = 0; i < count; ++i) sink_->emit(lowered[i], span);
  }

  const NormalizerOptions options_;
  Sink* const sink_;
  std::vector<Pending> pending_;
  std::vector<CharSpan> spans_;  // of the characters that came in; those from next_span_ on are not yet taken
  size_t next_span_ = 0;
  CharSpan last_span_;
};

// The normalised form of a whole text, without spans.
std::string normalize_text(const NormalizerOptions& options, std::string_view text);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_NORMALIZER_H
