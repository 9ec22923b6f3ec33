// SentencePiece's precompiled table of character replacements (Kudo and
// Richardson, arXiv 1808.06226, section 3.3), applied as Hugging Face's tokenizers
// apply it: to whole grapheme clusters of less than 6 bytes, else to single
// characters.
//
// The bytes: u32 size of the trie, a double array of u32 units (darts-clone), and
// the replacements, each ended by a NUL.
//
// Thread safety: const after construction.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_CHARSMAP_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_CHARSMAP_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "encoder/status.h"
#include "encoder/tokenizer_aligned_text.h"

namespace pg_semantic::encoder {

class PrecompiledCharsmap {
 public:
  // kCorrupt where the sizes do not fit or a replacement is not UTF-8.
  static Result<PrecompiledCharsmap> open(std::string_view bytes);

  void normalize(AlignedText* text) const;

 private:
  // What the shortest known beginning of `part` becomes.
  [[nodiscard]] std::optional<std::string_view> replacement(std::string_view part) const;

  void map_ascii_characters();

  AsciiMap ascii_;
  std::vector<uint32_t> units_;
  std::string replacements_;
};

// The end of the extended grapheme cluster that begins at text[start] (Unicode
// Standard Annex 29, rules GB3 to GB13 without GB9c, which joins only what is
// longer than 6 bytes).
size_t grapheme_end(std::string_view text, size_t start);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_CHARSMAP_H
