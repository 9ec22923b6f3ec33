// Editing posting lists: loading, appending, removing, writing.
#include "index/list_editor.h"

#include <algorithm>

#include "index/bytes.h"

namespace pg_semantic::index {
namespace {

std::string name_of(ListId list, uint32_t block) {
  return "block " + std::to_string(block) + " of list " + std::to_string(list);
}

Status wrong_count(ListId list, uint32_t block, uint32_t found, uint32_t expected) {
  return corrupt("There are " + std::to_string(found) + " entries in " + name_of(list, block) + " instead of " +
                 std::to_string(expected) + ".");
}

}  // namespace

Result<ListEditor::WorkingList*> ListEditor::open(ListId list) {
  auto at = working_.find(list);
  if (at == working_.end()) {
    const ListRef* ref = draft_.find(list);
    if (ref == nullptr) return corrupt("There is no list " + std::to_string(list) + ".");
    at = working_.emplace(list, WorkingList{}).first;
    at->second.stored = ref->sizes;
  }
  if (at->second.removed) return corrupt("There is no list " + std::to_string(list) + ".");
  return &at->second;
}

Result<std::vector<RowId>*> ListEditor::rows_of_block(ListId list, WorkingList* working, uint32_t block) const {
  const auto at = working->rows.find(block);
  if (at != working->rows.end()) return &at->second;
  rocksdb::PinnableSlice value;
  Result<bool> found = storage_.get(Family::kCodes, block_key(generation_, list, block), nullptr, &value);
  if (!found) return found.status();
  if (!*found) return corrupt("There is no " + name_of(list, block) + ".");
  Result<BlockView> stored = decode_block(view(value), draft_.layout);
  if (!stored) return stored.status();
  const uint32_t expected = working->stored.of_block(block, draft_.layout.entries_per_block());
  if (stored->count != expected) return wrong_count(list, block, stored->count, expected);
  std::vector<RowId>& rows = working->rows[block];
  rows.resize(stored->count);
  std::memcpy(rows.data(), stored->rows, rows.size() * sizeof(RowId));
  return &rows;
}

Result<VectorBlockView> ListEditor::vectors_of_block(ListId list, const WorkingList& working, uint32_t block,
                                                     rocksdb::PinnableSlice* value) const {
  value->Reset();
  Result<bool> found = storage_.get(Family::kVectors, block_key(generation_, list, block), nullptr, value);
  if (!found) return found.status();
  if (!*found) return corrupt("There are no vectors for " + name_of(list, block) + ".");
  Result<VectorBlockView> vectors = decode_vector_block(view(*value), draft_.layout);
  const uint32_t expected = working.stored.of_block(block, draft_.layout.entries_per_block());
  if (vectors && vectors->count != expected) return wrong_count(list, block, vectors->count, expected);
  return vectors;
}

Status ListEditor::load_block(ListId list, WorkingList* working, uint32_t block, Entries* into,
                              std::vector<std::byte>* codes) const {
  const CodecLayout& layout = draft_.layout;
  rocksdb::PinnableSlice value, code_value;
  Result<std::vector<RowId>*> rows = rows_of_block(list, working, block);
  if (!rows) return rows.status();
  Result<VectorBlockView> vectors = vectors_of_block(list, *working, block, &value);
  if (!vectors) return vectors.status();
  const auto count = static_cast<uint32_t>((*rows)->size());
  std::vector<std::byte> buffer(layout.vector_size());
  BlockView coded;
  if (codes != nullptr) {
    Result<bool> found = storage_.get(Family::kCodes, block_key(generation_, list, block), nullptr, &code_value);
    if (!found) return found.status();
    if (!*found) return corrupt("There is no " + name_of(list, block) + ".");
    Result<BlockView> stored = decode_block(view(code_value), layout);
    if (!stored) return stored.status();
    if (stored->count != count) return wrong_count(list, block, stored->count, count);
    coded = *stored;
  }
  for (uint32_t i = 0; i < count; ++i) {
    const RowId row = (**rows)[i];
    if (row == 0) continue;
    into->add(row, vectors->vector(i, buffer.data()), layout.vector_size());
    if (codes == nullptr) continue;
    const std::byte* code = coded.codes + i * layout.code_size();
    codes->insert(codes->end(), code, code + layout.code_size());
  }
  return Status::ok();
}

Result<Entries> ListEditor::live_entries(ListId list, WorkingList* working) const {
  Entries all;
  if (!working->rewritten) {
    for (uint32_t block = 0; block < working->stored.blocks(); ++block)
      PG_SEMANTIC_RETURN_IF_ERROR(load_block(list, working, block, &all, nullptr));
  }
  all.rows.insert(all.rows.end(), working->appended.rows.begin(), working->appended.rows.end());
  all.vectors.insert(all.vectors.end(), working->appended.vectors.begin(), working->appended.vectors.end());
  return all;
}

Status ListEditor::rewrite(ListId list) {
  Result<WorkingList*> opened = open(list);
  if (!opened) return opened.status();
  WorkingList* working = *opened;
  if (working->rewritten || working->created) return Status::ok();
  Result<Entries> all = live_entries(list, working);
  if (!all) return all.status();
  working->appended = std::move(*all);
  working->rewritten = true;
  working->changed.clear();
  ListRef* ref = draft_.find(list);
  ref->entries = working->appended.size();
  ref->dead = 0;
  return Status::ok();
}

ListId ListEditor::create(const float* centroid) {
  const ListId list = draft_.catalog.next_list++;
  draft_.lists.push_back({.id = list, .slot = draft_.store->append(centroid)});
  working_[list].created = true;
  return list;
}

void ListEditor::append_to(WorkingList* working, ListId list, RowId row, const std::byte* vector) {
  working->appended.add(row, vector, draft_.layout.vector_size());
  ++draft_.find(list)->entries;
  placed_[row] = {RowKind::kVector, load<VectorHeader>(vector).hash, list};
}

Status ListEditor::append(ListId list, RowId row, const std::byte* vector) {
  Result<WorkingList*> working = open(list);
  if (!working) return working.status();
  append_to(*working, list, row, vector);
  return Status::ok();
}

Status ListEditor::remove(ListId list, RowId row) {
  Result<WorkingList*> opened = open(list);
  if (!opened) return opened.status();
  WorkingList* working = *opened;
  ListRef* ref = draft_.find(list);
  const auto appended = std::find(working->appended.rows.begin(), working->appended.rows.end(), row);
  if (appended != working->appended.rows.end()) {
    working->appended.erase(static_cast<size_t>(appended - working->appended.rows.begin()),
                            draft_.layout.vector_size());
    --ref->entries;
    placed_.erase(row);
    return Status::ok();
  }
  if (!working->rewritten) {
    for (uint32_t block = 0; block < working->stored.blocks(); ++block) {
      Result<std::vector<RowId>*> rows = rows_of_block(list, working, block);
      if (!rows) return rows.status();
      const auto at = std::find((*rows)->begin(), (*rows)->end(), row);
      if (at == (*rows)->end()) continue;
      *at = 0;
      ++ref->dead;
      working->changed[block] = true;
      placed_.erase(row);
      return Status::ok();
    }
  }
  return corrupt("Row " + std::to_string(row) + " is not in list " + std::to_string(list) + ".");
}

Status ListEditor::move_rows(ListId from, const std::unordered_map<RowId, ListId>& targets) {
  Result<WorkingList*> opened = open(from);
  if (!opened) return opened.status();
  WorkingList* working = *opened;
  const size_t vector_size = draft_.layout.vector_size();
  std::vector<std::byte> buffer(vector_size);
  for (size_t i = working->appended.rows.size(); i-- > 0;) {
    const auto move = targets.find(working->appended.rows[i]);
    if (move == targets.end()) continue;
    append_to(&working_[move->second], move->second, move->first, working->appended.vectors.data() + i * vector_size);
    working->appended.erase(i, vector_size);
    --draft_.find(from)->entries;
  }
  if (working->rewritten) return Status::ok();
  for (uint32_t block = 0; block < working->stored.blocks(); ++block) {
    Result<std::vector<RowId>*> rows = rows_of_block(from, working, block);
    if (!rows) return rows.status();
    rocksdb::PinnableSlice value;
    Result<VectorBlockView> vectors = VectorBlockView{};
    for (size_t i = 0; i < (*rows)->size(); ++i) {
      const auto move = targets.find((**rows)[i]);
      if ((**rows)[i] == 0 || move == targets.end()) continue;
      if (vectors->vectors == nullptr) vectors = vectors_of_block(from, *working, block, &value);
      if (!vectors) return vectors.status();
      append_to(&working_[move->second], move->second, move->first,
                vectors->vector(static_cast<uint32_t>(i), buffer.data()));
      (**rows)[i] = 0;
      ++draft_.find(from)->dead;
      working->changed[block] = true;
    }
  }
  return Status::ok();
}

void ListEditor::drop(ListId list, WorkingList* working) {
  const ListRef* ref = draft_.find(list);
  draft_.lists.erase(draft_.lists.begin() + (ref - draft_.lists.data()));
  working->rows.clear();
  working->changed.clear();
  working->appended = {};
  working->removed = true;
  unsplittable_.erase(list);
}

void ListEditor::extend_graph() const {
  std::vector<ListId> lists;
  std::vector<float> centroids;
  for (const auto& [list, working] : working_) {
    if (!working.created || working.removed) continue;
    const float* centroid = draft_.centroid(*draft_.find(list));
    lists.push_back(list);
    centroids.insert(centroids.end(), centroid, centroid + draft_.layout.dimensions());
  }
  if (!lists.empty()) draft_.graph->add(lists, centroids.data());
}

Status ListEditor::delete_blocks(ListId list, uint32_t first, uint32_t last, rocksdb::WriteBatch* batch) const {
  for (uint32_t block = first; block < last; ++block) {
    const std::string key = block_key(generation_, list, block);
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->Delete(storage_.family(Family::kCodes), key)));
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->Delete(storage_.family(Family::kVectors), key)));
  }
  return Status::ok();
}

// `entries` are those of the blocks from `first_block` on.
Status ListEditor::put_blocks(ListId list, uint32_t first_block, const BlockSizes& sizes, const Entries& entries,
                              const std::vector<std::byte>& codes, rocksdb::WriteBatch* batch) const {
  const CodecLayout& layout = draft_.layout;
  size_t at = 0;
  for (uint32_t block = first_block; block < sizes.blocks(); ++block) {
    const uint32_t count = sizes.of_block(block, layout.entries_per_block());
    const std::string key = block_key(generation_, list, block);
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->Put(
        storage_.family(Family::kCodes), key,
        encode_block(entries.rows.data() + at, codes.data() + at * layout.code_size(), count, layout.code_size()))));
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(
        batch->Put(storage_.family(Family::kVectors), key,
                   encode_vector_block(layout, entries.vectors.data() + at * layout.vector_size(), count))));
    at += count;
  }
  return Status::ok();
}

Status ListEditor::write_appended(ListId list, WorkingList* working, rocksdb::WriteBatch* batch) {
  if (working->appended.rows.empty()) return Status::ok();
  const CodecLayout& layout = draft_.layout;
  ListRef* ref = draft_.find(list);
  BlockSizes& sizes = ref->sizes;
  // Tails first, in their order, then what is new.
  std::vector<uint32_t> tails;
  uint64_t together = working->appended.size();
  while (sizes.takes_up_tail(together)) {
    const uint32_t block = sizes.blocks() - 1;
    together += sizes.of_block(block, layout.entries_per_block());
    tails.insert(tails.begin(), block);
    sizes.remove_tail();
  }
  Entries entries;
  std::vector<std::byte> codes;
  uint64_t stored = 0;
  for (const uint32_t block : tails) {
    stored += working->stored.of_block(block, layout.entries_per_block());
    working->changed.erase(block);
    PG_SEMANTIC_RETURN_IF_ERROR(load_block(list, working, block, &entries, &codes));
  }
  const auto buried = static_cast<uint32_t>(stored - entries.size());
  ref->entries -= buried;
  ref->dead -= buried;
  ListCoder coder(layout, draft_.centroid(*ref));
  std::vector<float> vector(layout.dimensions());
  codes.resize((entries.size() + working->appended.size()) * layout.code_size());
  for (uint32_t i = 0; i < working->appended.size(); ++i) {
    const std::byte* stored_vector = working->appended.vectors.data() + i * layout.vector_size();
    if (layout.code_size() > 0) {
      layout.decode_vector(stored_vector, vector.data());
      coder.encode(vector.data(), codes.data() + entries.size() * layout.code_size());
    }
    entries.add(working->appended.rows[i], stored_vector, layout.vector_size());
  }
  const uint32_t first_block = sizes.blocks();
  sizes.append(entries.size(), layout.entries_per_block());
  return put_blocks(list, first_block, sizes, entries, codes, batch);
}

Status ListEditor::write_list(ListId list, WorkingList* working, rocksdb::WriteBatch* batch) {
  if (working->created && working->removed) return Status::ok();
  const std::string key = list_key(generation_, list);
  const uint32_t stored_blocks = working->stored.blocks();
  if (working->removed) {
    PG_SEMANTIC_RETURN_IF_ERROR(delete_blocks(list, 0, stored_blocks, batch));
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->Delete(storage_.family(Family::kLists), key)));
    return from_rocksdb(batch->Delete(storage_.family(Family::kCounts), key));
  }
  ListRef* ref = draft_.find(list);
  if (working->rewritten) ref->sizes = {};
  PG_SEMANTIC_RETURN_IF_ERROR(write_appended(list, working, batch));
  PG_SEMANTIC_RETURN_IF_ERROR(delete_blocks(list, ref->sizes.blocks(), stored_blocks, batch));
  for (const auto& [block, changed] : working->changed) {
    rocksdb::PinnableSlice value;
    Result<bool> found = storage_.get(Family::kCodes, block_key(generation_, list, block), nullptr, &value);
    if (!found) return found.status();
    if (!*found) return corrupt("There is no " + name_of(list, block) + ".");
    Result<BlockView> stored = decode_block(view(value), draft_.layout);
    if (!stored) return stored.status();
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->Put(
        storage_.family(Family::kCodes), block_key(generation_, list, block),
        encode_block(working->rows[block].data(), stored->codes, stored->count, draft_.layout.code_size()))));
  }
  if (working->created) {
    const float* centroid = draft_.centroid(*ref);
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->Put(
        storage_.family(Family::kLists), key,
        rocksdb::Slice(reinterpret_cast<const char*>(centroid), draft_.layout.dimensions() * sizeof(float)))));
  }
  return from_rocksdb(batch->Put(storage_.family(Family::kCounts), key, encode_list({ref->sizes, ref->dead})));
}

Status ListEditor::write(rocksdb::WriteBatch* batch) {
  for (auto& [list, working] : working_) PG_SEMANTIC_RETURN_IF_ERROR(write_list(list, &working, batch));
  for (const auto& [row, record] : placed_)
    PG_SEMANTIC_RETURN_IF_ERROR(
        from_rocksdb(batch->Put(storage_.family(Family::kRows), row_key(generation_, row), encode_row(record))));
  return Status::ok();
}

}  // namespace pg_semantic::index
