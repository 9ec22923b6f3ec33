// The log records of the index, for the backends' library and the worker's.
#ifndef PG_SEMANTIC_EXTENSION_LOG_RECORDS_H
#define PG_SEMANTIC_EXTENSION_LOG_RECORDS_H

#include "extension/server.h"

extern "C" {
#include "access/xloginsert.h"
}

#include <cstdint>

namespace pg_semantic {

// Of all resource managers in a server, none may have the same.
inline constexpr uint8_t kResourceManager = 187;
inline constexpr const char* kResourceManagerName = "pg_semantic";

// xl_info; the lower four bits are PostgreSQL's.
enum class LogRecord : uint8_t {
  kCreate = 0x10,
  kInsert = 0x20,
  kDelete = 0x30,
  kDrop = 0x40,
  kFinish = 0x50,
  kCheckpoint = 0x60,
};

// Body of kCheckpoint.  Whoever replays it marks and copies its store before it replays the checkpoint's own record,
// which a restart point or a backup of a standby may begin at.
struct CheckpointRecord {
  uint64_t redo;      // of the checkpoint that is about to complete
  uint32_t complete;  // 1: the worker stops, and nothing of it will be logged before another one starts
  uint32_t reserved;
};

// Returns where the record ends.
inline XLogRecPtr write_log_record(LogRecord kind, const void* data, size_t length, uint8 flags = 0) {
  XLogBeginInsert();
  XLogRegisterData(const_cast<char*>(static_cast<const char*>(data)), static_cast<uint32>(length));
  XLogSetRecordFlags(flags);
  return XLogInsert(kResourceManager, static_cast<uint8>(kind));
}

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_LOG_RECORDS_H
