// See safetensors.h.
#include "encoder/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "encoder/file_reader.h"
#include "encoder/json.h"

namespace pg_semantic::encoder {

static_assert(std::endian::native == std::endian::little, "safetensors files and model files are little-endian");

namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr size_t kMaxIndexFile = 8 << 20;
constexpr size_t kPieceValues = 1 << 16;

Status corrupt(const std::string& path, std::string detail) {
  return {StatusCode::kCorrupt, "file \"" + path + "\" is not a sound safetensors file", std::move(detail)};
}

Status io_error(const std::string& what, const std::string& path, int error) {
  const StatusCode code = error == ENOENT || error == ENOTDIR ? StatusCode::kNotFound
                          : error == ENOMEM                   ? StatusCode::kOutOfMemory
                                                              : StatusCode::kIoError;
  return {code, "could not " + what + " file \"" + path + "\": " + std::strerror(error)};
}

std::optional<uint64_t> dtype_bits(std::string_view dtype) {
  static constexpr std::pair<std::string_view, uint64_t> kBits[] = {
      {"BOOL", 8},  {"U8", 8},   {"I8", 8},   {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16},
      {"BF16", 16}, {"I32", 32}, {"U32", 32}, {"F32", 32},    {"I64", 64},    {"U64", 64}, {"F64", 64}};
  for (const auto& [name, bits] : kBits) {
    if (name == dtype) return bits;
  }
  return std::nullopt;
}

bool is_float(std::string_view dtype) { return dtype == "F32" || dtype == "F16" || dtype == "BF16"; }

std::string describe(std::span<const int64_t> shape) {
  std::string text = "[";
  for (const int64_t n : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(n);
  }
  return text + "]";
}

int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }

// IEEE 754 binary16: the exponent is rebased by a multiplication, which also
// makes subnormal numbers right.
float from_half(uint16_t half) {
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fffU) << 13;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  if (magnitude >= 0x0f800000U) return from_bits(sign | 0x7f800000U | (magnitude & 0x7fffffU));
  const float value = from_bits(magnitude) * 0x1p112F;
  return from_bits(std::bit_cast<uint32_t>(value) | sign);
}

// `count` numbers of `dtype` at `bytes` as fp32.
void to_float(std::string_view dtype, const std::byte* bytes, size_t count, float* out) {
  if (dtype == "F32") {
    std::memcpy(out, bytes, count * sizeof(float));
    return;
  }
  const bool half = dtype == "F16";
  for (size_t i = 0; i < count; ++i) {
    uint16_t value;
    std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
    out[i] = half ? from_half(value) : from_bits(static_cast<uint32_t>(value) << 16);
  }
}

// What the header says about one tensor; offsets are relative to the header's end.
Result<TensorInfo> parse_tensor(const std::string& path, const std::string& name, const nlohmann::json& entry,
                                uint64_t data_size) {
  const auto bad = [&](const std::string& why) { return corrupt(path, "Tensor \"" + name + "\" " + why + "."); };
  const nlohmann::json* dtype = json_member(entry, "dtype");
  const nlohmann::json* shape = json_member(entry, "shape");
  const nlohmann::json* offsets = json_member(entry, "data_offsets");
  if (dtype == nullptr || !dtype->is_string() || shape == nullptr || !shape->is_array() || offsets == nullptr ||
      !offsets->is_array() || offsets->size() != 2) {
    return bad("lacks dtype, shape or data_offsets");
  }
  TensorInfo info;
  info.dtype = dtype->get<std::string>();
  uint64_t values = 1;
  for (const nlohmann::json& n : *shape) {
    if (!n.is_number_unsigned() || n.get<uint64_t>() > INT64_MAX)
      return bad("has a shape that is not of whole numbers");
    const auto size = n.get<uint64_t>();
    if (__builtin_mul_overflow(values, size, &values)) return bad("has a shape too large for any file");
    info.shape.push_back(static_cast<int64_t>(size));
  }
  for (const nlohmann::json& n : *offsets) {
    if (!n.is_number_unsigned()) return bad("has data_offsets that are not whole numbers");
  }
  const auto begin = (*offsets)[0].get<uint64_t>();
  const auto end = (*offsets)[1].get<uint64_t>();
  if (begin > end || end > data_size) {
    return bad("lies at bytes " + std::to_string(begin) + " to " + std::to_string(end) + ", but the file has " +
               std::to_string(data_size) + " bytes of data");
  }
  info.offset = begin;
  info.bytes = end - begin;
  const std::optional<uint64_t> bits = dtype_bits(info.dtype);
  uint64_t expected = 0;
  if (bits && (__builtin_mul_overflow(values, *bits / 8, &expected) || expected != info.bytes)) {
    return bad("of type " + info.dtype + " and shape " + describe(info.shape) + " has " + std::to_string(info.bytes) +
               " bytes of data");
  }
  return info;
}

// The format allows neither overlaps nor holes.
Status check_layout(const std::string& path, const std::map<std::string, TensorInfo>& tensors, uint64_t data_size) {
  std::vector<std::pair<const std::string*, const TensorInfo*>> order;
  order.reserve(tensors.size());
  for (const auto& [name, info] : tensors) order.emplace_back(&name, &info);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->offset, a.second->bytes) < std::pair(b.second->offset, b.second->bytes);
  });
  uint64_t next = 0;
  for (const auto& [name, info] : order) {
    if (info->offset != next) {
      return corrupt(path, "Tensor \"" + *name + "\" begins at byte " + std::to_string(info->offset) +
                               " of the data, but the tensor before it ends at byte " + std::to_string(next) + ".");
    }
    next += info->bytes;
  }
  if (next == data_size) return Status::ok();
  return corrupt(path, "The tensors end at byte " + std::to_string(next) + ", but the file has " +
                           std::to_string(data_size) + " bytes of data.");
}

// A shard is a file of the directory or below it.
bool stays_inside(const std::string& name) {
  if (name.empty() || name.front() == '/' || name.find('\0') != std::string::npos) return false;
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = std::string_view(name).substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace

TensorStore::~TensorStore() {
  for (const File& file : files_) {
    if (file.descriptor >= 0) close(file.descriptor);
  }
}

Result<std::unique_ptr<TensorStore>> TensorStore::open(const std::string& directory) {
  std::unique_ptr<TensorStore> store(new TensorStore());
  struct stat ignored {};
  if (lstat((directory + "/" + kSingleFile).c_str(), &ignored) == 0) {
    std::map<std::string, TensorInfo> tensors;
    PG_SEMANTIC_RETURN_IF_ERROR(store->add_file(directory, kSingleFile, &tensors));
    store->tensors_.insert(tensors.begin(), tensors.end());
    return store;
  }
  Result<std::optional<std::string>> index = DirectoryReader(directory).read_small_file(kIndexFile, kMaxIndexFile);
  if (!index) return index.status();
  if (index->has_value()) {
    PG_SEMANTIC_RETURN_IF_ERROR(store->add_shards(directory, **index));
    return store;
  }
  if (lstat((directory + "/pytorch_model.bin").c_str(), &ignored) == 0) {
    return Status(StatusCode::kUnsupported, "directory \"" + directory + "\" has no weights that can be read",
                  "It has \"pytorch_model.bin\" but no \"model.safetensors\".",
                  "Save the model with safe_serialization=True.");
  }
  return Status(StatusCode::kNotFound, "directory \"" + directory + "\" has no weights",
                "Neither \"model.safetensors\" nor \"model.safetensors.index.json\" is there.");
}

Status TensorStore::add_file(const std::string& directory, const std::string& name,
                             std::map<std::string, TensorInfo>* tensors) {
  files_.push_back({directory + "/" + name});
  File& file = files_.back();
  // O_NONBLOCK: opening a FIFO would otherwise wait for a writer.
  file.descriptor = ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file.descriptor < 0) return io_error("open", file.path, errno);
  struct stat found {};
  if (fstat(file.descriptor, &found) != 0) return io_error("examine", file.path, errno);
  if (!S_ISREG(found.st_mode)) return corrupt(file.path, "It is not a regular file.");
  file.size = static_cast<uint64_t>(found.st_size);

  uint64_t header_size = 0;
  if (file.size < sizeof(header_size)) {
    return corrupt(file.path, "It has " + std::to_string(file.size) + " bytes, less than a header.");
  }
  const size_t file_number = files_.size() - 1;
  PG_SEMANTIC_RETURN_IF_ERROR(read_bytes(file_number, 0, std::as_writable_bytes(std::span(&header_size, 1))));
  if (header_size > file.size - sizeof(header_size)) {
    return corrupt(file.path, "The header's length is given as " + std::to_string(header_size) +
                                  " bytes, but the file has " + std::to_string(file.size) + ".");
  }
  if (header_size < 2 || header_size > kMaxSafetensorsHeader) {
    return corrupt(file.path, "The header's length is given as " + std::to_string(header_size) + " bytes; at most " +
                                  std::to_string(kMaxSafetensorsHeader) + " can be right.");
  }
  std::string header(header_size, '\0');
  PG_SEMANTIC_RETURN_IF_ERROR(
      read_bytes(file_number, sizeof(header_size), std::as_writable_bytes(std::span(header.data(), header.size()))));
  if (header.front() != '{') return corrupt(file.path, "The header does not begin with \"{\".");
  const Result<nlohmann::json> parsed = parse_json(header, file.path);
  if (!parsed) return parsed.status();

  const uint64_t data_begin = sizeof(header_size) + header_size;
  const uint64_t data_size = file.size - data_begin;
  for (const auto& [tensor, entry] : parsed->items()) {
    if (tensor == "__metadata__") continue;
    Result<TensorInfo> info = parse_tensor(file.path, tensor, entry, data_size);
    if (!info) return info.status();
    info->file = file_number;
    tensors->emplace(tensor, std::move(*info));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(check_layout(file.path, *tensors, data_size));
  for (auto& [tensor, info] : *tensors) info.offset += data_begin;
  return Status::ok();
}

Status TensorStore::add_shards(const std::string& directory, std::string_view index_text) {
  const std::string index_path = directory + "/" + kIndexFile;
  const auto bad = [&](std::string detail) {
    return Status(StatusCode::kCorrupt, "file \"" + index_path + "\" is not a sound index of shards",
                  std::move(detail));
  };
  const Result<nlohmann::json> index = parse_json(index_text, index_path);
  if (!index) return index.status();
  const nlohmann::json* weight_map = json_member(*index, "weight_map");
  if (weight_map == nullptr || !weight_map->is_object()) return bad("It has no object \"weight_map\".");

  std::map<std::string, std::vector<std::string>> tensors_of_shard;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string()) return bad("The shard of tensor \"" + tensor + "\" is not a string.");
    tensors_of_shard[shard.get<std::string>()].push_back(tensor);
  }
  if (tensors_of_shard.size() > kMaxShards) {
    return bad("It names " + std::to_string(tensors_of_shard.size()) + " shards, more than " +
               std::to_string(kMaxShards) + ".");
  }
  for (const auto& [shard, names] : tensors_of_shard) {
    if (!stays_inside(shard)) return bad("The shard \"" + shard + "\" is not a file of the model's directory.");
    std::map<std::string, TensorInfo> tensors;
    PG_SEMANTIC_RETURN_IF_ERROR(add_file(directory, shard, &tensors));
    for (const std::string& name : names) {
      const auto found = tensors.find(name);
      if (found == tensors.end()) {
        return bad(std::string("The shard \"").append(shard).append("\" has no tensor \"").append(name).append("\"."));
      }
      tensors_.insert(*found);
    }
  }
  return Status::ok();
}

const std::string& TensorStore::file_of(std::string_view name) const {
  const auto found = tensors_.find(name);
  return files_[found == tensors_.end() ? 0 : found->second.file].path;
}

Status TensorStore::check(std::string_view name, std::span<const int64_t> shape) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return corrupt(files_.empty() ? "" : files_[0].path,
                   "Tensor \"" + std::string(name) + "\" of shape " + describe(shape) + " is missing.");
  }
  const TensorInfo& info = found->second;
  const std::string& path = files_[info.file].path;
  if (!std::equal(shape.begin(), shape.end(), info.shape.begin(), info.shape.end())) {
    return corrupt(path, "Tensor \"" + std::string(name) + "\" has shape " + describe(info.shape) + "; " +
                             describe(shape) + " was expected.");
  }
  if (is_float(info.dtype)) return Status::ok();
  if (info.dtype == "I8" && shape.size() == 2) return check_scales(name, shape);
  return {StatusCode::kUnsupported, "file \"" + path + "\" has weights of a type that is not supported",
          "Tensor \"" + std::string(name) + "\" is of type " + info.dtype + "; F32, F16 and BF16 are supported."};
}

Status TensorStore::check_scales(std::string_view name, std::span<const int64_t> shape) const {
  const std::string scales = std::string(name) + ".group_scales";
  const auto found = tensors_.find(scales);
  const std::string& path = file_of(name);
  if (found == tensors_.end()) {
    return corrupt(path, "Tensor \"" + std::string(name) + "\" is of type I8, and \"" + scales + "\" is missing.");
  }
  const TensorInfo& info = found->second;
  const bool matrix = info.dtype == "F16" && info.shape.size() == 2 && info.shape[0] == shape[0];
  const int64_t groups = matrix ? info.shape[1] : 0;
  if (groups >= 1 && groups <= shape[1] && divided_up(shape[1], divided_up(shape[1], groups)) == groups) {
    return Status::ok();
  }
  return corrupt(path, "Tensor \"" + scales + "\" of type " + info.dtype + " and shape " + describe(info.shape) +
                           " does not fit the shape " + describe(shape) + " of \"" + std::string(name) + "\".");
}

Status TensorStore::read_bytes(size_t file, uint64_t offset, std::span<std::byte> out) const {
  const File& from = files_[file];
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = pread(from.descriptor, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("read", from.path, errno);
    if (n == 0) return corrupt(from.path, "It ends at byte " + std::to_string(offset + done) + ", before its data.");
    done += static_cast<size_t>(n);
  }
  return Status::ok();
}

Status TensorStore::read_scales(const TensorInfo& scales, uint64_t first_row, uint64_t rows,
                                std::vector<float>* out) const {
  const auto groups = static_cast<uint64_t>(scales.shape[1]);
  std::vector<std::byte> bytes(rows * groups * sizeof(uint16_t));
  PG_SEMANTIC_RETURN_IF_ERROR(read_bytes(scales.file, scales.offset + first_row * groups * sizeof(uint16_t), bytes));
  out->resize(rows * groups);
  to_float("F16", bytes.data(), out->size(), out->data());
  return Status::ok();
}

Status TensorStore::read(std::string_view name, const Sink& sink) const {
  const TensorInfo& info = tensors_.find(name)->second;
  const TensorInfo* scale_info = nullptr;
  uint64_t columns = 1, groups = 1, group_width = 1;
  if (info.dtype == "I8") {
    scale_info = &tensors_.find(std::string(name) + ".group_scales")->second;
    columns = static_cast<uint64_t>(info.shape[1]);
    groups = static_cast<uint64_t>(scale_info->shape[1]);
    group_width = divided_up(info.shape[1], scale_info->shape[1]);
  }
  const uint64_t value_bytes = *dtype_bits(info.dtype) / 8;
  const uint64_t values = info.bytes / value_bytes;
  // A piece is whole rows where the form is by rows.
  const uint64_t piece = std::max<uint64_t>(kPieceValues / columns, 1) * columns;
  std::vector<float> numbers, scales;
  std::vector<std::byte> bytes;
  for (uint64_t first = 0; first < values; first += piece) {
    const uint64_t count = std::min(piece, values - first);
    numbers.resize(count);
    bytes.resize(count * value_bytes);
    PG_SEMANTIC_RETURN_IF_ERROR(read_bytes(info.file, info.offset + first * value_bytes, bytes));
    if (scale_info != nullptr) {
      PG_SEMANTIC_RETURN_IF_ERROR(read_scales(*scale_info, first / columns, count / columns, &scales));
      for (uint64_t i = 0; i < count; ++i) {
        const uint64_t group = i / columns * groups + i % columns / group_width;
        numbers[i] = static_cast<float>(static_cast<int8_t>(bytes[i])) * scales[group];
      }
    } else {
      to_float(info.dtype, bytes.data(), count, numbers.data());
    }
    for (uint64_t i = 0; i < count; ++i) {
      if (!std::isfinite(numbers[i])) {
        return corrupt(files_[info.file].path, "Tensor \"" + std::string(name) + "\" holds " +
                                                   (std::isnan(numbers[i]) ? "NaN" : "infinity") + " at position " +
                                                   std::to_string(first + i) + ".");
      }
    }
    PG_SEMANTIC_RETURN_IF_ERROR(sink(numbers));
  }
  return Status::ok();
}

}  // namespace pg_semantic::encoder
