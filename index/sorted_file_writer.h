// Writing ascending keys of one family to sorted files, which Storage::ingest() takes over.
//
// Thread safety: one writer, one thread.
#ifndef PG_SEMANTIC_INDEX_SORTED_FILE_WRITER_H
#define PG_SEMANTIC_INDEX_SORTED_FILE_WRITER_H

#include <rocksdb/sst_file_writer.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "index/storage.h"

namespace pg_semantic::index {

class SortedFileWriter {
 public:
  // A file's filter, made when it is finished, takes a quarter of the file's size where values are small.
  SortedFileWriter(const Storage& storage, GenerationId generation, Family family, uint64_t memory_bytes,
                   size_t first_number = 0)
      : storage_(storage),
        generation_(generation),
        family_(family),
        file_bytes_(std::min(memory_bytes, kMostFileBytes)),
        number_(first_number) {}

  Status put(const std::string& key, std::string_view value) {
    if (writer_ && writer_->FileSize() >= file_bytes_) PG_SEMANTIC_RETURN_IF_ERROR(finish());
    if (!writer_) {
      rocksdb::ColumnFamilyHandle* handle = storage_.family(family_);
      writer_ =
          std::make_unique<rocksdb::SstFileWriter>(rocksdb::EnvOptions(), storage_.db()->GetOptions(handle), handle);
      paths_.push_back(storage_.unfinished_file(generation_, family_, number_++));
      PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(writer_->Open(paths_.back())));
    }
    return from_rocksdb(writer_->Put(key, rocksdb::Slice(value.data(), value.size())));
  }
  Status finish() {
    if (!writer_) return Status::ok();
    const rocksdb::Status status = writer_->Finish();
    writer_.reset();
    return from_rocksdb(status);
  }
  [[nodiscard]] const std::vector<std::string>& paths() const { return paths_; }

 private:
  static constexpr uint64_t kMostFileBytes = 64ull << 20;

  const Storage& storage_;
  GenerationId generation_;
  Family family_;
  uint64_t file_bytes_;
  size_t number_;
  std::unique_ptr<rocksdb::SstFileWriter> writer_;
  std::vector<std::string> paths_;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_SORTED_FILE_WRITER_H
