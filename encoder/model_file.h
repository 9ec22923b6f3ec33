// The model file: one aligned, position-independent file that every process maps.
//
//   header    ModelFileHeader, 256 bytes
//   config    JSON, the form of model_config.h
//   tokenizer the tables of Tokenizer::compile()
//   table     a TensorEntry for each tensor, in the order of tensor_plan()
//   data      the tensors, as tensor_plan() says they are stored, each beginning at a multiple of 64
//
// Sections begin at multiples of 64, in this order; all numbers are
// little-endian.
//
// Thread safety: a ModelFileView is a value; a ModelFileWriter belongs to one thread.
#ifndef PG_SEMANTIC_ENCODER_MODEL_FILE_H
#define PG_SEMANTIC_ENCODER_MODEL_FILE_H

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "encoder/model_config.h"
#include "encoder/sha256.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

inline constexpr size_t kModelFileAlignment = 64;
inline constexpr char kModelFileMagic[8] = {'P', 'G', 'S', 'E', 'M', 'M', 'D', 'L'};

struct FileSection {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct ModelFileHeader {
  char magic[8] = {};
  uint32_t version = 0;  // kModelFileVersion
  uint32_t header_bytes = 0;
  uint64_t total_bytes = 0;
  FileSection config;
  FileSection tokenizer;
  FileSection table;
  FileSection data;
  int64_t parameters = 0;
  Sha256Digest fingerprint{};
  std::byte reserved[128] = {};
};
static_assert(sizeof(ModelFileHeader) == 256);

struct TensorEntry {
  uint32_t role = 0;
  uint32_t index = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  uint64_t offset = 0;  // from the beginning of the file
};
static_assert(sizeof(TensorEntry) == 32);

// A model file in memory, checked: every pointer lies inside `bytes`.
struct ModelFileView {
  ModelConfig config;
  std::span<const std::byte> tokenizer;
  std::vector<const std::byte*> tensors;  // in the order of tensor_plan(config)
  int64_t parameters = 0;
  Sha256Digest fingerprint{};
};

// `name` is for messages.  Work is bounded by the tables, not by the weights.
Result<ModelFileView> view_model_file(std::span<const std::byte> bytes, const std::string& name);

// Writes a file from its beginning to its end, then its header, then fsyncs.
// Destroyed before finish() returned ok, it removes the file.
class ModelFileWriter {
 public:
  ModelFileWriter() = default;
  ~ModelFileWriter();
  ModelFileWriter(const ModelFileWriter&) = delete;
  ModelFileWriter& operator=(const ModelFileWriter&) = delete;

  // The file must not exist.  Space for the header is left.
  Status create(const std::string& path);

  Status append(std::span<const std::byte> bytes);
  Status align();  // with zeros, to kModelFileAlignment
  [[nodiscard]] uint64_t offset() const { return offset_; }

  // Fills in magic, version and sizes.
  Status finish(ModelFileHeader header);

 private:
  Status flush();
  Status fail(const char* action, int error) const;

  std::string path_;
  int descriptor_ = -1;
  bool finished_ = false;
  uint64_t offset_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_MODEL_FILE_H
