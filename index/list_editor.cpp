// Editing posting lists: loading, appending, removing, writing.
#include "index/list_editor.h"

#include <algorithm>

namespace pg_semantic::index {

Status ListEditor::load_block(ListId list, uint32_t block, uint32_t entries, WorkingList* into) const {
  rocksdb::PinnableSlice value;
  Result<bool> found = storage_.get(Family::kBlocks, block_key(generation_, list, block), nullptr, &value);
  if (!found) return found.status();
  const auto name = [&] { return "block " + std::to_string(block) + " of list " + std::to_string(list); };
  if (!*found) return corrupt("There is no " + name() + ".");
  Result<BlockView> view_of_block = decode_block(view(value), draft_.layout);
  if (!view_of_block) return view_of_block.status();
  if (view_of_block->count != entries)
    return corrupt("There are " + std::to_string(view_of_block->count) + " entries in " + name() + " instead of " +
                   std::to_string(entries) + ".");
  const size_t before = into->rows.size();
  into->rows.resize(before + entries);
  std::memcpy(into->rows.data() + before, view_of_block->rows, entries * sizeof(RowId));
  into->codes.insert(into->codes.end(), view_of_block->codes,
                     view_of_block->codes + entries * draft_.layout.code_size());
  return Status::ok();
}

Status ListEditor::load_tail(ListId list, uint32_t entries, WorkingList* working) const {
  const uint32_t block_entries = draft_.layout.entries_per_block();
  working->stored = entries;
  working->first = entries / block_entries * block_entries;
  if (working->first == entries) return Status::ok();
  return load_block(list, entries / block_entries, entries - working->first, working);
}

Status ListEditor::load_head(ListId list, WorkingList* working) const {
  const uint32_t block_entries = draft_.layout.entries_per_block();
  WorkingList head;
  for (uint32_t block = 0; block < working->first / block_entries; ++block)
    PG_SEMANTIC_RETURN_IF_ERROR(load_block(list, block, block_entries, &head));
  working->rows.insert(working->rows.begin(), head.rows.begin(), head.rows.end());
  working->codes.insert(working->codes.begin(), head.codes.begin(), head.codes.end());
  working->first = 0;
  return Status::ok();
}

Result<ListEditor::WorkingList*> ListEditor::open(ListId list, Extent extent) {
  auto at = working_.find(list);
  if (at == working_.end()) {
    const ListRef* ref = draft_.find(list);
    if (ref == nullptr) return corrupt("There is no list " + std::to_string(list) + ".");
    WorkingList fresh;
    PG_SEMANTIC_RETURN_IF_ERROR(load_tail(list, ref->entries, &fresh));
    at = working_.emplace(list, std::move(fresh)).first;
  }
  WorkingList* working = &at->second;
  if (working->removed) return corrupt("There is no list " + std::to_string(list) + ".");
  if (extent == Extent::kWhole && working->first > 0) PG_SEMANTIC_RETURN_IF_ERROR(load_head(list, working));
  return working;
}

ListId ListEditor::create(const float* centroid) {
  const ListId list = draft_.catalog.next_list++;
  draft_.lists.push_back({list, 0, draft_.store->append(centroid)});
  working_[list].created = true;
  return list;
}

void ListEditor::append_to(WorkingList* working, ListId list, RowId row, const std::byte* code) {
  working->dirty.insert(working->entries() / draft_.layout.entries_per_block());
  working->rows.push_back(row);
  working->codes.insert(working->codes.end(), code, code + draft_.layout.code_size());
  draft_.find(list)->entries = working->entries();
  moved_[row] = list;
}

Status ListEditor::append(ListId list, RowId row, const std::byte* code) {
  Result<WorkingList*> working = open(list, Extent::kTail);
  if (!working) return working.status();
  append_to(*working, list, row, code);
  return Status::ok();
}

// The last entry takes the place of the erased one: lists are not ordered.
void ListEditor::erase(WorkingList* working, ListId list, uint32_t entry) {
  const size_t code_size = draft_.layout.code_size();
  const uint32_t last = working->entries() - 1;
  if (entry != last) {
    working->rows[entry - working->first] = working->rows.back();
    std::memcpy(working->codes.data() + (entry - working->first) * code_size,
                working->codes.data() + (last - working->first) * code_size, code_size);
    working->dirty.insert(entry / draft_.layout.entries_per_block());
  }
  working->rows.pop_back();
  working->codes.resize(working->codes.size() - code_size);
  working->dirty.insert(last / draft_.layout.entries_per_block());
  working->shrunk = true;
  draft_.find(list)->entries = working->entries();
}

Status ListEditor::remove(ListId list, RowId row) {
  Result<WorkingList*> working = open(list, Extent::kWhole);
  if (!working) return working.status();
  const std::vector<RowId>& rows = (*working)->rows;
  const auto at = std::find(rows.begin(), rows.end(), row);
  if (at == rows.end()) return corrupt("Row " + std::to_string(row) + " is not in list " + std::to_string(list) + ".");
  erase(*working, list, static_cast<uint32_t>(at - rows.begin()));
  moved_.erase(row);
  return Status::ok();
}

void ListEditor::drop(ListId list, WorkingList* working) {
  const ListRef* ref = draft_.find(list);
  draft_.lists.erase(draft_.lists.begin() + (ref - draft_.lists.data()));
  working->rows.clear();
  working->codes.clear();
  working->first = 0;
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

Status ListEditor::write(rocksdb::WriteBatch* batch) const {
  const CodecLayout& layout = draft_.layout;
  const uint32_t block_entries = layout.entries_per_block();
  rocksdb::Status status;
  const auto also = [&status](const rocksdb::Status& next) {
    if (status.ok()) status = next;
  };
  for (const auto& [list, working] : working_) {
    if (working.created && working.removed) continue;
    const uint32_t entries = working.entries();
    for (const uint32_t block : working.dirty) {
      const uint32_t start = block * block_entries;
      if (start >= entries) continue;
      const uint32_t count = std::min(block_entries, entries - start);
      const size_t at = start - working.first;
      also(batch->Put(storage_.family(Family::kBlocks), block_key(generation_, list, block),
                      encode_block(working.rows.data() + at, working.codes.data() + at * layout.code_size(), count,
                                   layout.code_size())));
    }
    for (uint32_t block = layout.blocks(entries); block < layout.blocks(working.stored); ++block)
      also(batch->Delete(storage_.family(Family::kBlocks), block_key(generation_, list, block)));
    const std::string key = list_key(generation_, list);
    if (working.removed) {
      also(batch->Delete(storage_.family(Family::kLists), key));
      also(batch->Delete(storage_.family(Family::kCounts), key));
      continue;
    }
    if (working.created) {
      const float* centroid = draft_.centroid(*draft_.find(list));
      also(batch->Put(storage_.family(Family::kLists), key,
                      rocksdb::Slice(reinterpret_cast<const char*>(centroid), layout.dimensions() * sizeof(float))));
    }
    if (working.created || entries != working.stored)
      also(batch->Put(storage_.family(Family::kCounts), key, encode_u32(entries)));
  }
  for (const auto& [row, list] : moved_)
    also(batch->Put(storage_.family(Family::kLocations), row_key(generation_, row), encode_u32(list)));
  return from_rocksdb(status);
}

}  // namespace pg_semantic::index
