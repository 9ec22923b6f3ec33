// Counting the blocks that had to be read from files because RocksDB's cache did not
// have them.
//
// RocksDB counts for each thread; a DiskReadScope charges what its thread reads while
// it lives to the generation that the work is for.  Blocks that an iterator reads ahead
// (sweeps over rows, loading a list table), flushes and compactions are not counted.
//
// Thread safety: DiskReadCounter: any thread.  DiskReadScope: one thread.
#ifndef PG_SEMANTIC_INDEX_DISK_READS_H
#define PG_SEMANTIC_INDEX_DISK_READS_H

#include <atomic>
#include <cstdint>
#include <memory>

namespace pg_semantic::index {

struct DiskReads {
  uint64_t blocks = 0;
  uint64_t bytes = 0;
};

// Of the calling thread, ever.
DiskReads disk_reads_of_this_thread();
// Counts what a helper read as read by the calling thread, which waited for it.
void add_to_disk_reads_of_this_thread(const DiskReads& reads);

class DiskReadCounter {
 public:
  void add(const DiskReads& reads) {
    if (reads.blocks == 0) return;  // spares a warm search the shared cache line
    blocks_.fetch_add(reads.blocks, std::memory_order_relaxed);
    bytes_.fetch_add(reads.bytes, std::memory_order_relaxed);
  }
  [[nodiscard]] DiskReads total() const {
    return {blocks_.load(std::memory_order_relaxed), bytes_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<uint64_t> blocks_{0};
  std::atomic<uint64_t> bytes_{0};
};

// Scopes of one thread do not overlap.
class DiskReadScope {
 public:
  DiskReadScope() : before_(disk_reads_of_this_thread()) {}
  ~DiskReadScope() {
    if (!counter_) return;
    const DiskReads now = disk_reads_of_this_thread();
    counter_->add({now.blocks - before_.blocks, now.bytes - before_.bytes});
  }
  DiskReadScope(const DiskReadScope&) = delete;
  DiskReadScope& operator=(const DiskReadScope&) = delete;

  // Whose reads these are, those since the construction included; until then nobody's.
  void charge_to(std::shared_ptr<DiskReadCounter> counter) { counter_ = std::move(counter); }

 private:
  DiskReads before_;
  std::shared_ptr<DiskReadCounter> counter_;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_DISK_READS_H
