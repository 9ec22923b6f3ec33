// Keeping posting lists at their size: splits with reassignment of the border
// vectors (LIRE, arXiv 2410.14452), merges of lists that shrank.
//
// Codes are decoded for this, not vectors read: the quantisation error is far
// below the size of a list, and a moved entry keeps its code.
#include <algorithm>

#include "index/list_editor.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

std::vector<float> decode_all(const CodecLayout& layout, const std::vector<std::byte>& codes) {
  const size_t count = codes.size() / layout.code_size();
  std::vector<float> vectors(count * layout.dimensions());
  for (size_t i = 0; i < count; ++i)
    layout.decode(codes.data() + i * layout.code_size(), vectors.data() + i * layout.dimensions());
  return vectors;
}

float squared_distance(const float* a, const float* b, size_t dimensions) {
  float distance = 0;
  kernels().squared_distance_rows(a, dimensions, b, 1, &distance);
  return distance;
}

std::vector<float> distances_to_codes(const CodecLayout& layout, const float* centroid,
                                      const std::vector<std::byte>& codes) {
  const size_t count = codes.size() / layout.code_size();
  std::vector<float> distances(count);
  layout.squared_distance()({centroid, layout.dimensions(), 0}, codes.data(), layout.code_size(), count,
                            distances.data());
  return distances;
}

}  // namespace

bool ListEditor::should_split(ListId list, const WorkingList& working) const {
  if (working.removed || working.entries() <= list_limit()) return false;
  const auto failed = unsplittable_.find(list);
  return failed == unsplittable_.end() || working.entries() / 2 >= failed->second;
}

std::vector<ListId> ListEditor::neighbours(const float* centroid, ListId except) const {
  std::vector<ListId> found;
  for (const uint32_t position : nearest_lists(draft_, centroid, tuning_.neighbour_lists + 1, Order::kDistance)) {
    const ListRef& list = draft_.lists[position];
    // A list that is too long is split soon, with borders of its own.
    if (list.id != except && list.entries <= 2 * list_limit()) found.push_back(list.id);
  }
  return found;
}

Status ListEditor::pull_border(ListId from, const ListId (&created)[2]) {
  const size_t code_size = draft_.layout.code_size();
  Result<WorkingList*> opened = open(from, Extent::kWhole);
  if (!opened) return opened.status();
  WorkingList* working = *opened;
  const auto own = distances_to_codes(draft_.layout, draft_.centroid(*draft_.find(from)), working->codes);
  const auto to_0 = distances_to_codes(draft_.layout, draft_.centroid(*draft_.find(created[0])), working->codes);
  const auto to_1 = distances_to_codes(draft_.layout, draft_.centroid(*draft_.find(created[1])), working->codes);
  // From the end, because an erased entry is replaced by the last.
  for (size_t i = own.size(); i-- > 0;) {
    if (!(std::min(to_0[i], to_1[i]) < own[i])) continue;
    const ListId nearer = created[to_1[i] < to_0[i] ? 1 : 0];
    const RowId row = working->rows[i];
    append_to(&working_[nearer], nearer, row, working->codes.data() + i * code_size);
    erase(working, from, static_cast<uint32_t>(i));
  }
  return Status::ok();
}

Status ListEditor::split(ListId list) {
  Result<WorkingList*> opened = open(list, Extent::kWhole);
  if (!opened) return opened.status();
  WorkingList* working = *opened;
  const size_t dimensions = draft_.layout.dimensions(), code_size = draft_.layout.code_size();
  const std::vector<float> vectors = decode_all(draft_.layout, working->codes);
  TwoMeans halves;
  if (!two_means(vectors, dimensions, draft_.catalog.options.metric == Metric::kCosine, list, &halves)) {
    unsplittable_[list] = working->entries();
    return Status::ok();
  }
  const std::vector<float> old_centroid(draft_.centroid(*draft_.find(list)),
                                        draft_.centroid(*draft_.find(list)) + dimensions);
  const std::vector<ListId> near = neighbours(old_centroid.data(), list);
  const std::vector<RowId> rows = std::move(working->rows);
  const std::vector<std::byte> codes = std::move(working->codes);
  drop(list, working);
  const ListId created[2] = {create(halves.centroids[0].data()), create(halves.centroids[1].data())};

  for (size_t i = 0; i < rows.size(); ++i) {
    const float* vector = vectors.data() + i * dimensions;
    ListId target = created[halves.side[i]];
    float best = squared_distance(vector, halves.centroids[halves.side[i]].data(), dimensions);
    // Only a vector that the split left farther from its centroid can be nearer
    // to a neighbour's.
    if (best > squared_distance(vector, old_centroid.data(), dimensions)) {
      for (const ListId neighbour : near) {
        const float distance = squared_distance(vector, draft_.centroid(*draft_.find(neighbour)), dimensions);
        if (distance < best) {
          best = distance;
          target = neighbour;
        }
      }
    }
    PG_SEMANTIC_RETURN_IF_ERROR(append(target, rows[i], codes.data() + i * code_size));
  }
  for (const ListId neighbour : near) PG_SEMANTIC_RETURN_IF_ERROR(pull_border(neighbour, created));
  return Status::ok();
}

Status ListEditor::merge_away(ListId list) {
  Result<WorkingList*> opened = open(list, Extent::kWhole);
  if (!opened) return opened.status();
  const std::vector<RowId> rows = std::move((*opened)->rows);
  const std::vector<std::byte> codes = std::move((*opened)->codes);
  const std::vector<float> vectors = decode_all(draft_.layout, codes);
  drop(list, *opened);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto nearest = nearest_lists(draft_, vectors.data() + i * draft_.layout.dimensions(), 1, Order::kDistance);
    PG_SEMANTIC_RETURN_IF_ERROR(
        append(draft_.lists[nearest.front()].id, rows[i], codes.data() + i * draft_.layout.code_size()));
  }
  return Status::ok();
}

Status ListEditor::balance() {
  // Every split adds a list for half a list of entries; the bound only guards
  // against data that keeps moving back and forth.
  size_t left = 64 + draft_.catalog.vectors / std::max<uint32_t>(list_limit() / 8, 1);
  for (bool changed = true; changed && left > 0;) {
    changed = false;
    std::vector<ListId> touched;
    for (const auto& [list, working] : working_) {
      if (!working.removed) touched.push_back(list);
    }
    for (const ListId list : touched) {
      WorkingList& working = working_[list];
      if (working.removed) continue;
      bool moved = false;
      if (working.entries() == 0) {
        drop(list, &working);
      } else if (working.shrunk && working.entries() < tuning_.list_floor && draft_.lists.size() > 1) {
        PG_SEMANTIC_RETURN_IF_ERROR(merge_away(list));
        moved = true;
      } else if (should_split(list, working)) {
        PG_SEMANTIC_RETURN_IF_ERROR(split(list));
        moved = true;
      }
      changed = changed || moved;
      if (moved && --left == 0) break;
    }
  }
  return Status::ok();
}

}  // namespace pg_semantic::index
