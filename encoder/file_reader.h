// Reads the small files of a model directory: configuration, vocabulary.
//
// Thread safety: a FileReader has no mutable state; its functions may be called
// by any number of threads.
#ifndef PG_SEMANTIC_ENCODER_FILE_READER_H
#define PG_SEMANTIC_ENCODER_FILE_READER_H

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "encoder/status.h"

namespace pg_semantic::encoder {

// Where the small files of a model come from: a directory, or a test's memory.
struct FileReader {
  virtual ~FileReader() = default;

  // The whole content of `name` (a path relative to the model directory), or
  // nullopt when there is no such file.  Errors: kInvalidArgument for a name
  // that leaves the directory, kCorrupt for what is not a regular file or holds
  // more than `max_bytes` (checked before anything is read), kIoError.
  virtual Result<std::optional<std::string>> read_small_file(const std::string& name, size_t max_bytes) const = 0;
};

// The files of one directory.  Symbolic links to regular files are followed, as
// Hugging Face's cache is made of them; FIFOs, devices and directories are
// refused without waiting.
class DirectoryReader : public FileReader {
 public:
  explicit DirectoryReader(std::string directory) : directory_(std::move(directory)) {}

  Result<std::optional<std::string>> read_small_file(const std::string& name, size_t max_bytes) const override;

 private:
  std::string directory_;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_FILE_READER_H
