// The safetensors reader: every number format, and files that lie.
#include "encoder/safetensors.h"

#include <sys/stat.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/model_test_support.h"

namespace pg_semantic::encoder {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

json entry(const std::string& dtype, const std::vector<int64_t>& shape, uint64_t begin, uint64_t end) {
  return {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, end}}};
}

class Safetensors : public testing::Test {
 protected:
  fs::path file(const char* name = "model.safetensors") const { return directory_.path() / name; }

  Result<std::unique_ptr<TensorStore>> open() const { return TensorStore::open(directory_.path().string()); }

  // Opens what was written and reads a tensor whole.
  Result<std::vector<float>> read(const std::string& name, const std::vector<int64_t>& shape) const {
    Result<std::unique_ptr<TensorStore>> store = open();
    if (!store) return store.status();
    PG_SEMANTIC_RETURN_IF_ERROR((*store)->check(name, shape));
    std::vector<float> values;
    PG_SEMANTIC_RETURN_IF_ERROR((*store)->read(name, [&](std::span<const float> piece) {
      values.insert(values.end(), piece.begin(), piece.end());
      return Status::ok();
    }));
    return values;
  }

  void expect_refused(StatusCode code, const std::string& because) const {
    const Result<std::unique_ptr<TensorStore>> store = open();
    ASSERT_FALSE(store.is_ok()) << because;
    EXPECT_EQ(store.status().code(), code) << explain(store.status());
    EXPECT_NE(explain(store.status()).find(because), std::string::npos) << explain(store.status());
  }

  TemporaryDirectory directory_;
};

TEST_F(Safetensors, ReadsF32AcrossPieces) {
  std::vector<float> values(200000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) * 0.5F - 7;
  SafetensorsContent{{{"w", entry("F32", {400, 500}, 0, 800000)}, {"__metadata__", {{"format", "pt"}}}},
                     bytes_of(values)}
      .write(file());
  const Result<std::vector<float>> found = read("w", {400, 500});
  ASSERT_TRUE(found.is_ok()) << explain(found.status());
  EXPECT_EQ(*found, values);
}

// Every finite binary16 number, against the arithmetic of its definition.
TEST_F(Safetensors, ReadsEveryHalfPrecisionNumber) {
  std::vector<uint16_t> halves;
  std::vector<float> expected;
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const int exponent = static_cast<int>(h >> 10 & 31), fraction = static_cast<int>(h & 1023);
    if (exponent == 31) continue;
    const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    halves.push_back(static_cast<uint16_t>(h));
    expected.push_back(static_cast<float>((h & 0x8000) != 0 ? -magnitude : magnitude));
  }
  const auto n = static_cast<int64_t>(halves.size());
  SafetensorsContent{{{"w", entry("F16", {n}, 0, static_cast<uint64_t>(2 * n))}}, bytes_of(halves)}.write(file());
  const Result<std::vector<float>> found = read("w", {n});
  ASSERT_TRUE(found.is_ok()) << explain(found.status());
  EXPECT_EQ(*found, expected);
}

TEST_F(Safetensors, ReadsBfloat16) {
  SafetensorsContent{{{"w", entry("BF16", {3}, 0, 6)}}, bytes_of(std::vector<uint16_t>{0x3f80, 0xc040, 0x0001})}.write(
      file());
  const Result<std::vector<float>> found = read("w", {3});
  ASSERT_TRUE(found.is_ok()) << explain(found.status());
  EXPECT_EQ(*found, (std::vector<float>{1.0F, -3.0F, std::bit_cast<float>(0x00010000)}));
}

// 70 columns in 3 groups: 24, 24 and 22 wide.
TEST_F(Safetensors, ReadsTheCompactForm) {
  std::vector<int8_t> numbers(2 * 70);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int8_t>(static_cast<int>(i) - 64);
  const std::vector<uint16_t> scales = {0x3c00, 0x4000, 0x3800, 0x0000, 0xbc00, 0x4400};  // 1 2 .5 0 -1 4
  const float scale[] = {1, 2, 0.5F, 0, -1, 4};
  SafetensorsContent{{{"w", entry("I8", {2, 70}, 0, 140)}, {"w.group_scales", entry("F16", {2, 3}, 140, 152)}},
                     bytes_of(numbers) + bytes_of(scales)}
      .write(file());
  const Result<std::vector<float>> found = read("w", {2, 70});
  ASSERT_TRUE(found.is_ok()) << explain(found.status());
  for (size_t i = 0; i < 140; ++i) {
    EXPECT_EQ((*found)[i], static_cast<float>(numbers[i]) * scale[i / 70 * 3 + i % 70 / 24]) << i;
  }
}

TEST_F(Safetensors, CompactFormNeedsFittingScales) {
  const std::string data(140 + 16, '\0');
  const json without = {{"w", entry("I8", {2, 70}, 0, 156 - 16)}};
  SafetensorsContent{without, data.substr(16)}.write(file());
  EXPECT_EQ(read("w", {2, 70}).status().code(), StatusCode::kCorrupt);
  const json wrong_rows = {{"w", entry("I8", {2, 70}, 0, 140)}, {"w.group_scales", entry("F16", {4, 2}, 140, 156)}};
  SafetensorsContent{wrong_rows, data}.write(file());
  EXPECT_EQ(read("w", {2, 70}).status().code(), StatusCode::kCorrupt);
  const json no_groups = {{"w", entry("I8", {2, 70}, 0, 140)}, {"w.group_scales", entry("F16", {2, 0}, 140, 140)}};
  SafetensorsContent{no_groups, data.substr(16)}.write(file());
  EXPECT_EQ(read("w", {2, 70}).status().code(), StatusCode::kCorrupt);
}

TEST_F(Safetensors, SaysWhatWasExpectedAndFound) {
  SafetensorsContent{{{"w", entry("F32", {2, 2}, 0, 16)}, {"ids", entry("I64", {1}, 16, 24)}}, std::string(24, '\0')}
      .write(file());
  const Status shape = read("w", {4}).status();
  EXPECT_EQ(shape.code(), StatusCode::kCorrupt);
  EXPECT_NE(shape.detail().find("has shape [2, 2]; [4] was expected"), std::string::npos) << explain(shape);
  const Status missing = read("v", {4}).status();
  EXPECT_EQ(missing.code(), StatusCode::kCorrupt);
  EXPECT_NE(missing.detail().find("\"v\""), std::string::npos) << explain(missing);
  EXPECT_EQ(read("ids", {1}).status().code(), StatusCode::kUnsupported);
}

TEST_F(Safetensors, RefusesNumbersThatAreNone) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    SafetensorsContent{{{"w", entry("F32", {3}, 0, 12)}}, bytes_of(std::vector<float>{1, 2, bad})}.write(file());
    const Status status = read("w", {3}).status();
    EXPECT_EQ(status.code(), StatusCode::kCorrupt);
    EXPECT_NE(status.detail().find("\"w\""), std::string::npos) << explain(status);
  }
}

TEST_F(Safetensors, RefusesLyingHeaders) {
  const std::string data(16, '\0');
  const std::pair<json, const char*> cases[] = {
      {{{"w", entry("F32", {4}, 0, 17)}}, "17"},                                      // past the end
      {{{"w", entry("F32", {4}, 8, 4)}}, "bytes 8 to 4"},                             // backwards
      {{{"w", entry("F32", {3}, 0, 16)}}, "16 bytes of data"},                        // shape says 12
      {{{"w", entry("F32", {2}, 0, 8)}, {"v", entry("F32", {2}, 4, 12)}}, "begins"},  // overlap
      {{{"w", entry("F32", {1}, 0, 4)}, {"v", entry("F32", {2}, 8, 16)}}, "begins"},  // hole
      {{{"w", entry("F32", {3}, 0, 12)}}, "end at byte 12"},                          // rest unused
      {{{"w", entry("F32", {1LL << 40, 1LL << 40}, 0, 16)}}, "too large"},            // product overflows
      {{{"w", entry("F32", {-4}, 0, 16)}}, "whole numbers"},
      {{{"w", {{"dtype", "F32"}, {"shape", {4}}}}}, "lacks"},
      {{{"w", {{"dtype", 3}, {"shape", {4}}, {"data_offsets", {0, 16}}}}}, "lacks"},
      {{{"w", 7}}, "lacks"},
      {{{"w", {{"dtype", "F32"}, {"shape", {4}}, {"data_offsets", {0.5, 16}}}}}, "whole numbers"},
  };
  for (const auto& [header, because] : cases) {
    SafetensorsContent{header, data}.write(file());
    expect_refused(StatusCode::kCorrupt, because);
  }
}

TEST_F(Safetensors, RefusesWhatIsNoHeader) {
  const std::string data(16, '\0');
  for (const char* text : {"[]", "{", "{}x", "null", " {}", "{\"w\":[[[]}"}) {
    SafetensorsContent{{}, data}.write_raw(file(), text);
    EXPECT_FALSE(open().is_ok()) << text;
  }
  SafetensorsContent{{}, data}.write_raw(file(), std::string(1 << 20, '[').replace(0, 5, "{\"w\":"));
  EXPECT_FALSE(open().is_ok()) << "deep JSON";
  write_file(file(), "");
  expect_refused(StatusCode::kCorrupt, "0 bytes");
  write_file(file(), std::string(8, '\xff'));
  expect_refused(StatusCode::kCorrupt, "18446744073709551615");
}

// Gigabytes that are not there: refused by what the header's length says.
TEST_F(Safetensors, RefusesSparseFiles) {
  write_file(file(), "");
  fs::resize_file(file(), 8ULL << 30);
  expect_refused(StatusCode::kCorrupt, "given as 0");
  const uint64_t huge = 4ULL << 30;
  std::string begin(8, '\0');
  std::memcpy(begin.data(), &huge, 8);
  write_file(file(), begin);
  fs::resize_file(file(), 8ULL << 30);
  expect_refused(StatusCode::kCorrupt, "4294967296");
}

TEST_F(Safetensors, RefusesWhatIsNoRegularFile) {
  ASSERT_EQ(mkfifo(file().c_str(), 0600), 0);
  expect_refused(StatusCode::kCorrupt, "not a regular file");
  fs::remove(file());
  fs::create_directory(file());
  expect_refused(StatusCode::kCorrupt, "not a regular file");
  fs::remove(file());
  fs::create_symlink("/dev/zero", file());
  expect_refused(StatusCode::kCorrupt, "not a regular file");
  fs::remove(file());
  fs::create_symlink("nowhere", file());
  expect_refused(StatusCode::kNotFound, "could not open");
}

TEST_F(Safetensors, FollowsLinksToRegularFiles) {
  SafetensorsContent{{{"w", entry("F32", {1}, 0, 4)}}, std::string(4, '\0')}.write(file("blob"));
  fs::create_symlink("blob", file());
  EXPECT_TRUE(read("w", {1}).is_ok());
}

class Shards : public Safetensors {
 protected:
  void index(const json& weight_map) const {
    write_file(file("model.safetensors.index.json"), json{{"weight_map", weight_map}}.dump());
  }
};

TEST_F(Shards, AreOneStore) {
  SafetensorsContent{{{"a", entry("F32", {1}, 0, 4)}}, bytes_of(std::vector<float>{1})}.write(file("one"));
  SafetensorsContent{{{"b", entry("F32", {1}, 0, 4)}, {"c", entry("F32", {1}, 4, 8)}},
                     bytes_of(std::vector<float>{2, 3})}
      .write(file("two"));
  index({{"a", "one"}, {"b", "two"}, {"c", "two"}});
  for (const auto& [name, value] : {std::pair("a", 1.0F), {"b", 2.0F}, {"c", 3.0F}}) {
    const Result<std::vector<float>> found = read(name, {1});
    ASSERT_TRUE(found.is_ok()) << explain(found.status());
    EXPECT_EQ((*found)[0], value);
  }
}

TEST_F(Shards, BadIndexIsRefused) {
  SafetensorsContent{{{"a", entry("F32", {1}, 0, 4)}}, std::string(4, '\0')}.write(file("one"));
  for (const char* path : {"../one", "/etc/passwd", "x/../../one", "", ".", "one/"}) {
    index({{"a", path}});
    expect_refused(StatusCode::kCorrupt, "not a file of the model's directory");
  }
  index({{"a", "three"}});
  expect_refused(StatusCode::kNotFound, "three");
  index({{"b", "one"}});
  expect_refused(StatusCode::kCorrupt, "\"b\"");
  index({{"a", 5}});
  expect_refused(StatusCode::kCorrupt, "not a string");
  index(json::array());
  expect_refused(StatusCode::kCorrupt, "weight_map");
  json many;
  for (int i = 0; i < 300; ++i) many["t" + std::to_string(i)] = "shard" + std::to_string(i);
  index(many);
  expect_refused(StatusCode::kCorrupt, "300 shards");
}

TEST_F(Safetensors, OldWeightsAreNamed) {
  expect_refused(StatusCode::kNotFound, "model.safetensors");
  write_file(file("pytorch_model.bin"), "x");
  expect_refused(StatusCode::kUnsupported, "pytorch_model.bin");
}

}  // namespace
}  // namespace pg_semantic::encoder
