// Every fuzz target over its corpus: what fuzzers once found, or once reached,
// stays a test.  A target aborts where something does not hold.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/fuzz/fuzz.h"

namespace pg_semantic::fuzz {
namespace {

class FuzzCorpus : public testing::TestWithParam<Target> {};

TEST_P(FuzzCorpus, HoldsForEveryInput) {
  size_t inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string("tests/fuzz/corpus/") + GetParam().name)) {
    SCOPED_TRACE(entry.path().string());
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    GetParam().run({reinterpret_cast<const uint8_t*>(content.data()), content.size()});
    ++inputs;
  }
  EXPECT_GT(inputs, 0U);
}

INSTANTIATE_TEST_SUITE_P(EveryTarget, FuzzCorpus, testing::ValuesIn(kTargets),
                         [](const testing::TestParamInfo<Target>& target) { return std::string(target.param.name); });

}  // namespace
}  // namespace pg_semantic::fuzz
