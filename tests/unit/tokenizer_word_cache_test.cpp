// The cache of words: what it answers is what was put in, its size has a bound, and
// threads that share a tokenizer do not see each other's.
#include "encoder/tokenizer_word_cache.h"

#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "encoder/tokenizer.h"
#include "encoder/tokenizer_config.h"
#include "tests/unit/tokenizer_test_support.h"

namespace pg_semantic::encoder {
namespace {

std::vector<CachedPart> parts_of(int32_t number, size_t length) {
  CachedPart first{number, 0, length / 2, number % 16, 0};
  CachedPart second{number + 1, length / 2, length, 0, number % 7};
  return {first, second};
}

bool are_equal(const std::vector<CachedPart>& a, const std::vector<CachedPart>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].id != b[i].id || a[i].start != b[i].start || a[i].end != b[i].end ||
        a[i].leading_spaces != b[i].leading_spaces || a[i].trailing_spaces != b[i].trailing_spaces) {
      return false;
    }
  }
  return true;
}

TEST(TokenizerWordCache, AnswersWhatWasPutInAndForgetsTheRest) {
  constexpr int32_t kWords = 100000;
  WordCache cache;
  std::vector<std::string> words;
  for (int32_t i = 0; i < kWords; ++i) {
    words.push_back("w" + std::to_string(i) + std::string(static_cast<size_t>(i) % 18, 'x'));
    cache.insert(words.back(), parts_of(i, words.back().size()));
  }
  size_t known = 0;
  for (int32_t i = 0; i < kWords; ++i) {
    std::vector<CachedPart> found;
    const std::string& word = words[static_cast<size_t>(i)];
    if (!cache.find(word, &found)) continue;
    ++known;
    ASSERT_TRUE(are_equal(found, parts_of(i, word.size()))) << word;
  }
  EXPECT_LE(known, WordCache::kPlaces);
  EXPECT_GT(known, WordCache::kPlaces / 2);
}

TEST(TokenizerWordCache, WordsThatDifferInNothingButTheirEnd) {
  WordCache cache;
  std::vector<CachedPart> found;
  for (size_t length = 1; length <= WordCache::kMaxWordBytes; ++length) {
    const std::string word(length, 'a');
    cache.insert(word, parts_of(1, length));
    EXPECT_TRUE(cache.find(word, &found)) << length;
    EXPECT_FALSE(cache.find(word.substr(0, length - 1) + 'b', &found)) << length;
    EXPECT_FALSE(cache.find(word + '\0', &found)) << length;
  }
}

TEST(TokenizerWordCache, WhatDoesNotFitIsNotRemembered) {
  WordCache cache;
  std::vector<CachedPart> found;
  const auto is_kept = [&](const std::string& word, const std::vector<CachedPart>& parts) {
    cache.insert(word, parts);
    return cache.find(word, &found);
  };
  EXPECT_TRUE(is_kept("none", {}));
  EXPECT_TRUE(is_kept("one", {{1, 0, 3, 15, 15}}));
  EXPECT_FALSE(is_kept("", {}));
  EXPECT_FALSE(is_kept(std::string(WordCache::kMaxWordBytes + 1, 'a'), {{1, 0, 1, 0, 0}}));
  EXPECT_FALSE(is_kept("many", std::vector<CachedPart>(WordCache::kMaxParts + 1)));
  EXPECT_FALSE(is_kept("gap", {{1, 0, 1, 0, 0}, {2, 2, 3, 0, 0}}));
  EXPECT_FALSE(is_kept("over", {{1, 0, 5, 0, 0}}));
  EXPECT_FALSE(is_kept("spaces", {{1, 0, 6, 16, 0}}));
}

TEST(TokenizerWordCache, PoolKeepsAsManyAsWereInUseAtOnceUpToItsLimit) {
  WordCachePool pool;
  for (int i = 0; i < 5; ++i) const WordCachePool::Lease one(&pool);
  EXPECT_EQ(pool.kept(), 1u);
  {
    std::vector<std::unique_ptr<WordCachePool::Lease>> leases;
    for (size_t i = 0; i < WordCachePool::kMaxKept + 3; ++i) {
      leases.push_back(std::make_unique<WordCachePool::Lease>(&pool));
    }
    EXPECT_EQ(pool.kept(), 0u);
  }
  EXPECT_EQ(pool.kept(), WordCachePool::kMaxKept);
}

TEST(TokenizerWordCache, ThreadsShareATokenizer) {
  const std::string folder = "tests/reference/tokenizers/roberta/";
  std::map<std::string, std::string> files;
  for (const char* file : {"vocab.json", "merges.txt", "config.json"}) files[file] = read_whole_file(folder + file);
  const Result<TokenizerConfig> config = load_tokenizer_config(MemoryReader(files));
  ASSERT_TRUE(config.is_ok());
  // Each text by a tokenizer that remembers nothing yet, and then all by one, over and over.
  std::vector<std::string> texts;
  std::vector<std::string> expected;
  const OwnedTokenizer shared = make_tokenizer(*config);
  for (int i = 0; i < 60; ++i) {
    texts.push_back("The cat number " + std::to_string(i * 37) + " sees the river" + std::string(i % 5u, '!') +
                    " hello");
    expected.push_back(tokens_of(make_tokenizer(*config), texts.back()));
  }
  constexpr int kThreads = 4;
  std::vector<int> wrong(kThreads, 0);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t i = 0; i < 600; ++i) {
        const size_t text = (i + static_cast<size_t>(thread) * 13) % texts.size();
        wrong[static_cast<size_t>(thread)] += tokens_of(shared, texts[text]) != expected[text];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(kThreads, 0));
}

}  // namespace
}  // namespace pg_semantic::encoder
