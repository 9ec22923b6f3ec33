// Distance kernels and codecs against sums in double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "index/codec.h"
#include "index/exact_distance.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

std::vector<const Kernels*> kernels_of_this_cpu() {
  std::vector<const Kernels*> result = {&kPortableKernels};
#if defined(__x86_64__)
  if (cpu_has_avx2()) result.push_back(&kAvx2Kernels);
  if (cpu_has_avx512()) result.push_back(&kAvx512Kernels);
#endif
  return result;
}

TEST(IndexKernels, EveryHalfRoundTrips) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = float_from_half(half);
    if (std::isnan(value)) continue;
    EXPECT_EQ(half_from_float(value), half) << bits;
  }
}

TEST(IndexKernels, HalvesRoundToNearestEven) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float below = float_from_half(half), above = float_from_half(half + 1);
    const float middle = static_cast<float>((double{below} + above) / 2);
    EXPECT_EQ(half_from_float(middle), half % 2 == 0 ? half : half + 1);
    EXPECT_EQ(half_from_float(std::nextafter(middle, 1e9f)), half + 1);
    EXPECT_EQ(half_from_float(std::nextafter(middle, -1e9f)), half);
  }
  EXPECT_EQ(half_from_float(65520.0f), 0x7c00);
  EXPECT_EQ(half_from_float(-1e30f), 0xfc00);
}

TEST(IndexKernels, AgreeWithSumsInDouble) {
  std::mt19937_64 random(1);
  for (const size_t dimensions : {1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 100, 127, 256, 1000}) {
    const Vector query = random_vector(random, dimensions);
    float sum = 0;
    for (const float value : query) sum += value;
    for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kSq8}) {
      const CodecLayout layout(codec, static_cast<uint32_t>(dimensions));
      constexpr size_t kCount = 5;
      std::vector<std::byte> codes(kCount * layout.code_size() + 1);
      std::byte* unaligned = codes.data() + 1;
      std::vector<Vector> decoded;
      for (size_t i = 0; i < kCount; ++i) {
        layout.encode(random_vector(random, dimensions), unaligned + i * layout.code_size());
        decoded.emplace_back(dimensions);
        layout.decode(unaligned + i * layout.code_size(), decoded.back().data());
      }
      for (const Kernels* set : kernels_of_this_cpu()) {
        float distances[kCount], products[kCount];
        const QueryVector given{query.data(), dimensions, sum};
        const auto which = static_cast<size_t>(codec);
        set->squared_distance[which](given, unaligned, layout.code_size(), kCount, distances);
        set->inner_product[which](given, unaligned, layout.code_size(), kCount, products);
        for (size_t i = 0; i < kCount; ++i) {
          const double distance = exact_distance(Metric::kL2, query, decoded[i]);
          const double product = -exact_distance(Metric::kInnerProduct, query, decoded[i]);
          EXPECT_NEAR(distances[i], distance * distance, 1e-4 * (1 + distance * distance)) << set->name;
          EXPECT_NEAR(products[i], product, 1e-4 * static_cast<double>(dimensions)) << set->name;
        }
      }
    }
  }
}

TEST(IndexKernels, ExactDistancesAreInDouble) {
  std::mt19937_64 random(2);
  for (const size_t dimensions : {1, 5, 8, 9, 16, 23, 256, 1001}) {
    Vector a = random_vector(random, dimensions), b = random_vector(random, dimensions);
    for (size_t i = 0; i < dimensions; ++i) b[i] = a[i] + 1e-4f * b[i];
    for (const Kernels* set : kernels_of_this_cpu()) {
      const auto* bytes = reinterpret_cast<const std::byte*>(b.data());
      double product = 0, squared_norm = 0;
      set->exact_inner_product(a.data(), bytes, dimensions, &product, &squared_norm);
      EXPECT_NEAR(std::sqrt(set->exact_squared_distance(a.data(), bytes, dimensions)),
                  exact_distance(Metric::kL2, a, b), 1e-14 * static_cast<double>(dimensions));
      EXPECT_NEAR(product, -exact_distance(Metric::kInnerProduct, a, b), 1e-12 * static_cast<double>(dimensions));
    }
  }
}

TEST(IndexCodec, ErrorIsABound) {
  std::mt19937_64 random(3);
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kSq8}) {
    for (const float scale : {1e-30f, 1e-5f, 1.0f, 1e4f, 1e30f}) {
      for (const float offset : {0.0f, 1000.0f}) {
        const CodecLayout layout(codec, 77);
        Vector vector = random_vector(random, 77), decoded(77);
        for (float& value : vector) value = (value + offset) * scale;
        std::vector<std::byte> code(layout.code_size());
        layout.encode(vector, code.data());
        layout.decode(code.data(), decoded.data());
        CodeHeader header;
        std::memcpy(&header, code.data(), sizeof header);
        const double error = exact_distance(Metric::kL2, vector, decoded);
        EXPECT_LE(error, header.error);
        double norm = 0;
        for (const float value : vector) norm += double{value} * value;
        EXPECT_LE(error, 0.02 * std::sqrt(norm));
      }
    }
  }
}

TEST(IndexCodec, ConstantAndZeroVectorsAreExact) {
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kSq8}) {
    for (const float value : {0.0f, 0.25f, -8.0f}) {
      const CodecLayout layout(codec, 9);
      const Vector vector(9, value);
      Vector decoded(9, 99.0f);
      std::vector<std::byte> code(layout.code_size());
      layout.encode(vector, code.data());
      layout.decode(code.data(), decoded.data());
      EXPECT_EQ(decoded, vector);
    }
  }
}

}  // namespace
}  // namespace pg_semantic::index::testing
