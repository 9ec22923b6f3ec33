// Each build of the sums behind SQL's distances against plain loops.
#include "index/vector_sums.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/kernels_test_support.h"

namespace pg_semantic::index {
namespace {

using encoder::VectorLevel;

constexpr size_t kMostDimensions = 16000;

// Widths up to several times the partial sums, and some that are used.
std::vector<size_t> widths() {
  std::vector<size_t> result;
  for (size_t width = 1; width <= 70; ++width) result.push_back(width);
  result.insert(result.end(), {100, 127, 255, 256, 257, 384, 768, 1001, kMostDimensions});
  return result;
}

// Of sizes from 1e-45 to 1e38, so that the order of a sum shows.
std::vector<float> values_of_all_sizes(std::mt19937_64* random, size_t count) {
  std::vector<float> values(count);
  for (float& value : values) {
    const auto mantissa = static_cast<float>(1 + static_cast<double>((*random)() % 8388608) / 8388608);
    value = std::ldexp((*random)() % 2 == 0 ? mantissa : -mantissa, static_cast<int>((*random)() % 276) - 149);
  }
  return values;
}

class VectorSumsTest : public encoder::VectorLevelTest {
 protected:
  const VectorSums& sums() const { return vector_sums_for(GetParam()); }
};

TEST_P(VectorSumsTest, AgreeWithLoops) {
  for (const size_t width : widths()) {
    // One float after another kind of alignment.
    const std::vector<float> a = encoder::random_values(width + 1, 1), b = encoder::random_values(width + 2, 2);
    const float *x = a.data() + 1, *y = b.data() + 2;
    long double ab = 0, aa = 0, bb = 0, squared = 0;
    for (size_t i = 0; i < width; ++i) {
      ab += static_cast<long double>(x[i]) * y[i];
      aa += static_cast<long double>(x[i]) * x[i];
      bb += static_cast<long double>(y[i]) * y[i];
      squared += (static_cast<long double>(x[i]) - y[i]) * (static_cast<long double>(x[i]) - y[i]);
    }
    const double rounding = 1e-15 * static_cast<double>(aa + bb);
    const Products products = sums().products(x, y, width);
    EXPECT_NEAR(products.ab, static_cast<double>(ab), rounding) << width;
    EXPECT_NEAR(products.aa, static_cast<double>(aa), rounding) << width;
    EXPECT_NEAR(products.bb, static_cast<double>(bb), rounding) << width;
    EXPECT_EQ(sums().inner_product(x, y, width), products.ab) << width;
    EXPECT_NEAR(sums().squared_distance(x, y, width), static_cast<double>(squared), 2 * rounding) << width;
  }
}

TEST_P(VectorSumsTest, AreTheSameOnEveryProcessor) {
  std::mt19937_64 random(3);
  const VectorSums& portable = vector_sums_for(VectorLevel::kPortable);
  for (const size_t width : widths()) {
    const std::vector<float> a = values_of_all_sizes(&random, width), b = values_of_all_sizes(&random, width);
    const Products here = sums().products(a.data(), b.data(), width);
    const Products there = portable.products(a.data(), b.data(), width);
    EXPECT_EQ(here.ab, there.ab) << width;
    EXPECT_EQ(here.aa, there.aa) << width;
    EXPECT_EQ(here.bb, there.bb) << width;
    EXPECT_EQ(sums().squared_distance(a.data(), b.data(), width), portable.squared_distance(a.data(), b.data(), width))
        << width;
  }
}

TEST_P(VectorSumsTest, NeitherOverflowNorVanish) {
  constexpr float kLargest = std::numeric_limits<float>::max(), kSmallest = std::numeric_limits<float>::denorm_min();
  for (const size_t width : widths()) {
    const std::vector<float> large(width, kLargest), opposite(width, -kLargest), small(width, kSmallest);
    const std::vector<float> minus_zero(width, -0.0F);
    const double count = static_cast<double>(width);
    const auto expect_near = [&](double sum, double expected) { EXPECT_NEAR(sum / expected, 1, 1e-12) << width; };
    expect_near(sums().products(large.data(), opposite.data(), width).ab, -count * kLargest * kLargest);
    expect_near(sums().squared_distance(large.data(), opposite.data(), width), 4 * count * kLargest * kLargest);
    expect_near(sums().products(small.data(), small.data(), width).bb, count * kSmallest * kSmallest);
    expect_near(sums().inner_product(small.data(), large.data(), width), count * kSmallest * kLargest);
    EXPECT_EQ(sums().inner_product(large.data(), minus_zero.data(), width), 0);
    EXPECT_EQ(sums().products(large.data(), minus_zero.data(), width).bb, 0);
    EXPECT_EQ(sums().squared_distance(minus_zero.data(), minus_zero.data(), width), 0);
  }
}

// What distance_of_arrays of extension/vectors.h builds on.
TEST_P(VectorSumsTest, ShowEveryElementThatIsNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (size_t width = 1; width <= 70; ++width) {
    std::vector<float> a = encoder::random_values(width, 4), b = encoder::random_values(width, 5);
    const auto expect_not_finite = [&](size_t at) {
      const Products products = sums().products(a.data(), b.data(), width);
      EXPECT_FALSE(std::isfinite(products.ab)) << width << " " << at;
      EXPECT_EQ(std::isfinite(products.aa), std::isfinite(a[at])) << width << " " << at;
      EXPECT_EQ(std::isfinite(products.bb), std::isfinite(b[at])) << width << " " << at;
      EXPECT_FALSE(std::isfinite(sums().inner_product(a.data(), b.data(), width))) << width << " " << at;
      EXPECT_FALSE(std::isfinite(sums().squared_distance(a.data(), b.data(), width))) << width << " " << at;
    };
    for (size_t at = 0; at < width; ++at) {
      const float kept_a = a[at], kept_b = b[at];
      for (const float wrong : {NAN, kInfinity, -kInfinity}) {
        for (const float other : {kept_b, 0.0F, -0.0F, wrong, -wrong, NAN}) {
          a[at] = wrong;
          b[at] = other;
          expect_not_finite(at);
          std::swap(a[at], b[at]);
          expect_not_finite(at);
        }
      }
      a[at] = kept_a;
      b[at] = kept_b;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryBuild, VectorSumsTest,
                         testing::Values(VectorLevel::kPortable, VectorLevel::kAvx2, VectorLevel::kAvx512),
                         encoder::vector_level_name);

}  // namespace
}  // namespace pg_semantic::index
