#include "extension/worker_store.h"

extern "C" {
#include "replication/walsender.h"
#include "replication/walsender_private.h"
}

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace pg_semantic {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCopyPrefix = "copy.";
constexpr uint64_t kRoomToOpen = 4 << 20;  // beside what the logs hold
constexpr uint64_t kRoomToPost = 256 << 20;
constexpr size_t kKeptCopies = 2;  // a backup may have begun to read the one before the newest

fs::path root() { return fs::path(DataDir) / "pg_semantic"; }
fs::path live_directory() { return root() / "pgsql_tmp.index"; }
fs::path backup_note() { return root() / "pgsql_tmp.backup"; }

std::string hexadecimal(uint64_t number) {
  char digits[17];
  const auto end = std::to_chars(digits, digits + 16, number, 16).ptr;
  const std::string text(digits, end);
  return std::string(16 - text.size(), '0') + text;
}

void sync_root() { fsync_fname_ext(root().c_str(), true, true, LOG); }

void make_root() {
  if (MakePGDirectory(root().c_str()) != 0 && errno != EEXIST) {
    ereport(FATAL, (errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", root().c_str())));
  }
}

// Oldest first: names are in the order of redo positions.
std::vector<fs::path> list_copies() {
  std::vector<fs::path> copies;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(root(), ignored)) {
    if (entry.path().filename().string().starts_with(kCopyPrefix)) copies.push_back(entry.path());
  }
  std::sort(copies.begin(), copies.end());
  return copies;
}

void rename_or_die(const fs::path& from, const fs::path& to) {
  if (rename(from.c_str(), to.c_str()) != 0) {
    ereport(FATAL,
            (errcode_for_file_access(), errmsg("could not rename \"%s\" to \"%s\": %m", from.c_str(), to.c_str())));
  }
  sync_root();
}

uint64_t read_backup_note() {
  std::ifstream file(backup_note());
  std::string text;
  uint64_t position = 0;
  if (file >> text) std::from_chars(text.data(), text.data() + text.size(), position, 16);
  return position;
}

void write_backup_note(uint64_t position) {
  std::ofstream(backup_note()) << hexadecimal(position) << '\n';
  fsync_fname_ext(backup_note().c_str(), false, true, LOG);
}

// A store that was copied file by file while its server wrote to it, or that has gone other ways than this server's
// log.
void forget_foreign_store(uint64_t backup) {
  if (backup == 0 || read_backup_note() == backup) return;
  std::error_code ignored;
  fs::remove_all(live_directory(), ignored);
  write_backup_note(backup);
  sync_root();
}

// False: there is none.
bool adopt_newest_copy() {
  const std::vector<fs::path> copies = list_copies();
  if (copies.empty()) return false;
  rename_or_die(copies.back(), live_directory());
  ereport(LOG, (errmsg("the semantic index store is taken from its copy \"%s\"", copies.back().filename().c_str())));
  return true;
}

// With every signal blocked, which the store's threads inherit.
Result<std::unique_ptr<index::Engine>> open_live(const WorkerSettings& settings, bool compacts, Aside& aside) {
  index::EngineOptions options;
  options.path = live_directory();
  options.memory_bytes = settings.memory_bytes;
  options.threads = settings.threads;
  options.compacts = compacts;
  return aside([&] { return index::Engine::open(options); });
}

bool is_damage(StatusCode code) { return code == StatusCode::kCorrupt || code == StatusCode::kUnsupported; }

// Restored from an inconsistent copy, for example, or one of another version's format.  Everything else goes on.
void put_damaged_store_aside(const Status& status) {
  fs::path aside;
  long number = static_cast<long>(time(nullptr));
  do {
    aside = root() / ("pgsql_tmp.damaged." + std::to_string(number++));
  } while (access(aside.c_str(), F_OK) == 0);
  rename_or_die(live_directory(), aside);
  ereport(
      LOG,
      (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the semantic index store cannot be used: %s", status.message().c_str()),
       status.detail().empty() ? 0 : errdetail("%s", status.detail().c_str()),
       errhint("It was renamed to \"%s\", which can be removed when the indexes are repaired.", aside.c_str())));
}

uint32 high(uint64_t position) { return static_cast<uint32>(position >> 32); }
uint32 low(uint64_t position) { return static_cast<uint32>(position); }

fs::path closing_note() { return fs::path(DataDir) / PGSTAT_STAT_PERMANENT_DIRECTORY / "pg_semantic.closed"; }

// Closed in order, but not last.
bool is_old_copy(const index::Mark& mark) {
  uint64_t last = 0;
  std::ifstream(closing_note()) >> last;
  return mark.closing != 0 && mark.closing != last;
}

bool holds_all_before(const index::Mark& mark, uint64_t redo) {
  if (is_old_copy(mark)) return false;
  // Of another server, whose log is longer; in recovery its end tells.
  if (!RecoveryInProgress() && mark.position > GetXLogInsertRecPtr()) return false;
  return mark.complete || mark.position >= redo || mark.checkpoint >= redo;
}

// The store is the last that was closed, and will not be any more: the mark says so first, for who is killed here.
Status forget_closing(index::Engine* engine, uint64_t redo, Aside& aside) {
  index::Mark mark = engine->found_mark();
  if (mark.closing != 0) {
    mark.closing = 0;
    mark.checkpoint = std::max(mark.checkpoint, redo);
    const Status status = aside([&] { return engine->set_mark(mark, true); });
    if (!status.is_ok()) return status;
  }
  if (unlink(closing_note().c_str()) == 0) fsync_fname_ext(closing_note().parent_path().c_str(), true, true, LOG);
  return Status::ok();
}

bool backup_is_running() {
  bool found = false;
  for (int i = 0; i < max_wal_senders && !found; ++i) {
    WalSnd* sender = &WalSndCtl->walsnds[i];
    SpinLockAcquire(&sender->mutex);
    found = sender->pid != 0 && sender->state == WALSNDSTATE_BACKUP;
    SpinLockRelease(&sender->mutex);
  }
  return found;
}

// What RocksDB's logs hold is written anew when the store is opened.
uint64_t bytes_to_open() {
  uint64_t bytes = kRoomToOpen;
  std::error_code error;
  for (fs::directory_iterator at(live_directory(), error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() == ".log") bytes += at->file_size(error);
  }
  return bytes;
}

}  // namespace

uint64_t note_closing() {
  uint64_t closing = 0;
  if (!pg_strong_random(&closing, sizeof(closing)) || closing == 0) return 0;
  std::ofstream file(closing_note());
  file << closing << std::endl;
  if (!file) {
    ereport(LOG, (errcode_for_file_access(), errmsg("could not write \"%s\": %m", closing_note().c_str())));
    unlink(closing_note().c_str());
    return 0;
  }
  fsync_fname_ext(closing_note().c_str(), false, true, LOG);
  fsync_fname_ext(closing_note().parent_path().c_str(), true, true, LOG);
  return closing;
}

bool store_may_be_opened() {
  static time_t last = 0;
  const time_t now = time(nullptr);
  if (now == last) return false;
  last = now;
  const fs::path file = live_directory() / "unfinished-room";
  const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, pg_file_create_mode);
  if (descriptor < 0) return false;
  const bool there_is = posix_fallocate(descriptor, 0, static_cast<off_t>(bytes_to_open())) == 0;
  close(descriptor);
  unlink(file.c_str());
  return there_is;
}

bool store_has_room() {
  struct statvfs room;
  return statvfs(live_directory().c_str(), &room) == 0 && uint64_t{room.f_bavail} * room.f_frsize >= kRoomToPost;
}

void give_store_up() {
  put_damaged_store_aside({StatusCode::kCorrupt, "a file cannot be read"});
  std::error_code ignored;
  for (const fs::path& copy : list_copies()) fs::remove_all(copy, ignored);
}

std::unique_ptr<index::Engine> open_store(const WorkerSettings& settings, const ReplayState& recovery, bool is_first,
                                          bool compacts, Aside& aside) {
  make_root();
  forget_foreign_store(recovery.backup);
  std::error_code error;
  bool is_copy = false;
  if (fs::status(live_directory(), error).type() == fs::file_type::not_found) is_copy = adopt_newest_copy();
  Result<std::unique_ptr<index::Engine>> engine = open_live(settings, compacts, aside);
  while (!engine && is_damage(engine.status().code())) {
    put_damaged_store_aside(engine.status());
    is_copy = adopt_newest_copy();
    engine = open_live(settings, compacts, aside);
  }
  if (!engine) {
    const Status& status = engine.status();
    ereport(FATAL,
            (errcode(ERRCODE_IO_ERROR), errmsg("could not open the semantic index store: %s", status.message().c_str()),
             status.detail().empty() ? 0 : errdetail("%s", status.detail().c_str()),
             status.hint().empty() ? 0 : errhint("%s", status.hint().c_str())));
  }
  const index::Mark mark = (*engine)->found_mark();
  // A copy that is newer than where replay began lacks what is not replayed for it any more.
  const bool is_late_copy = is_copy && !is_first;
  const bool whole = holds_all_before(mark, recovery.redo) && !is_late_copy;
  if (!whole) {
    ereport(LOG, (errmsg("the semantic index store is behind the log"),
                  is_late_copy ? errdetail("It is a copy, and the log that was replayed since is not replayed again.")
                  : is_old_copy(mark)
                      ? errdetail("It is another one than this server has closed last.")
                      : errdetail("It holds what was logged before %X/%X; replay begins at %X/%X.", high(mark.position),
                                  low(mark.position), high(recovery.redo), low(recovery.redo)),
                  errhint("Its indexes are repaired when they are used, or by semantic_index_repair(). A standby does "
                          "without them until it is promoted.")));
  }
  Status status = whole ? Status::ok() : aside([&] { return (*engine)->declare_behind(); });
  if (status.is_ok()) status = forget_closing(engine->get(), recovery.redo, aside);
  if (!status.is_ok()) {
    ereport(FATAL,
            (errcode(ERRCODE_IO_ERROR), errmsg("could not mark the semantic index store: %s", status.message().c_str()),
             status.detail().empty() ? 0 : errdetail("%s", status.detail().c_str())));
  }
  return std::move(*engine);
}

void copy_store(index::Engine* engine, Aside& aside, uint64_t redo) {
  const fs::path copy = root() / (kCopyPrefix + hexadecimal(redo));
  std::error_code ignored;
  fs::remove_all(copy, ignored);
  // Made under a name that is no copy's, so that none is half made.
  const fs::path unfinished = root() / "pgsql_tmp.copy";
  fs::remove_all(unfinished, ignored);
  const Status status = aside([&] { return engine->copy_to(unfinished); });
  if (!status.is_ok()) {
    ereport(LOG, (errmsg("could not copy the semantic index store for backups: %s", status.message().c_str()),
                  status.detail().empty() ? 0 : errdetail("%s", status.detail().c_str())));
    return;
  }
  if (rename(unfinished.c_str(), copy.c_str()) != 0) {
    ereport(LOG, (errcode_for_file_access(),
                  errmsg("could not rename \"%s\" to \"%s\": %m", unfinished.c_str(), copy.c_str())));
    return;
  }
  sync_root();
  if (backup_is_running()) return;
  const std::vector<fs::path> copies = list_copies();
  for (size_t i = 0; i + kKeptCopies < copies.size(); ++i) fs::remove_all(copies[i], ignored);
}

}  // namespace pg_semantic
