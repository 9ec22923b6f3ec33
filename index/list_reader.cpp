// See list_reader.h.
#include "index/list_reader.h"

#include <algorithm>

#include "index/bytes.h"

namespace pg_semantic::index {

Status ListReader::wrong_live_count(const ListRef& list, uint32_t live) {
  return corrupt("List " + std::to_string(list.id) + " has " + std::to_string(live) +
                 " entries that are not dead instead of " + std::to_string(list.live()) + ".");
}

Status ListReader::read(Family family, const ListRef& list, uint32_t block, rocksdb::PinnableSlice* value) const {
  value->Reset();
  Result<bool> found = storage_.get(family, block_key(view_.generation, list.id, block), view_.at(), value);
  if (!found) return found.status();
  if (*found) return Status::ok();
  return corrupt("Block " + std::to_string(block) + " of list " + std::to_string(list.id) + " is missing.");
}

Result<BlockView> ListReader::codes(const ListRef& list, uint32_t block) {
  PG_SEMANTIC_RETURN_IF_ERROR(read(Family::kCodes, list, block, &codes_));
  return decode_codes(list, block, view(codes_));
}

Result<std::string_view> ListReader::searched(Family family, const ListRef& list, uint32_t block, BlockPins* pins,
                                              PinBudget* budget, std::shared_ptr<const PinnedBlock>* pinned) const {
  const size_t position = position_of(list);
  *pinned = pins->find(position, block);
  if (!*pinned) {
    rocksdb::PinnableSlice value;
    PG_SEMANTIC_RETURN_IF_ERROR(read(family, list, block, &value));
    *pinned = pins->pin(position, block, std::move(value), budget);
  }
  return view((*pinned)->value);
}

Result<BlockView> ListReader::searched_codes(const ListRef& list, uint32_t block) {
  Result<std::string_view> value =
      searched(Family::kCodes, list, block, &table_.code_pins, storage_.code_pin_budget(), &searched_codes_);
  if (!value) return value.status();
  return decode_codes(list, block, *value);
}

void ListReader::fetch_codes(const ListRef& list) const {
  constexpr size_t kFetchedBytes = 512;  // the processor goes on by itself
  if (list.sizes.blocks() == 0) return;
  const auto pinned = table_.code_pins.find(position_of(list), 0);
  if (!pinned) return;
  const std::string_view value = view(pinned->value);
  const size_t rows = list.sizes.of_block(0, table_.layout.entries_per_block()) * sizeof(RowId);
  prefetch(value.data(), kBlockHeaderBytes);
  if (rows < value.size()) prefetch(value.data() + rows, std::min(kFetchedBytes, value.size() - rows));
}

Result<VectorBlockView> ListReader::searched_vectors(const ListRef& list, uint32_t block) {
  Result<std::string_view> value =
      searched(Family::kVectors, list, block, &table_.vector_pins, storage_.vector_pin_budget(), &searched_vectors_);
  if (!value) return value.status();
  return decode_vectors(list, block, *value);
}

template <typename View>
Result<View> ListReader::with_right_count(Result<View> read, const ListRef& list, uint32_t block,
                                          const char* what) const {
  const uint32_t expected = list.sizes.of_block(block, table_.layout.entries_per_block());
  if (read && read->count != expected)
    return corrupt("Block " + std::to_string(block) + " of list " + std::to_string(list.id) + " has " +
                   std::to_string(read->count) + " " + what + " instead of " + std::to_string(expected) + ".");
  return read;
}

Result<BlockView> ListReader::decode_codes(const ListRef& list, uint32_t block, std::string_view value) const {
  return with_right_count(decode_block(value, table_.layout), list, block, "entries");
}

Result<VectorBlockView> ListReader::decode_vectors(const ListRef& list, uint32_t block, std::string_view value) const {
  return with_right_count(decode_vector_block(value, table_.layout), list, block, "vectors");
}

Result<VectorBlockView> ListReader::vectors(const ListRef& list, uint32_t block) {
  PG_SEMANTIC_RETURN_IF_ERROR(read(Family::kVectors, list, block, &vectors_));
  return decode_vectors(list, block, view(vectors_));
}

}  // namespace pg_semantic::index
