// Blocks of stored vectors: their parts, and what the coarse ones tell.
#include "index/vector_block.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "index/exact_distance.h"
#include "index/storage.h"
#include "index/two_means.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

std::vector<std::byte> store_all(const CodecLayout& layout, const std::vector<Vector>& vectors) {
  std::vector<std::byte> bytes(vectors.size() * layout.vector_size());
  for (size_t i = 0; i < vectors.size(); ++i)
    layout.encode_vector(vectors[i], hash_of(i + 1), bytes.data() + i * layout.vector_size());
  return bytes;
}

TEST(IndexVectorBlock, GivesBackEveryByte) {
  std::mt19937_64 random(1);
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kSq8, Codec::kBit}) {
    for (size_t dimensions = 1; dimensions <= 70; ++dimensions) {
      const CodecLayout layout(codec, Metric::kL2, static_cast<uint32_t>(dimensions));
      std::vector<Vector> vectors;
      for (size_t i = 0; i < 5; ++i) vectors.push_back(random_vector(random, dimensions));
      vectors.emplace_back(dimensions, 0.0f);
      vectors.emplace_back(dimensions, -3.0f);  // the least element there is
      const std::vector<std::byte> stored = store_all(layout, vectors);
      // Of any alignment.
      const std::string value = "x" + encode_vector_block(layout, stored.data(), static_cast<uint32_t>(vectors.size()));
      ASSERT_EQ(value.size(), 1 + 8 + vectors.size() * layout.stored_size());
      const auto block = decode_vector_block(std::string_view(value).substr(1), layout);
      ASSERT_TRUE(block.is_ok());
      ASSERT_EQ(block->count, vectors.size());
      std::vector<std::byte> buffer(layout.vector_size(), std::byte{0xaa});
      for (uint32_t i = 0; i < block->count; ++i) {
        EXPECT_EQ(std::memcmp(block->vector(i, buffer.data()), stored.data() + i * layout.vector_size(),
                              layout.vector_size()),
                  0)
            << dimensions << ", vector " << i;
      }
    }
  }
}

TEST(IndexVectorBlock, EveryElementIsPutTogetherAgain) {
  const CodecLayout layout(Codec::kBit, Metric::kL2, 16000);
  std::vector<std::byte> stored(layout.vector_size());
  for (int first = -32512; first <= 32512; first += 16000) {
    for (int i = 0; i < 16000; ++i) {
      const auto element = static_cast<int16_t>(std::min(first + i, 32512));
      std::memcpy(stored.data() + sizeof(VectorHeader) + i * sizeof element, &element, sizeof element);
    }
    const std::string value = encode_vector_block(layout, stored.data(), 1);
    const auto block = decode_vector_block(value, layout);
    ASSERT_TRUE(block.is_ok());
    std::vector<std::byte> buffer(layout.vector_size());
    EXPECT_EQ(std::memcmp(block->vector(0, buffer.data()), stored.data(), stored.size()), 0) << first;
  }
}

TEST(IndexVectorBlock, RefusesOtherSizes) {
  const CodecLayout layout(Codec::kBit, Metric::kCosine, 20);
  const std::vector<std::byte> stored = store_all(layout, {Vector(20, 0.5f), Vector(20, 1.0f)});
  const std::string value = encode_vector_block(layout, stored.data(), 2);
  ASSERT_TRUE(decode_vector_block(value, layout).is_ok());
  for (size_t size = 0; size < value.size(); ++size)
    EXPECT_EQ(decode_vector_block(std::string_view(value).substr(0, size), layout).status().code(),
              StatusCode::kCorrupt);
  EXPECT_FALSE(decode_vector_block(value + "x", layout).is_ok());
  std::string other = value;
  other[0] = 3;
  EXPECT_FALSE(decode_vector_block(other, layout).is_ok());
  EXPECT_FALSE(decode_vector_block(value, CodecLayout(Codec::kBit, Metric::kCosine, 24)).is_ok());
}

// For data that rounds at random, and for data whose elements all round the same way.
TEST(IndexVectorBlock, CoarseDistancesAreLowerBounds) {
  std::mt19937_64 random(2);
  const auto shaped = [&](size_t dimensions, int shape) {
    Vector vector = random_vector(random, dimensions);
    for (float& value : vector) {
      if (shape == 1) value = value > 0 ? 1.0f : 0.0f;
      if (shape == 2) value = std::round(3 * std::fabs(value));
      if (shape == 3) value = value > 1 ? value : 0.0f;
      if (shape == 4) value = value * 1e-3f + 1000;
      if (shape == 5) value *= 1e15f;
    }
    vector[0] += shape == 5 ? 1e15f : 1;  // not all zero
    return vector;
  };
  for (const Metric metric : {Metric::kL2, Metric::kCosine, Metric::kInnerProduct}) {
    for (const size_t dimensions : {1, 3, 16, 100, 256, 768}) {
      const CodecLayout layout(Codec::kBit, metric, static_cast<uint32_t>(dimensions));
      for (const int shape : {0, 1, 2, 3, 4, 5}) {
        double widest = 0, scale = 0;
        for (int i = 0; i < 50; ++i) {
          const Vector given = shaped(dimensions, shape), vector = shaped(dimensions, shape);
          const std::vector<std::byte> stored = store_all(layout, {vector});
          const std::string value = encode_vector_block(layout, stored.data(), 1);
          const auto block = decode_vector_block(value, layout);
          ASSERT_TRUE(block.is_ok());
          Vector query = given;
          if (metric == Metric::kCosine) normalise(query.data(), dimensions);
          const ExactDistance distance(layout, given);
          const double score = distance.score(distance(1, stored.data()).distance);
          const double bound = CoarseQuery(layout, query).lower_bound(block->coarse_part(0));
          // ExactDistance's clamp and sums have errors of their own.
          EXPECT_LE(bound, score + 1e-14) << dimensions << ", shape " << shape;
          widest = std::max(widest, score - bound);
          double squared = 0, squared_query = 0;
          for (const float element : vector) squared += double{element} * element;
          for (const float element : given) squared_query += double{element} * element;
          scale = std::max(scale, metric == Metric::kCosine ? 1 : std::sqrt(squared * squared_query));
        }
        // Far tighter than the numbers it is made of: an element is off by up to a 254th of the largest.
        EXPECT_LE(widest, scale * 2 * (2.0 / 254 * std::sqrt(static_cast<double>(dimensions)) + 1e-4))
            << dimensions << ", shape " << shape;
      }
    }
  }
}

TEST(IndexVectorBlock, CoarseDistancesThatOverflowTellNothing) {
  const CodecLayout layout(Codec::kBit, Metric::kL2, 4);
  const Vector far(4, 3e38f);
  const std::vector<std::byte> stored = store_all(layout, {far});
  const std::string value = encode_vector_block(layout, stored.data(), 1);
  const auto block = decode_vector_block(value, layout);
  ASSERT_TRUE(block.is_ok());
  EXPECT_EQ(CoarseQuery(layout, far).lower_bound(block->coarse_part(0)), -INFINITY);
}

TEST(IndexVectorBlock, CheckNoticesACoarsePartOfAnotherVector) {
  TemporaryDirectory directory;
  {
    const auto engine = open_or_fail(directory.path());
    ASSERT_OK(create(*engine, 1, Metric::kCosine, Codec::kBit));
    ASSERT_OK(insert(*engine, 1, {{1, 2, 3}}));
    EXPECT_EQ(problems_of(*engine, 1), std::vector<std::string>());
  }
  {
    EngineOptions options;
    options.path = directory.path();
    auto storage = Storage::open(options);
    ASSERT_TRUE(storage.is_ok());
    auto blocks = (*storage)->iterate(Family::kVectors, nullptr, Reading::kRange);
    blocks->Seek(generation_key(1));
    ASSERT_TRUE(blocks->Valid());
    std::string value = blocks->value().ToString();
    value[2 * sizeof(uint32_t) + offsetof(CoarseHeader, error)] ^= 1;
    rocksdb::WriteBatch batch;
    ASSERT_TRUE(batch.Put((*storage)->family(Family::kVectors), blocks->key(), value).ok());
    ASSERT_OK((*storage)->write(&batch));
  }
  EXPECT_EQ(problems_of(*open_or_fail(directory.path()), 1),
            std::vector<std::string>{"the coarse part of row 1 is not that of its vector"});
}

}  // namespace
}  // namespace pg_semantic::index::testing
