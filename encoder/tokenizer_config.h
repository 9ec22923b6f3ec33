// A Hugging Face directory's tokenizer files become a TokenizerConfig, as
// AutoTokenizer's fast tokenizer would have it.
//
//   tokenizer.json           wins when it is there
//   vocab.txt                else: one piece a line; tokenizer_family.h has other families' files
//   tokenizer_config.json    do_lower_case, strip_accents, tokenize_chinese_chars (also over
//                            tokenizer.json's normaliser), special tokens, added_tokens_decoder
//   special_tokens_map.json, added_tokens.json   of older directories, without added_tokens_decoder
//
// Thread safety: functions of their arguments only.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_CONFIG_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_CONFIG_H

#include <cstdint>
#include <optional>

#include "encoder/file_reader.h"
#include "encoder/status.h"
#include "encoder/tokenizer.h"

namespace pg_semantic::encoder {

// Errors: kNotFound when there is neither tokenizer.json nor the original files;
// kUnsupported, naming it, for a part of a tokenizer.json that is not known;
// kCorrupt, kIoError.
Result<TokenizerConfig> load_tokenizer_config(const FileReader& files);

// Makes the tokenizer read every text in lower case, as sentence-transformers'
// do_lower_case does.
Status lower_case_texts(TokenizerConfig* config);

// tokenizer_config.json's model_max_length, special tokens included; nullopt
// when it is absent or stands for "no limit" (transformers writes 1e30).
Result<std::optional<int32_t>> load_model_max_length(const FileReader& files);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_CONFIG_H
