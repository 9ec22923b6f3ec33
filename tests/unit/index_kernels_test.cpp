// Distance kernels and codecs against sums in double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "index/codec.h"
#include "index/exact_distance.h"
#include "index/two_means.h"
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

std::vector<std::byte> stored(const CodecLayout& layout, const Vector& vector) {
  std::vector<std::byte> bytes(layout.vector_size());
  layout.encode_vector(vector, hash_of(7), bytes.data());
  return bytes;
}

TEST(IndexKernels, OctetCodesAgreeWithSumsInDouble) {
  std::mt19937_64 random(1);
  for (const size_t dimensions : {1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 100, 127, 256, 1000}) {
    const Vector query = random_vector(random, dimensions);
    float sum = 0;
    for (const float value : query) sum += value;
    const CodecLayout layout(Codec::kSq8, Metric::kL2, static_cast<uint32_t>(dimensions));
    ListCoder coder(layout, query.data());
    constexpr size_t kCount = 5;
    std::vector<std::byte> codes(kCount * layout.code_size() + 1);
    std::byte* unaligned = codes.data() + 1;
    std::vector<Vector> decoded;
    for (size_t i = 0; i < kCount; ++i) {
      std::byte* code = unaligned + i * layout.code_size();
      coder.encode(random_vector(random, dimensions).data(), code);
      CodeHeader header;
      std::memcpy(&header, code, sizeof header);
      decoded.emplace_back();
      for (size_t j = 0; j < dimensions; ++j)
        decoded.back().push_back(header.offset + header.scale * static_cast<float>(code[kCodeHeaderBytes + j]));
    }
    for (const Kernels* set : kernels_of_this_cpu()) {
      float distances[kCount], products[kCount];
      const QueryVector given{query.data(), dimensions, sum};
      set->squared_distance(given, unaligned, layout.code_size(), kCount, distances);
      set->inner_product(given, unaligned, layout.code_size(), kCount, products);
      for (size_t i = 0; i < kCount; ++i) {
        const double distance = exact_distance(Metric::kL2, query, decoded[i]);
        const double product = -exact_distance(Metric::kInnerProduct, query, decoded[i]);
        EXPECT_NEAR(distances[i], distance * distance, 1e-4 * (1 + distance * distance)) << set->name;
        EXPECT_NEAR(products[i], product, 1e-4 * static_cast<double>(dimensions)) << set->name;
      }
    }
  }
}

// The formula of index/codec.h, written out in double.
TEST(IndexKernels, BitEstimatesAgreeWithSumsInDouble) {
  std::mt19937_64 random(4);
  for (const size_t words : {1, 2, 4, 12, 250}) {
    const size_t dimensions = words * 64;
    std::vector<uint8_t> octets(dimensions);
    for (uint8_t& octet : octets) octet = static_cast<uint8_t>(random());
    const BitQuery query{octets.data(), words, -0.75f, 0.006f, 3.5f, 0.25f, 1.5f, 0.01f};
    constexpr size_t kCount = 7;
    const size_t stride = sizeof(BitCodeHeader) + dimensions / 8;
    std::vector<std::byte> codes(kCount * stride + 1);
    for (std::byte& byte : codes) byte = static_cast<std::byte>(random());
    std::byte* unaligned = codes.data() + 1;
    std::vector<double> expected, bounds;
    for (size_t i = 0; i < kCount; ++i) {
      std::byte* code = unaligned + i * stride;
      BitCodeHeader header{static_cast<float>(i), -0.02f * static_cast<float>(i), 0.5f, 0};
      double product = -3.5;
      for (size_t j = 0; j < dimensions; ++j) {
        const bool set = (static_cast<uint8_t>(code[sizeof header + j / 8]) >> (j % 8) & 1) != 0;
        header.ones += set ? 1 : 0;
        product += set ? -0.75 + 0.006 * octets[j] : 0;
      }
      std::memcpy(code, &header, sizeof header);
      expected.push_back(0.25 + header.add + header.rescale * product);
      bounds.push_back(0.75 + std::fabs(header.rescale) * 0.01);
    }
    for (const Kernels* set : kernels_of_this_cpu()) {
      float estimates[kCount], errors[kCount];
      set->bit_estimates(query, unaligned, stride, kCount, estimates, errors);
      for (size_t i = 0; i < kCount; ++i) {
        EXPECT_NEAR(estimates[i], expected[i], 1e-5 * static_cast<double>(dimensions)) << set->name;
        EXPECT_NEAR(errors[i], bounds[i], 1e-5) << set->name;
      }
    }
  }
}

TEST(IndexKernels, ProductsWithSignedOctetsAgreeWithSumsInDouble) {
  std::mt19937_64 random(7);
  for (size_t dimensions = 1; dimensions <= 140; ++dimensions) {
    const Vector query = random_vector(random, dimensions);
    std::vector<std::byte> values(dimensions + 1);
    for (std::byte& value : values) value = static_cast<std::byte>(random());
    double product = 0;
    for (size_t i = 0; i < dimensions; ++i) product += double{query[i]} * static_cast<int8_t>(values[i + 1]);
    for (const Kernels* set : kernels_of_this_cpu()) {
      EXPECT_NEAR(set->signed_octets_product(query.data(), values.data() + 1, dimensions), product,
                  1e-5 * 128 * static_cast<double>(dimensions))
          << set->name << ", " << dimensions;
    }
  }
}

TEST(IndexKernels, ExactDistancesAreInDouble) {
  std::mt19937_64 random(2);
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kBit}) {
    for (const size_t dimensions : {1, 5, 8, 9, 16, 23, 256, 1001}) {
      Vector a = random_vector(random, dimensions), b = random_vector(random, dimensions);
      for (size_t i = 0; i < dimensions; ++i) b[i] = a[i] + 1e-4f * b[i];
      const CodecLayout layout(codec, Metric::kL2, static_cast<uint32_t>(dimensions));
      const std::vector<std::byte> bytes = stored(layout, b);
      VectorHeader header;
      std::memcpy(&header, bytes.data(), sizeof header);
      const auto element = static_cast<size_t>(layout.element());
      for (const Kernels* set : kernels_of_this_cpu()) {
        const std::byte* values = bytes.data() + sizeof header;
        double product = 0, squared_norm = 0;
        set->exact_inner_product[element](a.data(), values, dimensions, &product, &squared_norm);
        const double distance =
            std::sqrt(set->exact_squared_distance[element](a.data(), values, header.scale, dimensions));
        const double rounding = 1e-14 * static_cast<double>(dimensions);
        EXPECT_NEAR(distance, exact_distance(Metric::kL2, a, b), header.error + rounding) << set->name;
        EXPECT_NEAR(product * header.scale, -exact_distance(Metric::kInnerProduct, a, b),
                    header.error * std::sqrt(exact_distance(Metric::kInnerProduct, a, a) * -1) + 100 * rounding)
            << set->name;
        // What is stored, value by value.
        Vector decoded(dimensions);
        layout.decode_vector(bytes.data(), decoded.data());
        EXPECT_NEAR(distance, exact_distance(Metric::kL2, a, decoded), 1e-6) << set->name;
      }
    }
  }
}

TEST(IndexCodec, StoredVectorsKeepTheirErrorBound) {
  std::mt19937_64 random(3);
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kSq8, Codec::kBit}) {
    for (const float scale : {1e-30f, 1e-5f, 1.0f, 1e4f, 1e30f}) {
      for (const float offset : {0.0f, 1000.0f}) {
        const CodecLayout layout(codec, Metric::kL2, 77);
        Vector vector = random_vector(random, 77), decoded(77);
        for (float& value : vector) value = (value + offset) * scale;
        const std::vector<std::byte> bytes = stored(layout, vector);
        VectorHeader header;
        std::memcpy(&header, bytes.data(), sizeof header);
        EXPECT_EQ(header.hash, hash_of(7));
        layout.decode_vector(bytes.data(), decoded.data());
        double norm = 0;
        for (const float value : vector) norm += double{value} * value;
        // Decoding rounds to float once more.
        EXPECT_LE(exact_distance(Metric::kL2, vector, decoded), header.error + 1e-7 * std::sqrt(norm));
        EXPECT_LE(header.error, (codec == Codec::kF32 ? 0 : codec == Codec::kF16 ? 5e-4 : 1e-4) * std::sqrt(norm));
      }
    }
  }
}

TEST(IndexCodec, ConstantAndZeroVectorsAreExact) {
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kSq8, Codec::kBit}) {
    for (const float value : {0.0f, 0.25f, -8.0f}) {
      const CodecLayout layout(codec, Metric::kL2, 9);
      const Vector vector(9, value);
      Vector decoded(9, 99.0f);
      layout.decode_vector(stored(layout, vector).data(), decoded.data());
      EXPECT_EQ(decoded, vector);
    }
  }
}

// Octet codes always, 1-bit codes nearly always: the paper's bound is one of probability.
TEST(IndexCodec, EstimatesKeepTheirErrorBound) {
  std::mt19937_64 random(5);
  for (const Metric metric : {Metric::kL2, Metric::kCosine, Metric::kInnerProduct}) {
    for (const Codec codec : {Codec::kSq8, Codec::kBit}) {
      for (const size_t dimensions : {20, 64, 256, 768}) {
        const CodecLayout layout(codec, metric, static_cast<uint32_t>(dimensions));
        size_t outside = 0;
        double squared_error = 0;
        constexpr size_t kVectors = 2000;
        Vector centroid = random_vector(random, dimensions), query = random_vector(random, dimensions);
        for (size_t j = 0; j < dimensions; ++j) query[j] = 0.6f * query[j] + centroid[j];
        const auto as_lists_see = [&](Vector* vector) {
          if (metric == Metric::kCosine) normalise(vector->data(), dimensions);
        };
        as_lists_see(&centroid);
        as_lists_see(&query);
        ListCoder coder(layout, centroid.data());
        CodeQuery code_query(layout, query);
        const double gap = exact_distance(metric == Metric::kInnerProduct ? metric : Metric::kL2, query, centroid);
        code_query.set_list(centroid.data(), static_cast<float>(metric == Metric::kInnerProduct ? gap : gap * gap));
        for (size_t i = 0; i < kVectors; ++i) {
          Vector vector = random_vector(random, dimensions);
          for (size_t j = 0; j < dimensions; ++j)
            vector[j] = (metric == Metric::kCosine ? 0.05f : 0.6f) * vector[j] + centroid[j];
          as_lists_see(&vector);
          std::vector<std::byte> code(layout.code_size());
          coder.encode(vector.data(), code.data());
          float estimate = 0, lower_bound = 0;
          code_query.estimate(code.data(), 1, &estimate, &lower_bound);
          const float error = estimate - lower_bound;
          const double distance = exact_distance(metric == Metric::kInnerProduct ? metric : Metric::kL2, query, vector);
          const double score = metric == Metric::kInnerProduct ? distance : distance * distance;
          outside += std::fabs(estimate - score) > error ? 1 : 0;
          squared_error += (estimate - score) * (estimate - score) / (double{error} * error);
        }
        const double share = static_cast<double>(outside) / kVectors;
        EXPECT_LE(share, codec == Codec::kSq8 ? 0.0 : 0.08) << dimensions;
        // A bound that is far too wide would be no use.
        EXPECT_GT(squared_error / kVectors, codec == Codec::kBit ? 0.15 : 0.0) << dimensions;
      }
    }
  }
}

TEST(IndexRotation, KeepsLengthsAndAngles) {
  std::mt19937_64 random(6);
  for (const size_t dimensions : {1, 2, 63, 64, 65, 96, 256, 300, 768, 1000}) {
    const Rotation rotation(dimensions);
    ASSERT_EQ(rotation.rotated_dimensions() % 64, 0u);
    ASSERT_GE(rotation.rotated_dimensions(), dimensions);
    const Vector a = random_vector(random, dimensions), b = random_vector(random, dimensions);
    Vector rotated_a(rotation.rotated_dimensions()), rotated_b(rotation.rotated_dimensions());
    rotation.apply(a.data(), rotated_a.data());
    rotation.apply(b.data(), rotated_b.data());
    EXPECT_NEAR(exact_distance(Metric::kL2, rotated_a, rotated_b), exact_distance(Metric::kL2, a, b),
                1e-5 * std::sqrt(static_cast<double>(dimensions)));
    EXPECT_NEAR(exact_distance(Metric::kInnerProduct, rotated_a, rotated_b),
                exact_distance(Metric::kInnerProduct, a, b), 1e-5 * static_cast<double>(dimensions));
    // A vector of one value is spread over all.
    Vector unit(dimensions, 0.0f);
    unit.back() = 1;
    rotation.apply(unit.data(), rotated_a.data());
    const float largest = std::fabs(*std::max_element(rotated_a.begin(), rotated_a.end(),
                                                      [](float x, float y) { return std::fabs(x) < std::fabs(y); }));
    EXPECT_LT(largest, 6 / std::sqrt(static_cast<float>(rotated_a.size())));
  }
}

}  // namespace
}  // namespace pg_semantic::index::testing
