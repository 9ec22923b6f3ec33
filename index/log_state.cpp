// See log_state.h.
#include "index/log_state.h"

#include <algorithm>

namespace pg_semantic::index {
namespace {

Result<LogPosition> position_of(const rocksdb::Iterator& at) {
  Result<LoggedChange> change = decode_logged(view(at.key()), encode_logged(LoggedKind::kInsert, {}));
  if (!change) return change.status();
  return change->position;
}

// One by one: there are few between two marks, and a range that is deleted again and again slows readers down.
Status delete_records(const Storage& storage, rocksdb::WriteBatch* batch, const std::string& first,
                      const std::string& end) {
  auto keys = storage.iterate(Family::kDefault, nullptr, Reading::kRange);
  for (keys->Seek(first); keys->Valid() && view(keys->key()) < end; keys->Next())
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->Delete(storage.family(Family::kDefault), keys->key())));
  return from_rocksdb(keys->status());
}

}  // namespace

Status LogState::load(const Storage& storage, bool is_new) {
  rocksdb::PinnableSlice value;
  Result<bool> found = storage.get(Family::kDefault, kMarkKey, nullptr, &value);
  if (!found) return found.status();
  is_stored_ = *found;
  mark_.complete = is_new;
  if (*found) {
    Result<Mark> mark = decode_mark(view(value));
    if (!mark) return mark.status();
    mark_ = *mark;
  }
  found_mark_ = mark_;
  found_position_ = mark_.position;
  auto keys = storage.iterate(Family::kDefault, nullptr, Reading::kRange);
  keys->Seek(logged_key(0, 0));
  if (keys->Valid() && is_logged_key(view(keys->key()))) {
    Result<LogPosition> least = position_of(*keys);
    if (!least) return least.status();
    keys->SeekForPrev(logged_end_key());
    if (!keys->Valid()) return from_rocksdb(keys->status());
    Result<LogPosition> greatest = position_of(*keys);
    if (!greatest) return greatest.status();
    least_ = *least;
    greatest_ = *greatest;
    found_position_ = std::max(found_position_, *greatest);
  }
  return from_rocksdb(keys->status());
}

Result<LogState::Changing> LogState::begin_changes(const Storage& storage, std::span<LogPosition> positions) {
  std::shared_lock changing(changing_);
  const std::lock_guard lock(mutex_);
  if (mark_.complete) {
    Mark next = mark_;
    next.complete = false;
    next.closing = 0;
    rocksdb::WriteBatch batch;
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch.Put(storage.family(Family::kDefault), kMarkKey, encode_mark(next))));
    PG_SEMANTIC_RETURN_IF_ERROR(storage.write(&batch));
    mark_ = next;
    is_stored_ = true;
  }
  for (LogPosition& position : positions) {
    if (position <= mark_.position) {
      position = 0;
    } else {
      least_ = std::min(least_, position);
      greatest_ = std::max(greatest_, position);
    }
  }
  return changing;
}

Status LogState::store(const Storage& storage, const Mark& mark, bool ends_recovery) {
  std::unique_lock quiet(changing_, std::defer_lock);
  if (mark.complete) quiet.lock();
  const std::lock_guard lock(mutex_);
  const bool removes = least_ <= greatest_ && (ends_recovery || least_ <= mark.position);
  if (!removes && is_stored_ && mark == mark_) return Status::ok();
  const bool removes_all = ends_recovery || mark.position >= greatest_;
  rocksdb::ColumnFamilyHandle* family = storage.family(Family::kDefault);
  rocksdb::WriteBatch batch;
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch.Put(family, kMarkKey, encode_mark(mark))));
  if (removes) {
    const std::string end = removes_all ? logged_end_key() : logged_key(mark.position + 1, 0);
    PG_SEMANTIC_RETURN_IF_ERROR(delete_records(storage, &batch, logged_key(least_, 0), end));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(storage.write(&batch));
  mark_ = mark;
  is_stored_ = true;
  if (removes && removes_all) {
    least_ = UINT64_MAX;
    greatest_ = 0;
  } else if (removes) {
    least_ = mark.position + 1;
  }
  return Status::ok();
}

Result<std::vector<LoggedChange>> logged_changes_after(const Storage& storage, LogPosition position) {
  std::vector<LoggedChange> changes;
  if (position == UINT64_MAX) return changes;
  auto keys = storage.iterate(Family::kDefault, nullptr, Reading::kRange);
  for (keys->Seek(logged_key(position + 1, 0)); keys->Valid() && is_logged_key(view(keys->key())); keys->Next()) {
    Result<LoggedChange> change = decode_logged(view(keys->key()), view(keys->value()));
    if (!change) return change.status();
    changes.push_back(std::move(*change));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(keys->status()));
  std::reverse(changes.begin(), changes.end());
  return changes;
}

Status note_change(const Storage& storage, rocksdb::WriteBatch* batch, LogPosition position, GenerationId generation,
                   LoggedKind kind, std::span<const RowId> rows) {
  if (position == 0) return Status::ok();
  return from_rocksdb(
      batch->Put(storage.family(Family::kDefault), logged_key(position, generation), encode_logged(kind, rows)));
}

}  // namespace pg_semantic::index
