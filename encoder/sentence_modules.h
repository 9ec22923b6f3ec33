// The modules of a sentence-transformers directory after its encoder: pooling,
// dense and normalising ones; SPLADE's pooling; PyLate's projection of tokens.
//
// Thread safety: functions of their arguments and of the files.
#ifndef PG_SEMANTIC_ENCODER_SENTENCE_MODULES_H
#define PG_SEMANTIC_ENCODER_SENTENCE_MODULES_H

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/config_files.h"
#include "encoder/model_directory.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

struct ModuleEntry {
  std::string type;  // the class, without its package
  std::string path;  // relative; empty: the directory itself
};

// `path`, that of modules.json, is for messages.
Result<std::vector<ModuleEntry>> parse_modules(const nlohmann::json& modules, const std::string& path);

// A module's directory.
std::string below(const std::string& directory, const std::string& path);

// What follows the encoder, entries[0], whose configuration `model` has already:
// Pooling, then any number of Dense, Normalize and (idle after training) Dropout;
// SpladePooling; or Dense alone, which projects tokens for late interaction.
Status read_modules(const std::vector<ModuleEntry>& entries, const std::string& directory, const std::string& path,
                    ModelDirectory* model);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_SENTENCE_MODULES_H
