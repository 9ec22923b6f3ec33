// Keeping posting lists at their size: splits with reassignment of the border
// vectors (LIRE, arXiv 2410.14452), merges of lists that shrank.
//
// Stored vectors are read for this, and coded anew where they come to lie.
#include <algorithm>

#include "index/list_editor.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr uint32_t kDeadShare = 4;  // a list of which so much is dead is written anew

std::vector<float> decode_all(const CodecLayout& layout, const Entries& entries) {
  std::vector<float> vectors(entries.rows.size() * layout.dimensions());
  for (size_t i = 0; i < entries.rows.size(); ++i)
    layout.decode_vector(entries.vectors.data() + i * layout.vector_size(), vectors.data() + i * layout.dimensions());
  return vectors;
}

float squared_distance(const float* a, const float* b, size_t dimensions) {
  float distance = 0;
  kernels().squared_distance_rows(a, dimensions, b, 1, &distance);
  return distance;
}

std::vector<float> distances_to(const float* centroid, const std::vector<float>& vectors, size_t dimensions) {
  std::vector<float> distances(vectors.size() / dimensions);
  kernels().squared_distance_rows(centroid, dimensions, vectors.data(), distances.size(), distances.data());
  return distances;
}

}  // namespace

bool ListEditor::should_split(ListId list, const WorkingList& working) const {
  if (working.removed) return false;
  const uint32_t live = draft_.find(list)->live();
  if (live <= list_limit()) return false;
  const auto failed = unsplittable_.find(list);
  return failed == unsplittable_.end() || live / 2 >= failed->second;
}

std::vector<ListId> ListEditor::neighbours(const float* centroid, ListId except) const {
  std::vector<ListId> found;
  for (const NearList& near : nearest_lists(draft_, centroid, tuning_.neighbour_lists + 1, Order::kDistance)) {
    const ListRef& list = draft_.lists[near.position];
    // A list that is too long is split soon, with borders of its own.
    if (list.id != except && list.live() <= 2 * list_limit()) found.push_back(list.id);
  }
  return found;
}

Status ListEditor::pull_border(ListId from, const ListId (&created)[2]) {
  Result<WorkingList*> opened = open(from);
  if (!opened) return opened.status();
  Result<Entries> entries = live_entries(from, *opened);
  if (!entries) return entries.status();
  const size_t dimensions = draft_.layout.dimensions();
  const std::vector<float> vectors = decode_all(draft_.layout, *entries);
  const auto own = distances_to(draft_.centroid(*draft_.find(from)), vectors, dimensions);
  const auto to_0 = distances_to(draft_.centroid(*draft_.find(created[0])), vectors, dimensions);
  const auto to_1 = distances_to(draft_.centroid(*draft_.find(created[1])), vectors, dimensions);
  for (size_t i = 0; i < own.size(); ++i) {
    if (!(std::min(to_0[i], to_1[i]) < own[i])) continue;
    const ListId nearer = created[to_1[i] < to_0[i] ? 1 : 0];
    PG_SEMANTIC_RETURN_IF_ERROR(remove(from, entries->rows[i]));
    append_to(&working_[nearer], nearer, entries->rows[i], entries->vectors.data() + i * draft_.layout.vector_size());
  }
  return Status::ok();
}

Status ListEditor::split(ListId list) {
  Result<WorkingList*> opened = open(list);
  if (!opened) return opened.status();
  Result<Entries> entries = live_entries(list, *opened);
  if (!entries) return entries.status();
  const size_t dimensions = draft_.layout.dimensions(), vector_size = draft_.layout.vector_size();
  const std::vector<float> vectors = decode_all(draft_.layout, *entries);
  TwoMeans halves;
  if (!two_means(vectors, dimensions, draft_.catalog.options.metric == Metric::kCosine, list, &halves)) {
    unsplittable_[list] = entries->size();
    return Status::ok();
  }
  const std::vector<float> old_centroid(draft_.centroid(*draft_.find(list)),
                                        draft_.centroid(*draft_.find(list)) + dimensions);
  const std::vector<ListId> near = neighbours(old_centroid.data(), list);
  drop(list, *opened);
  const ListId created[2] = {create(halves.centroids[0].data()), create(halves.centroids[1].data())};

  for (size_t i = 0; i < entries->rows.size(); ++i) {
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
    PG_SEMANTIC_RETURN_IF_ERROR(append(target, entries->rows[i], entries->vectors.data() + i * vector_size));
  }
  for (const ListId neighbour : near) PG_SEMANTIC_RETURN_IF_ERROR(pull_border(neighbour, created));
  return Status::ok();
}

Status ListEditor::merge_away(ListId list) {
  Result<WorkingList*> opened = open(list);
  if (!opened) return opened.status();
  Result<Entries> entries = live_entries(list, *opened);
  if (!entries) return entries.status();
  const std::vector<float> vectors = decode_all(draft_.layout, *entries);
  drop(list, *opened);
  for (size_t i = 0; i < entries->rows.size(); ++i) {
    const auto nearest = nearest_lists(draft_, vectors.data() + i * draft_.layout.dimensions(), 1, Order::kDistance);
    PG_SEMANTIC_RETURN_IF_ERROR(append(draft_.lists[nearest.front().position].id, entries->rows[i],
                                       entries->vectors.data() + i * draft_.layout.vector_size()));
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
      const ListRef ref = *draft_.find(list);
      if (ref.live() == 0) {
        drop(list, &working);
      } else if (working.shrunk && ref.live() < tuning_.list_floor && draft_.lists.size() > 1) {
        PG_SEMANTIC_RETURN_IF_ERROR(merge_away(list));
        moved = true;
      } else if (should_split(list, working)) {
        PG_SEMANTIC_RETURN_IF_ERROR(split(list));
        moved = true;
      } else if (ref.dead > ref.entries / kDeadShare) {
        PG_SEMANTIC_RETURN_IF_ERROR(rewrite(list, &working));
      }
      changed = changed || moved;
      if (moved && --left == 0) break;
    }
  }
  return Status::ok();
}

}  // namespace pg_semantic::index
