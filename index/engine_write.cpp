// Inserting and deleting rows: one batch for row records, vectors, posting
// blocks, counters and the catalog, then the new list table.
#include <algorithm>
#include <cmath>

#include "index/engine_impl.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

class RowWriter {
 public:
  RowWriter(const Storage& storage, const Tuning& tuning, Generation* generation, std::shared_ptr<ListTable> draft)
      : storage_(storage),
        generation_(*generation),
        draft_(std::move(draft)),
        editor_(storage, generation->id(), draft_.get(), tuning, &generation->unsplittable) {}

  Status insert(const DecodedChange& change);
  Status remove(const std::vector<RowId>& rows);

 private:
  // What is stored about a row before the change.
  struct Before {
    bool exists = false;
    RowKind kind = RowKind::kNull;
    ListId list = 0;
  };

  Status accept_dimensions(const DecodedChange& change);
  Result<std::vector<Before>> read_before(const std::vector<std::string>& keys) const;
  Status forget(RowId row, const Before& before);
  Status add_vector(RowId row, std::span<const float> vector);
  Status commit();

  [[nodiscard]] bool building() const { return draft_->catalog.options.building; }
  void put(Family family, const std::string& key, const rocksdb::Slice& value) {
    const rocksdb::Status status = batch_.Put(storage_.family(family), key, value);
    if (status_.ok()) status_ = status;
  }
  void erase(Family family, const std::string& key) {
    const rocksdb::Status status = batch_.Delete(storage_.family(family), key);
    if (status_.ok()) status_ = status;
  }

  const Storage& storage_;
  Generation& generation_;
  std::shared_ptr<ListTable> draft_;
  ListEditor editor_;
  rocksdb::WriteBatch batch_;
  rocksdb::Status status_;
};

Status RowWriter::accept_dimensions(const DecodedChange& change) {
  uint32_t& dimensions = draft_->catalog.options.dimensions;
  if (change.dimensions == 0) return Status::ok();
  if (dimensions == 0) dimensions = change.dimensions;
  if (dimensions != change.dimensions)
    return {StatusCode::kInvalidArgument, "different vector dimensions",
            "The vector has " + std::to_string(change.dimensions) + " dimensions, the index " +
                std::to_string(dimensions) + "."};
  if (draft_->store) return Status::ok();
  draft_->layout = CodecLayout(draft_->catalog.options.codec, dimensions);
  draft_->store = std::make_shared<CentroidStore>(dimensions);
  return Status::ok();
}

Result<std::vector<RowWriter::Before>> RowWriter::read_before(const std::vector<std::string>& keys) const {
  std::vector<Before> before(keys.size());
  const auto visit_row = [&](size_t i, std::string_view value) -> Status {
    Result<RowRecord> record = decode_row(value);
    if (!record) return record.status();
    before[i].exists = true;
    before[i].kind = record->kind;
    return Status::ok();
  };
  PG_SEMANTIC_RETURN_IF_ERROR(storage_.multi_get(Family::kRows, keys, nullptr, visit_row));
  if (building()) return before;  // the build will look after the lists
  std::vector<std::string> located;
  std::vector<size_t> positions;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!before[i].exists || before[i].kind != RowKind::kVector) continue;
    located.push_back(keys[i]);
    positions.push_back(i);
  }
  size_t found = 0;
  const auto visit_location = [&](size_t i, std::string_view value) -> Status {
    Result<uint32_t> list = decode_u32(value, "row's location");
    if (!list) return list.status();
    before[positions[i]].list = *list;
    ++found;
    return Status::ok();
  };
  PG_SEMANTIC_RETURN_IF_ERROR(storage_.multi_get(Family::kLocations, located, nullptr, visit_location));
  if (found != located.size()) return corrupt("A row with a vector has no location.");
  return before;
}

// Takes the row out of lists and counters; its records stay to be overwritten or
// deleted.
Status RowWriter::forget(RowId row, const Before& before) {
  if (!before.exists) return Status::ok();
  --draft_->catalog.rows;
  if (before.kind != RowKind::kVector) return Status::ok();
  --draft_->catalog.vectors;
  return building() ? Status::ok() : editor_.remove(before.list, row);
}

Status RowWriter::add_vector(RowId row, std::span<const float> vector) {
  ++draft_->catalog.vectors;
  put(Family::kVectors, row_key(generation_.id(), row),
      rocksdb::Slice(reinterpret_cast<const char*>(vector.data()), vector.size_bytes()));
  if (building()) return Status::ok();
  std::vector<float> placed(vector.begin(), vector.end());
  if (draft_->catalog.options.metric == Metric::kCosine) normalise(placed.data(), placed.size());
  ListId list = 0;
  if (draft_->lists.empty()) {
    list = editor_.create(placed.data());
  } else {
    list = draft_->lists[nearest_lists(*draft_, placed.data(), 1, Order::kDistance).front()].id;
  }
  std::vector<std::byte> code(draft_->layout.code_size());
  draft_->layout.encode(placed, code.data());
  return editor_.append(list, row, code.data());
}

bool has_direction(std::span<const float> vector) {
  return std::any_of(vector.begin(), vector.end(), [](float value) { return value != 0; });
}

Status RowWriter::insert(const DecodedChange& change) {
  PG_SEMANTIC_RETURN_IF_ERROR(accept_dimensions(change));
  // The last of several entries for one row holds.
  std::unordered_map<RowId, size_t> last;
  for (size_t i = 0; i < change.rows.size(); ++i) last[change.rows[i].row] = i;
  std::vector<const DecodedRow*> rows;
  std::vector<std::string> keys;
  for (size_t i = 0; i < change.rows.size(); ++i) {
    if (last[change.rows[i].row] != i) continue;
    rows.push_back(&change.rows[i]);
    keys.push_back(row_key(generation_.id(), change.rows[i].row));
  }
  Result<std::vector<Before>> before = read_before(keys);
  if (!before) return before.status();
  for (size_t i = 0; i < rows.size(); ++i) {
    const DecodedRow& row = *rows[i];
    PG_SEMANTIC_RETURN_IF_ERROR(forget(row.row, (*before)[i]));
    const std::span<const float> vector = change.vector(row);
    RowKind kind = row.kind;
    if (kind == RowKind::kVector && draft_->catalog.options.metric == Metric::kCosine && !has_direction(vector))
      kind = RowKind::kNoDirection;
    ++draft_->catalog.rows;
    put(Family::kRows, keys[i], encode_row({kind, row.hash}));
    if (kind == RowKind::kVector) {
      PG_SEMANTIC_RETURN_IF_ERROR(add_vector(row.row, vector));
    } else if ((*before)[i].exists && (*before)[i].kind == RowKind::kVector) {
      erase(Family::kVectors, keys[i]);
      if (!building()) erase(Family::kLocations, keys[i]);
    }
    if (generation_.build_running) generation_.changed_in_build.insert(row.row);
  }
  return commit();
}

Status RowWriter::remove(const std::vector<RowId>& deleted) {
  std::vector<RowId> rows = deleted;
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  std::vector<std::string> keys;
  keys.reserve(rows.size());
  for (const RowId row : rows) keys.push_back(row_key(generation_.id(), row));
  Result<std::vector<Before>> before = read_before(keys);
  if (!before) return before.status();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!(*before)[i].exists) continue;
    PG_SEMANTIC_RETURN_IF_ERROR(forget(rows[i], (*before)[i]));
    erase(Family::kRows, keys[i]);
    if ((*before)[i].kind == RowKind::kVector) {
      erase(Family::kVectors, keys[i]);
      if (!building()) erase(Family::kLocations, keys[i]);
    }
    if (generation_.build_running) generation_.changed_in_build.insert(rows[i]);
  }
  return commit();
}

Status RowWriter::commit() {
  if (!building() && draft_->store) {
    PG_SEMANTIC_RETURN_IF_ERROR(editor_.balance());
    PG_SEMANTIC_RETURN_IF_ERROR(editor_.write(&batch_));
  }
  ++draft_->catalog.version;
  put(Family::kGenerations, generation_key(generation_.id()), encode_catalog(draft_->catalog));
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(status_));
  if (draft_->graph) editor_.extend_graph();
  Status written = storage_.write(&batch_);
  if (!written.is_ok()) {
    generation_.publish(nullptr);  // what is stored now is for the database to say
    return written;
  }
  generation_.publish(draft_);
  return Status::ok();
}

}  // namespace

Status write_rows(const Storage& storage, const Tuning& tuning, Generation* generation, const DecodedChange& change) {
  const std::lock_guard lock(generation->writer);
  if (generation->dropped)
    return {StatusCode::kNotFound, "semantic index has no data",
            "The generation " + std::to_string(generation->id()) + " was dropped."};
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage, *generation);
  if (!current) return current.status();
  RowWriter writer(storage, tuning, generation, std::make_shared<ListTable>(**current));
  return change.kind == ChangeKind::kInsertRows ? writer.insert(change) : writer.remove(change.deleted);
}

}  // namespace pg_semantic::index
