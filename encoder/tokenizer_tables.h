// The tokenizer's tables inside a model file: bytes on disk and a checked view
// of them.
//
// Layout (little-endian, offsets from the first byte of the tables; every
// section begins at a multiple of 4; the whole is a multiple of 8 long):
//
//   TablesHeader
//   string offsets   u32 × (token_count + 1): token i is pool[offset i, offset i+1)
//   pool             the tokens in id order, then the continuing prefix and the
//                    patterns of added tokens
//   slots            (u32 tag, u32 id) × 2^slot_bits: open addressing, linear
//                    probing, for the pieces (ids below piece_count); an id of
//                    kEmptySlot ends a probe
//   added tokens     AddedTokenRecord × n, sorted by pattern, twice: those matched
//                    in the original text, those matched in the normalised one
//
// Nothing here is trusted: sections are checked by open(), what they hold where
// it is used, so that opening reads none of what grows with the vocabulary.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_TABLES_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_TABLES_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "encoder/status.h"

namespace pg_semantic::encoder {

inline constexpr char kTablesMagic[8] = {'P', 'G', 'S', 'W', 'P', 'I', 'E', '1'};
// … of a tokenizer other than BERT's: tokenizer_pipeline_tables.h has the rest of its tables.
inline constexpr char kPipelineMagic[8] = {'P', 'G', 'S', 'P', 'I', 'P', 'E', '1'};
inline constexpr uint32_t kEmptySlot = 0xFFFFFFFF;
// No chain of occupied slots is longer; compile() grows the table until this holds.
inline constexpr uint32_t kMaxProbes = 128;
inline constexpr uint32_t kMaxTokens = 4u << 20;
// Bounds what is tried from each place of a text.
inline constexpr uint32_t kMaxTokenBytes = 4096;
inline constexpr uint32_t kMaxPoolBytes = 128u << 20;
inline constexpr uint32_t kMaxAddedTokens = 1u << 20;
inline constexpr uint32_t kMaxPrefixBytes = 256;

enum TablesFlag : uint32_t {
  kCleanText = 1,
  kHandleChineseChars = 2,
  kStripAccents = 4,
  kLowercase = 8,
  kSeparatesPairsTwice = 16,
  kPairsAreOneSegment = 32,
  kTruncatesLeft = 64,
  kCleansUpSpaces = 128,
};

// The added tokens that are matched in one form of the text.
struct AddedTokenSection {
  uint32_t offset;
  uint32_t count;
  std::array<uint32_t, 8> first_bytes;  // bit set: the bytes that a pattern begins with
};

struct TablesHeader {
  char magic[8];
  uint64_t total_bytes;
  uint32_t piece_count;  // the model's vocabulary
  uint32_t token_count;  // with the added tokens beyond it
  uint32_t flags;        // TablesFlag
  uint32_t max_input_chars_per_word;
  uint32_t longest_piece_bytes;
  int32_t unknown_id;
  int32_t cls_id;
  int32_t sep_id;
  int32_t pad_id;   // -1: none
  int32_t mask_id;  // -1: none
  uint32_t string_offsets;
  uint32_t pool_offset;
  uint32_t pool_bytes;
  uint32_t prefix_offset;  // in the pool
  uint32_t prefix_bytes;
  uint32_t slots_offset;
  uint32_t slot_bits;
  AddedTokenSection original;
  AddedTokenSection normalized;
  uint32_t reserved;
};
static_assert(sizeof(TablesHeader) == 168);

enum AddedTokenFlag : uint32_t {
  kSingleWord = 1,
  kLeftStrip = 2,
  kRightStrip = 4,
};

struct AddedTokenRecord {
  uint32_t pattern_offset;  // in the pool
  uint32_t pattern_bytes;
  int32_t id;
  uint32_t flags;  // AddedTokenFlag
};
static_assert(sizeof(AddedTokenRecord) == 16);

// Hash of a piece, byte after byte, so that the hashes of all prefixes of a
// word come from one pass (FNV-1a, 64 bits).
class PieceHash {
 public:
  PieceHash& add(char byte) {
    state_ = (state_ ^ static_cast<unsigned char>(byte)) * 0x100000001B3u;
    return *this;
  }
  PieceHash& add(std::string_view bytes) {
    for (const char byte : bytes) add(byte);
    return *this;
  }
  // Fibonacci hashing: high bits choose the slot, low ones tell its tenants apart.
  [[nodiscard]] uint32_t slot(uint32_t slot_bits) const { return static_cast<uint32_t>(mixed() >> (64 - slot_bits)); }
  [[nodiscard]] uint32_t tag() const { return static_cast<uint32_t>(mixed()); }

 private:
  [[nodiscard]] uint64_t mixed() const { return (state_ ^ state_ >> 32) * 0x9E3779B97F4A7C15u; }
  uint64_t state_ = 0xCBF29CE484222325u;
};

class TokenizerTables {
 public:
  static Result<TokenizerTables> open(std::span<const std::byte> bytes);

  [[nodiscard]] const TablesHeader& header() const { return header_; }
  [[nodiscard]] std::string_view prefix() const { return pool(header_.prefix_offset, header_.prefix_bytes); }

  // The vocabulary's form of a token, "" for an id without one.
  [[nodiscard]] std::string_view token(int32_t id) const {
    if (id < 0 || static_cast<uint32_t>(id) >= header_.token_count) return {};
    const size_t at = header_.string_offsets + sizeof(uint32_t) * static_cast<size_t>(id);
    const auto start = load<uint32_t>(at);
    const auto end = load<uint32_t>(at + sizeof(uint32_t));
    return end < start ? std::string_view() : pool(start, end - start);
  }

  // The piece that is `prefix` followed by `rest`, whose hash is `hash`; -1: none.
  [[nodiscard]] int32_t find_piece(const PieceHash& hash, std::string_view prefix, std::string_view rest) const {
    const uint32_t mask = (1u << header_.slot_bits) - 1;
    const uint32_t tag = hash.tag();
    uint32_t slot = hash.slot(header_.slot_bits);
    for (uint32_t probe = 0; probe < kMaxProbes; ++probe, slot = (slot + 1) & mask) {
      const size_t at = header_.slots_offset + 2 * sizeof(uint32_t) * static_cast<size_t>(slot);
      const auto id = load<uint32_t>(at + sizeof(uint32_t));
      if (id == kEmptySlot) return -1;
      if (load<uint32_t>(at) != tag || id >= header_.piece_count) continue;
      const std::string_view piece = token(static_cast<int32_t>(id));
      if (piece.size() == prefix.size() + rest.size() && piece.substr(0, prefix.size()) == prefix &&
          piece.substr(prefix.size()) == rest) {
        return static_cast<int32_t>(id);
      }
    }
    return -1;
  }
  [[nodiscard]] int32_t find_piece(std::string_view piece) const {
    return find_piece(PieceHash().add(piece), std::string_view(), piece);
  }

  // A piece or an added token beyond them; -1: none.
  [[nodiscard]] int32_t find_token(std::string_view token) const;

  // What lies at `offset`, which is inside.
  template <typename T>
  [[nodiscard]] T load(size_t offset) const {
    T value;
    memcpy(&value, bytes_.data() + offset, sizeof(T));
    return value;
  }

  [[nodiscard]] AddedTokenRecord added_token(const AddedTokenSection& section, uint32_t index) const {
    return load<AddedTokenRecord>(section.offset + sizeof(AddedTokenRecord) * static_cast<size_t>(index));
  }
  [[nodiscard]] std::string_view pattern(const AddedTokenRecord& record) const {
    return pool(record.pattern_offset, record.pattern_bytes);
  }

 private:
  // Sections are inside the tables (open() saw to that); what offsets in them say may not be inside the pool.
  [[nodiscard]] std::string_view pool(uint32_t offset, uint32_t size) const {
    if (offset > header_.pool_bytes || size > header_.pool_bytes - offset) return {};
    return {reinterpret_cast<const char*>(bytes_.data()) + header_.pool_offset + offset, size};
  }

  TablesHeader header_{};
  std::span<const std::byte> bytes_;
};

// A stretch of text that an added token claims.
struct AddedTokenMatch {
  size_t start = 0;  // bytes
  size_t end = 0;
  int32_t id = 0;
};

// Goes through the added tokens in one form of a text from left to right, as
// AddedVocabulary::find_matches does: leftmost, then longest; single words
// only where asked for; white space beside a token swallowed where asked for.
class AddedTokenFinder {
 public:
  AddedTokenFinder(const TokenizerTables& tables, const AddedTokenSection& section, std::string_view text)
      : tables_(tables), section_(section), text_(text) {}

  // The next match; nullopt at the end.
  std::optional<AddedTokenMatch> next();

 private:
  struct Candidate {
    uint32_t index;
    size_t length;
  };
  [[nodiscard]] std::optional<Candidate> longest_at(size_t position) const;

  const TokenizerTables& tables_;
  const AddedTokenSection& section_;
  const std::string_view text_;
  size_t position_ = 0;      // where the search goes on
  size_t previous_end_ = 0;  // of the last match, white space included
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_TABLES_H
