// The products with packed operands, in each build, against plain loops in double precision.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/packed_weights.h"
#include "tests/unit/kernels_test_support.h"

namespace pg_semantic::encoder {
namespace {

class PackedProduct : public KernelsTest {};

// The bytes of a weight, and what they stand for.
struct Packed {
  std::vector<std::byte> bytes;
  std::vector<float> values;  // [outputs, inputs], as stored
  PackedWeights view;

  Packed(TensorStorage storage, size_t outputs, size_t inputs, unsigned seed) {
    values = random_values(outputs * inputs, seed);
    TensorEncoder encoder(storage, outputs, inputs, [&](std::span<const std::byte> part) {
      bytes.insert(bytes.end(), part.begin(), part.end());
      return Status::ok();
    });
    // In uneven pieces, as a file is read.
    for (size_t begin = 0, piece = 1; begin < values.size(); begin += piece, piece = piece * 3 % 101 + 1) {
      EXPECT_TRUE(encoder.append(std::span(values).subspan(begin, std::min(piece, values.size() - begin))).is_ok());
    }
    EXPECT_TRUE(encoder.finish().is_ok());
    EXPECT_EQ(bytes.size(), stored_bytes(storage, outputs, inputs));
    view = {bytes.data(), inputs, outputs, storage};
    if (storage == TensorStorage::kPackedFloat16) {
      for (float& value : values) value = float_from_half(half_from_float(value));
    }
    if (storage != TensorStorage::kPackedInt8) return;
    for (size_t o = 0; o < outputs; ++o) {
      float largest = 0;
      for (size_t i = 0; i < inputs; ++i) largest = std::max(largest, std::fabs(values[o * inputs + i]));
      for (size_t i = 0; i < inputs; ++i) {
        float& value = values[o * inputs + i];
        const float scale = largest / 127;
        const float rounded = std::round(value / scale) * scale;
        EXPECT_LE(std::fabs(rounded - value), 0.5001F * scale);
        value = rounded;
      }
    }
  }
};

double product(const std::vector<float>& a, size_t row, const Packed& weights, size_t output) {
  const size_t inputs = weights.view.inputs;
  double sum = 0;
  for (size_t i = 0; i < inputs; ++i) {
    sum += static_cast<double>(a[row * inputs + i]) * weights.values[output * inputs + i];
  }
  return sum;
}

TEST_P(PackedProduct, ColumnsOfARangeWithBiasAndActivation) {
  for (const TensorStorage storage : {TensorStorage::kPackedFloat32, TensorStorage::kPackedFloat16}) {
    for (const size_t rows : {1, 2, 5, 7, 8, 9, 130}) {
      for (const size_t outputs : {1, 15, 16, 17, 33, 48, 64, 70, 113}) {
        for (const size_t inputs : {1, 3, 16, 45}) {
          const Packed weights(storage, outputs, inputs, 1);
          const std::vector<float> a = random_values(rows * inputs, 2), bias = random_values(outputs, 3);
          const size_t stride = outputs + 3;
          const PanelRange range = {weights.view.panels() / 3, weights.view.panels()};
          std::vector<float> c(rows * stride, NAN);
          k().multiply_packed(rows, {a.data(), inputs}, weights.view, range, bias.data(), Activation::kRelu,
                              {c.data(), stride});
          for (size_t r = 0; r < rows; ++r) {
            for (size_t o = 0; o < stride; ++o) {
              if (o < range.first * kPanelOutputs || o >= outputs) {
                ASSERT_TRUE(std::isnan(c[r * stride + o])) << "written outside the range";
                continue;
              }
              ASSERT_NEAR(c[r * stride + o], std::max(0.0, product(a, r, weights, o) + bias[o]), 2e-5)
                  << rows << " " << outputs << " " << inputs;
            }
          }
        }
      }
    }
  }
}

// Many inputs: rows are cut into groups.
TEST_P(PackedProduct, RowsInGroups) {
  const size_t rows = 45, outputs = 50, inputs = 3000;
  const Packed weights(TensorStorage::kPackedFloat32, outputs, inputs, 4);
  const std::vector<float> a = random_values(rows * inputs, 5);
  std::vector<float> c(rows * outputs, NAN);
  k().multiply_packed(rows, {a.data(), inputs}, weights.view, {0, weights.view.panels()}, nullptr,
                      Activation::kIdentity, {c.data(), outputs});
  for (size_t r = 0; r < rows; ++r) {
    for (size_t o = 0; o < outputs; ++o) ASSERT_NEAR(c[r * outputs + o], product(a, r, weights, o), 5e-4);
  }
}

TEST_P(PackedProduct, PanelsMadeOfAMatrixAndOfItsTranspose) {
  for (const size_t rows : {1, 9, 66}) {
    for (const size_t columns : {1, 16, 30, 64}) {
      for (const size_t inner : {1, 8, 64}) {
        const std::vector<float> a = random_values(rows * (inner + 2), 6);
        const std::vector<float> transposed = random_values(columns * (inner + 1), 7);
        const std::vector<float> plain = random_values(inner * (columns + 1), 8);
        const std::vector<float> row_scales = random_values(rows, 9);
        std::vector<float> panels((columns + 15) / 16 * 16 * inner, NAN);
        const size_t stride = columns + 1;
        std::vector<float> c(rows * stride, NAN);
        k().pack_transposed(columns, inner, 0.25F, {transposed.data(), inner + 1}, panels.data());
        k().multiply_panels({rows, columns, inner}, {a.data(), inner + 2}, panels.data(), nullptr, {c.data(), stride});
        for (size_t r = 0; r < rows; ++r) {
          for (size_t j = 0; j < columns; ++j) {
            double sum = 0;
            for (size_t i = 0; i < inner; ++i) {
              sum += static_cast<double>(a[r * (inner + 2) + i]) * transposed[j * (inner + 1) + i];
            }
            ASSERT_NEAR(c[r * stride + j], 0.25 * sum, 1e-5);
          }
          ASSERT_TRUE(std::isnan(c[r * stride + columns])) << "written past the row";
        }
        k().pack(inner, columns, {plain.data(), columns + 1}, panels.data());
        k().multiply_panels({rows, columns, inner}, {a.data(), inner + 2}, panels.data(), row_scales.data(),
                            {c.data(), stride});
        for (size_t r = 0; r < rows; ++r) {
          for (size_t j = 0; j < columns; ++j) {
            double sum = 0;
            for (size_t i = 0; i < inner; ++i) {
              sum += static_cast<double>(a[r * (inner + 2) + i]) * plain[i * (columns + 1) + j];
            }
            ASSERT_NEAR(c[r * stride + j], row_scales[r] * sum, 5e-5);
          }
        }
      }
    }
  }
}

TEST_P(PackedProduct, RowsAreQuantizedToHalfAStep) {
  for (const size_t columns : {1, 3, 16, 37, 768}) {
    const size_t rows = 3, stride = (columns + 3) / 4 * 4 + 4;
    std::vector<float> x = random_values(rows * columns, 10, 5);
    std::fill_n(x.begin(), columns, 2.5F);  // one row of a single value
    std::vector<uint8_t> data(rows * stride, 77);
    std::vector<float> scales(rows, NAN), least(rows, NAN);
    k().quantize_rows(rows, columns, {x.data(), columns}, {data.data(), stride, scales.data(), least.data()});
    for (size_t r = 0; r < rows; ++r) {
      const auto [low, high] = std::minmax_element(x.begin() + r * columns, x.begin() + (r + 1) * columns);
      const double step = (static_cast<double>(*high) - *low) / 255;
      for (size_t c = 0; c < columns; ++c) {
        const double value = static_cast<double>(scales[r]) * data[r * stride + c] + least[r];
        ASSERT_NEAR(value, x[r * columns + c], 0.5001 * step + 1e-5) << columns;
      }
      for (size_t c = columns; c < (columns + 3) / 4 * 4; ++c) ASSERT_EQ(data[r * stride + c], 0);
      ASSERT_EQ(data[r * stride + stride - 1], 77) << "written past the row";
    }
  }
}

// A row's numbers do not depend on the rows beside it: what is quantised next would turn
// a last bit into a whole step.
TEST_P(PackedProduct, RowsAreTheSameInAnyCompany) {
  constexpr size_t kRows = 20, kOutputs = 70, kInputs = 36;
  const std::vector<float> x = random_values(kRows * kInputs, 21), bias = random_values(kOutputs, 22);
  for (const auto storage :
       {TensorStorage::kPackedFloat32, TensorStorage::kPackedFloat16, TensorStorage::kPackedInt8}) {
    const Packed weights(storage, kOutputs, kInputs, 23);
    const auto multiply = [&](size_t first, size_t rows) {
      const ConstMatrix part = {x.data() + first * kInputs, kInputs};
      std::vector<float> c(rows * kOutputs);
      const PanelRange all = {0, weights.view.panels()};
      if (storage == TensorStorage::kPackedInt8) {
        std::vector<uint8_t> data(rows * kInputs);
        std::vector<float> scales(rows), least(rows);
        const QuantizedRows quantized = {data.data(), kInputs, scales.data(), least.data()};
        k().quantize_rows(rows, kInputs, part, quantized);
        k().multiply_quantized(rows, quantized, weights.view, all, bias.data(), Activation::kGelu,
                               {c.data(), kOutputs});
      } else {
        k().multiply_packed(rows, part, weights.view, all, bias.data(), Activation::kGelu, {c.data(), kOutputs});
      }
      return c;
    };
    const std::vector<float> together = multiply(0, kRows);
    for (size_t first = 0; first < kRows; ++first) {
      for (size_t rows = 1; first + rows <= kRows; ++rows) {
        ASSERT_TRUE(
            std::ranges::equal(multiply(first, rows), std::span(together).subspan(first * kOutputs, rows * kOutputs)))
            << "storage " << static_cast<int>(storage) << ", rows " << first << " to " << first + rows;
      }
    }
  }
}

TEST_P(PackedProduct, QuantizedRowsTimesIntegers) {
  for (const size_t rows : {1, 3, 8, 9, 70}) {
    for (const size_t outputs : {1, 15, 16, 33, 64, 70}) {
      for (const size_t inputs : {1, 3, 4, 17, 3000}) {
        const Packed weights(TensorStorage::kPackedInt8, outputs, inputs, 11);
        const size_t row_stride = (inputs + 3) / 4 * 4, stride = outputs + 1;
        std::vector<float> x = random_values(rows * inputs, 12), bias = random_values(outputs, 13);
        std::vector<uint8_t> data(rows * row_stride);
        std::vector<float> scales(rows), least(rows), c(rows * stride, NAN);
        const QuantizedRows quantized = {data.data(), row_stride, scales.data(), least.data()};
        k().quantize_rows(rows, inputs, {x.data(), inputs}, quantized);
        for (size_t r = 0; r < rows; ++r) {
          for (size_t i = 0; i < inputs; ++i) {
            x[r * inputs + i] =
                static_cast<float>(static_cast<double>(scales[r]) * data[r * row_stride + i] + least[r]);
          }
        }
        k().multiply_quantized(rows, quantized, weights.view, {0, weights.view.panels()}, bias.data(),
                               Activation::kIdentity, {c.data(), stride});
        for (size_t r = 0; r < rows; ++r) {
          for (size_t o = 0; o < outputs; ++o) {
            ASSERT_NEAR(c[r * stride + o], product(x, r, weights, o) + bias[o], 1e-5 * std::sqrt(inputs) * 4 + 1e-5)
                << rows << " " << outputs << " " << inputs;
          }
          ASSERT_TRUE(std::isnan(c[r * stride + outputs])) << "written past the row";
        }
      }
    }
  }
}

// The largest integers there are: no sum of a few of them may saturate.
TEST_P(PackedProduct, IntegersDoNotSaturate) {
  const size_t inputs = 64;
  const std::vector<float> ones(kPanelOutputs * inputs, 1.0F);
  std::vector<std::byte> bytes;
  TensorEncoder encoder(TensorStorage::kPackedInt8, kPanelOutputs, inputs, [&](std::span<const std::byte> part) {
    bytes.insert(bytes.end(), part.begin(), part.end());
    return Status::ok();
  });
  ASSERT_TRUE(encoder.append(ones).is_ok() && encoder.finish().is_ok());
  std::vector<uint8_t> data(inputs, 255);
  float scale = 1, least = 0, c[kPanelOutputs];
  k().multiply_quantized(1, {data.data(), inputs, &scale, &least},
                         {bytes.data(), inputs, kPanelOutputs, TensorStorage::kPackedInt8}, {0, 1}, nullptr,
                         Activation::kIdentity, {c, kPanelOutputs});
  for (const float value : c) EXPECT_NEAR(value, 255.0 * inputs, 0.01);
}

TEST_P(PackedProduct, WhatIsNotFiniteIsNotLost) {
  const size_t inputs = 40;
  const Packed weights(TensorStorage::kPackedInt8, 16, inputs, 14);
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const size_t place : {0, 17, 39}) {
      std::vector<float> x = random_values(inputs, 15);
      x[place] = bad;
      std::vector<uint8_t> data(inputs);
      float scale, least, c[16];
      k().quantize_rows(1, inputs, {x.data(), inputs}, {data.data(), inputs, &scale, &least});
      k().multiply_quantized(1, {data.data(), inputs, &scale, &least}, weights.view, {0, 1}, nullptr,
                             Activation::kIdentity, {c, 16});
      for (const float value : c) EXPECT_FALSE(std::isfinite(value));
    }
  }
}

TEST_P(PackedProduct, HalvesAreWidened) {
  std::vector<uint16_t> halves;
  for (uint32_t h = 0; h < 0x7c00; ++h) halves.push_back(static_cast<uint16_t>(h));
  for (uint32_t h = 0x8000; h < 0xfc00; ++h) halves.push_back(static_cast<uint16_t>(h));
  for (const size_t dropped : {0, 1, 5}) {
    std::vector<float> out(halves.size(), NAN);
    k().widen(halves.size() - dropped, halves.data(), out.data());
    for (size_t i = 0; i < halves.size() - dropped; ++i) {
      // Sign, exponent, significand: IEEE 754, table 3.5.
      const int exponent = halves[i] >> 10 & 31, significand = halves[i] & 1023;
      const double magnitude =
          exponent == 0 ? std::ldexp(significand, -24) : std::ldexp(1024 + significand, exponent - 25);
      ASSERT_EQ(out[i], (halves[i] & 0x8000) != 0 ? -magnitude : magnitude);
      ASSERT_EQ(std::signbit(out[i]), (halves[i] & 0x8000) != 0);
    }
    for (size_t i = halves.size() - dropped; i < halves.size(); ++i) ASSERT_TRUE(std::isnan(out[i]));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, PackedProduct, every_vector_level(), vector_level_name);

TEST(PackedWeights, HalvesRoundToNearestAndTiesToEven) {
  for (uint32_t h = 0; h < 0x7bff; ++h) {
    const auto half = static_cast<uint16_t>(h);
    const double low = float_from_half(half), high = float_from_half(static_cast<uint16_t>(h + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(half_from_float(static_cast<float>(low)), half);
    ASSERT_EQ(half_from_float(-static_cast<float>(low)), half | 0x8000);
    ASSERT_EQ(half_from_float(middle), h % 2 == 0 ? half : half + 1);
    ASSERT_EQ(half_from_float(std::nextafter(middle, 0.0F)), half);
    ASSERT_EQ(half_from_float(std::nextafter(middle, 1e9F)), half + 1);
  }
  EXPECT_EQ(half_from_float(65519.9F), 0x7bff);
  EXPECT_EQ(half_from_float(65520.0F), 0x7c00);
  EXPECT_EQ(half_from_float(1e30F), 0x7c00);
  EXPECT_EQ(half_from_float(-INFINITY), 0xfc00);
  EXPECT_TRUE(std::isnan(float_from_half(half_from_float(NAN))));
  EXPECT_EQ(half_from_float(1e-30F), 0);
}

TEST(PackedWeights, WhatHalfPrecisionCannotHoldIsAnError) {
  for (const TensorStorage storage : {TensorStorage::kFloat16, TensorStorage::kPackedFloat16}) {
    TensorEncoder encoder(storage, 1, 2, [](std::span<const std::byte>) { return Status::ok(); });
    const float values[] = {1.0F, 70000.0F};
    Status status = encoder.append(values);
    if (status.is_ok()) status = encoder.finish();
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_NE(status.detail().find("70000"), std::string::npos);
  }
}

}  // namespace
}  // namespace pg_semantic::encoder
