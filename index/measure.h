// Measuring the index on its own vectors: samples, their exact neighbours, the
// reach that a recall takes, the recall that a search has.
//
// Thread safety: pure functions over a ReadView.
#ifndef PG_SEMANTIC_INDEX_MEASURE_H
#define PG_SEMANTIC_INDEX_MEASURE_H

#include "index/generation.h"
#include "index/tuning.h"

namespace pg_semantic::index {

struct SampledVectors {
  std::vector<RowId> rows;
  std::vector<float> vectors;  // [rows][dimensions], as lists see them
};

// `count` rows with a vector, each about equally likely; fewer if there are fewer.
Result<SampledVectors> sample_vectors(const Storage& storage, const ReadView& view, size_t count, uint64_t seed,
                                      const Interrupted& interrupted);

struct CalibrationLimits {
  size_t threads = 1;
  uint64_t memory_bytes = 64ull << 20;  // wide vectors make fewer samples
};
Result<Calibration> calibrate(const Storage& storage, const ReadView& view, const Tuning& tuning,
                              const CalibrationLimits& limits, BuildProgress* progress, const Interrupted& interrupted);

// Writes and publishes it, if the generation is still there.
Status store_calibration(const Storage& storage, Generation* generation, const Calibration& calibration);

// Engine::measure_recall.
Result<float> measure_recall_of_view(const Storage& storage, const ReadView& view, const Tuning& tuning, uint32_t k,
                                     uint32_t samples, float recall, size_t threads, const Interrupted& interrupted);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_MEASURE_H
