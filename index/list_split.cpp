// Planning a split.
#include "index/list_split.h"

#include <algorithm>
#include <cstring>

#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

std::vector<float> decode_all(const CodecLayout& layout, const Entries& entries) {
  std::vector<float> vectors(entries.rows.size() * layout.dimensions());
  for (size_t i = 0; i < entries.rows.size(); ++i)
    layout.decode_vector(entries.vectors.data() + i * layout.vector_size(), vectors.data() + i * layout.dimensions());
  return vectors;
}

std::vector<float> distances_to(const float* centroid, const std::vector<float>& vectors, size_t dimensions) {
  std::vector<float> distances(vectors.size() / dimensions);
  kernels().squared_distance_rows(centroid, dimensions, vectors.data(), distances.size(), distances.data());
  return distances;
}

std::vector<const ListRef*> neighbours(const ListTable& table, const Tuning& tuning, const float* centroid,
                                       ListId except) {
  const uint32_t limit = list_limit_for(tuning, table.layout.vector_size());
  std::vector<const ListRef*> found;
  for (const NearList& near : nearest_lists(table, centroid, tuning.neighbour_lists + 1, Order::kDistance)) {
    const ListRef& list = table.lists[near.position];
    // A list that is too long is split soon, with borders of its own.
    if (list.id != except && list.live() <= 2 * limit) found.push_back(&list);
  }
  return found;
}

}  // namespace

void Entries::add(RowId row, const std::byte* vector, size_t vector_size) {
  rows.push_back(row);
  vectors.insert(vectors.end(), vector, vector + vector_size);
}

void Entries::erase(size_t entry, size_t vector_size) {
  const size_t last = rows.size() - 1;
  if (entry != last) {
    rows[entry] = rows[last];
    std::memcpy(vectors.data() + entry * vector_size, vectors.data() + last * vector_size, vector_size);
  }
  rows.pop_back();
  vectors.resize(last * vector_size);
}

Result<SplitPlan> plan_split(const ListTable& table, const Tuning& tuning, ListId list, const Entries& entries,
                             const std::function<Result<Entries>(const ListRef&)>& entries_of) {
  const size_t dimensions = table.layout.dimensions();
  const float* old_centroid = table.centroid(*table.find(list));
  SplitPlan plan;
  plan.list = list;
  std::vector<const ListRef*> near;
  {
    const std::vector<float> vectors = decode_all(table.layout, entries);
    TwoMeans halves;
    if (!two_means(vectors, dimensions, table.catalog.options.metric == Metric::kCosine, list, &halves)) return plan;
    plan.centroids = halves.centroids;
    near = neighbours(table, tuning, old_centroid, list);
    const std::vector<float> before = distances_to(old_centroid, vectors, dimensions);
    const std::vector<float> to[2] = {distances_to(plan.centroids[0].data(), vectors, dimensions),
                                      distances_to(plan.centroids[1].data(), vectors, dimensions)};
    std::vector<float> best(entries.size());
    for (size_t i = 0; i < best.size(); ++i) {
      plan.sides[entries.rows[i]] = halves.side[i];
      best[i] = to[halves.side[i]][i];
    }
    // Only a vector that the split left farther from its centroid can be nearer
    // to a neighbour's.
    for (const ListRef* neighbour : near) {
      const float* centroid = table.centroid(*neighbour);
      for (size_t i = 0; i < best.size(); ++i) {
        if (best[i] <= before[i]) continue;
        float distance = 0;
        kernels().squared_distance_rows(centroid, dimensions, vectors.data() + i * dimensions, 1, &distance);
        if (!(distance < best[i])) continue;
        best[i] = distance;
        plan.away[entries.rows[i]] = neighbour->id;
      }
    }
  }
  std::array<size_t, 2> sizes{};
  for (const auto& [row, side] : plan.sides) sizes[side] += plan.away.contains(row) ? 0 : 1;
  for (const ListRef* neighbour : near) {
    Result<Entries> theirs = entries_of(*neighbour);
    if (!theirs) return theirs.status();
    const std::vector<float> vectors = decode_all(table.layout, *theirs);
    const std::vector<float> own = distances_to(table.centroid(*neighbour), vectors, dimensions);
    const std::vector<float> to[2] = {distances_to(plan.centroids[0].data(), vectors, dimensions),
                                      distances_to(plan.centroids[1].data(), vectors, dimensions)};
    for (size_t i = 0; i < own.size(); ++i) {
      const uint8_t side = to[1][i] < to[0][i] ? 1 : 0;
      if (!(to[side][i] < own[i])) continue;
      plan.from_neighbours[neighbour->id][theirs->rows[i]] = side;
      ++sizes[side];
    }
  }
  // A half that would be merged away at once would come again and again.
  plan.possible = std::min(sizes[0], sizes[1]) >= std::min<size_t>(tuning.list_floor, entries.size() / 8);
  return plan;
}

}  // namespace pg_semantic::index
