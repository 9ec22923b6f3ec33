// Measuring the index on its own vectors.
#include "index/measure.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "index/exact_distance.h"
#include "index/search.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr uint32_t kRowsBetweenPolls = 4096;
constexpr size_t kNeighbours = 10;  // the recall promised is recall@10
constexpr float kTargets[] = {0.8f, 0.85f, 0.9f, 0.925f, 0.95f, 0.97f, 0.98f, 0.99f, 0.995f, 0.999f};
// Stored vectors are easier to find than queries, which come from elsewhere: of
// the misses a target allows, the calibration uses this share.
constexpr float kMissesUsed = 0.6f;

// The `capacity` nearest of a stream by float score, kept as a max-heap.
class NearestByScore {
 public:
  explicit NearestByScore(size_t capacity) : capacity_(capacity) {}

  void offer(float score, RowId row) {
    if (heap_.size() < capacity_) {
      heap_.emplace_back(score, row);
      std::push_heap(heap_.begin(), heap_.end());
    } else if (score < heap_.front().first) {
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.back() = {score, row};
      std::push_heap(heap_.begin(), heap_.end());
    }
  }
  [[nodiscard]] const std::vector<std::pair<float, RowId>>& items() const { return heap_; }

 private:
  size_t capacity_;
  std::vector<std::pair<float, RowId>> heap_;
};

Result<std::vector<Neighbour>> refine(const Storage& storage, const ReadView& view, std::span<const float> query,
                                      const NearestByScore& found, size_t k) {
  const GenerationOptions& options = view.table->catalog.options;
  const ExactDistance distance(options.metric, query);
  std::vector<std::string> keys;
  for (const auto& item : found.items()) keys.push_back(row_key(view.generation, item.second));
  std::vector<Neighbour> result;
  const auto visit = [&](size_t i, std::string_view value) -> Status {
    PG_SEMANTIC_RETURN_IF_ERROR(check_vector(value, options.dimensions));
    result.push_back({found.items()[i].second, distance(value.data())});
    return Status::ok();
  };
  PG_SEMANTIC_RETURN_IF_ERROR(storage.multi_get(Family::kVectors, keys, view.at(), visit));
  std::sort(result.begin(), result.end(), [](const Neighbour& a, const Neighbour& b) {
    return a.distance != b.distance ? a.distance < b.distance : a.row < b.row;
  });
  if (result.size() > k) result.resize(k);
  return result;
}

// ranks[i]: how many lists come before list i (a position in the table) for the query.
std::vector<uint32_t> probing_ranks(const ListTable& table, std::span<const float> vector) {
  std::vector<float> query(vector.begin(), vector.end());
  const Metric metric = table.catalog.options.metric;
  if (metric == Metric::kCosine) normalise(query.data(), query.size());
  const Order order = metric == Metric::kInnerProduct ? Order::kInnerProduct : Order::kDistance;
  const std::vector<float> scores = score_lists(table, query.data(), order);
  std::vector<uint32_t> positions(scores.size());
  for (uint32_t i = 0; i < positions.size(); ++i) positions[i] = i;
  std::sort(positions.begin(), positions.end(), [&scores](uint32_t a, uint32_t b) {
    const float score_a = std::isnan(scores[a]) ? INFINITY : scores[a];
    const float score_b = std::isnan(scores[b]) ? INFINITY : scores[b];
    return score_a != score_b ? score_a < score_b : a < b;
  });
  std::vector<uint32_t> ranks(scores.size());
  for (uint32_t i = 0; i < positions.size(); ++i) ranks[positions[i]] = i;
  return ranks;
}

}  // namespace

Result<SampledVectors> sample_vectors(const Storage& storage, const ReadView& view, size_t count, uint64_t seed,
                                      const Interrupted& interrupted) {
  const std::string prefix = generation_key(view.generation);
  const uint32_t dimensions = view.table->catalog.options.dimensions;
  std::mt19937_64 random(seed);
  SampledVectors result;
  uint64_t vectors_seen = 0, rows_seen = 0;
  auto rows = storage.iterate(Family::kRows, view.at(), Reading::kSweep);
  for (rows->Seek(prefix); rows->Valid() && rows->key().starts_with(prefix); rows->Next()) {
    if (++rows_seen % kRowsBetweenPolls == 0 && is_interrupted(interrupted)) return Status::cancelled();
    Result<RowRecord> record = decode_row(pg_semantic::index::view(rows->value()));
    if (!record) return record.status();
    Result<RowId> row = row_of_key(pg_semantic::index::view(rows->key()));
    if (!row) return row.status();
    if (record->kind != RowKind::kVector) continue;
    ++vectors_seen;  // reservoir sampling
    if (result.rows.size() < count) {
      result.rows.push_back(*row);
    } else if (const uint64_t at = random() % vectors_seen; at < count) {
      result.rows[at] = *row;
    }
  }
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(rows->status()));
  std::sort(result.rows.begin(), result.rows.end());

  result.vectors.resize(result.rows.size() * dimensions);
  constexpr size_t kAtOnce = 1024;
  std::vector<std::string> keys;
  for (size_t first = 0; first < result.rows.size(); first += kAtOnce) {
    if (is_interrupted(interrupted)) return Status::cancelled();
    keys.clear();
    for (size_t i = first; i < std::min(first + kAtOnce, result.rows.size()); ++i)
      keys.push_back(row_key(view.generation, result.rows[i]));
    size_t found = 0;
    const auto visit = [&](size_t i, std::string_view value) -> Status {
      PG_SEMANTIC_RETURN_IF_ERROR(check_vector(value, dimensions));
      std::memcpy(result.vectors.data() + (first + i) * dimensions, value.data(), value.size());
      ++found;
      return Status::ok();
    };
    PG_SEMANTIC_RETURN_IF_ERROR(storage.multi_get(Family::kVectors, keys, view.at(), visit));
    if (found != keys.size()) return corrupt("A row has no vector.");
  }
  return result;
}

Result<std::vector<std::vector<Neighbour>>> exact_neighbours(const Storage& storage, const ReadView& view,
                                                             const SampledVectors& samples, size_t k,
                                                             BuildProgress* progress, const Interrupted& interrupted) {
  constexpr size_t kRowsAtOnce = 256;  // a chunk stays in the second-level cache while all samples pass over it
  const GenerationOptions& options = view.table->catalog.options;
  const size_t dimensions = options.dimensions, sample_count = samples.rows.size();
  const std::string prefix = generation_key(view.generation);
  std::vector<float> queries = samples.vectors;
  if (options.metric == Metric::kCosine) {
    for (size_t i = 0; i < sample_count; ++i) normalise(queries.data() + i * dimensions, dimensions);
  }
  // A few more than k, because the scores are in float.
  std::vector<NearestByScore> nearest(sample_count, NearestByScore(k + 16));
  std::vector<RowId> rows;
  std::vector<float> chunk, scores(kRowsAtOnce);
  const auto score_chunk = [&] {
    for (size_t sample = 0; sample < sample_count; ++sample) {
      const float* query = queries.data() + sample * dimensions;
      if (options.metric == Metric::kL2) {
        kernels().squared_distance_rows(query, dimensions, chunk.data(), rows.size(), scores.data());
      } else {
        kernels().inner_product_rows(query, dimensions, chunk.data(), rows.size(), scores.data());
        for (size_t i = 0; i < rows.size(); ++i) scores[i] = -scores[i];
      }
      for (size_t i = 0; i < rows.size(); ++i) {
        if (rows[i] != samples.rows[sample]) nearest[sample].offer(scores[i], rows[i]);
      }
    }
    rows.clear();
    chunk.clear();
  };
  if (progress != nullptr) progress->total = view.table->catalog.vectors;
  auto vectors = storage.iterate(Family::kVectors, view.at(), Reading::kSweep);
  for (vectors->Seek(prefix); vectors->Valid() && vectors->key().starts_with(prefix); vectors->Next()) {
    const std::string_view value = pg_semantic::index::view(vectors->value());
    PG_SEMANTIC_RETURN_IF_ERROR(check_vector(value, options.dimensions));
    Result<RowId> row = row_of_key(pg_semantic::index::view(vectors->key()));
    if (!row) return row.status();
    rows.push_back(*row);
    chunk.resize(rows.size() * dimensions);
    float* vector = chunk.data() + (rows.size() - 1) * dimensions;
    std::memcpy(vector, value.data(), value.size());
    if (options.metric == Metric::kCosine) normalise(vector, dimensions);
    if (rows.size() < kRowsAtOnce) continue;
    if (progress != nullptr) progress->done += rows.size();
    score_chunk();
    if (is_interrupted(interrupted)) return Status::cancelled();
  }
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(vectors->status()));
  score_chunk();

  std::vector<std::vector<Neighbour>> result;
  for (size_t i = 0; i < sample_count; ++i) {
    const std::span query(samples.vectors.data() + i * dimensions, dimensions);
    Result<std::vector<Neighbour>> refined = refine(storage, view, query, nearest[i], k);
    if (!refined) return refined.status();
    result.push_back(std::move(*refined));
  }
  return result;
}

Result<Calibration> calibrate(const Storage& storage, const ReadView& view, const Tuning& tuning,
                              BuildProgress* progress, const Interrupted& interrupted) {
  const ListTable& table = *view.table;
  Result<SampledVectors> samples =
      sample_vectors(storage, view, tuning.calibration_samples, table.catalog.version, interrupted);
  if (!samples) return samples.status();
  auto neighbours = exact_neighbours(storage, view, *samples, kNeighbours, progress, interrupted);
  if (!neighbours) return neighbours.status();

  // found_at[r]: true neighbours whose list has rank r.
  std::vector<uint64_t> found_at(table.lists.size(), 0);
  uint64_t neighbour_count = 0;
  const size_t dimensions = table.catalog.options.dimensions;
  for (size_t i = 0; i < samples->rows.size(); ++i) {
    const auto ranks = probing_ranks(table, {samples->vectors.data() + i * dimensions, dimensions});
    std::vector<std::string> keys;
    for (const Neighbour& neighbour : (*neighbours)[i]) keys.push_back(row_key(view.generation, neighbour.row));
    const auto visit = [&](size_t, std::string_view value) -> Status {
      Result<uint32_t> id = decode_u32(value, "row's location");
      if (!id) return id.status();
      const ListRef* list = table.find(*id);
      if (list == nullptr) return corrupt("A row is in a list that is not there.");
      ++found_at[ranks[static_cast<size_t>(list - table.lists.data())]];
      ++neighbour_count;
      return Status::ok();
    };
    PG_SEMANTIC_RETURN_IF_ERROR(storage.multi_get(Family::kLocations, keys, view.at(), visit));
  }

  Calibration calibration;
  calibration.vectors = table.catalog.vectors;
  calibration.lists = static_cast<uint32_t>(table.lists.size());
  uint64_t found = 0;
  uint32_t probes = 0;
  for (const float target : kTargets) {
    const double needed = (1 - (1 - double{target}) * kMissesUsed) * static_cast<double>(neighbour_count);
    while (probes < found_at.size() && static_cast<double>(found) < needed) found += found_at[probes++];
    calibration.points.push_back({target, std::max<uint32_t>(probes, 1)});
  }
  return calibration;
}

Status store_calibration(const Storage& storage, Generation* generation, const Calibration& calibration) {
  const std::lock_guard lock(generation->writer);
  if (generation->dropped) return Status::ok();
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage, *generation);
  if (!current) return current.status();
  rocksdb::WriteBatch batch;
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch.Put(
      storage.family(Family::kCalibrations), generation_key(generation->id()), encode_calibration(calibration))));
  PG_SEMANTIC_RETURN_IF_ERROR(storage.write(&batch));
  auto next = std::make_shared<ListTable>(**current);
  next->calibration = std::make_shared<const Calibration>(calibration);
  generation->publish(std::move(next));
  return Status::ok();
}

Result<float> measure_recall_of_view(const Storage& storage, const ReadView& view, const Tuning& tuning, uint32_t k,
                                     uint32_t samples, float recall, const Interrupted& interrupted) {
  const float nothing = std::numeric_limits<float>::quiet_NaN();
  if (view.table->catalog.vectors < 2 || k == 0 || samples == 0) return nothing;
  Result<SampledVectors> sampled = sample_vectors(storage, view, samples, 20240229, interrupted);
  if (!sampled) return sampled.status();
  auto neighbours = exact_neighbours(storage, view, *sampled, k, nullptr, interrupted);
  if (!neighbours) return neighbours.status();
  const size_t dimensions = view.table->catalog.options.dimensions;
  uint64_t expected = 0, found = 0;
  for (size_t i = 0; i < sampled->rows.size(); ++i) {
    SearchRequest request;
    request.generation = view.generation;
    request.query = {sampled->vectors.data() + i * dimensions, dimensions};
    request.k = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{k} + 1, UINT32_MAX));
    request.recall = recall;
    Result<SearchResult> result = search_view(storage, view, tuning, request, interrupted);
    if (!result) return result.status();
    const std::vector<Neighbour>& truth = (*neighbours)[i];
    if (truth.empty()) continue;
    // A row as near as the k-th is as good: equal texts have equal vectors.
    const double farthest = truth.back().distance + 1e-9 * std::fabs(truth.back().distance) + 1e-12;
    uint64_t hits = 0;
    for (const SearchHit& hit : result->hits)
      hits += hit.kind == RowKind::kVector && hit.row != sampled->rows[i] && hit.distance <= farthest ? 1 : 0;
    expected += truth.size();
    found += std::min<uint64_t>(hits, truth.size());
  }
  if (expected == 0) return nothing;
  return static_cast<float>(static_cast<double>(found) / static_cast<double>(expected));
}

}  // namespace pg_semantic::index
