// Tables of tokenizers other than BERT's, inside a model file.
//
// Layout: as in tokenizer_tables.h, with a mark of its own, PipelineHeader right
// behind TablesHeader, and behind the sections there:
//
//   components       JSON: what tokenizer.json says of normaliser, pre-tokenizer,
//                    model (but for its vocabulary), post-processor and decoder
//   merges           MergeSlot × 2^merge_bits (BPE): open addressing, linear probing
//   trie             TrieNode × trie_nodes (unigram): node 0 is the root; the
//                    children of a node lie together, ascending by label
//   scores           f64 × piece_count (unigram)
//
// Nothing here is trusted: sections are checked by open(), what they hold where
// it is used.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_PIPELINE_TABLES_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_PIPELINE_TABLES_H

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "encoder/status.h"
#include "encoder/tokenizer_tables.h"

namespace pg_semantic::encoder {

inline constexpr uint32_t kMaxComponentBytes = 64u << 20;

struct PipelineHeader {
  uint32_t components_offset;
  uint32_t components_bytes;
  uint32_t merges_offset;
  uint32_t merge_bits;  // 0: no merges
  uint32_t trie_offset;
  uint32_t trie_nodes;  // 0: no trie
  uint32_t scores_offset;
  uint32_t has_scores;
  double lowest_score;
};
static_assert(sizeof(PipelineHeader) == 40);

// A pair of tokens that become one; the lower rank goes first.
struct MergeSlot {
  uint32_t left;  // kEmptySlot: nothing is here
  uint32_t right;
  uint32_t rank;
  uint32_t merged;
};
static_assert(sizeof(MergeSlot) == 16);

struct TrieNode {
  uint32_t first_child;
  uint16_t child_count;
  uint8_t label;
  uint8_t reserved;
  int32_t id;  // of the piece that ends here; -1: none
};
static_assert(sizeof(TrieNode) == 12);

inline uint32_t merge_hash(uint32_t left, uint32_t right, uint32_t bits) {
  const uint64_t key = (uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15u;
  return static_cast<uint32_t>((key ^ key >> 29) * 0xBF58476D1CE4E5B9u >> (64 - bits));
}

class PipelineTables {
 public:
  static Result<PipelineTables> open(std::span<const std::byte> bytes);

  [[nodiscard]] const TokenizerTables& tokens() const { return tokens_; }
  [[nodiscard]] const PipelineHeader& header() const { return header_; }
  [[nodiscard]] std::string_view components() const;

  // The merge of two tokens; its `left` is kEmptySlot when there is none.
  [[nodiscard]] MergeSlot find_merge(uint32_t left, uint32_t right) const {
    constexpr MergeSlot kNone{kEmptySlot, 0, 0, 0};
    if (header_.merge_bits == 0) return kNone;
    const uint32_t mask = (1u << header_.merge_bits) - 1;
    uint32_t slot = merge_hash(left, right, header_.merge_bits);
    for (uint32_t probe = 0; probe < kMaxProbes; ++probe, slot = (slot + 1) & mask) {
      const MergeSlot merge = merge_slot(slot);
      if (merge.left == kEmptySlot) return kNone;
      if (merge.left == left && merge.right == right && merge.merged < tokens_.header().token_count) return merge;
    }
    return kNone;
  }

  // All merges, in no order and with empty slots between them.
  [[nodiscard]] uint32_t merge_slots() const { return header_.merge_bits == 0 ? 0 : 1u << header_.merge_bits; }
  [[nodiscard]] MergeSlot merge_slot(uint32_t slot) const {
    return tokens_.load<MergeSlot>(header_.merges_offset + sizeof(MergeSlot) * static_cast<size_t>(slot));
  }

  [[nodiscard]] bool has_trie() const { return header_.trie_nodes > 0; }
  [[nodiscard]] TrieNode root() const { return node(0); }
  // Moves *at to its child with this label; false: it has none.
  [[nodiscard]] bool descend(char label, TrieNode* at) const;

  // Of a piece of the vocabulary.
  [[nodiscard]] double score(int32_t id) const {
    return tokens_.load<double>(header_.scores_offset + sizeof(double) * static_cast<size_t>(id));
  }

 private:
  [[nodiscard]] TrieNode node(uint32_t index) const {
    return tokens_.load<TrieNode>(header_.trie_offset + sizeof(TrieNode) * static_cast<size_t>(index));
  }

  TokenizerTables tokens_;
  PipelineHeader header_{};
  std::span<const std::byte> bytes_;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_PIPELINE_TABLES_H
