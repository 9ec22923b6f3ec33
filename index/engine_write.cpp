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

LoggedKind kind_of(ChangeKind kind) { return static_cast<LoggedKind>(kind); }

class RowWriter {
 public:
  RowWriter(const Storage& storage, const Tuning& tuning, Generation* generation, std::shared_ptr<ListTable> draft)
      : storage_(storage),
        generation_(*generation),
        draft_(std::move(draft)),
        editor_(storage, generation->id(), draft_.get(), tuning, &generation->unsplittable) {}

  // Once, one of the two.
  Status insert(std::span<const DecodedChange> changes);
  Status remove(const DecodedChange& change);

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
  Status note(const DecodedChange& change, bool replaces, std::span<const RowId> rows);
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

Status RowWriter::insert(std::span<const DecodedChange> changes) {
  struct Entry {
    const DecodedChange* change;
    const DecodedRow* row;
  };
  std::vector<Entry> entries;
  std::unordered_map<RowId, size_t> last;
  for (const DecodedChange& change : changes) {
    PG_SEMANTIC_RETURN_IF_ERROR(accept_dimensions(change));
    for (const DecodedRow& row : change.rows) {
      last[row.row] = entries.size();
      entries.push_back({&change, &row});
    }
  }
  // The last of several entries for one row holds.
  size_t kept = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (last[entries[i].row->row] == i) entries[kept++] = entries[i];
  }
  entries.resize(kept);
  std::vector<std::string> keys;
  keys.reserve(kept);
  for (const Entry& entry : entries) keys.push_back(row_key(generation_.id(), entry.row->row));
  Result<std::vector<Before>> before = read_before(keys);
  if (!before) return before.status();
  for (size_t i = 0; i < kept; ++i) {
    const DecodedRow& row = *entries[i].row;
    PG_SEMANTIC_RETURN_IF_ERROR(forget(row.row, (*before)[i]));
    const std::span<const float> vector = entries[i].change->vector(row);
    const RowKind kind = kind_of(row.kind, draft_->catalog.options.metric, vector);
    ++draft_->catalog.rows;
    if (kind == RowKind::kVector) {
      PG_SEMANTIC_RETURN_IF_ERROR(add_vector(row, vector));  // its record comes with the list
    } else {
      put(Family::kRows, keys[i], encode_row({kind, row.hash, 0}));
    }
  }
  for (size_t i = 0; i < kept;) {
    const DecodedChange& change = *entries[i].change;
    std::vector<RowId> rows;
    bool replaces = false;
    for (; i < kept && entries[i].change == &change; ++i) {
      rows.push_back(entries[i].row->row);
      replaces |= (*before)[i].exists;
    }
    PG_SEMANTIC_RETURN_IF_ERROR(note(change, replaces, rows));
  }
  return commit();
}

Status RowWriter::remove(const DecodedChange& change) {
  std::vector<RowId> rows = change.deleted;
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
  PG_SEMANTIC_RETURN_IF_ERROR(note(change, false, rows));
  return commit();
}

// What is needed to undo the change.  An insertion that is applied a second time replaces its own rows: what was noted
// at first holds.
Status RowWriter::note(const DecodedChange& change, bool replaces, std::span<const RowId> rows) {
  LoggedKind kind = kind_of(change.kind);
  if (change.position != 0 && replaces) {
    kind = LoggedKind::kReplace;
    rocksdb::PinnableSlice value;
    Result<bool> found = storage_.get(Family::kDefault, logged_key(change.position, generation_.id()), nullptr, &value);
    if (!found) return found.status();
    if (*found) return Status::ok();
  }
  return note_change(storage_, &batch_, change.position, generation_.id(), kind, rows);
}

Status RowWriter::commit() {
  if (draft_->store) PG_SEMANTIC_RETURN_IF_ERROR(editor_.bound_lists());
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(status_));
  return commit_lists(storage_, &generation_, draft_, &editor_, &batch_);
}

// A generation that is being built only collects its changes.
Status collect_change(const Storage& storage, Generation* generation, const DecodedChange& change) {
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage, *generation);
  if (!current) return current.status();
  const ListTable& table = **current;
  const uint32_t dimensions = table.catalog.options.dimensions;
  PG_SEMANTIC_RETURN_IF_ERROR(check_dimensions(change, dimensions));
  PG_SEMANTIC_RETURN_IF_ERROR(open_spool(storage, generation));
  rocksdb::WriteBatch batch;
  std::vector<RowId> rows = change.deleted;
  for (const DecodedRow& row : change.rows) rows.push_back(row.row);
  // Which rows it replaces is not known before they are built.
  const LoggedKind kind = change.kind == ChangeKind::kInsertRows ? LoggedKind::kReplace : kind_of(change.kind);
  PG_SEMANTIC_RETURN_IF_ERROR(note_change(storage, &batch, change.position, generation->id(), kind, rows));
  if (dimensions == 0 && change.dimensions != 0) {
    Catalog catalog = table.catalog;
    catalog.options.dimensions = change.dimensions;
    PG_SEMANTIC_RETURN_IF_ERROR(write_catalog(storage, generation, table, catalog, &batch));
  } else if (batch.Count() > 0) {
    PG_SEMANTIC_RETURN_IF_ERROR(storage.write(&batch));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(generation->spool->append(change.bytes, change.position));
  generation->spool_unsynced = true;
  return Status::ok();
}

Status write_rows_now(const Storage& storage, const Tuning& tuning, Generation* generation,
                      std::span<const DecodedChange> changes) {
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage, *generation);
  if (!current) return current.status();
  if ((*current)->catalog.options.building) {
    for (const DecodedChange& change : changes)
      PG_SEMANTIC_RETURN_IF_ERROR(collect_change(storage, generation, change));
    return Status::ok();
  }
  RowWriter writer(storage, tuning, generation, std::make_shared<ListTable>(**current));
  return changes.front().kind == ChangeKind::kInsertRows ? writer.insert(changes) : writer.remove(changes.front());
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

Status write_catalog(const Storage& storage, Generation* generation, const ListTable& table, const Catalog& catalog,
                     rocksdb::WriteBatch* batch) {
  auto next = std::make_shared<ListTable>(table);
  next->catalog = catalog;
  next->catalog.version = table.catalog.version + 1;
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->Put(
      storage.family(Family::kGenerations), generation_key(generation->id()), encode_catalog(next->catalog))));
  Status written = storage.write(batch);
  if (!written.is_ok()) {
    generation->publish(nullptr);
    return written;
  }
  generation->publish(std::move(next));
  return Status::ok();
}

Status open_spool(const Storage& storage, Generation* generation) {
  if (generation->spool) return Status::ok();
  Result<std::unique_ptr<Spool>> spool = Spool::open(storage.directory(), generation->id());
  if (!spool) return spool.status();
  generation->spool = std::move(*spool);
  return Status::ok();
}

void remove_spool(const Storage& storage, Generation* generation) {
  const std::lock_guard lock(*storage.spools_mutex());
  generation->spool.reset();
  Spool::remove(storage.directory(), generation->id());
}

Status write_behind(const Storage& storage, Generation* generation, bool behind) {
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage, *generation);
  if (!current) return current.status();
  Catalog catalog = (*current)->catalog;
  if (catalog.behind == behind) return Status::ok();
  catalog.behind = behind;
  rocksdb::WriteBatch batch;
  return write_catalog(storage, generation, **current, catalog, &batch);
}

Status catch_up(const Storage& storage, const Tuning& tuning, Generation* generation) {
  if (!generation->catch_up_from) return Status::ok();
  PG_SEMANTIC_RETURN_IF_ERROR(open_spool(storage, generation));
  Result<std::unique_ptr<Spool::Mapping>> mapping = generation->spool->map();
  if (!mapping) return mapping.status();
  Status applied = (*mapping)->for_each(*generation->catch_up_from, [&](std::span<const std::byte> bytes) -> Status {
    Result<DecodedChange> change = decode_change(bytes);
    if (!change) return change.status();
    return write_rows_now(storage, tuning, generation, {&*change, 1});
  });
  // What can never be applied must not keep the generation from changing for ever.
  if (applied.code() == StatusCode::kCorrupt || applied.code() == StatusCode::kInvalidArgument)
    applied = write_behind(storage, generation, true);
  PG_SEMANTIC_RETURN_IF_ERROR(applied);
  rocksdb::WriteBatch batch;
  PG_SEMANTIC_RETURN_IF_ERROR(
      from_rocksdb(batch.Delete(storage.family(Family::kDefault), catch_up_key(generation->id()))));
  PG_SEMANTIC_RETURN_IF_ERROR(storage.write(&batch));
  PG_SEMANTIC_RETURN_IF_ERROR(storage.sync());
  generation->catch_up_from.reset();
  remove_spool(storage, generation);
  return Status::ok();
}

Status write_rows(const Storage& storage, const Tuning& tuning, Generation* generation,
                  std::span<const DecodedChange> changes) {
  ++generation->writers_waiting;
  const std::lock_guard lock(generation->writer);
  --generation->writers_waiting;
  if (generation->dropped)
    return {StatusCode::kNotFound, "semantic index has no data",
            "The generation " + std::to_string(generation->id()) + " was dropped."};
  PG_SEMANTIC_RETURN_IF_ERROR(catch_up(storage, tuning, generation));
  PG_SEMANTIC_RETURN_IF_ERROR(write_rows_now(storage, tuning, generation, changes));
  uint64_t rows = 0;
  for (const DecodedChange& change : changes) rows += change.rows.size() + change.deleted.size();
  earn_tidying(generation, rows);
  return Status::ok();
}

}  // namespace pg_semantic::index
