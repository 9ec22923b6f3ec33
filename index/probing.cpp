// See probing.h.
#include "index/probing.h"

#include <algorithm>
#include <cmath>

namespace pg_semantic::index {
namespace {

constexpr uint32_t kListsAtFirst = 64;  // asked for; more when they are all within reach

}  // namespace

float probing_gap(Metric metric, float score, float nearest_score, float query_norm) {
  if (metric == Metric::kInnerProduct) return query_norm > 0 ? std::max(score - nearest_score, 0.0f) / query_norm : 0;
  return std::max(std::sqrt(std::max(score, 0.0f)) - std::sqrt(std::max(nearest_score, 0.0f)), 0.0f);
}

float probing_limit(const ListTable& table, const Tuning& tuning, float recall, uint32_t rows) {
  if (table.catalog.vectors <= tuning.exact_vectors || !table.calibration || !(recall < 1)) return INFINITY;
  const Calibration& calibration = *table.calibration;
  // Since the measurement rows have come: as large a share of them must be visited.
  const double grown =
      static_cast<double>(table.catalog.vectors) / static_cast<double>(std::max<uint64_t>(calibration.vectors, 1));
  const double deeper = std::log(std::max<double>(rows, 1) / double{Calibration::kRows}) /
                        std::log(double{Calibration::kDeepRows} / double{Calibration::kRows});
  const auto cost_of = [&](const Calibration::Point& point) {
    const double growth = point.cost > 0 ? std::max(point.deep_cost / point.cost, 1.0f) : 1;
    return std::max<double>(point.cost, deeper > 0 && point.cost == 0 ? point.deep_cost : 0) *
           std::pow(growth, std::max(deeper, 0.0));
  };
  const std::vector<Calibration::Point>& points = calibration.points;
  const auto at = std::find_if(points.begin(), points.end(), [&](const auto& point) { return point.recall >= recall; });
  if (at == points.end()) return INFINITY;
  if (at == points.begin() || at->recall == recall) return static_cast<float>(grown * cost_of(*at));
  // Between two points misses fall about as a power of the cost.
  const auto before = at - 1;
  const double share =
      std::log((1 - before->recall) / (1 - recall)) / std::log((1 - before->recall) / (1 - at->recall));
  return static_cast<float>(grown *
                            (cost_of(*before) + (cost_of(*at) - cost_of(*before)) * std::clamp(share, 0.0, 1.0)));
}

std::vector<NearList> choose_lists(const ListTable& table, const Tuning& tuning, const SearchRequest& request,
                                   std::span<const float> query, float query_norm) {
  const float limit = probing_limit(table, tuning, request.recall, request.recall_rows);
  const float far = table.calibration ? table.calibration->gap : 0;
  const auto all = static_cast<uint32_t>(table.lists.size());
  const Metric metric = table.catalog.options.metric;
  const Order order = metric == Metric::kInnerProduct ? Order::kInnerProduct : Order::kDistance;
  // The nearest may hold too few rows.
  const uint64_t wanted_entries = uint64_t{3} * request.k;
  std::vector<NearList> chosen;
  ListsByNearness lists(table, query.data(), order);
  for (uint32_t asked = std::isfinite(limit) ? std::min(all, kListsAtFirst) : all;; asked = std::min(all, 4 * asked)) {
    const std::span<const NearList> near = lists.first(asked);
    uint64_t entries = 0;
    chosen.clear();
    bool enough = false;
    for (const NearList& list : near) {
      const float gap = probing_gap(metric, list.score, near.front().score, query_norm);
      enough = entries >= wanted_entries && probing_cost(static_cast<float>(entries), gap, far) > limit;
      if (enough) break;
      chosen.push_back(list);
      entries += table.lists[list.position].live();
    }
    if (enough || asked == all) return chosen;
  }
}

}  // namespace pg_semantic::index
