// Keys and values of the RocksDB directory (index/FORMAT.md).
#include "index/records.h"

#include <cmath>

#include "index/bytes.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kMaxCalibrationPoints = 64;

}  // namespace

Status corrupt(std::string detail) {
  return {StatusCode::kCorrupt, "semantic index data is corrupt", std::move(detail), "REINDEX the index."};
}

std::string generation_key(GenerationId generation) {
  std::string key;
  append_big_endian_64(key, generation);
  return key;
}

std::string list_key(GenerationId generation, ListId list) {
  std::string key = generation_key(generation);
  append_big_endian_32(key, list);
  return key;
}

std::string block_key(GenerationId generation, ListId list, uint32_t block) {
  std::string key = list_key(generation, list);
  append_big_endian_32(key, block);
  return key;
}

std::string row_key(GenerationId generation, RowId row) {
  std::string key = generation_key(generation);
  append_big_endian_64(key, row);
  return key;
}

std::string generation_end_key(GenerationId generation) {
  // No key is longer than 16 bytes, so 17 bytes of 0xff end the last generation.
  if (generation == UINT64_MAX) return std::string(17, '\xff');
  return generation_key(generation + 1);
}

Result<GenerationId> generation_of_key(std::string_view key) {
  if (key.size() < 8) return corrupt("A key has " + std::to_string(key.size()) + " bytes.");
  return load_big_endian_64(key.data());
}

Result<ListId> list_of_key(std::string_view key) {
  if (key.size() < 12) return corrupt("A key of a list has " + std::to_string(key.size()) + " bytes.");
  return load_big_endian_32(key.data() + 8);
}

Result<RowId> row_of_key(std::string_view key) {
  if (key.size() != 16) return corrupt("A key of a row has " + std::to_string(key.size()) + " bytes.");
  return load_big_endian_64(key.data() + 8);
}

std::string encode_catalog(const Catalog& catalog) {
  std::string value;
  append(value, kFormatVersion);
  append(value, catalog.options.database_oid);
  append(value, catalog.options.index_oid);
  append(value, catalog.options.dimensions);
  append(value, catalog.options.metric);
  append(value, catalog.options.codec);
  append(value, static_cast<uint8_t>(!catalog.options.building ? 0 : catalog.finishing ? 2 : 1));
  append(value, static_cast<uint8_t>(catalog.behind ? 1 : 0));
  append(value, catalog.next_list);
  append(value, catalog.version);
  append(value, catalog.rows);
  append(value, catalog.vectors);
  append(value, catalog.trained);
  return value;
}

Result<Catalog> decode_catalog(std::string_view value) {
  ByteReader reader(value);
  Catalog catalog;
  uint32_t format = 0;
  uint8_t metric = 0, codec = 0, building = 0, behind = 0;
  if (!reader.read(&format) || !reader.read(&catalog.options.database_oid) ||
      !reader.read(&catalog.options.index_oid) || !reader.read(&catalog.options.dimensions) || !reader.read(&metric) ||
      !reader.read(&codec) || !reader.read(&building) || !reader.read(&behind) || !reader.read(&catalog.next_list) ||
      !reader.read(&catalog.version) || !reader.read(&catalog.rows) || !reader.read(&catalog.vectors) ||
      !reader.read(&catalog.trained) || reader.remaining() != 0)
    return corrupt("A catalog record has " + std::to_string(value.size()) + " bytes.");
  if (format != kFormatVersion) return corrupt("A catalog record has format version " + std::to_string(format) + ".");
  if (catalog.options.dimensions > kMaxDimensions || metric > static_cast<uint8_t>(Metric::kInnerProduct) ||
      codec > static_cast<uint8_t>(Codec::kBit) || building > 2 || behind > 1 || catalog.vectors > catalog.rows)
    return corrupt("A catalog record has a value out of range.");
  catalog.options.metric = static_cast<Metric>(metric);
  catalog.options.codec = static_cast<Codec>(codec);
  catalog.options.building = building != 0;
  catalog.finishing = building == 2;
  catalog.behind = behind == 1;
  return catalog;
}

std::string encode_row(const RowRecord& row) {
  std::string value;
  append(value, row.kind);
  append(value, row.hash);
  if (row.kind == RowKind::kVector) append(value, row.list);
  return value;
}

Result<RowRecord> decode_row(std::string_view value) {
  ByteReader reader(value);
  RowRecord row;
  uint8_t kind = 0;
  if (!reader.read(&kind) || !reader.read(&row.hash))
    return corrupt("A row record has " + std::to_string(value.size()) + " bytes.");
  if (kind > static_cast<uint8_t>(RowKind::kNoDirection))
    return corrupt("A row record is of kind " + std::to_string(kind) + ".");
  row.kind = static_cast<RowKind>(kind);
  if ((row.kind == RowKind::kVector && !reader.read(&row.list)) || reader.remaining() != 0)
    return corrupt("A row record of kind " + std::to_string(kind) + " has " + std::to_string(value.size()) + " bytes.");
  return row;
}

std::string encode_u32(uint32_t value) {
  std::string bytes;
  append(bytes, value);
  return bytes;
}

Result<uint32_t> decode_u32(std::string_view value, const char* what) {
  if (value.size() != sizeof(uint32_t))
    return corrupt(std::string("The value of a ") + what + " has " + std::to_string(value.size()) + " bytes.");
  return load<uint32_t>(value.data());
}

uint64_t BlockSizes::entries(uint32_t full_size) const {
  uint64_t total = uint64_t{full} * full_size;
  for (const uint32_t tail : tails) total += tail;
  return total;
}

void BlockSizes::append(uint64_t appended, uint32_t full_size) {
  full += static_cast<uint32_t>(appended / full_size);
  const auto rest = static_cast<uint32_t>(appended % full_size);
  if (rest > 0) tails[tail_count++] = rest;
}

std::string encode_list(const ListRecord& list) {
  std::string value;
  append(value, list.dead);
  append(value, list.sizes.full);
  for (uint32_t i = 0; i < list.sizes.tail_count; ++i) append(value, list.sizes.tails[i]);
  return value;
}

Result<ListRecord> decode_list(std::string_view value, const CodecLayout& layout) {
  ByteReader reader(value);
  ListRecord list;
  if (!reader.read(&list.dead) || !reader.read(&list.sizes.full) || reader.remaining() % sizeof(uint32_t) != 0 ||
      reader.remaining() / sizeof(uint32_t) > BlockSizes::kMostTails)
    return corrupt("A list record has " + std::to_string(value.size()) + " bytes.");
  uint32_t tail = 0;
  while (reader.read(&tail)) {
    if (tail == 0 || tail >= layout.entries_per_block())
      return corrupt("A list record says that a block has " + std::to_string(tail) + " entries.");
    list.sizes.tails[list.sizes.tail_count++] = tail;
  }
  const uint64_t entries = list.sizes.entries(layout.entries_per_block());
  if (entries > UINT32_MAX || list.dead > entries)
    return corrupt("A list record says that " + std::to_string(list.dead) + " of " + std::to_string(entries) +
                   " entries are dead.");
  return list;
}

RowId BlockView::row(uint32_t i) const { return load<RowId>(rows + size_t{i} * sizeof(RowId)); }

std::string encode_block(const RowId* rows, const std::byte* codes, uint32_t count, size_t code_size) {
  std::string value;
  value.reserve(kBlockHeaderBytes + count * (sizeof(RowId) + code_size));
  append(value, count);
  append(value, static_cast<uint32_t>(code_size));
  value.append(reinterpret_cast<const char*>(rows), count * sizeof(RowId));
  value.append(reinterpret_cast<const char*>(codes), count * code_size);
  return value;
}

Result<uint32_t> decode_block_header(std::string_view value, const char* what, size_t element_size,
                                     size_t bytes_of_entry, const CodecLayout& layout) {
  ByteReader reader(value);
  uint32_t count = 0, size = 0;
  if (!reader.read(&count) || !reader.read(&size))
    return corrupt(std::string(what) + " has " + std::to_string(value.size()) + " bytes.");
  if (size != element_size || count == 0 || count > layout.entries_per_block() ||
      reader.remaining() != count * bytes_of_entry)
    return corrupt(std::string(what) + " of " + std::to_string(value.size()) + " bytes says that it has " +
                   std::to_string(count) + " entries of " + std::to_string(size) + " bytes.");
  return count;
}

Result<BlockView> decode_block(std::string_view value, const CodecLayout& layout) {
  Result<uint32_t> count =
      decode_block_header(value, "A posting block", layout.code_size(), sizeof(RowId) + layout.code_size(), layout);
  if (!count) return count.status();
  BlockView block;
  block.count = *count;
  block.rows = value.data() + kBlockHeaderBytes;
  block.codes = reinterpret_cast<const std::byte*>(block.rows + block.count * sizeof(RowId));
  return block;
}

Status check_vector(std::string_view value, uint32_t dimensions) {
  if (value.size() != size_t{dimensions} * sizeof(float))
    return corrupt("A vector of " + std::to_string(dimensions) + " dimensions has " + std::to_string(value.size()) +
                   " bytes.");
  return Status::ok();
}

std::string encode_calibration(const Calibration& calibration) {
  std::string value;
  append(value, calibration.vectors);
  append(value, calibration.lists);
  append(value, calibration.gap);
  append(value, static_cast<uint32_t>(calibration.points.size()));
  for (const Calibration::Point& point : calibration.points) {
    append(value, point.recall);
    append(value, point.cost);
    append(value, point.deep_cost);
  }
  return value;
}

Result<Calibration> decode_calibration(std::string_view value) {
  ByteReader reader(value);
  Calibration calibration;
  uint32_t count = 0;
  if (!reader.read(&calibration.vectors) || !reader.read(&calibration.lists) || !reader.read(&calibration.gap) ||
      !reader.read(&count) || !std::isfinite(calibration.gap) || count > kMaxCalibrationPoints ||
      calibration.lists == 0)
    return corrupt("A calibration record has " + std::to_string(value.size()) + " bytes.");
  float previous = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Calibration::Point point;
    if (!reader.read(&point.recall) || !reader.read(&point.cost) || !reader.read(&point.deep_cost) ||
        !(point.recall > previous) || !(point.recall <= 1) || !(point.cost >= 0) || !(point.deep_cost >= 0))
      return corrupt("A calibration record has a point out of range.");
    previous = point.recall;
    calibration.points.push_back(point);
  }
  if (reader.remaining() != 0) return corrupt("A calibration record is too long.");
  return calibration;
}

}  // namespace pg_semantic::index
