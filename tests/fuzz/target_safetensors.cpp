// Weights: a directory with model.safetensors, or shards and their index.  The
// input is split_files()'s; its unnamed file is model.safetensors.
#include <cmath>
#include <cstring>

#include "encoder/json.h"
#include "encoder/safetensors.h"
#include "tests/fuzz/fuzz.h"

namespace pg_semantic::fuzz {

namespace {

constexpr int64_t kMaxValues = 1 << 20;

// Names and shapes that the header itself tells of, so that reading goes on.
void read_all(const encoder::TensorStore& store, std::string_view file) {
  uint64_t header_bytes = 0;
  if (file.size() < sizeof(header_bytes)) return;
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  const auto header = encoder::parse_json(file.substr(8, header_bytes), "header");
  if (!header || !header->is_object()) return;
  for (const auto& [name, entry] : header->items()) {
    const nlohmann::json* dimensions = encoder::json_member(entry, "shape");
    if (dimensions == nullptr || !dimensions->is_array()) continue;
    std::vector<int64_t> shape;
    int64_t values = 1;
    for (const nlohmann::json& dimension : *dimensions) {
      if (!dimension.is_number_integer()) break;
      shape.push_back(dimension.get<int64_t>());
      if (__builtin_mul_overflow(values, shape.back(), &values)) return;
    }
    if (!store.check(name, shape).is_ok() || values > kMaxValues) continue;
    int64_t seen = 0;
    const Status read = store.read(name, [&](std::span<const float> piece) {
      for (const float value : piece) require(std::isfinite(value), "a value that is read is finite");
      seen += static_cast<int64_t>(piece.size());
      return Status::ok();
    });
    require(!read.is_ok() || seen == values, "a tensor that is read is read whole");
  }
}

}  // namespace

void fuzz_safetensors(Bytes input) {
  std::map<std::string, std::string> files = split_files(input);
  const std::string single = files[""];
  if (!single.empty()) files["model.safetensors"] = single;
  const auto store = encoder::TensorStore::open(directory_with(files));
  if (!store) return;
  for (const auto& [name, content] : files) {
    if (name.ends_with(".safetensors")) read_all(**store, content);
  }
}

}  // namespace pg_semantic::fuzz
