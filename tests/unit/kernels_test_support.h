// Tests that every build of the encoder's kernels has to pass.
#ifndef PG_SEMANTIC_TESTS_UNIT_KERNELS_TEST_SUPPORT_H
#define PG_SEMANTIC_TESTS_UNIT_KERNELS_TEST_SUPPORT_H

#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/kernels.h"

namespace pg_semantic::encoder {

inline std::vector<float> random_values(size_t count, unsigned seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& x : values) x = normal(generator);
  return values;
}

class VectorLevelTest : public testing::TestWithParam<VectorLevel> {
 protected:
  void SetUp() override {
    if (GetParam() > vector_level()) GTEST_SKIP() << "this processor has no such instructions";
  }
};

class KernelsTest : public VectorLevelTest {
 protected:
  const Kernels& k() const { return kernels_for(GetParam()); }
};

inline auto every_vector_level() {
  return testing::Values(VectorLevel::kPortable, VectorLevel::kAvx2, VectorLevel::kAvx512, VectorLevel::kAvx512Vnni);
}

inline std::string vector_level_name(const testing::TestParamInfo<VectorLevel>& info) {
  static const char* const kNames[] = {"Portable", "Avx2", "Avx512", "Avx512Vnni"};
  return kNames[static_cast<int>(info.param)];
}

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_TESTS_UNIT_KERNELS_TEST_SUPPORT_H
