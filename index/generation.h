// A generation in memory, and consistent views of it for readers.
//
// Thread safety: see each member.
#ifndef PG_SEMANTIC_INDEX_GENERATION_H
#define PG_SEMANTIC_INDEX_GENERATION_H

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "index/disk_reads.h"
#include "index/list_editor.h"
#include "index/list_table.h"
#include "index/spool.h"

namespace pg_semantic::index {

class Generation {
 public:
  explicit Generation(GenerationId id) : id_(id) {}

  [[nodiscard]] GenerationId id() const { return id_; }

  // The newest published table; null: it must be read from the database.
  [[nodiscard]] std::shared_ptr<const ListTable> table() const;
  void publish(std::shared_ptr<const ListTable> table);
  void publish_if_absent(std::shared_ptr<const ListTable> table);

  // What was read for it since it was opened; outlives it for those who still read.
  const std::shared_ptr<DiskReadCounter> disk_reads = std::make_shared<DiskReadCounter>();

  std::atomic<bool> dropped{false};  // set before the drop waits for the locks
  std::mutex build;                  // held for the whole of a build; taken before `writer`
  std::mutex writer;                 // held while a batch is made and written

  // Under `writer`:
  std::unique_ptr<Spool> spool;   // of a generation that is being built; null: not opened
  uint64_t times_taken_back = 0;  // changes were taken back from the spool: a build that has read it begins anew
  std::optional<uint64_t> catch_up_from;  // it is built, but for what the spool holds from this byte on
  Unsplittable unsplittable;
  std::set<ListId> damaged;              // lists that upkeep could not read; check() tells of them
  uint64_t tidying_left = 0;             // entries that may be moved only to lie better, earned by changes (upkeep.h)
  bool upkeep_begun = false;             // since the directory was opened
  std::optional<ListId> retrained_from;  // the first of the lists that others are being moved to (retraining.h)

  std::atomic<bool> spool_unsynced{true};       // something was added to the spool since it was made durable
  std::atomic<int> writers_waiting{0};          // changes; upkeep lets them go first
  std::atomic<bool> looked_after{false};        // work that the last process left undone is scheduled
  std::atomic<uint64_t> left_by_compaction{0};  // garbage

 private:
  const GenerationId id_;
  mutable std::mutex mutex_;  // guards table_ for as long as copying a pointer takes
  std::shared_ptr<const ListTable> table_;
};

// A list table and the RocksDB snapshot it describes.
struct ReadView {
  GenerationId generation = 0;
  std::shared_ptr<const ListTable> table;
  std::shared_ptr<const Snapshot> snapshot;
  std::shared_ptr<const Generation> owner = nullptr;  // null where nobody asks whether it was dropped meanwhile

  [[nodiscard]] const rocksdb::Snapshot* at() const { return snapshot->get(); }
};

// Never waits for a writer.
Result<ReadView> read_view(const Storage& storage, Generation& generation);

// The newest table, for the holder of `writer`.
Result<std::shared_ptr<const ListTable>> table_for_writing(const Storage& storage, Generation& generation);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_GENERATION_H
