// Keys and values of the RocksDB directory (index/FORMAT.md).
#include "index/records.h"

#include <cmath>

#include "index/bytes.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kMaxCalibrationPoints = 64;
constexpr size_t kBlockHeaderBytes = 8;

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
  append(value, static_cast<uint8_t>(catalog.options.building ? 1 : 0));
  append(value, uint8_t{0});
  append(value, catalog.next_list);
  append(value, catalog.version);
  append(value, catalog.rows);
  append(value, catalog.vectors);
  return value;
}

Result<Catalog> decode_catalog(std::string_view value) {
  ByteReader reader(value);
  Catalog catalog;
  uint32_t format = 0;
  uint8_t metric = 0, codec = 0, building = 0, reserved = 0;
  if (!reader.read(&format) || !reader.read(&catalog.options.database_oid) ||
      !reader.read(&catalog.options.index_oid) || !reader.read(&catalog.options.dimensions) || !reader.read(&metric) ||
      !reader.read(&codec) || !reader.read(&building) || !reader.read(&reserved) || !reader.read(&catalog.next_list) ||
      !reader.read(&catalog.version) || !reader.read(&catalog.rows) || !reader.read(&catalog.vectors) ||
      reader.remaining() != 0)
    return corrupt("A catalog record has " + std::to_string(value.size()) + " bytes.");
  if (format != kFormatVersion) return corrupt("A catalog record has format version " + std::to_string(format) + ".");
  if (catalog.options.dimensions > kMaxDimensions || metric > static_cast<uint8_t>(Metric::kInnerProduct) ||
      codec > static_cast<uint8_t>(Codec::kSq8) || building > 1 || catalog.vectors > catalog.rows)
    return corrupt("A catalog record has a value out of range.");
  catalog.options.metric = static_cast<Metric>(metric);
  catalog.options.codec = static_cast<Codec>(codec);
  catalog.options.building = building == 1;
  return catalog;
}

std::string encode_row(const RowRecord& row) {
  std::string value;
  append(value, row.kind);
  append(value, row.hash);
  return value;
}

Result<RowRecord> decode_row(std::string_view value) {
  ByteReader reader(value);
  RowRecord row;
  uint8_t kind = 0;
  if (!reader.read(&kind) || !reader.read(&row.hash) || reader.remaining() != 0)
    return corrupt("A row record has " + std::to_string(value.size()) + " bytes.");
  if (kind > static_cast<uint8_t>(RowKind::kNoDirection))
    return corrupt("A row record is of kind " + std::to_string(kind) + ".");
  row.kind = static_cast<RowKind>(kind);
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

Result<BlockView> decode_block(std::string_view value, const CodecLayout& layout) {
  ByteReader reader(value);
  BlockView block;
  uint32_t code_size = 0;
  if (!reader.read(&block.count) || !reader.read(&code_size))
    return corrupt("A posting block has " + std::to_string(value.size()) + " bytes.");
  if (code_size != layout.code_size() || block.count == 0 || block.count > layout.entries_per_block() ||
      reader.remaining() != block.count * (sizeof(RowId) + layout.code_size()))
    return corrupt("A posting block of " + std::to_string(value.size()) + " bytes says that it has " +
                   std::to_string(block.count) + " codes of " + std::to_string(code_size) + " bytes.");
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
  append(value, static_cast<uint32_t>(calibration.points.size()));
  for (const Calibration::Point& point : calibration.points) {
    append(value, point.recall);
    append(value, point.probes);
  }
  return value;
}

Result<Calibration> decode_calibration(std::string_view value) {
  ByteReader reader(value);
  Calibration calibration;
  uint32_t count = 0;
  if (!reader.read(&calibration.vectors) || !reader.read(&calibration.lists) || !reader.read(&count) ||
      count > kMaxCalibrationPoints || calibration.lists == 0)
    return corrupt("A calibration record has " + std::to_string(value.size()) + " bytes.");
  float previous = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Calibration::Point point;
    if (!reader.read(&point.recall) || !reader.read(&point.probes) || !(point.recall > previous) ||
        !(point.recall <= 1) || point.probes == 0)
      return corrupt("A calibration record has a point out of range.");
    previous = point.recall;
    calibration.points.push_back(point);
  }
  if (reader.remaining() != 0) return corrupt("A calibration record is too long.");
  return calibration;
}

}  // namespace pg_semantic::index
