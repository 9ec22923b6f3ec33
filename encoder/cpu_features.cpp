// See cpu_features.h.  GCC's __builtin_cpu_supports asks CPUID and, by XGETBV,
// whether the operating system saves the registers.
#include "encoder/cpu_features.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

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
  if (!avx512) return VectorLevel::kAvx2;
  return __builtin_cpu_supports("avx512vnni") ? VectorLevel::kAvx512Vnni : VectorLevel::kAvx512;
#else
  return VectorLevel::kPortable;
#endif
}

// What the environment asks for; any other word asks for nothing.
VectorLevel highest_wanted() {
  const char* wanted = getenv("PG_SEMANTIC_VECTOR_LEVEL");
  const std::string_view word = wanted == nullptr ? "" : wanted;
  if (word == "portable") return VectorLevel::kPortable;
  if (word == "avx2") return VectorLevel::kAvx2;
  if (word == "avx512") return VectorLevel::kAvx512;
  return VectorLevel::kAvx512Vnni;
}

}  // namespace

VectorLevel vector_level() {
  static const VectorLevel level = std::min(detect(), highest_wanted());
  return level;
}

}  // namespace pg_semantic::encoder
