// The sums of vector_sums.h for the baseline of the architecture (SSE2 on x86-64), and the choice of a build.
#define PG_SEMANTIC_VECTOR_DOUBLES 2
#define PG_SEMANTIC_LOAD_DOUBLES(p) \
  Doubles { (p)[0], (p)[1] }

#include "index/vector_sums.h"
#include "index/vector_sums.inc"

namespace pg_semantic::index {

extern const VectorSums kAvx2VectorSums;
extern const VectorSums kAvx512VectorSums;

const VectorSums& vector_sums_for(encoder::VectorLevel level) {
  switch (level) {
    case encoder::VectorLevel::kAvx512Vnni:
    case encoder::VectorLevel::kAvx512:
      return kAvx512VectorSums;
    case encoder::VectorLevel::kAvx2:
      return kAvx2VectorSums;
    case encoder::VectorLevel::kPortable:
      break;
  }
  return kSums;
}

const VectorSums& vector_sums() {
  static const VectorSums& chosen = vector_sums_for(encoder::vector_level());
  return chosen;
}

}  // namespace pg_semantic::index
