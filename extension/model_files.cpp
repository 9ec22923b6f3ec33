// Model files under $PGDATA/pg_semantic/models/ (see model_files.h).
#include "extension/model_files.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "encoder/model.h"
#include "encoder/sha256.h"
#include "extension/guard.h"

namespace pg_semantic {
namespace {

constexpr char kRootDirectory[] = "pg_semantic";
constexpr char kModelDirectory[] = "pg_semantic/models";
constexpr char kTemporaryPrefix[] = "pgsql_tmp.";
constexpr size_t kFingerprintLength = 64;

void make_directory(const char* path, const char* parent) {
  if (MakePGDirectory(path) == 0) {
    fsync_fname(parent, true);
    return;
  }
  if (errno != EEXIST)
    ereport(ERROR, (errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", path)));
}

// A leftover's process id is not in use any more; this process's own files are
// leftovers too, of a former process of that id, for it is not writing one now.
bool is_leftover(const char* name) {
  if (strncmp(name, kTemporaryPrefix, sizeof(kTemporaryPrefix) - 1) != 0) return false;
  char* end = nullptr;
  const long process = strtol(name + sizeof(kTemporaryPrefix) - 1, &end, 10);
  if (process <= 0 || process > INT_MAX || *end != '.') return false;
  return process == MyProcPid || (kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH);
}

void remove_leftovers() {
  DIR* directory = AllocateDir(kModelDirectory);
  while (struct dirent* entry = ReadDir(directory, kModelDirectory)) {
    if (!is_leftover(entry->d_name)) continue;
    char* path = psprintf("%s/%s", kModelDirectory, entry->d_name);
    if (unlink(path) != 0 && errno != ENOENT)
      ereport(WARNING, (errcode_for_file_access(), errmsg("could not remove file \"%s\": %m", path)));
    pfree(path);
  }
  FreeDir(directory);
}

}  // namespace

char* model_file_path(const char* fingerprint) {
  if (strlen(fingerprint) != kFingerprintLength || strspn(fingerprint, "0123456789abcdef") != kFingerprintLength)
    ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("invalid model fingerprint in the model catalog"),
                    errdetail("A fingerprint is 64 hexadecimal digits, not \"%s\".", fingerprint)));
  return psprintf("%s/%s-v%u.model", kModelDirectory, fingerprint, encoder::kModelFileVersion);
}

bool model_file_is_present(const char* path, int64 bytes) {
  struct stat status;
  if (stat(path, &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return false;
    ereport(ERROR, (errcode_for_file_access(), errmsg("could not stat file \"%s\": %m", path)));
  }
  return S_ISREG(status.st_mode) && status.st_size == bytes;
}

char* new_temporary_model_path() {
  static uint32 number = 0;
  make_directory(kRootDirectory, ".");
  make_directory(kModelDirectory, kRootDirectory);
  remove_leftovers();
  return psprintf("%s/%s%d.%u", kModelDirectory, kTemporaryPrefix, MyProcPid, number++);
}

char* model_file_sha256(const char* path) {
  const int file = OpenTransientFile(path, O_RDONLY | PG_BINARY);
  if (file < 0) ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path)));
  char* hex = guarded([&] {
    encoder::Sha256 hash;
    std::vector<std::byte> buffer(size_t{1} << 20);
    for (;;) {
      if (interrupt_pending()) throw_status(Status::cancelled());
      const ssize_t count = read(file, buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0)
        throw_error(ERRCODE_IO_ERROR, std::string("could not read file \"") + path + "\": " + std::strerror(errno));
      if (count == 0) break;
      hash.update(std::span(buffer.data(), static_cast<size_t>(count)));
    }
    const encoder::Sha256Digest digest = hash.finish();
    const std::string text = encoder::to_hex(digest);
    char* copy = allocate_in_context<char>(text.size() + 1);
    std::memcpy(copy, text.c_str(), text.size() + 1);
    return copy;
  });
  CloseTransientFile(file);
  return hex;
}

void publish_model_file(const char* temporary_path, const char* final_path, int64 bytes, bool replace) {
  if (!replace && model_file_is_present(final_path, bytes)) {
    if (unlink(temporary_path) != 0)
      ereport(WARNING, (errcode_for_file_access(), errmsg("could not remove file \"%s\": %m", temporary_path)));
    return;
  }
  if (chmod(temporary_path, pg_file_create_mode) != 0)
    ereport(ERROR, (errcode_for_file_access(), errmsg("could not set permissions of file \"%s\": %m", temporary_path)));
  durable_rename(temporary_path, final_path, ERROR);
}

}  // namespace pg_semantic
