// The families of tokenizers: what transformers' classes add to a tokenizer.json,
// and what they make of the original files where there is none.
//
//   RoBERTa                vocab.json and merges.txt
//   ALBERT                 spiece.model
//   XLM-RoBERTa, CamemBERT sentencepiece.bpe.model
//   MPNet, BERT and others vocab.txt
//
// Source: transformers' convert_slow_tokenizer.py and tokenizer classes (4.57).
//
// Thread safety: functions of their arguments only.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_FAMILY_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_FAMILY_H

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/file_reader.h"
#include "encoder/status.h"
#include "encoder/tokenizer_json.h"

namespace pg_semantic::encoder {

enum class TokenizerFamily : uint8_t { kBert, kMpnet, kRoberta, kAlbert, kXlmRoberta, kCamembert };

// By tokenizer_config.json's tokenizer_class (without "Fast") or, where that is
// "", by config.json's model_type.
TokenizerFamily tokenizer_family(std::string_view tokenizer_class, std::string_view model_type);

// The special tokens of the family by their roles, such as {"mask_token", "<mask>"}.
std::vector<std::pair<const char*, AddedToken>> default_special_tokens(TokenizerFamily family);

// What the family's class changes in the parts of a tokenizer.json.
Status apply_family(TokenizerFamily family, const nlohmann::json& tokenizer_config, nlohmann::json* components);

// The tokenizer of the family's own files; kNotFound when they are not there.
// `special` has the names of the special tokens by their roles.
using SpecialTokenNames = std::vector<std::pair<std::string, std::string>>;
Result<TokenizerJson> read_family_files(TokenizerFamily family, const FileReader& files,
                                        const nlohmann::json& tokenizer_config, const SpecialTokenNames& special);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_FAMILY_H
