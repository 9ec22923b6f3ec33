// Safetensors files (https://github.com/huggingface/safetensors, "Format"),
// single or sharded, read as fp32.
//
// The files are a stranger's: nothing is mapped (a file cut short while it is
// read must not raise SIGBUS), headers are bounded, every offset is checked
// against the file before a tensor is read, and tensors are read in pieces.
//
// Besides F32, F16 and BF16 a matrix may be in the compact form of the shipped
// model: `T` of dtype I8 [rows, columns] with a companion `T.group_scales` of
// dtype F16 [rows, groups]; a value is its int8 times the scale of its group of
// ceil(columns / groups) columns.
//
// Thread safety: a TensorStore belongs to one thread.
#ifndef PG_SEMANTIC_ENCODER_SAFETENSORS_H
#define PG_SEMANTIC_ENCODER_SAFETENSORS_H

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "encoder/status.h"

namespace pg_semantic::encoder {

// A header is JSON of some 130 bytes a tensor; BERT-large has 391 tensors.
inline constexpr uint64_t kMaxSafetensorsHeader = 4 << 20;
inline constexpr size_t kMaxShards = 256;

struct TensorInfo {
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // in its file
  uint64_t bytes = 0;
  size_t file = 0;  // which of the store's files
};

class TensorStore {
 public:
  // Opens the weights of `directory`: model.safetensors, else the shards that
  // model.safetensors.index.json names.  Reads and checks headers only.
  static Result<std::unique_ptr<TensorStore>> open(const std::string& directory);

  ~TensorStore();
  TensorStore(const TensorStore&) = delete;
  TensorStore& operator=(const TensorStore&) = delete;

  bool contains(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }

  // kCorrupt, naming what was expected and found, unless `name` is there with
  // this shape and a dtype that can be read as fp32.
  Status check(std::string_view name, std::span<const int64_t> shape) const;

  // Passes the tensor's values on in order, piece by piece.  Precondition:
  // check() was ok.  kCorrupt for NaN and infinity.
  using Sink = std::function<Status(std::span<const float>)>;
  Status read(std::string_view name, const Sink& sink) const;

  // The path of a file of the store, for messages.
  const std::string& file_of(std::string_view name) const;

 private:
  struct File {
    std::string path;
    int descriptor = -1;
    uint64_t size = 0;
  };

  TensorStore() = default;
  Status add_file(const std::string& directory, const std::string& name, std::map<std::string, TensorInfo>* tensors);
  Status add_shards(const std::string& directory, std::string_view index_text);
  Status check_scales(std::string_view name, std::span<const int64_t> shape) const;
  Status read_scales(const TensorInfo& scales, uint64_t first_row, uint64_t rows, std::vector<float>* out) const;
  Status read_bytes(size_t file, uint64_t offset, std::span<std::byte> out) const;

  std::vector<File> files_;
  std::map<std::string, TensorInfo, std::less<>> tensors_;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_SAFETENSORS_H
