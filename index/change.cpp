// Logged changes: their bytes (index/FORMAT.md, "Changes") and the checks made
// before one is applied.
#include "index/change.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "index/bytes.h"

namespace pg_semantic::index {
namespace {

constexpr uint8_t kChangeVersion = 1;
constexpr size_t kHeaderBytes = 16;
constexpr size_t kRowHeaderBytes = 32;

using Bytes = std::vector<std::byte>;

void append_bytes(Bytes& out, std::span<const std::byte> bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

template <typename T>
void append(Bytes& out, const T& value) {
  append_bytes(out, std::as_bytes(std::span(&value, 1)));
}

// With room for a body of so many bytes.
Bytes start(ChangeKind kind, GenerationId generation, uint32_t count, size_t body) {
  Bytes out;
  out.reserve(kHeaderBytes + body);
  append(out, kChangeVersion);
  append(out, kind);
  append(out, uint16_t{0});
  append(out, count);
  append(out, generation);
  return out;
}

Status malformed(const char* detail) {
  return {StatusCode::kInvalidArgument, "logged index change is malformed", detail};
}

Status decode_create(ByteReader& reader, DecodedChange* change) {
  GenerationOptions& options = change->options;
  uint8_t metric = 0, codec = 0, building = 0, reserved = 0;
  if (!reader.read(&options.database_oid) || !reader.read(&options.index_oid) || !reader.read(&options.dimensions) ||
      !reader.read(&metric) || !reader.read(&codec) || !reader.read(&building) || !reader.read(&reserved))
    return malformed("The options of the generation are cut off.");
  if (options.dimensions > kMaxDimensions)
    return {StatusCode::kInvalidArgument, "vectors of an index cannot have so many dimensions",
            "There are " + std::to_string(options.dimensions) + " dimensions; the limit is " +
                std::to_string(kMaxDimensions) + "."};
  if (metric > static_cast<uint8_t>(Metric::kInnerProduct) || codec > static_cast<uint8_t>(Codec::kBit) ||
      building > 1 || reserved != 0)
    return malformed("The generation has a metric, codec or state that is not known.");
  options.metric = static_cast<Metric>(metric);
  options.codec = static_cast<Codec>(codec);
  options.building = building == 1;
  return Status::ok();
}

Status decode_vector(std::string_view bytes, RowId row, DecodedChange* change) {
  const size_t width = bytes.size() / sizeof(float);
  const size_t offset = change->floats.size();
  change->floats.resize(offset + width);
  std::memcpy(change->floats.data() + offset, bytes.data(), bytes.size());
  for (size_t i = 0; i < width; ++i) {
    if (!std::isfinite(change->floats[offset + i]))
      return {StatusCode::kInvalidArgument, "NaN and infinite values are not allowed in an indexed vector",
              "Element " + std::to_string(i + 1) + " of the vector of row " + std::to_string(row) + " is one."};
  }
  return Status::ok();
}

Status decode_rows(ByteReader& reader, uint32_t count, DecodedChange* change) {
  if (count > reader.remaining() / kRowHeaderBytes) return malformed("The rows are cut off.");
  change->rows.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    DecodedRow row;
    uint8_t kind = 0;
    std::array<uint8_t, 3> reserved{};
    uint32_t width = 0;
    if (!reader.read(&row.row) || !reader.read(&row.hash) || !reader.read(&kind) || !reader.read(&reserved) ||
        !reader.read(&width))
      return malformed("The rows are cut off.");
    if (row.row == 0) return malformed("A row has the number 0.");
    if (kind > static_cast<uint8_t>(RowKind::kNoDirection)) return malformed("A row is of an unknown kind.");
    row.kind = static_cast<RowKind>(kind);
    if ((row.kind == RowKind::kVector) != (width > 0)) return malformed("A row's kind and its width disagree.");
    if (width > kMaxDimensions)
      return {StatusCode::kInvalidArgument, "vectors of an index cannot have so many dimensions",
              "The vector has " + std::to_string(width) + " dimensions; the limit is " +
                  std::to_string(kMaxDimensions) + "."};
    if (width > 0) {
      if (change->dimensions == 0) {
        change->dimensions = width;
        change->floats.reserve(std::min(size_t{count} * width, reader.remaining() / sizeof(float)));
      }
      if (width != change->dimensions)
        return {StatusCode::kInvalidArgument, "different vector dimensions in one index",
                "The vectors have " + std::to_string(change->dimensions) + " and " + std::to_string(width) +
                    " dimensions."};
      std::string_view bytes;
      if (!reader.read_bytes(size_t{width} * sizeof(float), &bytes)) return malformed("A vector is cut off.");
      row.vector_offset = change->floats.size();
      PG_SEMANTIC_RETURN_IF_ERROR(decode_vector(bytes, row.row, change));
    }
    change->rows.push_back(row);
  }
  return Status::ok();
}

Status decode_deleted(ByteReader& reader, uint32_t count, DecodedChange* change) {
  if (reader.remaining() != size_t{count} * sizeof(RowId)) return malformed("The deleted rows are cut off.");
  change->deleted.resize(count);
  for (RowId& row : change->deleted) {
    if (!reader.read(&row)) return malformed("The deleted rows are cut off.");
  }
  return Status::ok();
}

}  // namespace

std::vector<std::byte> encode_create(GenerationId generation, const GenerationOptions& options) {
  Bytes out = start(ChangeKind::kCreateGeneration, generation, 0, 16);
  append(out, options.database_oid);
  append(out, options.index_oid);
  append(out, options.dimensions);
  append(out, options.metric);
  append(out, options.codec);
  append(out, static_cast<uint8_t>(options.building ? 1 : 0));
  append(out, uint8_t{0});
  return out;
}

std::vector<std::byte> encode_insert(GenerationId generation, std::span<const RowChange> rows) {
  size_t body = rows.size() * kRowHeaderBytes;
  for (const RowChange& row : rows) body += row.vector.size_bytes();
  Bytes out = start(ChangeKind::kInsertRows, generation, static_cast<uint32_t>(rows.size()), body);
  for (const RowChange& row : rows) {
    append(out, row.row);
    append(out, row.hash);
    append(out, row.kind);
    append(out, std::array<uint8_t, 3>{});
    append(out, static_cast<uint32_t>(row.vector.size()));
    append_bytes(out, std::as_bytes(row.vector));
  }
  return out;
}

std::vector<std::byte> encode_delete(GenerationId generation, std::span<const RowId> rows) {
  Bytes out = start(ChangeKind::kDeleteRows, generation, static_cast<uint32_t>(rows.size()), rows.size_bytes());
  append_bytes(out, std::as_bytes(rows));
  return out;
}

std::vector<std::byte> encode_drop(GenerationId generation) {
  return start(ChangeKind::kDropGeneration, generation, 0, 0);
}

std::optional<ChangeHeader> read_header(std::span<const std::byte> change) {
  if (change.size() < kHeaderBytes) return std::nullopt;
  return ChangeHeader{load<ChangeKind>(change.data() + 1), load<uint32_t>(change.data() + 4),
                      load<GenerationId>(change.data() + 8)};
}

Result<uint32_t> count_rows(std::span<const std::byte> change) {
  const std::optional<ChangeHeader> header = read_header(change);
  if (!header) return malformed("Its header is cut off.");
  return header->count;
}

Status visit_rows(std::span<const std::byte> change, size_t dimensions,
                  const std::function<void(RowId row, RowKind kind, const std::byte* bytes)>& visit) {
  Result<uint32_t> rows = count_rows(change);
  if (!rows) return rows.status();
  const auto kind = load<ChangeKind>(change.data() + 1);
  const uint32_t count = *rows;
  size_t at = kHeaderBytes;
  for (uint32_t i = 0; i < count; ++i) {
    const size_t left = change.size() - at;
    const std::byte* bytes = change.data() + at;
    if (kind == ChangeKind::kDeleteRows) {
      if (left < sizeof(RowId)) return malformed("The deleted rows are cut off.");
      visit(load<RowId>(bytes), RowKind::kNull, nullptr);
      at += sizeof(RowId);
      continue;
    }
    if (left < kRowHeaderBytes) return malformed("The rows are cut off.");
    const auto row_kind = load<RowKind>(bytes + 24);
    const size_t length = kRowHeaderBytes + (row_kind == RowKind::kVector ? dimensions * sizeof(float) : 0);
    if (left < length) return malformed("A vector is cut off.");
    visit(load<RowId>(bytes), row_kind, bytes);
    at += length;
  }
  return Status::ok();
}

Result<DecodedChange> decode_change(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  DecodedChange change;
  uint8_t version = 0, kind = 0;
  uint16_t reserved = 0;
  uint32_t count = 0;
  if (!reader.read(&version) || !reader.read(&kind) || !reader.read(&reserved) || !reader.read(&count) ||
      !reader.read(&change.generation))
    return malformed("Its header is cut off.");
  if (version != kChangeVersion) return malformed("Its version is not known.");
  if (reserved != 0) return malformed("Its reserved bytes are not zero.");
  if (change.generation == 0) return malformed("It names no generation.");
  Status status;
  switch (static_cast<ChangeKind>(kind)) {
    case ChangeKind::kCreateGeneration:
      status = decode_create(reader, &change);
      break;
    case ChangeKind::kInsertRows:
      status = decode_rows(reader, count, &change);
      break;
    case ChangeKind::kDeleteRows:
      status = decode_deleted(reader, count, &change);
      break;
    case ChangeKind::kDropGeneration:
      break;
    default:
      return malformed("Its kind is not known.");
  }
  if (!status.is_ok()) return status;
  if (reader.remaining() != 0) return malformed("There are bytes after its end.");
  change.kind = static_cast<ChangeKind>(kind);
  change.bytes = bytes;
  return change;
}

}  // namespace pg_semantic::index
