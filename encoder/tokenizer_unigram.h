// The unigram language model (Kudo, arXiv 1804.10959, section 3.2) as Hugging
// Face's tokenizers apply it; see tokenizer_model.h.
//
// Thread safety: const after construction.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_UNIGRAM_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_UNIGRAM_H

#include <array>
#include <span>

#include "encoder/tokenizer_model.h"

namespace pg_semantic::encoder {

class UnigramModel final : public WordModel {
 public:
  UnigramModel(int32_t unknown_id, bool byte_fallback, const PipelineTables& tables);

  void tokenize(std::string_view word, std::vector<WordPart>* parts) const override;
  [[nodiscard]] int32_t unknown_id() const override { return unknown_id_; }
  [[nodiscard]] bool unknown_keeps_text() const override { return true; }

 private:
  // The last piece of the best segmentation of what ends here.
  struct Arrival {
    double score = 0;
    size_t start = 0;
    int32_t id = -1;
    bool is_reached = false;
  };

  // A node of the trie with its children by label: of those two that begin nearly every piece, which have many.
  struct WideNode {
    TrieNode node{};
    std::array<TrieNode, 256> children{};
    std::array<bool, 256> has_child{};
  };
  [[nodiscard]] WideNode widen(const TrieNode& node) const;

  // `arrivals` has one for each byte of the word, and one for its end.
  void best_segmentation(std::string_view word, std::span<Arrival> arrivals) const;
  void append(std::string_view word, WordPart part, std::vector<WordPart>* parts) const;

  const PipelineTables& tables_;
  const int32_t unknown_id_;
  const bool byte_fallback_;
  WideNode root_;
  WideNode metaspace_;            // after "▁"
  bool knows_metaspace_ = false;  // pieces begin with it, and none with less than all of it
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_UNIGRAM_H
