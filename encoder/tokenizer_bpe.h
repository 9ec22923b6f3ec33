// Byte pair encoding (Sennrich et al., arXiv 1508.07909, section 3.2) as Hugging
// Face's tokenizers do it; see tokenizer_model.h.
//
// Thread safety: const after construction.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_BPE_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_BPE_H

#include <array>
#include <bitset>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "encoder/tokenizer_model.h"

namespace pg_semantic::encoder {

struct BpeOptions {
  std::optional<std::string> unknown_token;
  std::string continuing_prefix;   // of characters that do not begin a word
  std::string end_of_word_suffix;  // of the last one
  bool fuse_unknown = false;       // unknown characters in a row are one token
  bool byte_fallback = false;      // an unknown character is its bytes, "<0x0A>"
  bool ignore_merges = false;      // a word of the vocabulary is not taken apart
};

class BpeModel final : public WordModel {
 public:
  BpeModel(BpeOptions options, const PipelineTables& tables);

  void tokenize(std::string_view word, std::vector<WordPart>* parts) const override;
  [[nodiscard]] std::string_view continuing_prefix() const override { return options_.continuing_prefix; }
  [[nodiscard]] int32_t unknown_id() const override { return unknown_id_; }

 private:
  // A token of the word in the making; both neighbours by index where merge_many() is at work, -1: none.
  struct Symbol {
    int32_t id = 0;
    int32_t previous = -1;
    int32_t next = -1;
    size_t bytes = 0;  // 0: it went into its neighbour
  };

  [[nodiscard]] int32_t find_character(std::string_view character, bool is_first, bool is_last) const;
  template <typename Push>
  bool push_bytes(std::string_view character, bool is_first, bool is_last, const Push& push) const;
  template <typename Push>
  void push_symbols(std::string_view word, const Push& push) const;
  // Merges what can be merged; what became part of another symbol has no bytes then.
  void merge(std::span<Symbol> stretch) const;
  void merge_few(std::span<Symbol> stretch) const;
  void merge_many(std::span<Symbol> stretch) const;

  // By the last byte of a token and the first one of the next.
  static constexpr size_t kNoJoint = size_t{1} << 16;  // of a token without text
  using Joints = std::bitset<kNoJoint>;
  [[nodiscard]] std::unique_ptr<const Joints> find_joints() const;
  [[nodiscard]] size_t joint_of(int32_t left, int32_t right) const;
  [[nodiscard]] bool may_join(int32_t left, int32_t right) const;
  [[nodiscard]] std::string affixed(std::string_view character, bool is_first, bool is_last) const;

  const BpeOptions options_;
  const PipelineTables& tables_;
  int32_t unknown_id_ = -1;
  std::array<int32_t, 256> byte_ids_;      // of "<0x00>" …; -1: none
  std::array<int32_t, 0x200> letter_ids_;  // of single characters, for byte-level vocabularies
  mutable std::once_flag joints_made_;
  mutable std::unique_ptr<const Joints> joints_;  // made for the first long word
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_BPE_H
