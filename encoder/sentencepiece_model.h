// SentencePiece's model files (Kudo and Richardson, arXiv 1808.06226): a protocol
// buffer, message ModelProto of sentencepiece_model.proto.  Only what tokenizers
// need is read; the rest is passed over.
//
// Thread safety: functions of their arguments only.
#ifndef PG_SEMANTIC_ENCODER_SENTENCEPIECE_MODEL_H
#define PG_SEMANTIC_ENCODER_SENTENCEPIECE_MODEL_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "encoder/status.h"

namespace pg_semantic::encoder {

struct SentencePiece {
  // ModelProto.SentencePiece.Type
  enum Type : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

  std::string text;
  float score = 0;
  int32_t type = kNormal;
};

struct SentencePieceModel {
  // TrainerSpec.ModelType
  enum Type : int32_t { kUnigram = 1, kBpe = 2, kWord = 3, kCharacter = 4 };

  std::vector<SentencePiece> pieces;  // by id
  int32_t type = kUnigram;
  int32_t unknown_id = 0;
  std::string precompiled_charsmap;
};

// kCorrupt for bytes that are no such message.
Result<SentencePieceModel> parse_sentencepiece_model(std::string_view bytes);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_SENTENCEPIECE_MODEL_H
