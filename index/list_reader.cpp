// See list_reader.h.
#include "index/list_reader.h"

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

Result<BlockView> ListReader::searched_codes(const ListRef& list, uint32_t block) {
  const auto position = static_cast<size_t>(&list - table_.lists.data());
  searched_ = table_.code_pins.find(position, block);
  if (!searched_) {
    rocksdb::PinnableSlice value;
    PG_SEMANTIC_RETURN_IF_ERROR(read(Family::kCodes, list, block, &value));
    searched_ = table_.code_pins.pin(position, block, std::move(value), storage_.pin_budget());
  }
  return decode_codes(list, block, view(searched_->value));
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
  Result<VectorBlockView> result = decode_vector_block(view(vectors_), table_.layout);
  const uint32_t expected = list.sizes.of_block(block, table_.layout.entries_per_block());
  if (result && result->count != expected)
    return corrupt("Block " + std::to_string(block) + " of list " + std::to_string(list.id) + " has " +
                   std::to_string(result->count) + " vectors instead of " + std::to_string(expected) + ".");
  return result;
}

}  // namespace pg_semantic::index
