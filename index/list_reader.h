// Reading posting lists: the blocks of codes and of vectors, checked against what
// the list table says.
//
// Thread safety: one reader, one thread.
#ifndef PG_SEMANTIC_INDEX_LIST_READER_H
#define PG_SEMANTIC_INDEX_LIST_READER_H

#include "index/generation.h"
#include "index/vector_block.h"

namespace pg_semantic::index {

class ListReader {
 public:
  ListReader(const Storage& storage, const ReadView& view)
      : storage_(storage), view_(view), table_(*view.table), buffer_(table_.layout.vector_size()) {}

  // What is returned lives until the next call of the same function.
  Result<BlockView> codes(const ListRef& list, uint32_t block);
  Result<VectorBlockView> vectors(const ListRef& list, uint32_t block);
  // The same for searches, which come again: blocks stay pinned, as far as the budgets allow.
  Result<BlockView> searched_codes(const ListRef& list, uint32_t block);
  Result<VectorBlockView> searched_vectors(const ListRef& list, uint32_t block);
  // Has the list's first codes, when they are pinned, on their way to the processor.
  void fetch_codes(const ListRef& list) const;

  // Calls visit(row, stored vector) for the live entries; a Status that is not ok ends it.
  template <typename Visit>
  Status for_each(const ListRef& list, const Visit& visit) {
    uint32_t live = 0;
    for (uint32_t block = 0; block < list.sizes.blocks(); ++block) {
      Result<BlockView> rows = codes(list, block);
      if (!rows) return rows.status();
      Result<VectorBlockView> stored = vectors(list, block);
      if (!stored) return stored.status();
      for (uint32_t i = 0; i < rows->count; ++i) {
        const RowId row = rows->row(i);
        if (row == 0) continue;
        ++live;
        PG_SEMANTIC_RETURN_IF_ERROR(visit(row, stored->vector(i, buffer_.data())));
      }
    }
    if (live != list.live()) return wrong_live_count(list, live);
    return Status::ok();
  }

 private:
  static Status wrong_live_count(const ListRef& list, uint32_t live);
  [[nodiscard]] size_t position_of(const ListRef& list) const {
    return static_cast<size_t>(&list - table_.lists.data());
  }
  template <typename View>
  Result<View> with_right_count(Result<View> read, const ListRef& list, uint32_t block, const char* what) const;
  Result<BlockView> decode_codes(const ListRef& list, uint32_t block, std::string_view value) const;
  Result<VectorBlockView> decode_vectors(const ListRef& list, uint32_t block, std::string_view value) const;
  Result<std::string_view> searched(Family family, const ListRef& list, uint32_t block, BlockPins* pins,
                                    PinBudget* budget, std::shared_ptr<const PinnedBlock>* pinned) const;
  Status read(Family family, const ListRef& list, uint32_t block, rocksdb::PinnableSlice* value) const;

  const Storage& storage_;
  const ReadView& view_;
  const ListTable& table_;
  rocksdb::PinnableSlice codes_, vectors_;
  std::shared_ptr<const PinnedBlock> searched_codes_, searched_vectors_;
  std::vector<std::byte> buffer_;  // for a vector whose parts lie apart
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_LIST_READER_H
