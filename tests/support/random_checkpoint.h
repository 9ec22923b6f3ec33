// A checkpoint of any architecture with random weights, made from its
// configuration: what benchmarks and fuzz targets load where the numbers do not
// matter.
//
// Thread safety: a function of its arguments.
#ifndef PG_SEMANTIC_TESTS_SUPPORT_RANDOM_CHECKPOINT_H
#define PG_SEMANTIC_TESTS_SUPPORT_RANDOM_CHECKPOINT_H

#include <map>
#include <string>

#include "encoder/status.h"

namespace pg_semantic {

// Writes `files` (config.json among them; names may have folders) into `directory`,
// which exists, and model.safetensors with every tensor that they ask for: LayerNorm
// weights 1, biases 0, the others uniform with `standard_deviation`, the same in
// every process.  Errors: those of read_model_directory(), kIoError.
Status write_random_checkpoint(const std::string& directory, const std::map<std::string, std::string>& files,
                               double standard_deviation);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_TESTS_SUPPORT_RANDOM_CHECKPOINT_H
