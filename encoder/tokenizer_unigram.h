// The unigram language model (Kudo, arXiv 1804.10959, section 3.2) as Hugging
// Face's tokenizers apply it; see tokenizer_model.h.
//
// Thread safety: const after construction.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_UNIGRAM_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_UNIGRAM_H

#include "encoder/tokenizer_model.h"

namespace pg_semantic::encoder {

class UnigramModel final : public WordModel {
 public:
  UnigramModel(int32_t unknown_id, bool byte_fallback, const PipelineTables& tables)
      : tables_(tables), unknown_id_(unknown_id), byte_fallback_(byte_fallback) {}

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

  [[nodiscard]] std::vector<Arrival> best_segmentation(std::string_view word) const;
  void append(std::string_view word, WordPart part, std::vector<WordPart>* parts) const;

  const PipelineTables& tables_;
  const int32_t unknown_id_;
  const bool byte_fallback_;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_UNIGRAM_H
