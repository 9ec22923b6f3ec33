// What ties the directory to PostgreSQL's log (index/FORMAT.md, "The log").
#include "index/log_records.h"

#include "index/bytes.h"
#include "index/records.h"

namespace pg_semantic::index {
namespace {

constexpr std::string_view kLoggedPrefix = "logged", kLoggedEnd = "loggee", kCatchUpPrefix = "catch up";
constexpr size_t kLoggedKeyBytes = kLoggedPrefix.size() + sizeof(LogPosition) + sizeof(GenerationId);

bool has_rows(LoggedKind kind) {
  return kind == LoggedKind::kInsert || kind == LoggedKind::kReplace || kind == LoggedKind::kDelete;
}

}  // namespace

std::string encode_mark(const Mark& mark) {
  std::string value;
  append(value, mark.position);
  append(value, mark.checkpoint);
  append(value, static_cast<uint8_t>(mark.complete ? 1 : 0));
  append(value, mark.closing);
  return value;
}

Result<Mark> decode_mark(std::string_view value) {
  ByteReader reader(value);
  Mark mark;
  uint8_t complete = 0;
  if (!reader.read(&mark.position) || !reader.read(&mark.checkpoint) || !reader.read(&complete) ||
      !reader.read(&mark.closing) || reader.remaining() != 0)
    return corrupt("The mark has " + std::to_string(value.size()) + " bytes.");
  if (complete > 1 || (complete == 0 && mark.closing != 0)) return corrupt("The mark has a value out of range.");
  mark.complete = complete == 1;
  return mark;
}

std::string logged_key(LogPosition position, GenerationId generation) {
  std::string key(kLoggedPrefix);
  append_big_endian_64(key, position);
  append_big_endian_64(key, generation);
  return key;
}

std::string logged_end_key() { return std::string(kLoggedEnd); }

bool is_logged_key(std::string_view key) { return key.starts_with(kLoggedPrefix); }

std::string encode_logged(LoggedKind kind, std::span<const RowId> rows) {
  std::string value;
  value.reserve(1 + rows.size_bytes());
  append(value, kind);
  value.append(reinterpret_cast<const char*>(rows.data()), rows.size_bytes());
  return value;
}

Result<LoggedChange> decode_logged(std::string_view key, std::string_view value) {
  if (key.size() != kLoggedKeyBytes || !is_logged_key(key))
    return corrupt("A key of a logged change has " + std::to_string(key.size()) + " bytes.");
  LoggedChange change;
  change.position = load_big_endian_64(key.data() + kLoggedPrefix.size());
  change.generation = load_big_endian_64(key.data() + kLoggedPrefix.size() + sizeof(LogPosition));
  ByteReader reader(value);
  uint8_t kind = 0;
  if (!reader.read(&kind)) return corrupt("A record of a logged change is empty.");
  if (kind < static_cast<uint8_t>(LoggedKind::kCreate) || kind > static_cast<uint8_t>(LoggedKind::kReplace))
    return corrupt("A record of a logged change is of kind " + std::to_string(kind) + ".");
  change.kind = static_cast<LoggedKind>(kind);
  if (reader.remaining() % sizeof(RowId) != 0 || (reader.remaining() > 0 && !has_rows(change.kind)))
    return corrupt("A record of a logged change of kind " + std::to_string(kind) + " has " +
                   std::to_string(value.size()) + " bytes.");
  change.rows.resize(reader.remaining() / sizeof(RowId));
  for (RowId& row : change.rows) {
    if (!reader.read(&row)) return corrupt("A record of a logged change is cut off.");
  }
  return change;
}

std::string catch_up_key(GenerationId generation) {
  std::string key(kCatchUpPrefix);
  append_big_endian_64(key, generation);
  return key;
}

std::string encode_catch_up(uint64_t from) {
  std::string value;
  append(value, from);
  return value;
}

Result<uint64_t> decode_catch_up(std::string_view value) {
  if (value.size() != sizeof(uint64_t))
    return corrupt("A record of what is to be caught up has " + std::to_string(value.size()) + " bytes.");
  return load<uint64_t>(value.data());
}

}  // namespace pg_semantic::index
