// Each build of the encoder's kernels against plain loops in double precision.
#include "encoder/kernels.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/kernels_test_support.h"

namespace pg_semantic::encoder {
namespace {

class TransformerKernels : public KernelsTest {};

TEST_P(TransformerKernels, MultiplyTransposed) {
  for (const size_t rows : {1, 2, 3, 4, 5, 7, 97, 131}) {
    for (const size_t columns : {1, 3, 4, 5, 9, 12}) {
      for (const size_t inner : {1, 3, 8, 15, 16, 17, 40, 64}) {
        const std::vector<float> a = random_values(rows * (inner + 1), 1);
        const std::vector<float> b = random_values(columns * (inner + 2), 2);
        std::vector<float> c(rows * (columns + 1), NAN);
        k().multiply_transposed({rows, columns, inner}, 0.5F, {a.data(), inner + 1}, {b.data(), inner + 2},
                                {c.data(), columns + 1});
        for (size_t i = 0; i < rows; ++i) {
          for (size_t j = 0; j < columns; ++j) {
            double sum = 0;
            for (size_t n = 0; n < inner; ++n)
              sum += static_cast<double>(a[i * (inner + 1) + n]) * b[j * (inner + 2) + n];
            ASSERT_NEAR(c[i * (columns + 1) + j], 0.5 * sum, 1e-5) << rows << " " << columns << " " << inner;
          }
          ASSERT_TRUE(std::isnan(c[i * (columns + 1) + columns])) << "written past the row";
        }
      }
    }
  }
}

TEST_P(TransformerKernels, Multiply) {
  for (const size_t rows : {1, 3, 4, 9}) {
    for (const size_t columns : {1, 4, 7, 8, 16, 31, 64, 80}) {
      for (const size_t inner : {1, 2, 13, 64}) {
        const std::vector<float> a = random_values(rows * (inner + 1), 3);
        const std::vector<float> b = random_values(inner * (columns + 2), 4);
        std::vector<float> c(rows * (columns + 1), NAN);
        k().multiply({rows, columns, inner}, {a.data(), inner + 1}, {b.data(), columns + 2}, {c.data(), columns + 1});
        for (size_t i = 0; i < rows; ++i) {
          for (size_t j = 0; j < columns; ++j) {
            double sum = 0;
            for (size_t n = 0; n < inner; ++n)
              sum += static_cast<double>(a[i * (inner + 1) + n]) * b[n * (columns + 2) + j];
            ASSERT_NEAR(c[i * (columns + 1) + j], sum, 1e-5) << rows << " " << columns << " " << inner;
          }
          ASSERT_TRUE(std::isnan(c[i * (columns + 1) + columns])) << "written past the row";
        }
      }
    }
  }
}

TEST_P(TransformerKernels, Activations) {
  const std::pair<Activation, std::function<double(double)>> references[] = {
      {Activation::kIdentity, [](double x) { return x; }},
      {Activation::kGelu, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }},
      {Activation::kGeluTanh,
       [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
      {Activation::kQuickGelu, [](double x) { return x / (1 + std::exp(-1.702 * x)); }},
      {Activation::kRelu, [](double x) { return std::max(x, 0.0); }},
      {Activation::kSilu, [](double x) { return x / (1 + std::exp(-x)); }},
      {Activation::kTanh, [](double x) { return std::tanh(x); }},
      {Activation::kSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }},
  };
  // Finely around zero, then outwards to where the functions are flat.
  std::vector<float> inputs = {0.0F, -0.0F, 1e-30F, -1e-30F, 100.0F, -100.0F, 1e4F, -1e4F, 3e38F, -3e38F};
  for (int i = -200000; i <= 200000; ++i) inputs.push_back(static_cast<float>(i) * 1e-4F);
  for (const auto& [activation, reference] : references) {
    std::vector<float> x = inputs;
    k().add_bias(1, x.size(), nullptr, activation, x.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = reference(inputs[i]);
      ASSERT_NEAR(x[i], expected, 1e-6 * std::max(1.0, std::fabs(static_cast<double>(inputs[i]))))
          << "activation " << static_cast<int>(activation) << " of " << inputs[i];
    }
  }
}

TEST_P(TransformerKernels, BiasIsAddedToEachRow) {
  const size_t rows = 3, columns = 21;
  const std::vector<float> bias = random_values(columns, 5), before = random_values(rows * columns, 6);
  std::vector<float> x = before;
  k().add_bias(rows, columns, bias.data(), Activation::kIdentity, x.data());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(x[i], before[i] + bias[i % columns]);
}

TEST_P(TransformerKernels, Softmax) {
  for (const size_t columns : {1, 2, 7, 16, 33, 300}) {
    const size_t rows = 4, stride = columns + 1;
    const std::vector<float> before = random_values(rows * stride, 7, 20);
    std::vector<float> x = before, inverse_sums(rows);
    k().softmax_numerators(rows, columns, {x.data(), stride}, inverse_sums.data());
    for (size_t r = 0; r < rows; ++r) {
      const float* row = before.data() + r * stride;
      const double largest = *std::max_element(row, row + columns);
      double sum = 0;
      for (size_t c = 0; c < columns; ++c) sum += std::exp(row[c] - largest);
      for (size_t c = 0; c < columns; ++c) {
        ASSERT_NEAR(x[r * stride + c] * inverse_sums[r], std::exp(row[c] - largest) / sum, 1e-6);
      }
      EXPECT_EQ(x[r * stride + columns], row[columns]) << "written past the row";
    }
  }
}

TEST_P(TransformerKernels, LayerNormOfASum) {
  for (const size_t columns : {1, 5, 16, 40, 256}) {
    const size_t rows = 3;
    const std::vector<float> delta = random_values(rows * columns, 8);
    const std::vector<float> weight = random_values(columns, 10), bias = random_values(columns, 11);
    std::vector<float> x = random_values(rows * columns, 12);
    for (float& value : x) value += 50;  // a mean far from zero must not cost precision
    const std::vector<float> before = x;
    k().add_layer_norm(rows, columns, delta.data(), {weight.data(), bias.data(), 1e-5F}, x.data());
    for (size_t r = 0; r < rows; ++r) {
      std::vector<double> sum(columns);
      double mean = 0, variance = 0;
      for (size_t c = 0; c < columns; ++c) {
        sum[c] = static_cast<double>(before[r * columns + c]) + delta[r * columns + c];
        mean += sum[c] / static_cast<double>(columns);
      }
      for (const double s : sum) variance += (s - mean) * (s - mean) / static_cast<double>(columns);
      for (size_t c = 0; c < columns; ++c) {
        const double expected = (sum[c] - mean) / std::sqrt(variance + 1e-5) * weight[c] + bias[c];
        ASSERT_NEAR(x[r * columns + c], expected, columns == 1 ? 1e-2 : 3e-5) << columns;
      }
    }
  }
}

// MobileBERT's NoNorm, with and without something to add first.
TEST_P(TransformerKernels, AffineMapOfASum) {
  for (const size_t columns : {1, 5, 16, 40}) {
    const size_t rows = 3;
    const std::vector<float> delta = random_values(rows * columns, 8);
    const std::vector<float> weight = random_values(columns, 10), bias = random_values(columns, 11);
    const std::vector<float> before = random_values(rows * columns, 12);
    const LayerNormWeights norm{weight.data(), bias.data(), 1e-5F, true};
    std::vector<float> alone = before, sum = before;
    k().add_layer_norm(rows, columns, nullptr, norm, alone.data());
    k().add_layer_norm(rows, columns, delta.data(), norm, sum.data());
    for (size_t i = 0; i < before.size(); ++i) {
      const size_t c = i % columns;
      ASSERT_NEAR(alone[i], static_cast<double>(before[i]) * weight[c] + bias[c], 1e-5);
      ASSERT_NEAR(sum[i], (static_cast<double>(before[i]) + delta[i]) * weight[c] + bias[c], 1e-5);
    }
  }
}

TEST_P(TransformerKernels, ANumberForEachDiagonal) {
  for (const size_t rows : {1, 3, 9}) {
    for (const size_t columns : {1, 4, 17, 40}) {
      const size_t stride = columns + 2;
      const std::vector<float> bias = random_values(rows + columns - 1, 13);
      const std::vector<float> before = random_values(rows * stride, 14);
      std::vector<float> x = before;
      k().add_diagonals(rows, columns, bias.data() + rows - 1, {x.data(), stride});
      for (size_t r = 0; r < rows; ++r) {
        for (size_t c = 0; c < stride; ++c) {
          const float added = c < columns ? bias[rows - 1 + c - r] : 0;
          ASSERT_EQ(x[r * stride + c], before[r * stride + c] + added) << rows << " " << columns;
        }
      }
    }
  }
}

TEST_P(TransformerKernels, NotANumberPassesThrough) {
  for (const Activation activation : {Activation::kGelu, Activation::kTanh, Activation::kSigmoid}) {
    std::vector<float> x(19, NAN);
    k().add_bias(1, x.size(), nullptr, activation, x.data());
    for (const float value : x) EXPECT_TRUE(std::isnan(value));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, TransformerKernels, every_vector_level(), vector_level_name);

}  // namespace
}  // namespace pg_semantic::encoder
