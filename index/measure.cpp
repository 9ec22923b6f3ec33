// Measuring the index on its own vectors.
#include "index/measure.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "encoder/kernels.h"
#include "index/clustering.h"
#include "index/exact_distance.h"
#include "index/list_reader.h"
#include "index/probing.h"
#include "index/search.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kDeepShare = 4;  // of the samples one in so many is asked for many neighbours
constexpr size_t kLeastSamples = 64;
// More samples than Tuning says where they cost little: half as many are 1.4 times as far off.
constexpr uint64_t kDistances = 200'000'000;  // of samples and vectors
constexpr uint64_t kMostTimes = 4;
constexpr size_t kSpare = 6;  // more than k, because scores are in float
constexpr float kTargets[] = {0.5f,  0.6f,  0.7f,  0.75f, 0.8f,  0.85f,  0.9f,   0.925f,
                              0.95f, 0.96f, 0.97f, 0.98f, 0.99f, 0.995f, 0.998f, 0.999f};
// Codes rule out a few neighbours: of the misses that a target allows this share is kept back, but no more than so
// much recall.
constexpr double kMissesKept = 0.15;
constexpr double kMostKept = 0.004;

// The `capacity` nearest of a stream by float score, kept as a max-heap.
class NearestByScore {
 public:
  struct Item {
    float score;
    uint32_t position;
    RowId row;
    bool operator<(const Item& other) const { return score < other.score; }
  };
  explicit NearestByScore(size_t capacity) : capacity_(capacity) {}

  [[nodiscard]] bool wants(float score) const { return items_.size() < capacity_ || score < items_.front().score; }
  void add(const Item& item) {
    if (items_.size() == capacity_) {
      std::pop_heap(items_.begin(), items_.end());
      items_.back() = item;
    } else {
      items_.push_back(item);
    }
    std::push_heap(items_.begin(), items_.end());
  }
  [[nodiscard]] const std::vector<Item>& items() const { return items_; }

 private:
  size_t capacity_;
  std::vector<Item> items_;
};

// Scores of blocks of vectors against all samples, as one product.
class SampleScorer {
 public:
  // neighbours[i]: how many are wanted of sample i.
  SampleScorer(const CodecLayout& layout, const SampledVectors& samples, const std::vector<size_t>& neighbours)
      : layout_(layout), samples_(samples) {
    for (const size_t count : neighbours) nearest_.emplace_back(count + kSpare);
    const size_t count = samples.rows.size(), dimensions = layout.dimensions();
    std::vector<float> panels((count + encoder::kPanelOutputs - 1) / encoder::kPanelOutputs * encoder::kPanelOutputs *
                              dimensions);
    encoder::kernels().pack_transposed(count, dimensions, -1, {samples.vectors.data(), dimensions}, panels.data());
    panels_ = std::make_shared<const std::vector<float>>(std::move(panels));
  }
  SampleScorer(const SampleScorer&) = default;

  void add(uint32_t position, RowId row, const std::byte* stored) {
    const size_t dimensions = layout_.dimensions();
    vectors_.resize((rows_.size() + 1) * dimensions);
    layout_.decode_vector(stored, vectors_.data() + rows_.size() * dimensions);
    rows_.emplace_back(position, row);
    if (rows_.size() == kRowsAtOnce) score();
  }
  void score() {
    const size_t dimensions = layout_.dimensions(), count = samples_.rows.size();
    products_.resize(rows_.size() * count);
    encoder::kernels().multiply_panels({rows_.size(), count, dimensions}, {vectors_.data(), dimensions},
                                       panels_->data(), nullptr, {products_.data(), count});
    for (size_t i = 0; i < rows_.size(); ++i) {
      float half_norm = 0;
      if (layout_.metric() == Metric::kL2) {
        kernels().inner_product_rows(vectors_.data() + i * dimensions, dimensions, vectors_.data() + i * dimensions, 1,
                                     &half_norm);
        half_norm /= 2;
      }
      const float* products = products_.data() + i * count;
      for (size_t sample = 0; sample < count; ++sample) {
        const float score = products[sample] + half_norm;
        if (nearest_[sample].wants(score) && rows_[i].second != samples_.rows[sample])
          nearest_[sample].add({score, rows_[i].first, rows_[i].second});
      }
    }
    rows_.clear();
  }
  [[nodiscard]] const std::vector<NearestByScore>& nearest() const { return nearest_; }

 private:
  static constexpr size_t kRowsAtOnce = 64;
  const CodecLayout& layout_;
  const SampledVectors& samples_;
  std::vector<NearestByScore> nearest_;
  std::shared_ptr<const std::vector<float>> panels_;  // the copies' too
  std::vector<float> vectors_, products_;
  std::vector<std::pair<uint32_t, RowId>> rows_;
};

}  // namespace

// Lists are drawn in proportion to what they hold, then entries of them, so that
// few blocks are read.
Result<SampledVectors> sample_vectors(const Storage& storage, const ReadView& view, size_t count, uint64_t seed,
                                      const Interrupted& interrupted) {
  const ListTable& table = *view.table;
  const size_t dimensions = table.catalog.options.dimensions;
  std::mt19937_64 random(seed);
  SampledVectors result;
  uint64_t left = table.catalog.vectors;
  uint64_t wanted = std::min<uint64_t>(count, left);
  ListReader reader(storage, view);
  for (const ListRef& list : table.lists) {
    if (wanted == 0) break;
    if (is_interrupted(interrupted)) return Status::cancelled();
    // Knuth, volume 2, algorithm 3.4.2 S, before any entry is read.
    std::vector<uint32_t> chosen;
    for (uint32_t i = 0; i < list.live() && left > 0; ++i, --left) {
      if (random() % left >= wanted) continue;
      chosen.push_back(i);
      --wanted;
    }
    if (chosen.empty()) continue;
    uint32_t live = 0;
    size_t next = 0;
    PG_SEMANTIC_RETURN_IF_ERROR(reader.for_each(list, [&](RowId row, const std::byte* stored) {
      if (next < chosen.size() && chosen[next] == live) {
        ++next;
        result.rows.push_back(row);
        result.vectors.resize(result.rows.size() * dimensions);
        table.layout.decode_vector(stored, result.vectors.data() + (result.rows.size() - 1) * dimensions);
      }
      ++live;
      return Status::ok();
    }));
  }
  return result;
}

namespace {

struct Neighbour {
  RowId row = 0;
  double distance = 0;
  uint32_t position = 0;  // of its list in the table
};

// For each sample the wanted[i] nearest other rows and a few more, nearest first by float scores, from a sweep over all
// vectors on so many threads.
Result<std::vector<std::vector<Neighbour>>> nearest_by_score(const Storage& storage, const ReadView& view,
                                                             const SampledVectors& samples,
                                                             const std::vector<size_t>& wanted, size_t threads,
                                                             BuildProgress* progress, const Interrupted& interrupted) {
  const ListTable& table = *view.table;
  threads = std::max<size_t>(threads, 1);
  if (progress != nullptr) progress->total = table.catalog.vectors;
  std::vector<SampleScorer> scorers(threads, SampleScorer(table.layout, samples, wanted));
  std::vector<Status> statuses(threads);
  std::vector<DiskReads> reads(threads);
  in_parallel(threads, [&](size_t part) {
    ListReader reader(storage, view);
    const size_t last = table.lists.size() * (part + 1) / threads;
    for (size_t i = table.lists.size() * part / threads; i < last && statuses[part].is_ok(); ++i) {
      const ListRef& list = table.lists[i];
      statuses[part] = is_interrupted(interrupted) ? Status::cancelled()
                                                   : reader.for_each(list, [&](RowId row, const std::byte* stored) {
                                                       scorers[part].add(static_cast<uint32_t>(i), row, stored);
                                                       return Status::ok();
                                                     });
      if (progress != nullptr) progress->done += list.live();
    }
    scorers[part].score();
    reads[part] = disk_reads_of_this_thread();
  });
  // The last part ran on this thread, the others on threads of their own.
  for (size_t part = 0; part + 1 < threads; ++part) add_to_disk_reads_of_this_thread(reads[part]);
  for (const Status& status : statuses) PG_SEMANTIC_RETURN_IF_ERROR(status);

  std::vector<std::vector<Neighbour>> result(samples.rows.size());
  for (size_t sample = 0; sample < samples.rows.size(); ++sample) {
    NearestByScore merged(wanted[sample] + kSpare);
    for (const SampleScorer& scorer : scorers) {
      for (const NearestByScore::Item& item : scorer.nearest()[sample].items()) {
        if (merged.wants(item.score)) merged.add(item);
      }
    }
    std::vector<NearestByScore::Item> items = merged.items();
    std::sort(items.begin(), items.end());
    for (const NearestByScore::Item& item : items) result[sample].push_back({item.row, item.score, item.position});
  }
  return result;
}

// Replaces scores by exact distances, list by list, and keeps each sample's `k` nearest.
Status score_exactly(const Storage& storage, const ReadView& view, const SampledVectors& samples, size_t k,
                     std::vector<std::vector<Neighbour>>* neighbours, const Interrupted& interrupted) {
  struct Wanted {
    uint32_t position;
    RowId row;
    size_t sample;
    Neighbour* neighbour;
    auto operator<=>(const Wanted&) const = default;
  };
  const ListTable& table = *view.table;
  const size_t dimensions = table.catalog.options.dimensions;
  std::vector<ExactDistance> distances;
  std::vector<Wanted> wanted;
  for (size_t i = 0; i < samples.rows.size(); ++i) {
    distances.emplace_back(table.layout, std::span(samples.vectors).subspan(i * dimensions, dimensions));
    for (Neighbour& neighbour : (*neighbours)[i]) wanted.push_back({neighbour.position, neighbour.row, i, &neighbour});
  }
  std::sort(wanted.begin(), wanted.end());
  ListReader reader(storage, view);
  for (auto first = wanted.begin(), last = first; first != wanted.end(); first = last) {
    if (is_interrupted(interrupted)) return Status::cancelled();
    last = std::find_if(first, wanted.end(), [&](const Wanted& other) { return other.position != first->position; });
    PG_SEMANTIC_RETURN_IF_ERROR(reader.for_each(table.lists[first->position], [&](RowId row, const std::byte* stored) {
      auto at = std::lower_bound(first, last, row, [](const Wanted& a, RowId value) { return a.row < value; });
      for (; at != last && at->row == row; ++at) at->neighbour->distance = distances[at->sample](row, stored).distance;
      return Status::ok();
    }));
  }
  for (std::vector<Neighbour>& of_sample : *neighbours) {
    std::sort(of_sample.begin(), of_sample.end(), [](const Neighbour& a, const Neighbour& b) {
      return a.distance != b.distance ? a.distance < b.distance : a.row < b.row;
    });
    if (of_sample.size() > k) of_sample.resize(k);
  }
  return Status::ok();
}

}  // namespace

Result<Calibration> calibrate(const Storage& storage, const ReadView& view, const Tuning& tuning,
                              const CalibrationLimits& limits, BuildProgress* progress,
                              const Interrupted& interrupted) {
  const ListTable& table = *view.table;
  const Metric metric = table.catalog.options.metric;
  const Order order = metric == Metric::kInnerProduct ? Order::kInnerProduct : Order::kDistance;
  // They are held twice, as they are and packed, and each thread has its neighbours.
  const uint64_t sample_bytes = 2 * sizeof(float) * table.catalog.options.dimensions +
                                (limits.threads + 2) * sizeof(Neighbour) * Calibration::kDeepRows / kDeepShare;
  const uint64_t most = limits.memory_bytes / 2 / sample_bytes;
  const uint64_t affordable = std::clamp<uint64_t>(kDistances / std::max<uint64_t>(table.catalog.vectors, 1),
                                                   tuning.calibration_samples, kMostTimes * tuning.calibration_samples);
  const size_t count = std::min<size_t>(affordable, std::max<size_t>(most, kLeastSamples));
  Result<SampledVectors> samples = sample_vectors(storage, view, count, table.catalog.version, interrupted);
  if (!samples) return samples.status();
  std::vector<size_t> wanted(samples->rows.size(), Calibration::kRows);
  for (size_t i = 0; i < wanted.size(); i += kDeepShare) wanted[i] = Calibration::kDeepRows;
  auto neighbours = nearest_by_score(storage, view, *samples, wanted, limits.threads, progress, interrupted);
  if (!neighbours) return neighbours.status();

  // Of each sample, what lies before each list and how far that is; then what it takes to visit the neighbours' lists.
  struct Visit {
    float entries_before;
    float gap;
  };
  std::vector<Visit> visits, deep_visits;
  double gaps = 0;
  const size_t dimensions = table.catalog.options.dimensions;
  std::vector<uint32_t> order_of_lists(table.lists.size());
  std::vector<float> before(table.lists.size());
  for (size_t i = 0; i < samples->rows.size(); ++i) {
    if (is_interrupted(interrupted)) return Status::cancelled();
    const float* query = samples->vectors.data() + i * dimensions;
    float norm = 0;
    kernels().inner_product_rows(query, dimensions, query, 1, &norm);
    norm = std::sqrt(norm);
    std::vector<float> scores = score_lists(table, query, order);
    for (float& score : scores) score = std::isnan(score) ? INFINITY : score;
    std::iota(order_of_lists.begin(), order_of_lists.end(), 0u);
    std::sort(order_of_lists.begin(), order_of_lists.end(),
              [&](uint32_t a, uint32_t b) { return scores[a] != scores[b] ? scores[a] < scores[b] : a < b; });
    float entries = 0;
    for (const uint32_t position : order_of_lists) {
      before[position] = entries;
      entries += static_cast<float>(table.lists[position].live());
    }
    const float nearest = scores[order_of_lists.front()];
    gaps += probing_gap(metric, scores[order_of_lists[std::min(kGapRank, scores.size() - 1)]], nearest, norm);
    const std::vector<Neighbour>& found = (*neighbours)[i];
    for (size_t n = 0; n < std::min(wanted[i], found.size()); ++n) {
      const Visit visit = {before[found[n].position], probing_gap(metric, scores[found[n].position], nearest, norm)};
      if (n < Calibration::kRows) visits.push_back(visit);
      if (wanted[i] == Calibration::kDeepRows) deep_visits.push_back(visit);
    }
  }

  Calibration calibration;
  calibration.vectors = table.catalog.vectors;
  calibration.lists = static_cast<uint32_t>(table.lists.size());
  const double mean_gap = samples->rows.empty() ? 0 : gaps / static_cast<double>(samples->rows.size());
  calibration.gap = std::isfinite(mean_gap) ? static_cast<float>(mean_gap) : 0;
  const auto costs_of = [&](const std::vector<Visit>& of) {
    std::vector<float> costs;
    for (const Visit& visit : of) costs.push_back(probing_cost(visit.entries_before, visit.gap, calibration.gap));
    std::sort(costs.begin(), costs.end());
    return costs;
  };
  const std::vector<float> costs = costs_of(visits), deep_costs = costs_of(deep_visits);
  if (costs.empty()) return calibration;
  for (const float target : kTargets) {
    const double needed = target + std::min((1 - double{target}) * kMissesKept, kMostKept);
    const auto quantile = [needed](const std::vector<float>& of) {
      const auto at = static_cast<size_t>(std::ceil(needed * static_cast<double>(of.size())));
      return of[std::clamp<size_t>(at, 1, of.size()) - 1];
    };
    calibration.points.push_back({target, quantile(costs), quantile(deep_costs)});
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
                                     uint32_t samples, float recall, size_t threads, const Interrupted& interrupted) {
  const float nothing = std::numeric_limits<float>::quiet_NaN();
  if (view.table->catalog.vectors < 2 || k == 0 || samples == 0) return nothing;
  Result<SampledVectors> sampled = sample_vectors(storage, view, samples, 20240229, interrupted);
  if (!sampled) return sampled.status();
  auto neighbours = nearest_by_score(storage, view, *sampled, std::vector<size_t>(sampled->rows.size(), k), threads,
                                     nullptr, interrupted);
  if (!neighbours) return neighbours.status();
  PG_SEMANTIC_RETURN_IF_ERROR(score_exactly(storage, view, *sampled, k, &*neighbours, interrupted));
  const size_t dimensions = view.table->catalog.options.dimensions;
  std::vector<SearchRequest> requests(sampled->rows.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].generation = view.generation;
    requests[i].query = {sampled->vectors.data() + i * dimensions, dimensions};
    requests[i].k = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{k} + 1, UINT32_MAX));
    requests[i].recall = recall;
    requests[i].recall_rows = k;
  }
  Result<std::vector<SearchResult>> results = search_batch_of_view(storage, view, tuning, requests, interrupted);
  if (!results) return results.status();
  uint64_t expected = 0, found = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::vector<Neighbour>& truth = (*neighbours)[i];
    if (truth.empty()) continue;
    // A row as near as the k-th is as good: equal texts have equal vectors.
    const double farthest = truth.back().distance + 1e-9 * std::fabs(truth.back().distance) + 1e-12;
    uint64_t hits = 0;
    for (const SearchHit& hit : (*results)[i].hits)
      hits += hit.kind == RowKind::kVector && hit.row != sampled->rows[i] && hit.distance <= farthest ? 1 : 0;
    expected += truth.size();
    found += std::min<uint64_t>(hits, truth.size());
  }
  if (expected == 0) return nothing;
  return static_cast<float>(static_cast<double>(found) / static_cast<double>(expected));
}

}  // namespace pg_semantic::index
