// See disk_reads.h.
#include "index/disk_reads.h"

#include <rocksdb/perf_context.h>

namespace pg_semantic::index {

// Counts, unlike times, are kept at RocksDB's default level.
DiskReads disk_reads_of_this_thread() {
  const rocksdb::PerfContext& context = *rocksdb::get_perf_context();
  return {context.block_read_count, context.block_read_byte};
}

void add_to_disk_reads_of_this_thread(const DiskReads& reads) {
  rocksdb::PerfContext& context = *rocksdb::get_perf_context();
  context.block_read_count += reads.blocks;
  context.block_read_byte += reads.bytes;
}

}  // namespace pg_semantic::index
