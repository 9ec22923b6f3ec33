// Reads a config.json of transformers into a TransformerConfig: a row a
// model_type, with the defaults of its published configuration class.
//
// Thread safety: functions of their arguments only.
#ifndef PG_SEMANTIC_ENCODER_TRANSFORMER_CONFIG_H
#define PG_SEMANTIC_ENCODER_TRANSFORMER_CONFIG_H

#include <string>

#include <nlohmann/json.hpp>

#include "encoder/model_config.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

// Sets transformer and architecture_name.  `path` is for messages.  kUnsupported
// for other families, and for variants that compute something else.
Status read_transformer(const nlohmann::json& config, const std::string& path, ModelConfig* model);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TRANSFORMER_CONFIG_H
