// Measuring the index on its own vectors: samples, their exact neighbours, the
// probes that a recall takes, the recall that a search has.
//
// Thread safety: pure functions over a ReadView.
#ifndef PG_SEMANTIC_INDEX_MEASURE_H
#define PG_SEMANTIC_INDEX_MEASURE_H

#include "index/generation.h"
#include "index/tuning.h"

namespace pg_semantic::index {

struct SampledVectors {
  std::vector<RowId> rows;     // ascending
  std::vector<float> vectors;  // [rows][dimensions], as stored
};

// `count` rows with a vector, each equally likely; fewer if there are fewer.
Result<SampledVectors> sample_vectors(const Storage& storage, const ReadView& view, size_t count, uint64_t seed,
                                      const Interrupted& interrupted);

struct Neighbour {
  RowId row = 0;
  double distance = 0;
};

// For each sample its `k` nearest other rows, nearest first, from a sweep over
// all full-precision vectors.
Result<std::vector<std::vector<Neighbour>>> exact_neighbours(const Storage& storage, const ReadView& view,
                                                             const SampledVectors& samples, size_t k,
                                                             BuildProgress* progress, const Interrupted& interrupted);

Result<Calibration> calibrate(const Storage& storage, const ReadView& view, const Tuning& tuning,
                              BuildProgress* progress, const Interrupted& interrupted);

// Writes and publishes it, if the generation is still there.
Status store_calibration(const Storage& storage, Generation* generation, const Calibration& calibration);

// Engine::measure_recall.
Result<float> measure_recall_of_view(const Storage& storage, const ReadView& view, const Tuning& tuning, uint32_t k,
                                     uint32_t samples, float recall, const Interrupted& interrupted);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_MEASURE_H
