// Blocks of codes that searches have read, pinned in RocksDB's cache beside the list
// table whose state they are of: finding one there again costs a twentieth of a Get.
//
// A table describes one version of a generation, and a version's blocks do not change;
// so whoever copies a table to change it gets no pins, and nothing here grows stale.
//
// Thread safety: every function may be called from any thread.
#ifndef PG_SEMANTIC_INDEX_BLOCK_PINS_H
#define PG_SEMANTIC_INDEX_BLOCK_PINS_H

#include <rocksdb/slice.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace pg_semantic::index {

// How much all tables together have pinned, and may.
struct PinBudget {
  std::atomic<uint64_t> used{0};
  uint64_t limit = 0;
};

struct PinnedBlock {
  PinnedBlock(rocksdb::PinnableSlice&& taken, PinBudget* of) : value(std::move(taken)), budget(of) {
    budget->used += value.size();
  }
  ~PinnedBlock() { budget->used -= value.size(); }
  PinnedBlock(const PinnedBlock&) = delete;
  PinnedBlock& operator=(const PinnedBlock&) = delete;

  const rocksdb::PinnableSlice value;
  PinBudget* const budget;  // of the storage, which outlives its tables
};

class BlockPins {
 public:
  BlockPins() = default;
  BlockPins(const BlockPins&) {}
  BlockPins& operator=(const BlockPins&) = delete;

  // Of the list at this position of the table; null: not pinned.
  [[nodiscard]] std::shared_ptr<const PinnedBlock> find(size_t list, uint32_t block) const {
    if (block >= kBlocksOfList) return nullptr;
    const size_t slot = list * kBlocksOfList + block;
    const Shard& shard = shards_[slot % kShards];
    const std::lock_guard lock(shard.mutex);
    return slot / kShards < shard.slots.size() ? shard.slots[slot / kShards] : nullptr;
  }

  // Takes the value over; when the budget is used up an older pin of the same shard makes room.
  std::shared_ptr<const PinnedBlock> pin(size_t list, uint32_t block, rocksdb::PinnableSlice&& value,
                                         PinBudget* budget) {
    auto pinned = std::make_shared<const PinnedBlock>(std::move(value), budget);
    if (block >= kBlocksOfList) return pinned;
    const size_t slot = list * kBlocksOfList + block;
    Shard& shard = shards_[slot % kShards];
    std::shared_ptr<const PinnedBlock> dropped, replaced;  // let go without the lock
    const std::lock_guard lock(shard.mutex);
    if (budget->used > budget->limit) {
      for (size_t tried = 0; tried < shard.slots.size() && !dropped; ++tried) {
        shard.oldest = shard.oldest + 1 < shard.slots.size() ? shard.oldest + 1 : 0;
        dropped.swap(shard.slots[shard.oldest]);
      }
      if (!dropped) return pinned;
    }
    if (shard.slots.size() <= slot / kShards) shard.slots.resize(slot / kShards + 1);
    replaced = std::exchange(shard.slots[slot / kShards], pinned);
    return pinned;
  }

 private:
  static constexpr size_t kBlocksOfList = 4;  // the first ones: a list has rarely more
  static constexpr size_t kShards = 61;       // no multiple of the blocks: those of a list lie apart
  struct Shard {
    mutable std::mutex mutex;
    std::vector<std::shared_ptr<const PinnedBlock>> slots;
    size_t oldest = 0;
  };
  std::array<Shard, kShards> shards_;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_BLOCK_PINS_H
