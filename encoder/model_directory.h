// Reads the configuration files of a Hugging Face directory: config.json, and
// where they are there modules.json and the other files of sentence-transformers.
//
// Thread safety: functions of their arguments and of the files.
#ifndef PG_SEMANTIC_ENCODER_MODEL_DIRECTORY_H
#define PG_SEMANTIC_ENCODER_MODEL_DIRECTORY_H

#include <string>
#include <vector>

#include "encoder/model_config.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

struct ModelDirectory {
  ModelConfig config;             // checked by check_config()
  std::string encoder_directory;  // of weights and tokenizer: the directory itself, or its Transformer module's
  std::vector<std::string> dense_directories;  // of the dense modules' weights, in order
  bool lower_case = false;                     // texts are lower-cased before an otherwise cased tokenizer sees them
};

Result<ModelDirectory> read_model_directory(const std::string& directory);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_MODEL_DIRECTORY_H
