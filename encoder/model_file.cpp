// See model_file.h.
#include "encoder/model_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "encoder/model.h"
#include "encoder/model_tensors.h"

namespace pg_semantic::encoder {

namespace {

constexpr size_t kBufferBytes = 1 << 20;

Status corrupt(const std::string& name, std::string detail) {
  return {StatusCode::kCorrupt, "model file \"" + name + "\" is damaged", std::move(detail)};
}

bool lies_inside(const FileSection& section, uint64_t total) {
  return section.offset % kModelFileAlignment == 0 && section.offset >= sizeof(ModelFileHeader) &&
         section.offset <= total && section.bytes <= total - section.offset;
}

Status check_header(const ModelFileHeader& header, uint64_t size, const std::string& name) {
  if (std::memcmp(header.magic, kModelFileMagic, sizeof(kModelFileMagic)) != 0) {
    return corrupt(name, "It does not begin as a model file does.");
  }
  if (header.version != kModelFileVersion) {
    return {StatusCode::kUnsupported, "model file \"" + name + "\" has another version",
            "Its version is " + std::to_string(header.version) + "; this library reads version " +
                std::to_string(kModelFileVersion) + "."};
  }
  if (header.header_bytes != sizeof(ModelFileHeader)) return corrupt(name, "Its header has a wrong length.");
  if (header.total_bytes != size) {
    return corrupt(
        name, "It has " + std::to_string(size) + " bytes; its header says " + std::to_string(header.total_bytes) + ".");
  }
  for (const FileSection* section : {&header.config, &header.tokenizer, &header.table, &header.data}) {
    if (!lies_inside(*section, size)) return corrupt(name, "A section lies outside the file.");
  }
  return Status::ok();
}

Status check_entry(const TensorEntry& entry, const TensorSpec& spec, const FileSection& data, const std::string& name) {
  if (entry.role != static_cast<uint32_t>(spec.role) || entry.index != spec.index || entry.rows != spec.rows ||
      entry.columns != spec.columns) {
    return corrupt(name, "Its tensors are not those of its configuration.");
  }
  const uint64_t bytes = spec.bytes();
  const bool inside = entry.offset % kModelFileAlignment == 0 && entry.offset >= data.offset &&
                      entry.offset - data.offset <= data.bytes && bytes <= data.bytes - (entry.offset - data.offset);
  return inside ? Status::ok() : corrupt(name, "A tensor lies outside the data.");
}

}  // namespace

Result<ModelFileView> view_model_file(std::span<const std::byte> bytes, const std::string& name) {
  ModelFileHeader header;
  if (bytes.size() < sizeof(header)) return corrupt(name, "It is shorter than a header.");
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(std::max_align_t) != 0) {
    return Status(StatusCode::kInvalidArgument, "the memory of a model file must be aligned");
  }
  // cppcheck-suppress memsetClass ; std::byte is as trivial as char
  std::memcpy(&header, bytes.data(), sizeof(header));
  PG_SEMANTIC_RETURN_IF_ERROR(check_header(header, bytes.size(), name));

  const auto section = [&](const FileSection& s) { return bytes.subspan(s.offset, s.bytes); };
  const std::span<const std::byte> config_bytes = section(header.config);
  Result<ModelConfig> config =
      config_from_json({reinterpret_cast<const char*>(config_bytes.data()), config_bytes.size()});
  if (!config) return config.status();

  ModelFileView view;
  view.config = std::move(*config);
  view.tokenizer = section(header.tokenizer);
  view.parameters = header.parameters;
  view.fingerprint = header.fingerprint;
  const std::vector<TensorSpec> plan = tensor_plan(view.config);
  if (header.table.bytes != plan.size() * sizeof(TensorEntry)) {
    return corrupt(name, "Its tensors are not those of its configuration.");
  }
  const std::span<const std::byte> table = section(header.table);
  view.tensors.reserve(plan.size());
  for (size_t i = 0; i < plan.size(); ++i) {
    TensorEntry entry;
    std::memcpy(&entry, table.data() + i * sizeof(entry), sizeof(entry));
    PG_SEMANTIC_RETURN_IF_ERROR(check_entry(entry, plan[i], header.data, name));
    view.tensors.push_back(bytes.data() + entry.offset);
  }
  return view;
}

ModelFileWriter::~ModelFileWriter() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  if (!finished_) unlink(path_.c_str());
}

Status ModelFileWriter::fail(const char* action, int error) const {
  StatusCode code = StatusCode::kIoError;
  if (error == ENOSPC || error == EDQUOT) code = StatusCode::kDiskFull;
  if (error == ENOENT) code = StatusCode::kNotFound;
  return {code, std::string("could not ") + action + " file \"" + path_ + "\": " + std::strerror(error)};
}

Status ModelFileWriter::create(const std::string& path) {
  path_ = path;
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor_ < 0) return fail("create", errno);
  const ModelFileHeader empty;
  return append(std::as_bytes(std::span(&empty, 1)));
}

Status ModelFileWriter::flush() {
  size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t n = write(descriptor_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail("write to", n < 0 ? errno : ENOSPC);
    done += static_cast<size_t>(n);
  }
  buffer_.clear();
  return Status::ok();
}

Status ModelFileWriter::append(std::span<const std::byte> bytes) {
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  offset_ += bytes.size();
  return buffer_.size() >= kBufferBytes ? flush() : Status::ok();
}

Status ModelFileWriter::align() {
  static constexpr std::byte kZeros[kModelFileAlignment] = {};
  const size_t missing = (kModelFileAlignment - offset_ % kModelFileAlignment) % kModelFileAlignment;
  return append(std::span(kZeros, missing));
}

Status ModelFileWriter::finish(ModelFileHeader header) {
  PG_SEMANTIC_RETURN_IF_ERROR(flush());
  std::memcpy(header.magic, kModelFileMagic, sizeof(kModelFileMagic));
  header.version = kModelFileVersion;
  header.header_bytes = sizeof(header);
  header.total_bytes = offset_;
  const ssize_t n = pwrite(descriptor_, &header, sizeof(header), 0);
  if (n != static_cast<ssize_t>(sizeof(header))) return fail("write to", n < 0 ? errno : ENOSPC);
  if (fsync(descriptor_) != 0) return fail("fsync", errno);
  finished_ = true;
  return Status::ok();
}

}  // namespace pg_semantic::encoder
