// The rows of a build: where each lies in the spool, and the list it goes to.
//
// What there is of every row lies in scratch files, 24 bytes each; vectors are read
// where they are, in the mapped spool.
//
// Thread safety: different rows may be read and assigned by different threads.
#ifndef PG_SEMANTIC_INDEX_COLLECTED_ROWS_H
#define PG_SEMANTIC_INDEX_COLLECTED_ROWS_H

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "index/bytes.h"
#include "index/change.h"
#include "index/records.h"
#include "index/scratch.h"
#include "index/spool.h"

namespace pg_semantic::index {

class CollectedRows {
 public:
  // `spool` outlives the result.  Of several changes of a row the last holds; deleted rows are left out.
  static Result<std::unique_ptr<CollectedRows>> read(const Spool::Mapping& spool, const GenerationOptions& options,
                                                     const std::string& scratch_pattern,
                                                     const Interrupted& interrupted);

  [[nodiscard]] size_t size() const { return size_; }
  // Ascending.
  [[nodiscard]] RowId row(size_t i) const { return places_[i].row; }
  [[nodiscard]] RowKind kind(size_t i) const { return static_cast<RowKind>(places_[i].kind); }
  [[nodiscard]] ContentHash hash(size_t i) const { return load<ContentHash>(bytes(i) + kSpooledHashOffset); }
  [[nodiscard]] ListId& list(size_t i) const { return lists_[i]; }

  // As it was inserted; of rows with a vector only.
  void copy_vector(size_t i, float* out) const {
    std::memcpy(out, bytes(i) + kSpooledVectorOffset, dimensions_ * sizeof(float));
  }
  // The vectors of these rows, of length 1 under cosine.
  void gather(std::span<const uint32_t> rows, float* out) const;

  // Positions of the rows with a vector: ascending until they are grouped.
  [[nodiscard]] std::span<uint32_t> with_vector() const { return with_vector_.span().first(vectors_); }
  // Orders with_vector() by list, all of which are below `lists`; returns where each list's part begins, and the end.
  std::vector<uint32_t> group_by_list(size_t lists);

 private:
  // A row in the spool.
  struct Place {
    RowId row;
    uint64_t offset : 56;
    uint64_t kind : 8;
  };
  static_assert(sizeof(Place) == 16);
  static constexpr uint64_t kDeleted = 0xff;  // as a kind

  CollectedRows(const Spool::Mapping& spool, const GenerationOptions& options)
      : spool_(spool), dimensions_(options.dimensions), metric_(options.metric) {}
  Status read_places(const std::string& scratch_pattern, const Interrupted& interrupted);
  void keep_last_changes();
  [[nodiscard]] const std::byte* bytes(size_t i) const { return spool_.data() + places_[i].offset; }

  const Spool::Mapping& spool_;
  size_t dimensions_;
  Metric metric_;
  size_t size_ = 0;
  size_t vectors_ = 0;
  ScratchArray<Place> places_;
  ScratchArray<ListId> lists_;
  ScratchArray<uint32_t> with_vector_;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_COLLECTED_ROWS_H
