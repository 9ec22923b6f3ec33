// Centroids in memory.
#include "index/centroids.h"

#include <faiss/IndexFlat.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/utils/Heap.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>

namespace pg_semantic::index {
namespace {

constexpr int kGraphDegree = 32;

// FAISS's HNSW asks for distances through this; the loops are ours.
class GraphDistance final : public faiss::DistanceComputer {
 public:
  explicit GraphDistance(const faiss::IndexHNSWFlat& index)
      : rows_(static_cast<const faiss::IndexFlat*>(index.storage)->get_xb()),
        dimensions_(static_cast<size_t>(index.d)) {}

  void set_query(const float* query) override { query_ = query; }
  float operator()(idx_t i) override { return distance(query_, row(i)); }
  float symmetric_dis(idx_t i, idx_t j) override { return distance(row(i), row(j)); }

 private:
  [[nodiscard]] const float* row(idx_t i) const { return rows_ + static_cast<size_t>(i) * dimensions_; }
  [[nodiscard]] float distance(const float* a, const float* b) const {
    float value = 0;
    kernels().squared_distance_rows(a, dimensions_, b, 1, &value);
    return value;
  }

  const float* rows_;
  size_t dimensions_;
  const float* query_ = nullptr;
};

}  // namespace

CentroidStore::Place CentroidStore::place(uint32_t slot) {
  const uint64_t shifted = uint64_t{slot} + kFirstChunk;
  const auto chunk = static_cast<uint32_t>(std::bit_width(shifted) - std::bit_width(uint64_t{kFirstChunk}));
  return {chunk, static_cast<uint32_t>(shifted - (uint64_t{kFirstChunk} << chunk))};
}

uint32_t CentroidStore::append(const float* centroid) {
  const Place where = place(size_);
  if (!chunks_[where.chunk])
    chunks_[where.chunk] = std::make_unique<float[]>((size_t{kFirstChunk} << where.chunk) * dimensions_);
  std::memcpy(chunks_[where.chunk].get() + size_t{where.offset} * dimensions_, centroid, dimensions_ * sizeof(float));
  return size_++;
}

const float* CentroidStore::at(uint32_t slot) const {
  const Place where = place(slot);
  return chunks_[where.chunk].get() + size_t{where.offset} * dimensions_;
}

uint32_t CentroidStore::contiguous(uint32_t slot) const {
  const Place where = place(slot);
  return (kFirstChunk << where.chunk) - where.offset;
}

CentroidGraph::CentroidGraph(uint32_t dimensions, uint32_t distances_per_walk)
    : distances_per_walk_(distances_per_walk), index_(static_cast<int>(dimensions), kGraphDegree, faiss::METRIC_L2) {
  index_.hnsw.efConstruction = 80;
}

void CentroidGraph::add(std::span<const ListId> lists, const float* centroids) {
  std::unique_lock lock(mutex_);
  lists_.insert(lists_.end(), lists.begin(), lists.end());
  index_.add(static_cast<faiss::Index::idx_t>(lists.size()), centroids);
}

std::vector<CentroidGraph::Near> CentroidGraph::nearest(const float* query, uint32_t count) const {
  std::shared_lock lock(mutex_);
  count = static_cast<uint32_t>(std::min<size_t>(count, lists_.size()));
  if (count == 0) return {};
  std::vector<faiss::Index::idx_t> labels(count, -1);
  std::vector<float> distances(count);
  faiss::maxheap_heapify(count, distances.data(), labels.data());
  GraphDistance distance(index_);
  distance.set_query(query);
  faiss::VisitedTable visited(static_cast<int>(lists_.size()));
  faiss::SearchParametersHNSW parameters;
  parameters.efSearch = static_cast<int>(std::max<uint32_t>(64, count + count / 2));
  index_.hnsw.search(distance, static_cast<int>(count), labels.data(), distances.data(), visited, &parameters);
  faiss::maxheap_reorder(count, distances.data(), labels.data());
  std::vector<Near> result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    if (labels[i] >= 0) result.push_back({lists_[static_cast<size_t>(labels[i])], distances[i]});
  }
  return result;
}

bool CentroidGraph::contains(ListId list) const {
  std::shared_lock lock(mutex_);
  return std::binary_search(lists_.begin(), lists_.end(), list);
}

size_t CentroidGraph::size() const {
  std::shared_lock lock(mutex_);
  return lists_.size();
}

}  // namespace pg_semantic::index
