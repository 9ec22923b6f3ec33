// The tokenizer's tables: the checks of open() and the search for added tokens.
#include "encoder/tokenizer_tables.h"

#include <bit>
#include <string>

#include "encoder/unicode.h"

namespace pg_semantic::encoder {

static_assert(std::endian::native == std::endian::little, "the tables are read where they lie");

namespace {

Status corrupt(const char* detail) { return {StatusCode::kCorrupt, "tokenizer tables are not valid", detail}; }

bool fits(uint64_t offset, uint64_t count, uint64_t item_bytes, uint64_t total) {
  return offset % 4 == 0 && offset >= sizeof(TablesHeader) && offset <= total && count <= (total - offset) / item_bytes;
}

}  // namespace

Result<TokenizerTables> TokenizerTables::open(std::span<const std::byte> bytes) {
  TokenizerTables tables;
  TablesHeader& header = tables.header_;
  if (bytes.size() < sizeof(TablesHeader)) return corrupt("They are shorter than their header.");
  memcpy(&header, bytes.data(), sizeof(TablesHeader));
  const bool is_pipeline = memcmp(header.magic, kPipelineMagic, sizeof(kPipelineMagic)) == 0;
  if (!is_pipeline && memcmp(header.magic, kTablesMagic, sizeof(kTablesMagic)) != 0) {
    return corrupt("They do not begin with the mark of this version.");
  }
  const uint64_t total = header.total_bytes;
  if (total > bytes.size()) return corrupt("They are shorter than they say.");
  tables.bytes_ = bytes.first(total);

  if (header.token_count == 0 || header.token_count > kMaxTokens || header.piece_count > header.token_count) {
    return corrupt("The number of tokens is out of range.");
  }
  if (!fits(header.string_offsets, uint64_t{header.token_count} + 1, sizeof(uint32_t), total) ||
      header.pool_bytes > kMaxPoolBytes || !fits(header.pool_offset, header.pool_bytes, 1, total)) {
    return corrupt("The strings lie outside.");
  }
  if (header.longest_piece_bytes > kMaxTokenBytes) return corrupt("A token is too long.");
  if (header.prefix_bytes > kMaxPrefixBytes || header.prefix_offset > header.pool_bytes ||
      header.prefix_bytes > header.pool_bytes - header.prefix_offset) {
    return corrupt("The prefix lies outside.");
  }
  if (header.slot_bits < 1 || header.slot_bits > 30 ||
      !fits(header.slots_offset, uint64_t{1} << header.slot_bits, 2 * sizeof(uint32_t), total)) {
    return corrupt("The hash table lies outside.");
  }
  const auto is_token = [&](int32_t id) { return id >= 0 && static_cast<uint32_t>(id) < header.token_count; };
  const auto is_token_or_none = [&](int32_t id) { return id == -1 || is_token(id); };
  for (const int32_t id : {header.unknown_id, header.cls_id, header.sep_id}) {
    if (!is_token(id) && !(is_pipeline && id == -1)) return corrupt("A special token's id is out of range.");
  }
  if (!is_token_or_none(header.pad_id) || !is_token_or_none(header.mask_id)) {
    return corrupt("A special token's id is out of range.");
  }
  for (const AddedTokenSection* section : {&header.original, &header.normalized}) {
    if (section->count > kMaxAddedTokens || !fits(section->offset, section->count, sizeof(AddedTokenRecord), total)) {
      return corrupt("The added tokens lie outside.");
    }
    for (uint32_t i = 0; i < section->count; ++i) {
      const AddedTokenRecord record = tables.added_token(*section, i);
      if (!is_token(record.id) || record.pattern_bytes == 0 || record.pattern_bytes > kMaxTokenBytes ||
          tables.pattern(record).empty()) {
        return corrupt("An added token is out of range.");
      }
    }
  }
  return tables;
}

int32_t TokenizerTables::find_token(std::string_view token_text) const {
  const int32_t piece = find_piece(token_text);
  if (piece >= 0 || token_text.empty()) return piece;
  for (uint32_t id = header_.piece_count; id < header_.token_count; ++id) {
    if (token(static_cast<int32_t>(id)) == token_text) return static_cast<int32_t>(id);
  }
  return -1;
}

std::optional<AddedTokenFinder::Candidate> AddedTokenFinder::longest_at(size_t position) const {
  // The patterns are sorted: those that begin with text[position, position + length) are [low, high).
  uint32_t low = 0;
  uint32_t high = section_.count;
  std::optional<Candidate> best;
  for (size_t length = 0; low < high && position + length < text_.size(); ++length) {
    const auto byte = static_cast<unsigned char>(text_[position + length]);
    // The first index of [from, high) whose byte at `length` is above `limit`;
    // a pattern of just `length` bytes comes before all of them.
    const auto first_above = [&](uint32_t from, int limit) {
      uint32_t until = high;
      while (from < until) {
        const uint32_t middle = from + (until - from) / 2;
        const std::string_view pattern = tables_.pattern(tables_.added_token(section_, middle));
        const int value = length < pattern.size() ? static_cast<unsigned char>(pattern[length]) : -1;
        if (value > limit) {
          until = middle;
        } else {
          from = middle + 1;
        }
      }
      return from;
    };
    low = first_above(low, static_cast<int>(byte) - 1);
    high = first_above(low, byte);
    if (low < high && tables_.pattern(tables_.added_token(section_, low)).size() == length + 1) {
      best = Candidate{low, length + 1};
    }
  }
  return best;
}

std::optional<AddedTokenMatch> AddedTokenFinder::next() {
  if (section_.count == 0) return std::nullopt;
  for (; position_ < text_.size(); ++position_) {
    const auto byte = static_cast<unsigned char>(text_[position_]);
    if ((section_.first_bytes[byte / 32] >> (byte % 32) & 1) == 0) continue;
    const std::optional<Candidate> candidate = longest_at(position_);
    if (!candidate) continue;

    const AddedTokenRecord record = tables_.added_token(section_, candidate->index);
    size_t start = position_;
    size_t end = position_ + candidate->length;
    position_ = end - 1;  // a match that is refused below is passed over whole
    if ((record.flags & kSingleWord) != 0) {
      size_t after = end;
      if (start > 0 && is_word_character(previous_code_point(text_, start))) continue;
      if (end < text_.size() && is_word_character(next_code_point(text_, &after))) continue;
    }
    if ((record.flags & kLeftStrip) != 0) {
      while (start > previous_end_) {
        const char32_t c = previous_code_point(text_, start);
        if (!is_white_space(c)) break;
        do {
          --start;
        } while (start > previous_end_ && is_utf8_continuation(text_[start]));
      }
    }
    if ((record.flags & kRightStrip) != 0) {
      while (end < text_.size()) {
        size_t after = end;
        if (!is_white_space(next_code_point(text_, &after))) break;
        end = after;
      }
    }
    ++position_;
    previous_end_ = end;
    return AddedTokenMatch{start, end, record.id};
  }
  return std::nullopt;
}

}  // namespace pg_semantic::encoder
