// See tokenizer_pipeline_tables.h.
#include "encoder/tokenizer_pipeline_tables.h"

#include <cmath>

namespace pg_semantic::encoder {

namespace {

Status corrupt(const char* detail) { return {StatusCode::kCorrupt, "tokenizer tables are not valid", detail}; }

}  // namespace

Result<PipelineTables> PipelineTables::open(std::span<const std::byte> bytes) {
  const Result<TokenizerTables> tokens = TokenizerTables::open(bytes);
  if (!tokens) return tokens.status();
  PipelineTables tables;
  tables.tokens_ = *tokens;
  const uint64_t total = tokens->header().total_bytes;
  if (memcmp(tokens->header().magic, kPipelineMagic, sizeof(kPipelineMagic)) != 0 ||
      total < sizeof(TablesHeader) + sizeof(PipelineHeader)) {
    return corrupt("They are not those of a tokenizer in parts.");
  }
  tables.bytes_ = bytes.first(total);
  PipelineHeader& header = tables.header_;
  memcpy(&header, bytes.data() + sizeof(TablesHeader), sizeof(header));
  const auto fits = [&](uint64_t offset, uint64_t count, uint64_t item_bytes) {
    return offset <= total && count <= (total - offset) / item_bytes;
  };
  if (header.components_bytes > kMaxComponentBytes || !fits(header.components_offset, header.components_bytes, 1)) {
    return corrupt("The components lie outside.");
  }
  if (header.merge_bits > 28 ||
      (header.merge_bits > 0 && !fits(header.merges_offset, uint64_t{1} << header.merge_bits, sizeof(MergeSlot)))) {
    return corrupt("The merges lie outside.");
  }
  if (!fits(header.trie_offset, header.trie_nodes, sizeof(TrieNode))) return corrupt("The trie lies outside.");
  if (header.has_scores != 0 && !fits(header.scores_offset, tokens->header().piece_count, sizeof(double))) {
    return corrupt("The scores lie outside.");
  }
  if ((header.trie_nodes > 0) != (header.has_scores != 0) || !std::isfinite(header.lowest_score)) {
    return corrupt("A trie needs scores.");
  }
  return tables;
}

std::string_view PipelineTables::components() const {
  return {reinterpret_cast<const char*>(bytes_.data()) + header_.components_offset, header_.components_bytes};
}

bool PipelineTables::descend(char label, TrieNode* at) const {
  const auto wanted = static_cast<unsigned char>(label);
  if (at->first_child > header_.trie_nodes || at->child_count > header_.trie_nodes - at->first_child) return false;
  uint32_t low = at->first_child;
  uint32_t high = low + at->child_count;
  // Most nodes have a child or two, which are looked through faster than searched.
  constexpr uint32_t kFewChildren = 4;
  while (high - low > kFewChildren) {
    const uint32_t middle = low + (high - low) / 2;
    const TrieNode child = node(middle);
    if (child.label == wanted) {
      *at = child;
      return true;
    }
    if (child.label < wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  for (; low < high; ++low) {
    const TrieNode child = node(low);
    if (child.label == wanted) {
      *at = child;
      return true;
    }
  }
  return false;
}

}  // namespace pg_semantic::encoder
