// WordPiece over the tables of tokenizer_tables.h: added tokens, normalising,
// splitting into words, greedy longest match.
#include "encoder/tokenizer.h"

#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "encoder/token_decoder.h"
#include "encoder/tokenizer_normalizer.h"
#include "encoder/tokenizer_pipeline.h"
#include "encoder/tokenizer_tables.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

namespace {

// What becomes of an ASCII character before it reaches a word.
enum class AsciiClass : uint8_t { kWord, kSpace, kPunctuation, kRemoved };

struct AsciiTables {
  std::array<AsciiClass, 128> classes{};
  std::array<char, 128> letters{};  // lower case where asked for

  explicit AsciiTables(const NormalizerOptions& options) {
    for (char32_t c = 0; c < 128; ++c) {
      char32_t lowered[2] = {c};
      if (options.lowercase) lower_case(c, lowered);
      letters[c] = static_cast<char>(lowered[0]);
      if (options.clean_text && (c == 0 || is_bert_control(c))) {
        classes[c] = AsciiClass::kRemoved;
      } else if (is_white_space(c)) {
        classes[c] = AsciiClass::kSpace;
      } else if (is_bert_punctuation(c)) {
        classes[c] = AsciiClass::kPunctuation;
      } else {
        classes[c] = AsciiClass::kWord;
      }
    }
  }
};

// Remembers the characters that become one letter of a word, whatever stands
// beside them: most of every alphabet, also accented letters that lose their
// accent.  Filled as characters are met; a race writes the same value twice.
class LetterCache {
 public:
  explicit LetterCache(const NormalizerOptions& options)
      : options_(options), entries_(std::make_unique<std::atomic<uint32_t>[]>(kLimit)) {}

  // The letter that `c` becomes; 0: it is more complicated.
  [[nodiscard]] char32_t letter(char32_t c) const {
    if (c >= kLimit) return 0;
    const uint32_t entry = entries_[c].load(std::memory_order_relaxed);
    return entry != 0 ? entry & ~kKnown : find(c);
  }

 private:
  static constexpr char32_t kLimit = 0x3400;  // the alphabets before the ideographs
  static constexpr uint32_t kKnown = 0x80000000;

  struct OneCharacter {
    int count = 0;
    char32_t character = 0;
    void emit(char32_t c, CharSpan /*span*/) {
      ++count;
      character = c;
    }
  };

  [[nodiscard]] char32_t find(char32_t c) const {
    OneCharacter result;
    BertNormalizer<OneCharacter> normalizer(options_, &result);
    normalizer.push(c, CharSpan());
    normalizer.flush();
    char32_t parts[kMaxDecomposition] = {c};
    if (options_.strip_accents) canonical_decomposition(c, parts);
    // Only what begins with a starter is independent of what went before.  Marks that follow it inside a
    // decomposition have no span of their own, so their going changes nothing for others.
    const bool is_letter = result.count == 1 && combining_class(parts[0]) == 0 && !is_white_space(result.character) &&
                           !is_bert_punctuation(result.character);
    const char32_t letter = is_letter ? result.character : 0;
    entries_[c].store(letter | kKnown, std::memory_order_relaxed);
    return letter;
  }

  const NormalizerOptions options_;
  const std::unique_ptr<std::atomic<uint32_t>[]> entries_;
};

// Collects characters of normalised text into words (BertPreTokenizer) and
// words into tokens (the WordPiece model).
class WordSplitter {
 public:
  WordSplitter(const TokenizerTables& tables, const PieceHash& prefix_hash, std::vector<Token>* tokens)
      : tables_(tables),
        prefix_(tables.prefix()),
        prefix_hash_(prefix_hash),
        max_chars_(tables.header().max_input_chars_per_word),
        longest_piece_(tables.header().longest_piece_bytes),
        tokens_(tokens) {}

  void emit(char32_t c, CharSpan span) {
    if (is_white_space(c)) {
      end_word();
    } else if (is_bert_punctuation(c)) {
      end_word();
      append(c, span);
      end_word();
    } else {
      append(c, span);
    }
  }

  void append_ascii(char c, CharSpan span) {
    if (chars_++ < max_chars_) {
      word_.push_back(c);
      spans_.push_back(span);
    }
    if (chars_ == 1) word_span_.start = span.start;
    word_span_.end = span.end;
  }

  void append(char32_t c, CharSpan span) {
    if (c < 0x80) {
      append_ascii(static_cast<char>(c), span);
      return;
    }
    // A word that is too long is one unknown token: what it says does not matter then.
    if (chars_++ < max_chars_) {
      append_utf8(c, &word_);
      spans_.resize(word_.size(), span);
    }
    if (chars_ == 1) word_span_.start = span.start;
    word_span_.end = span.end;
  }

  void end_word() {
    if (chars_ == 0) return;
    if (chars_ > max_chars_ || !match()) {
      tokens_->push_back({tables_.header().unknown_id, word_span_.start, word_span_.end});
    }
    word_.clear();
    spans_.clear();
    chars_ = 0;
  }

 private:
  // Tokens of word_, greedily the longest piece from each position on; false,
  // and no token, when some rest has none.
  bool match() {
    const std::string_view word = word_;
    const size_t tokens_before = tokens_->size();
    hashes_.resize(word.size());
    for (size_t start = 0; start < word.size();) {
      const std::string_view prefix = start == 0 ? std::string_view() : prefix_;
      PieceHash hash = start == 0 ? PieceHash() : prefix_hash_;
      size_t end = word.size();
      if (end - start > longest_piece_) {
        end = start + longest_piece_;
        while (end > start && is_utf8_continuation(word[end])) --end;
      }
      for (size_t i = start; i < end; ++i) hashes_[i] = hash.add(word[i]);

      int32_t id = -1;
      while (end > start) {
        id = tables_.find_piece(hashes_[end - 1], prefix, word.substr(start, end - start));
        if (id >= 0) break;
        do {
          --end;
        } while (end > start && is_utf8_continuation(word[end]));
      }
      if (id < 0) {
        tokens_->resize(tokens_before);
        return false;
      }
      tokens_->push_back({id, spans_[start].start, spans_[end - 1].end, start > 0});
      start = end;
    }
    return true;
  }

  const TokenizerTables& tables_;
  const std::string_view prefix_;
  const PieceHash prefix_hash_;
  const uint64_t max_chars_;
  const size_t longest_piece_;
  std::vector<Token>* const tokens_;

  std::string word_;               // normalised, UTF-8
  std::vector<CharSpan> spans_;    // of each byte of word_
  std::vector<PieceHash> hashes_;  // scratch of match()
  uint64_t chars_ = 0;             // of the word, also those that word_ has no room for
  CharSpan word_span_;
};

// Normalised text as a whole, for added tokens that are matched in it.
struct NormalizedText {
  std::string text;
  std::vector<CharSpan> spans;  // of each byte of text

  void emit(char32_t c, CharSpan span) {
    append_utf8(c, &text);
    spans.resize(text.size(), span);
  }
};

class WordPieceTokenizer final : public Tokenizer {
 public:
  explicit WordPieceTokenizer(const TokenizerTables& tables)
      : tables_(tables),
        options_{flag(kCleanText), flag(kHandleChineseChars), flag(kStripAccents), flag(kLowercase)},
        ascii_(options_),
        letters_(options_),
        prefix_hash_(PieceHash().add(tables.prefix())) {
    const TablesHeader& header = tables_.header();
    single_frame_.before = pair_frame_.before = {header.cls_id};
    single_frame_.after = pair_frame_.after = pair_frame_.between = {header.sep_id};
    if (flag(kSeparatesPairsTwice)) pair_frame_.between.push_back(header.sep_id);
    pair_frame_.between_in_first_segment = pair_frame_.between.size();
    pair_frame_.has_second_segment = !flag(kPairsAreOneSegment);
  }

  std::vector<Token> tokenize(std::string_view text) const override {
    std::vector<Token> tokens;
    tokens.reserve(text.size() / 4 + 8);
    WordSplitter splitter(tables_, prefix_hash_, &tokens);
    AddedTokenFinder finder(tables_, tables_.header().original, text);
    size_t piece_start = 0;     // bytes
    int32_t char_position = 0;  // of piece_start
    while (const std::optional<AddedTokenMatch> match = finder.next()) {
      if (match->start > piece_start) {
        char_position =
            tokenize_piece(text.substr(piece_start, match->start - piece_start), char_position, &splitter, &tokens);
      } else {
        // A token that begins with white space which the one before has swallowed.
        char_position -= static_cast<int32_t>(count_code_points(text.substr(match->start, piece_start - match->start)));
      }
      const auto length = static_cast<int32_t>(count_code_points(text.substr(match->start, match->end - match->start)));
      tokens.push_back({match->id, char_position, char_position + length});
      char_position += length;
      piece_start = match->end;
    }
    tokenize_piece(text.substr(piece_start), char_position, &splitter, &tokens);
    return tokens;
  }

  const SpecialTokenFrame& single_frame() const override { return single_frame_; }
  const SpecialTokenFrame& pair_frame() const override { return pair_frame_; }
  bool truncates_left() const override { return flag(kTruncatesLeft); }
  std::string decode(std::span<const std::string> tokens) const override {
    return decode_tokens(tokens, tables_.prefix());
  }
  bool cleans_up_spaces() const override { return flag(kCleansUpSpaces); }

  std::string_view continuing_prefix() const override { return tables_.prefix(); }
  std::string_view token_text(int32_t id) const override { return tables_.token(id); }

  int32_t token_id(std::string_view token) const override { return tables_.find_token(token); }
  int32_t vocabulary_size() const override { return static_cast<int32_t>(tables_.header().token_count); }
  int32_t cls_id() const override { return tables_.header().cls_id; }
  int32_t sep_id() const override { return tables_.header().sep_id; }
  int32_t unknown_id() const override { return tables_.header().unknown_id; }
  int32_t pad_id() const override { return tables_.header().pad_id; }
  int32_t mask_id() const override { return tables_.header().mask_id; }

 private:
  [[nodiscard]] bool flag(TablesFlag value) const { return (tables_.header().flags & value) != 0; }

  // Tokens of text without added tokens in its original form; returns the
  // position after it, in characters.
  int32_t tokenize_piece(std::string_view piece, int32_t char_position, WordSplitter* splitter,
                         std::vector<Token>* tokens) const {
    if (tables_.header().normalized.count == 0) return split_words(piece, char_position, splitter);

    NormalizedText normalized;
    BertNormalizer<NormalizedText> normalizer(options_, &normalized);
    for (size_t i = 0; i < piece.size(); ++char_position) {
      const char32_t c = next_code_point(piece, &i);
      normalizer.push(c, {char_position, char_position + 1});
    }
    normalizer.flush();

    const std::string_view text = normalized.text;
    const auto split_normalized = [&](size_t start, size_t end) {
      for (size_t i = start; i < end;) {
        const CharSpan span = normalized.spans[i];
        splitter->emit(next_code_point(text, &i), span);
      }
      splitter->end_word();
    };
    AddedTokenFinder finder(tables_, tables_.header().normalized, text);
    size_t done = 0;
    while (const std::optional<AddedTokenMatch> match = finder.next()) {
      split_normalized(done, match->start);
      tokens->push_back({match->id, normalized.spans[match->start].start, normalized.spans[match->end - 1].end});
      done = match->end;
    }
    split_normalized(done, text.size());
    return char_position;
  }

  // Normalises and splits in one pass.
  int32_t split_words(std::string_view piece, int32_t char_position, WordSplitter* splitter) const {
    BertNormalizer<WordSplitter> normalizer(options_, splitter);
    for (size_t i = 0; i < piece.size(); ++char_position) {
      const auto byte = static_cast<unsigned char>(piece[i]);
      const CharSpan span = {char_position, char_position + 1};
      if (byte >= 0x80) {
        const char32_t c = next_code_point(piece, &i);
        if (const char32_t letter = letters_.letter(c); letter != 0) {
          normalizer.flush();
          splitter->append(letter, span);
        } else {
          normalizer.push(c, span);
        }
        continue;
      }
      ++i;
      const AsciiClass ascii_class = ascii_.classes[byte];
      if (ascii_class == AsciiClass::kRemoved) continue;
      normalizer.flush();  // ASCII never takes part in canonical reordering
      if (ascii_class == AsciiClass::kWord) {
        splitter->append_ascii(ascii_.letters[byte], span);
        continue;
      }
      splitter->end_word();
      if (ascii_class == AsciiClass::kPunctuation) {
        splitter->append_ascii(ascii_.letters[byte], span);
        splitter->end_word();
      }
    }
    normalizer.flush();
    splitter->end_word();
    return char_position;
  }

  const TokenizerTables tables_;
  const NormalizerOptions options_;
  const AsciiTables ascii_;
  const LetterCache letters_;
  const PieceHash prefix_hash_;
  SpecialTokenFrame single_frame_;
  SpecialTokenFrame pair_frame_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::open(std::span<const std::byte> tables) {
  Result<TokenizerTables> opened = TokenizerTables::open(tables);
  if (!opened.is_ok()) return opened.status();
  if (memcmp(opened->header().magic, kPipelineMagic, sizeof(kPipelineMagic)) == 0) {
    return open_pipeline_tokenizer(tables);
  }
  return std::unique_ptr<Tokenizer>(std::make_unique<WordPieceTokenizer>(*opened));
}

std::vector<Token> Tokenizer::encode(std::string_view text) const { return add_special_tokens(tokenize(text)); }

std::vector<Token> Tokenizer::add_special_tokens(std::vector<Token> tokens) const {
  const SpecialTokenFrame& frame = single_frame();
  std::vector<Token> before;
  for (const int32_t id : frame.before) before.push_back({id, -1, -1});
  tokens.insert(tokens.begin(), before.begin(), before.end());
  for (const int32_t id : frame.after) tokens.push_back({id, -1, -1});
  return tokens;
}

}  // namespace pg_semantic::encoder
