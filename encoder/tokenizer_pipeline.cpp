// See tokenizer_pipeline.h.
#include "encoder/tokenizer_pipeline.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "encoder/json.h"
#include "encoder/tokenizer_byte_level.h"
#include "encoder/tokenizer_decoder.h"
#include "encoder/tokenizer_model.h"
#include "encoder/tokenizer_post_processor.h"
#include "encoder/tokenizer_pre_tokenizer.h"
#include "encoder/tokenizer_text_normalizer.h"
#include "encoder/tokenizer_word_cache.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

namespace {

// The parts that the components of the tables describe.
struct Parts {
  TextNormalizers normalizers;
  PreTokenizers pre_tokenizers;
  std::unique_ptr<WordModel> model;
  PostProcessor post_processor;
  TokenDecoder decoder;
};

Status read_parts(const PipelineTables& tables, Parts* parts) {
  const Result<nlohmann::json> components = parse_json(tables.components(), "tokenizer.json");
  if (!components) return components.status();
  const auto member = [&](const char* key) { return json_member(*components, key); };
  Result<TextNormalizers> normalizers = read_normalizers(member("normalizer"));
  if (!normalizers) return normalizers.status();
  parts->normalizers = std::move(*normalizers);
  Result<PreTokenizers> pre_tokenizers = read_pre_tokenizers(member("pre_tokenizer"));
  if (!pre_tokenizers) return pre_tokenizers.status();
  parts->pre_tokenizers = std::move(*pre_tokenizers);
  const nlohmann::json* model = member("model");
  if (model == nullptr) return {StatusCode::kCorrupt, "tokenizer tables are not valid", "They have no model."};
  Result<std::unique_ptr<WordModel>> word_model = read_word_model(*model, tables);
  if (!word_model) return word_model.status();
  parts->model = std::move(*word_model);
  Result<PostProcessor> post_processor = read_post_processor(member("post_processor"));
  if (!post_processor) return post_processor.status();
  parts->post_processor = std::move(*post_processor);
  Result<TokenDecoder> decoder = TokenDecoder::read(member("decoder"));
  if (!decoder) return decoder.status();
  parts->decoder = std::move(*decoder);
  return Status::ok();
}

int32_t leading_spaces(std::string_view text) {
  int32_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    const char32_t c = next_code_point(text, &i);
    if (c != kByteLevelSpace && !is_white_space(c)) break;
  }
  return count;
}

int32_t trailing_spaces(std::string_view text) {
  int32_t count = 0;
  for (; !text.empty(); ++count) {
    const char32_t c = previous_code_point(text, text.size());
    if (c != kByteLevelSpace && !is_white_space(c)) break;
    while (text.size() > 1 && is_utf8_continuation(text.back())) text.remove_suffix(1);
    text.remove_suffix(1);
  }
  return count;
}

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(const PipelineTables& tables) : tables_(tables) {}
  Status read() {
    PG_SEMANTIC_RETURN_IF_ERROR(read_parts(tables_, &parts_));
    for (const SpecialTokenFrame* frame : {&parts_.post_processor.single, &parts_.post_processor.pair}) {
      for (const std::vector<int32_t>* ids : {&frame->before, &frame->between, &frame->after}) {
        const auto is_wrong = [this](int32_t id) { return id < 0 || id >= vocabulary_size(); };
        if (std::any_of(ids->begin(), ids->end(), is_wrong)) {
          return {StatusCode::kCorrupt, "tokenizer configuration is not usable",
                  "A special token around texts has an id that is out of range."};
        }
      }
    }
    return Status::ok();
  }

  std::vector<Token> tokenize(std::string_view text) const override {
    std::vector<Token> tokens;
    tokens.reserve(text.size() / 4 + 8);
    const WordCachePool::Lease cache(&caches_);
    AddedTokenFinder finder(tables_.tokens(), tokens_header().original, text);
    size_t piece_start = 0;     // bytes
    int32_t char_position = 0;  // of piece_start
    const auto count = [&](size_t start, size_t end) {
      return static_cast<int32_t>(count_code_points(text.substr(start, end - start)));
    };
    while (const std::optional<AddedTokenMatch> match = finder.next()) {
      if (match->start > piece_start) {
        tokenize_piece(text.substr(piece_start, match->start - piece_start), char_position, &*cache, &tokens);
        char_position += count(piece_start, match->start);
      } else {
        // A token that begins with white space which the one before has swallowed.
        char_position -= count(match->start, piece_start);
      }
      const int32_t end = char_position + count(match->start, match->end);
      add(match->id, {char_position, end}, text.substr(match->start, match->end - match->start), false, &tokens);
      char_position = end;
      piece_start = match->end;
    }
    tokenize_piece(text.substr(piece_start), char_position, &*cache, &tokens);
    return tokens;
  }

  const SpecialTokenFrame& single_frame() const override { return parts_.post_processor.single; }
  const SpecialTokenFrame& pair_frame() const override { return parts_.post_processor.pair; }
  bool truncates_left() const override { return (tokens_header().flags & kTruncatesLeft) != 0; }
  std::string decode(std::span<const std::string> tokens) const override { return parts_.decoder.decode(tokens); }
  bool cleans_up_spaces() const override { return (tokens_header().flags & kCleansUpSpaces) != 0; }

  std::string_view continuing_prefix() const override { return parts_.model->continuing_prefix(); }
  std::string_view token_text(int32_t id) const override { return tables_.tokens().token(id); }
  int32_t token_id(std::string_view token) const override { return tables_.tokens().find_token(token); }
  int32_t vocabulary_size() const override { return static_cast<int32_t>(tokens_header().token_count); }
  int32_t cls_id() const override { return tokens_header().cls_id; }
  int32_t sep_id() const override { return tokens_header().sep_id; }
  int32_t unknown_id() const override { return tokens_header().unknown_id; }
  int32_t pad_id() const override { return tokens_header().pad_id; }
  int32_t mask_id() const override { return tokens_header().mask_id; }

 private:
  [[nodiscard]] const TablesHeader& tokens_header() const { return tables_.tokens().header(); }

  // Tokens of text without added tokens in its original form.
  void tokenize_piece(std::string_view piece, int32_t char_position, WordCache* cache,
                      std::vector<Token>* tokens) const {
    if (piece.empty()) return;
    AlignedText normalized(piece, char_position);
    for (const auto& normalizer : parts_.normalizers) normalizer->normalize(&normalized);
    const std::string_view text = normalized.text();
    if (text.empty()) return;
    if (tokens_header().normalized.count == 0) {
      const size_t size = text.size();
      tokenize_words({std::move(normalized), {{0, size}}}, cache, tokens);
      return;
    }
    AddedTokenFinder finder(tables_.tokens(), tokens_header().normalized, text);
    size_t done = 0;
    while (const std::optional<AddedTokenMatch> match = finder.next()) {
      tokenize_part(normalized, done, match->start, cache, tokens);
      add(match->id, normalized.span(match->start, match->end), text.substr(match->start, match->end - match->start),
          false, tokens);
      done = match->end;
    }
    tokenize_part(normalized, done, text.size(), cache, tokens);
  }

  void tokenize_part(const AlignedText& text, size_t start, size_t end, WordCache* cache,
                     std::vector<Token>* tokens) const {
    if (start >= end) return;
    SplitText part;
    part.text.append(text, start, end);
    part.words = {{0, end - start}};
    tokenize_words(std::move(part), cache, tokens);
  }

  void tokenize_words(SplitText text, WordCache* cache, std::vector<Token>* tokens) const {
    for (const auto& pre_tokenizer : parts_.pre_tokenizers) pre_tokenizer->split(&text);
    std::vector<WordPart> parts;
    std::vector<CachedPart> described;
    for (const ByteRange& range : text.words) {
      const std::string_view word = std::string_view(text.text.text()).substr(range.start, range.end - range.start);
      const auto add_part = [&](const CachedPart& part, bool continues_word) {
        CharSpan span = text.text.span(range.start + part.start, range.start + part.end);
        if (parts_.post_processor.trims_offsets) {
          trim(tokens->empty(), part.leading_spaces, part.trailing_spaces, &span);
        }
        tokens->push_back({part.id, span.start, span.end, continues_word});
      };
      described.clear();
      if (!cache->find(word, &described)) {
        parts.clear();
        parts_.model->tokenize(word, &parts);
        if (word.size() > WordCache::kMaxWordBytes) {  // perhaps the whole text, which has very many parts
          for (size_t i = 0; i < parts.size(); ++i) add_part(describe(word, parts[i]), i > 0);
          continue;
        }
        for (const WordPart& part : parts) described.push_back(describe(word, part));
        cache->insert(word, described);
      }
      for (size_t i = 0; i < described.size(); ++i) add_part(described[i], i > 0);
    }
  }

  // Everything about a part that only its word decides.
  [[nodiscard]] CachedPart describe(std::string_view word, const WordPart& part) const {
    CachedPart described;
    described.id = part.id;
    // Byte tokens of a suffix count beyond the word's end.
    described.end = std::min(part.end, word.size());
    described.start = std::min(part.start, described.end - 1);
    if (!parts_.post_processor.trims_offsets) return described;
    const bool says_text = part.id == parts_.model->unknown_id() && parts_.model->unknown_keeps_text();
    const std::string_view content =
        says_text ? word.substr(described.start, described.end - described.start) : tables_.tokens().token(part.id);
    described.leading_spaces = leading_spaces(content);
    described.trailing_spaces = trailing_spaces(content);
    return described;
  }

  // `content` decides how much white space the offsets leave out.
  void add(int32_t id, CharSpan span, std::string_view content, bool continues_word, std::vector<Token>* tokens) const {
    if (parts_.post_processor.trims_offsets) {
      trim(tokens->empty(), leading_spaces(content), trailing_spaces(content), &span);
    }
    tokens->push_back({id, span.start, span.end, continues_word});
  }

  // As process_offsets of the byte-level post-processor, for which a space that was put
  // before the text counts as nothing to take away.
  void trim(bool is_first, int32_t leading, int32_t trailing, CharSpan* span) const {
    if ((is_first || span->start == 0) && parts_.post_processor.adds_prefix_space && leading == 1) leading = 0;
    span->start = std::min(span->start + leading, span->end);
    if (trailing > 0 && span->end >= trailing) span->end = std::max(span->end - trailing, span->start);
  }

  const PipelineTables tables_;
  Parts parts_;
  mutable WordCachePool caches_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> open_pipeline_tokenizer(std::span<const std::byte> tables) {
  const Result<PipelineTables> opened = PipelineTables::open(tables);
  if (!opened) return opened.status();
  auto tokenizer = std::make_unique<PipelineTokenizer>(*opened);
  PG_SEMANTIC_RETURN_IF_ERROR(tokenizer->read());
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace pg_semantic::encoder
