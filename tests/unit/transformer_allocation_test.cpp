// forward() allocates nothing for a batch no larger than those before it.
//
// Counted are the calls of every operator new, replaced here for the whole program;
// where AddressSanitizer has its own, which compare new with delete, all that it gives out.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/aligned_buffer.h"
#include "encoder/thread_pool.h"
#include "tests/unit/transformer_test_support.h"

namespace {
std::atomic<size_t> allocations = 0;
}

#if defined(__SANITIZE_ADDRESS__)

// Of sanitizer/allocator_interface.h, which GCC leaves out.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void*, size_t),
                                                         void (*freed)(const volatile void*));

namespace {
[[maybe_unused]] const int hook = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, size_t) { ++allocations; }, [](const volatile void*) {});
}

#else

namespace {

void* allocate(size_t bytes, size_t alignment) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes == 0 ? 1 : bytes);
  return std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
}

void* allocate_or_throw(size_t bytes, size_t alignment) {
  void* memory = allocate(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

constexpr size_t kDefaultAlignment = alignof(std::max_align_t);

}  // namespace

void* operator new(size_t bytes) { return allocate_or_throw(bytes, kDefaultAlignment); }
void* operator new[](size_t bytes) { return allocate_or_throw(bytes, kDefaultAlignment); }
void* operator new(size_t bytes, std::align_val_t to) { return allocate_or_throw(bytes, static_cast<size_t>(to)); }
void* operator new[](size_t bytes, std::align_val_t to) { return allocate_or_throw(bytes, static_cast<size_t>(to)); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, kDefaultAlignment); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, kDefaultAlignment); }
void* operator new(size_t bytes, std::align_val_t to, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<size_t>(to));
}
void* operator new[](size_t bytes, std::align_val_t to, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<size_t>(to));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept { std::free(memory); }

#endif

namespace pg_semantic::encoder {
namespace {

TEST(AllocationCounter, Counts) {
  const size_t before = allocations;
  const auto single = std::make_unique<int>(1);
  EXPECT_GT(allocations, before);
  const size_t between = allocations;
  AlignedBuffer<float> aligned;
  aligned.at_least(1000);
  EXPECT_GT(allocations, between);
}

using PrecisionAndThreads = std::tuple<const char*, int32_t>;

class TransformerAllocation : public testing::TestWithParam<PrecisionAndThreads> {};

TEST_P(TransformerAllocation, NothingAfterTheFirstCall) {
  const auto [precision, threads] = GetParam();
  std::vector<TransformerConfig> configs = {small_config(Architecture::kBert), small_config(Architecture::kDistilBert)};
  TransformerConfig& projected = configs.emplace_back(small_config(Architecture::kBert));  // ALBERT's
  projected.embedding_width = 13;
  projected.projects_embeddings = true;
  TransformerConfig& biased = configs.emplace_back(small_config(Architecture::kDistilBert));  // MPNet's
  biased.relative_buckets = 32;
  for (const TransformerConfig& config : configs) {
    const RandomModel model(config, precision);
    const TokenBatch large = batch_of(texts_of_many_lengths());
    const TokenBatch small = batch_of({random_ids(5, 1)});
    ForwardOptions options;
    options.threads = threads;
    options.interrupted = [] { return false; };
    TransformerState state;
    const auto run = [&](const TokenBatch& batch) {
      return forward(model.config.transformer, model.weights, batch, options, &state).is_ok();
    };
    size_t before = allocations;
    ASSERT_TRUE(run(large));
    ASSERT_GT(allocations, before) << "what counts does not count";
    ASSERT_GE(pool_threads(), threads - 1);
    // More than once: a thread may come too late to take part.
    before = allocations;
    bool computed = true;
    for (int i = 0; i < 20; ++i) computed = run(i % 4 == 3 ? small : large) && computed;
    const size_t after = allocations;
    EXPECT_EQ(after, before);
    EXPECT_TRUE(computed);
  }
}

std::string parameter_name(const testing::TestParamInfo<PrecisionAndThreads>& info) {
  return std::string(std::get<0>(info.param)) + "_" + std::to_string(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Precisions, TransformerAllocation,
                         testing::Combine(testing::Values("fp32", "fp16", "int8"), testing::Values(1, 2)),
                         parameter_name);

}  // namespace
}  // namespace pg_semantic::encoder
