// What ties the engine to PostgreSQL's log: marks, the end of a recovery, builds that
// the log asks for, and copies of the directory.
#include <algorithm>
#include <filesystem>

#include "index/engine_impl.h"

namespace pg_semantic::index {
namespace {

// A generation that a change in the log is about may be gone.
Status unless_gone(Status status) {
  if (status.code() == StatusCode::kNotFound) return Status::ok();
  return status;
}

}  // namespace

// What the last process left of builds: those to be finished go on, what one of them did not catch up with is caught
// up with, and spools that nobody needs any more go away.
Status EngineImpl::take_up_builds() {
  std::vector<GenerationId> spooling;
  for (const std::shared_ptr<Generation>& generation : all_generations()) {
    const GenerationId id = generation->id();
    rocksdb::PinnableSlice value;
    Result<bool> found = storage_->get(Family::kGenerations, generation_key(id), nullptr, &value);
    if (!found) return found.status();
    Result<Catalog> catalog = decode_catalog(view(value));
    if (!catalog || catalog->options.building) spooling.push_back(id);
    if (!catalog) continue;
    if (catalog->options.building) PG_SEMANTIC_RETURN_IF_ERROR(take_up_spool(generation.get()));
    if (catalog->finishing) schedule_finish(generation);
    value.Reset();
    found = storage_->get(Family::kDefault, catch_up_key(id), nullptr, &value);
    if (!found) return found.status();
    if (!*found) continue;
    Result<uint64_t> from = decode_catch_up(view(value));
    if (!from) return from.status();
    const std::lock_guard lock(generation->writer);
    generation->catch_up_from = *from;
    const Status caught_up = catch_up(*storage_, tuning_, generation.get());
    if (caught_up.code() != StatusCode::kCorrupt) PG_SEMANTIC_RETURN_IF_ERROR(caught_up);
    if (!caught_up.is_ok()) spooling.push_back(id);  // only this one is unusable
  }
  Spool::remove_orphans(options_.path, [&spooling](GenerationId id) {
    return std::find(spooling.begin(), spooling.end(), id) != spooling.end();
  });
  return Status::ok();
}

// RocksDB's records of what was collected may have been lost with the machine's power, though the spool was not.
Status EngineImpl::take_up_spool(Generation* generation) {
  const std::lock_guard lock(generation->writer);
  if (!std::filesystem::exists(Spool::path(options_.path, generation->id()))) return Status::ok();
  PG_SEMANTIC_RETURN_IF_ERROR(open_spool(*storage_, generation));
  return generation->spool->cut_off_unknown([&](LogPosition position) -> Result<bool> {
    if (position <= found_mark().position) return true;
    rocksdb::PinnableSlice value;
    return storage_->get(Family::kDefault, logged_key(position, generation->id()), nullptr, &value);
  });
}

// Spools that grew, before a mark that may cover what was added.
Status EngineImpl::sync_spools() {
  const std::shared_lock lock(*storage_->spools_mutex());
  for (const std::shared_ptr<Generation>& generation : all_generations()) {
    if (!generation->spool_unsynced.exchange(false)) continue;
    Status synced = storage_->sync_file(Spool::path(options_.path, generation->id()));
    if (synced.is_ok()) continue;
    generation->spool_unsynced = true;
    return synced;
  }
  return Status::ok();
}

Status EngineImpl::set_mark(const Mark& mark, bool sync) {
  return guarded([&]() -> Status {
    const std::lock_guard lock(marking_);
    PG_SEMANTIC_RETURN_IF_ERROR(sync_spools());
    PG_SEMANTIC_RETURN_IF_ERROR(log_.store(*storage_, mark, false));
    return sync ? storage_->sync() : Status::ok();
  });
}

Status EngineImpl::end_recovery(LogPosition end) {
  return guarded([&]() -> Status {
    const std::lock_guard lock(marking_);
    Result<std::vector<LoggedChange>> beyond = logged_changes_after(*storage_, end);
    if (!beyond) return beyond.status();
    std::set<GenerationId> collecting;
    PG_SEMANTIC_RETURN_IF_ERROR(take_back_collected(end, &collecting));
    for (const LoggedChange& change : *beyond) {
      if (change.kind != LoggedKind::kCreate && collecting.contains(change.generation)) continue;
      PG_SEMANTIC_RETURN_IF_ERROR(undo(change));
    }
    if (found_mark().position > end) PG_SEMANTIC_RETURN_IF_ERROR(declare_behind());
    PG_SEMANTIC_RETURN_IF_ERROR(sync_spools());
    PG_SEMANTIC_RETURN_IF_ERROR(log_.store(*storage_, {end, end, true}, true));
    return storage_->sync();
  });
}

// What lies in spools, which then is not to be undone otherwise.
Status EngineImpl::take_back_collected(LogPosition end, std::set<GenerationId>* collecting) {
  for (const std::shared_ptr<Generation>& generation : all_generations()) {
    const std::lock_guard lock(generation->writer);
    Result<std::shared_ptr<const ListTable>> table = table_for_writing(*storage_, *generation);
    if (!table || !(*table)->catalog.options.building) continue;
    collecting->insert(generation->id());
    if (!generation->spool) continue;
    ++generation->times_taken_back;
    PG_SEMANTIC_RETURN_IF_ERROR(generation->spool->take_back_after(end));
    generation->spool_unsynced = true;
  }
  return Status::ok();
}

Status EngineImpl::undo(const LoggedChange& change) {
  if (change.kind == LoggedKind::kCreate) return drop(change.generation, 0);
  Result<std::shared_ptr<Generation>> found = find(change.generation);
  if (!found || change.kind == LoggedKind::kDrop || change.kind == LoggedKind::kFinish) return Status::ok();
  Status undone;
  if (change.kind != LoggedKind::kDelete) {
    const std::vector<std::byte> deletion = encode_delete(change.generation, change.rows);
    Result<DecodedChange> decoded = decode_change(deletion);
    undone = decoded ? write_rows(*storage_, tuning_, found->get(), {&*decoded, 1}) : decoded.status();
  }
  if (undone.code() == StatusCode::kCorrupt || (undone.is_ok() && change.kind != LoggedKind::kInsert))
    undone = set_behind(*found, true);
  // Nobody can read the entry of such a generation, nor search it.
  if (undone.code() == StatusCode::kCorrupt) return Status::ok();
  return unless_gone(std::move(undone));
}

Status EngineImpl::set_behind(const std::shared_ptr<Generation>& generation, bool behind) {
  const std::lock_guard lock(generation->writer);
  return write_behind(*storage_, generation.get(), behind);
}

Status EngineImpl::declare_behind() {
  return guarded([&]() -> Status {
    for (const std::shared_ptr<Generation>& generation : all_generations()) {
      const Status declared = set_behind(generation, true);
      if (declared.code() == StatusCode::kCorrupt) continue;  // unreadable, with or without the flag
      PG_SEMANTIC_RETURN_IF_ERROR(unless_gone(declared));
    }
    return storage_->sync();
  });
}

Status EngineImpl::declare_behind(GenerationId generation) { return declare(generation, true); }

Status EngineImpl::declare_repaired(GenerationId generation) { return declare(generation, false); }

Status EngineImpl::declare(GenerationId generation, bool behind) {
  return guarded([&]() -> Status {
    Result<std::shared_ptr<Generation>> found = find(generation);
    if (!found) return found.status();
    PG_SEMANTIC_RETURN_IF_ERROR(set_behind(*found, behind));
    return storage_->sync();
  });
}

Status EngineImpl::request_finish(GenerationId id, LogPosition position) {
  return guarded([&]() -> Status {
    Result<std::shared_ptr<Generation>> found = find(id);
    if (!found) return Status::ok();
    Result<LogState::Changing> changing = log_.begin_changes(*storage_, {&position, 1});
    if (!changing) return changing.status();
    const std::lock_guard lock((*found)->writer);
    if ((*found)->dropped) return Status::ok();
    Result<std::shared_ptr<const ListTable>> current = table_for_writing(*storage_, **found);
    if (!current) return unless_gone(current.status());
    Catalog catalog = (*current)->catalog;
    if (!catalog.options.building) return Status::ok();
    if (!catalog.finishing) {
      catalog.finishing = true;
      rocksdb::WriteBatch batch;
      PG_SEMANTIC_RETURN_IF_ERROR(note_change(*storage_, &batch, position, id, LoggedKind::kFinish));
      PG_SEMANTIC_RETURN_IF_ERROR(write_catalog(*storage_, found->get(), **current, catalog, &batch));
    }
    schedule_finish(*found);
    return Status::ok();
  });
}

void EngineImpl::schedule_finish(const std::shared_ptr<Generation>& generation) {
  const GenerationId id = generation->id();
  long_.schedule("finish " + std::to_string(id), {}, [this, id](const Interrupted& interrupted) {
    return unless_gone(build({.generation = id}, nullptr, interrupted));
  });
}

Status EngineImpl::copy_to(const std::string& directory) {
  return guarded([&]() -> Status {
    std::error_code error;
    if (std::filesystem::exists(std::filesystem::symlink_status(directory, error)))
      return {StatusCode::kInvalidArgument, "could not copy semantic index",
              "There is something under the name \"" + directory + "\" already."};
    Status copied = make_copy(directory);
    if (!copied.is_ok()) std::filesystem::remove_all(directory, error);
    return copied;
  });
}

// A spool that the copied store needs is there until it is shared, and what is added to it meanwhile is added to the
// shared one.
Status EngineImpl::make_copy(const std::string& directory) {
  std::vector<std::shared_ptr<Generation>> generations;
  {
    const std::shared_lock lock(*storage_->spools_mutex());
    PG_SEMANTIC_RETURN_IF_ERROR(storage_->copy_to(directory));
    generations = all_generations();
    for (const std::shared_ptr<Generation>& generation : generations)
      PG_SEMANTIC_RETURN_IF_ERROR(Spool::share(options_.path, generation->id(), directory));
  }
  for (const std::shared_ptr<Generation>& generation : generations)
    PG_SEMANTIC_RETURN_IF_ERROR(storage_->sync_file(Spool::path(directory, generation->id())));
  return storage_->sync_directory(directory);
}

}  // namespace pg_semantic::index
