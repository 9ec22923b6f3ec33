// How a checkpoint for late interaction wants its texts read: the settings that
// ColBERT and PyLate publish beside the weights.
//
// Thread safety: functions of their arguments and of the files.
#ifndef PG_SEMANTIC_ENCODER_LATE_INTERACTION_CONFIG_H
#define PG_SEMANTIC_ENCODER_LATE_INTERACTION_CONFIG_H

#include <string_view>

#include "encoder/config_files.h"
#include "encoder/model_config.h"
#include "encoder/model_directory.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

// The class in config.json of the original ColBERT's checkpoints.
inline constexpr std::string_view kColbertArchitecture = "HF_ColBERT";

// Settings in artifact.metadata; one projection, whose weight lies beside the encoder's.
Status read_colbert_settings(const ConfigFiles& files, ModelDirectory* model);

// Settings in config_sentence_transformers.json.  The projections have been read.
Status read_pylate_settings(const ConfigFiles& files, ModelConfig* model);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_LATE_INTERACTION_CONFIG_H
