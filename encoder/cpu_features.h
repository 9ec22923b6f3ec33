// Which vector instructions this processor has and the operating system saves.
//
// PG_SEMANTIC_VECTOR_LEVEL=portable, avx2 or avx512 in the environment of the
// process lowers it: for tests and measurements.
//
// Thread safety: any thread; computed once.
#ifndef PG_SEMANTIC_ENCODER_CPU_FEATURES_H
#define PG_SEMANTIC_ENCODER_CPU_FEATURES_H

namespace pg_semantic::encoder {

enum class VectorLevel {
  kPortable,  // what the compiler's baseline has (SSE2 on x86-64)
  kAvx2,      // AVX2, FMA and F16C
  kAvx512,    // and AVX-512 F, BW, DQ, VL
  kAvx512Vnni,
};

VectorLevel vector_level();

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_CPU_FEATURES_H
