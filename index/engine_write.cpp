// Inserting and deleting rows: one batch for row records, posting blocks, counters
// and the catalog, then the new list table.
#include <algorithm>
#include <cmath>

#include "index/engine_impl.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

Status check_dimensions(const DecodedChange& change, uint32_t dimensions) {
  if (change.dimensions == 0 || dimensions == 0 || change.dimensions == dimensions) return Status::ok();
  return {StatusCode::kInvalidArgument, "different vector dimensions",
          "The vector has " + std::to_string(change.dimensions) + " dimensions, the index " +
              std::to_string(dimensions) + "."};
}

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
  Status add_vector(const DecodedRow& row, std::span<const float> vector);
  Status commit();

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
  PG_SEMANTIC_RETURN_IF_ERROR(check_dimensions(change, dimensions));
  if (change.dimensions == 0 || draft_->store) return Status::ok();
  dimensions = change.dimensions;
  draft_->layout = CodecLayout(draft_->catalog.options.codec, draft_->catalog.options.metric, dimensions);
  draft_->store = std::make_shared<CentroidStore>(dimensions);
  return Status::ok();
}

Result<std::vector<RowWriter::Before>> RowWriter::read_before(const std::vector<std::string>& keys) const {
  std::vector<Before> before(keys.size());
  const auto visit = [&](size_t i, std::string_view value) -> Status {
    Result<RowRecord> record = decode_row(value);
    if (!record) return record.status();
    before[i] = {true, record->kind, record->list};
    return Status::ok();
  };
  PG_SEMANTIC_RETURN_IF_ERROR(storage_.multi_get(Family::kRows, keys, nullptr, visit));
  return before;
}

// Takes the row out of lists and counters; its record stays to be overwritten or
// deleted.
Status RowWriter::forget(RowId row, const Before& before) {
  if (!before.exists) return Status::ok();
  --draft_->catalog.rows;
  if (before.kind != RowKind::kVector) return Status::ok();
  --draft_->catalog.vectors;
  return editor_.remove(before.list, row);
}

Status RowWriter::add_vector(const DecodedRow& row, std::span<const float> vector) {
  ++draft_->catalog.vectors;
  std::vector<std::byte> stored(draft_->layout.vector_size());
  draft_->layout.encode_vector(vector, row.hash, stored.data());
  std::vector<float> placed(vector.size());
  draft_->layout.decode_vector(stored.data(), placed.data());
  const ListId list =
      draft_->lists.empty()
          ? editor_.create(placed.data())
          : draft_->lists[nearest_lists(*draft_, placed.data(), 1, Order::kDistance).front().position].id;
  return editor_.append(list, row.row, stored.data());
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
    const RowKind kind = kind_of(row.kind, draft_->catalog.options.metric, vector);
    ++draft_->catalog.rows;
    if (kind == RowKind::kVector) {
      PG_SEMANTIC_RETURN_IF_ERROR(add_vector(row, vector));  // its record comes with the list
    } else {
      put(Family::kRows, keys[i], encode_row({kind, row.hash, 0}));
    }
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
  }
  return commit();
}

Status RowWriter::commit() {
  if (draft_->store) PG_SEMANTIC_RETURN_IF_ERROR(editor_.bound_lists());
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(status_));
  return commit_lists(storage_, &generation_, draft_, &editor_, &batch_);
}

// A generation that is being built only collects its changes.
Status collect_change(const Storage& storage, Generation* generation, const ListTable& table,
                      const DecodedChange& change, std::span<const std::byte> bytes) {
  const uint32_t dimensions = table.catalog.options.dimensions;
  PG_SEMANTIC_RETURN_IF_ERROR(check_dimensions(change, dimensions));
  if (!generation->spool) {
    Result<std::unique_ptr<Spool>> spool = Spool::open(storage.directory(), generation->id());
    if (!spool) return spool.status();
    generation->spool = std::move(*spool);
  }
  if (dimensions == 0 && change.dimensions != 0) {
    auto next = std::make_shared<ListTable>(table);
    next->catalog.options.dimensions = change.dimensions;
    ++next->catalog.version;
    rocksdb::WriteBatch batch;
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch.Put(
        storage.family(Family::kGenerations), generation_key(generation->id()), encode_catalog(next->catalog))));
    PG_SEMANTIC_RETURN_IF_ERROR(storage.write(&batch));
    generation->publish(std::move(next));
  }
  return generation->spool->append(bytes);
}

}  // namespace

RowKind kind_of(RowKind kind, Metric metric, std::span<const float> vector) {
  if (kind != RowKind::kVector || metric != Metric::kCosine) return kind;
  const bool has_direction = std::any_of(vector.begin(), vector.end(), [](float value) { return value != 0; });
  return has_direction ? kind : RowKind::kNoDirection;
}

Status commit_lists(const Storage& storage, Generation* generation, const std::shared_ptr<ListTable>& draft,
                    ListEditor* editor, rocksdb::WriteBatch* batch) {
  if (draft->store) PG_SEMANTIC_RETURN_IF_ERROR(editor->write(batch));
  ++draft->catalog.version;
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->Put(
      storage.family(Family::kGenerations), generation_key(generation->id()), encode_catalog(draft->catalog))));
  if (draft->graph) editor->extend_graph();
  Status written = storage.write(batch);
  if (!written.is_ok()) {
    generation->publish(nullptr);  // what is stored now is for the database to say
    return written;
  }
  generation->publish(draft);
  return Status::ok();
}

Status write_rows_locked(const Storage& storage, const Tuning& tuning, Generation* generation,
                         const DecodedChange& change, std::span<const std::byte> bytes) {
  if (generation->dropped)
    return {StatusCode::kNotFound, "semantic index has no data",
            "The generation " + std::to_string(generation->id()) + " was dropped."};
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage, *generation);
  if (!current) return current.status();
  if ((*current)->catalog.options.building) return collect_change(storage, generation, **current, change, bytes);
  RowWriter writer(storage, tuning, generation, std::make_shared<ListTable>(**current));
  return change.kind == ChangeKind::kInsertRows ? writer.insert(change) : writer.remove(change.deleted);
}

Status write_rows(const Storage& storage, const Tuning& tuning, Generation* generation, const DecodedChange& change,
                  std::span<const std::byte> bytes) {
  ++generation->writers_waiting;
  const std::lock_guard lock(generation->writer);
  --generation->writers_waiting;
  PG_SEMANTIC_RETURN_IF_ERROR(write_rows_locked(storage, tuning, generation, change, bytes));
  earn_tidying(generation, change.rows.size() + change.deleted.size());
  return Status::ok();
}

}  // namespace pg_semantic::index
