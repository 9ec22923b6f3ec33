// Which head a checkpoint has, and what its labels are called: the part of
// config.json that transformers' classes …ForSequenceClassification and the like read.
//
// Thread safety: functions of their arguments only.
#ifndef PG_SEMANTIC_ENCODER_HEAD_CONFIG_H
#define PG_SEMANTIC_ENCODER_HEAD_CONFIG_H

#include <string>

#include <nlohmann/json.hpp>

#include "encoder/model_config.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

// Sets task, labels and head of a model whose architecture_name and transformer
// are set already.  `path` is for messages.
Status read_head(const nlohmann::json& config, const std::string& path, ModelConfig* model);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_HEAD_CONFIG_H
