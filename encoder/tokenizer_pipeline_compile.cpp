// Writes what tables of a tokenizer in parts have beyond those of WordPiece; see
// tokenizer_pipeline_tables.h for their layout.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "encoder/json.h"
#include "encoder/tokenizer_pipeline.h"
#include "encoder/tokenizer_text_normalizer.h"

namespace pg_semantic::encoder {

namespace {

constexpr size_t kMaxTrieNodes = 16u << 20;
constexpr size_t kMaxMerges = 8u << 20;

Status unusable(std::string detail) {
  return {StatusCode::kCorrupt, "tokenizer configuration is not usable", std::move(detail)};
}

// Node after node, level by level, so that the children of each lie together.
Status build_trie(const std::vector<std::string>& vocabulary, std::vector<TrieNode>* nodes) {
  std::vector<int32_t> order(vocabulary.size());
  std::iota(order.begin(), order.end(), 0);
  const auto piece = [&](size_t place) -> const std::string& { return vocabulary[static_cast<size_t>(order[place])]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return vocabulary[static_cast<size_t>(a)] < vocabulary[static_cast<size_t>(b)];
  });
  struct Range {
    size_t begin = 0;  // the pieces below a node, in their order
    size_t end = 0;
    size_t depth = 0;  // bytes that they share
  };
  std::vector<Range> ranges = {{0, order.size(), 0}};
  nodes->push_back({0, 0, 0, 0, -1});
  for (size_t index = 0; index < ranges.size(); ++index) {
    Range range = ranges[index];
    // Of equal pieces the last one counts.
    while (range.begin < range.end && piece(range.begin).size() == range.depth) {
      if (range.depth > 0) (*nodes)[index].id = order[range.begin];
      ++range.begin;
    }
    (*nodes)[index].first_child = static_cast<uint32_t>(nodes->size());
    while (range.begin < range.end) {
      const char label = piece(range.begin)[range.depth];
      const auto same = [&](size_t place) { return piece(place)[range.depth] == label; };
      size_t end = range.begin + 1;
      while (end < range.end && same(end)) ++end;
      ranges.push_back({range.begin, end, range.depth + 1});
      nodes->push_back({0, 0, static_cast<uint8_t>(label), 0, -1});
      ++(*nodes)[index].child_count;
      range.begin = end;
    }
    if (nodes->size() > kMaxTrieNodes) return unusable("The vocabulary is too large.");
  }
  return Status::ok();
}

class MergeBuilder {
 public:
  explicit MergeBuilder(const std::vector<std::string>& vocabulary) {
    for (size_t id = 0; id < vocabulary.size(); ++id) ids_[vocabulary[id]] = static_cast<uint32_t>(id);
  }

  Status add(uint32_t rank, const std::string& left, const std::string& right, size_t prefix_bytes) {
    const auto left_id = ids_.find(left);
    const auto right_id = ids_.find(right);
    if (left_id == ids_.end() || right_id == ids_.end() || right.size() < prefix_bytes) return wrong(rank);
    const std::string merged = left + right.substr(prefix_bytes);
    const auto merged_id = ids_.find(merged);
    if (merged_id == ids_.end()) return wrong(rank);
    slots_.push_back({left_id->second, right_id->second, rank, merged_id->second});
    return Status::ok();
  }

  // At most half full, and more room until no probe is long.
  Status place(std::vector<MergeSlot>* table, uint32_t* bits) const {
    if (slots_.empty()) return Status::ok();
    for (*bits = 4; (size_t{1} << *bits) < 2 * slots_.size(); ++*bits) continue;
    for (; *bits <= 26; ++*bits) {
      if (fill(*bits, table)) return Status::ok();
    }
    return unusable("The merges do not fit into a hash table.");
  }

 private:
  static Status wrong(uint32_t rank) {
    return unusable("Merge number " + std::to_string(rank + 1) + " has a part or a result that is no token.");
  }

  bool fill(uint32_t bits, std::vector<MergeSlot>* table) const {
    table->assign(size_t{1} << bits, {kEmptySlot, 0, 0, 0});
    const uint32_t mask = (1u << bits) - 1;
    for (const MergeSlot& merge : slots_) {
      uint32_t slot = merge_hash(merge.left, merge.right, bits);
      uint32_t probe = 0;
      const auto is_other = [&](const MergeSlot& there) {
        return there.left != kEmptySlot && (there.left != merge.left || there.right != merge.right);
      };
      while (is_other((*table)[slot])) {
        slot = (slot + 1) & mask;
        if (++probe >= kMaxProbes) return false;
      }
      (*table)[slot] = merge;
    }
    return true;
  }

  std::unordered_map<std::string, uint32_t> ids_;
  std::vector<MergeSlot> slots_;
};

Status build_merges(const TokenizerConfig& config, const nlohmann::json& components, PipelineSections* out) {
  const PipelineConfig& pipeline = *config.pipeline;
  if (pipeline.merges.size() > kMaxMerges) return unusable("There are too many merges.");
  size_t prefix_bytes = 0;
  if (const nlohmann::json* model = json_member(components, "model"); model != nullptr) {
    const Result<std::optional<std::string>> prefix =
        json_string(*model, "continuing_subword_prefix", "tokenizer.json");
    if (!prefix) return prefix.status();
    prefix_bytes = prefix->value_or("").size();
  }
  MergeBuilder builder(config.vocabulary);
  for (size_t rank = 0; rank < pipeline.merges.size(); ++rank) {
    const auto& [left, right] = pipeline.merges[rank];
    PG_SEMANTIC_RETURN_IF_ERROR(builder.add(static_cast<uint32_t>(rank), left, right, prefix_bytes));
  }
  return builder.place(&out->merges, &out->header.merge_bits);
}

Status build_scores(const TokenizerConfig& config, PipelineSections* out) {
  const std::vector<double>& scores = config.pipeline->scores;
  if (scores.empty()) return Status::ok();
  if (scores.size() != config.vocabulary.size()) return unusable("The vocabulary has not as many scores as pieces.");
  if (!std::all_of(scores.begin(), scores.end(), [](double score) { return std::isfinite(score); })) {
    return unusable("A score is not a finite number.");
  }
  out->scores = scores;
  out->header.has_scores = 1;
  out->header.lowest_score = *std::min_element(scores.begin(), scores.end());
  return build_trie(config.vocabulary, &out->trie);
}

}  // namespace

Status build_pipeline_sections(const TokenizerConfig& config, PipelineSections* out) {
  out->components = config.pipeline->components;
  if (out->components.size() > kMaxComponentBytes) return unusable("Its description is too long.");
  const Result<nlohmann::json> components = parse_json(out->components, "tokenizer.json");
  if (!components) return components.status();
  const Result<TextNormalizers> normalizers = read_normalizers(json_member(*components, "normalizer"));
  if (!normalizers) return normalizers.status();
  for (const AddedToken& token : config.added_tokens) {
    AlignedText pattern(token.content, 0);
    if (token.normalized) {
      for (const auto& normalizer : *normalizers) normalizer->normalize(&pattern);
    }
    out->added_patterns.push_back(pattern.text());
  }
  PG_SEMANTIC_RETURN_IF_ERROR(build_merges(config, *components, out));
  PG_SEMANTIC_RETURN_IF_ERROR(build_scores(config, out));
  out->header.components_bytes = static_cast<uint32_t>(out->components.size());
  out->header.trie_nodes = static_cast<uint32_t>(out->trie.size());
  return Status::ok();
}

}  // namespace pg_semantic::encoder
