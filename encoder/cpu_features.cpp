// See cpu_features.h.  GCC's __builtin_cpu_supports asks CPUID and, by XGETBV,
// whether the operating system saves the registers.
#include "encoder/cpu_features.h"

namespace pg_semantic::encoder {

namespace {

VectorLevel detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  // Every processor with AVX2 has F16C, which compilers do not all know here.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!avx2) return VectorLevel::kPortable;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return avx512 ? VectorLevel::kAvx512 : VectorLevel::kAvx2;
#else
  return VectorLevel::kPortable;
#endif
}

}  // namespace

VectorLevel vector_level() {
  static const VectorLevel level = detect();
  return level;
}

}  // namespace pg_semantic::encoder
