// The post-processors that a tokenizer.json may name: what stands around texts,
// and whether offsets leave out white space.
//
// Thread safety: functions of their arguments only.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_POST_PROCESSOR_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_POST_PROCESSOR_H

#include <nlohmann/json.hpp>

#include "encoder/status.h"
#include "encoder/tokenizer.h"

namespace pg_semantic::encoder {

struct PostProcessor {
  SpecialTokenFrame single;
  SpecialTokenFrame pair;
  bool trims_offsets = false;      // white space at the ends of tokens does not count, …
  bool adds_prefix_space = false;  // … but for one space at the text's beginning
};

// `description` is tokenizer.json's "post_processor"; null: nothing stands around
// texts.  Errors: kCorrupt; kUnsupported for a type that is not known, by its name,
// and for a template that is not special tokens around texts in their order.
Result<PostProcessor> read_post_processor(const nlohmann::json* description);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_POST_PROCESSOR_H
