// See list_reader.h.
#include "index/list_reader.h"

#include <algorithm>

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
  const auto position = static_cast<size_t>(&list - table_.lists.data());
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
  constexpr size_t kLine = 64, kLines = 8;  // the processor goes on by itself
  if (list.sizes.blocks() == 0) return;
  const auto pinned = table_.code_pins.find(static_cast<size_t>(&list - table_.lists.data()), 0);
  if (!pinned) return;
  const rocksdb::Slice& value = pinned->value;
  __builtin_prefetch(value.data());
  const size_t rows = list.sizes.of_block(0, table_.layout.entries_per_block()) * sizeof(RowId);
  for (size_t at = rows; at < std::min(rows + kLines * kLine, value.size()); at += kLine)
    __builtin_prefetch(value.data() + at);
}

Result<VectorBlockView> ListReader::searched_vectors(const ListRef& list, uint32_t block) {
  Result<std::string_view> value =
      searched(Family::kVectors, list, block, &table_.vector_pins, storage_.vector_pin_budget(), &searched_vectors_);
  if (!value) return value.status();
  return decode_vectors(list, block, *value);
}

Result<BlockView> ListReader::decode_codes(const ListRef& list, uint32_t block, std::string_view value) const {
  Result<BlockView> result = decode_block(value, table_.layout);
  const uint32_t expected = list.sizes.of_block(block, table_.layout.entries_per_block());
  if (result && result->count != expected)
    return corrupt("Block " + std::to_string(block) + " of list " + std::to_string(list.id) + " has " +
                   std::to_string(result->count) + " entries instead of " + std::to_string(expected) + ".");
  return result;
}

Result<VectorBlockView> ListReader::vectors(const ListRef& list, uint32_t block) {
  PG_SEMANTIC_RETURN_IF_ERROR(read(Family::kVectors, list, block, &vectors_));
  return decode_vectors(list, block, view(vectors_));
}

Result<VectorBlockView> ListReader::decode_vectors(const ListRef& list, uint32_t block, std::string_view value) const {
  Result<VectorBlockView> result = decode_vector_block(value, table_.layout);
  const uint32_t expected = list.sizes.of_block(block, table_.layout.entries_per_block());
  if (result && result->count != expected)
    return corrupt("Block " + std::to_string(block) + " of list " + std::to_string(list.id) + " has " +
                   std::to_string(result->count) + " vectors instead of " + std::to_string(expected) + ".");
  return result;
}

}  // namespace pg_semantic::index
