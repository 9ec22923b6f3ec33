// What ties the directory to PostgreSQL's log, in family `default`: the mark, a
// record of each logged change that no mark covers, and how far a build has caught
// up (index/FORMAT.md, "The log").
//
// Every decoder checks sizes and ranges and answers kCorrupt, never crashes.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_INDEX_LOG_RECORDS_H
#define PG_SEMANTIC_INDEX_LOG_RECORDS_H

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/engine.h"

namespace pg_semantic::index {

inline constexpr const char* kMarkKey = "mark";
std::string encode_mark(const Mark& mark);
Result<Mark> decode_mark(std::string_view value);

// Values are on disk.  The first four are those of ChangeKind.
enum class LoggedKind : uint8_t {
  kCreate = 1,
  kInsert = 2,
  kDelete = 3,
  kDrop = 4,
  kFinish = 5,   // Engine::request_finish
  kReplace = 6,  // an insert of rows of which some were there before, or may have been
};

struct LoggedChange {
  LogPosition position = 0;
  GenerationId generation = 0;
  LoggedKind kind = LoggedKind::kInsert;
  std::vector<RowId> rows;  // kInsert, kReplace, kDelete
};
std::string logged_key(LogPosition position, GenerationId generation);
// The smallest key above those of all logged changes.
std::string logged_end_key();
bool is_logged_key(std::string_view key);
std::string encode_logged(LoggedKind kind, std::span<const RowId> rows);
Result<LoggedChange> decode_logged(std::string_view key, std::string_view value);

// While it is there: a generation is built, but for what its spool holds from this byte on.
std::string catch_up_key(GenerationId generation);
std::string encode_catch_up(uint64_t from);
Result<uint64_t> decode_catch_up(std::string_view value);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_LOG_RECORDS_H
