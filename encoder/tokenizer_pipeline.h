// Tokenizers in parts, as tokenizer.json describes them: added tokens, normaliser,
// pre-tokenizer, model, post-processor.
//
// Source: the structure of Hugging Face's tokenizers library, whose ids and
// offsets this reproduces.
//
// Thread safety: as Tokenizer.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_PIPELINE_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_PIPELINE_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "encoder/status.h"
#include "encoder/tokenizer.h"
#include "encoder/tokenizer_pipeline_tables.h"

namespace pg_semantic::encoder {

// Tokenizer::open() of tables with kPipelineMagic.
Result<std::unique_ptr<Tokenizer>> open_pipeline_tokenizer(std::span<const std::byte> tables);

// What tables have beyond those of WordPiece.
struct PipelineSections {
  PipelineHeader header{};
  std::string components;
  std::vector<MergeSlot> merges;
  std::vector<TrieNode> trie;
  std::vector<double> scores;
  std::vector<std::string> added_patterns;  // of each added token: its text, normalised where it asks for that
};
Status build_pipeline_sections(const TokenizerConfig& config, PipelineSections* out);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_PIPELINE_H
