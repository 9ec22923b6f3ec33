// OpenBLAS and our own product against a plain loop in double precision.
#include "encoder/blas.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace pg_semantic::encoder {
namespace {

std::vector<float> random_values(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  for (float& x : values) x = uniform(generator);
  return values;
}

// Largest difference from the true product, relative to the sums' size.
template <typename Multiply>
double worst_error(ProductShape shape, const Multiply& multiply) {
  const auto [rows, columns, inner] = shape;
  const size_t stride = inner + 3;
  const std::vector<float> a = random_values(rows * stride, 1);
  const std::vector<float> b = random_values(columns * stride, 2);
  std::vector<float> c(rows * (columns + 2), NAN);
  multiply(shape, ConstMatrix{a.data(), stride}, ConstMatrix{b.data(), stride}, Matrix{c.data(), columns + 2});
  double worst = 0;
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (size_t k = 0; k < inner; ++k) sum += static_cast<double>(a[i * stride + k]) * b[j * stride + k];
      const double error = std::fabs(c[i * (columns + 2) + j] - sum);
      worst = std::isnan(error) ? INFINITY : std::max(worst, error);
    }
    EXPECT_TRUE(std::isnan(c[i * (columns + 2) + columns])) << "written past the row";
  }
  return worst / std::sqrt(static_cast<double>(inner));
}

TEST(Blas, SmallWorkDoesNotLoadTheLibrary) {
  const auto loaded = [] {
    std::ifstream maps("/proc/self/maps");
    const std::string text{std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>()};
    return text.find("/libopenblas") != std::string::npos;
  };
  if (loaded()) GTEST_SKIP() << "OpenBLAS is linked into this program";
  const float a[200] = {}, b[1] = {};
  float c[200];
  prepare_multiply(1e6);
  multiply_transposed({200, 1, 1}, {a, 1}, {b, 1}, {c, 1});
  EXPECT_FALSE(loaded());
}

TEST(Blas, SaysWhatItIs) {
  const BlasState& state = blas_state();
  if (!state.usable) GTEST_SKIP() << "OpenBLAS is not usable here: " << state.warning;
  EXPECT_FALSE(state.core.empty());
  // Linked into this program (by FAISS) it may have started before anyone could tell it the core type.
  EXPECT_TRUE(state.core != "Prescott" || !state.warning.empty());
}

TEST(Blas, LeavesTheEnvironmentAsItWas) {
  const char* threads = getenv("OPENBLAS_NUM_THREADS");
  const std::string before = threads == nullptr ? "unset" : threads;
  blas_state();
  threads = getenv("OPENBLAS_NUM_THREADS");
  EXPECT_EQ(before, threads == nullptr ? "unset" : threads);
}

TEST(Blas, MultipliesAsAPlainLoopDoes) {
  for (const ProductShape shape : {ProductShape{1, 1, 1}, ProductShape{5, 7, 11}, ProductShape{97, 130, 256},
                                   ProductShape{130, 48, 770}, ProductShape{200, 33, 64}}) {
    EXPECT_LT(worst_error(shape, [](auto... arguments) { multiply_transposed(arguments...); }), 1e-6);
    if (blas_state().usable) {
      EXPECT_LT(worst_error(shape, [](auto... arguments) { blas_multiply_transposed(arguments...); }), 1e-6);
    }
  }
}

}  // namespace
}  // namespace pg_semantic::encoder
