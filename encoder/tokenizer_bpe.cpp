// See tokenizer_bpe.h.
#include "encoder/tokenizer_bpe.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "encoder/tokenizer_aligned_text.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

namespace {

// A pair of neighbours that may become one; the least rank first, of equal ranks the one farther left.
struct Candidate {
  uint32_t rank = 0;
  int32_t place = 0;  // of its left symbol
  uint32_t merged = 0;

  bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : place > other.place; }
};

}  // namespace

BpeModel::BpeModel(BpeOptions options, const PipelineTables& tables) : options_(std::move(options)), tables_(tables) {
  const TokenizerTables& tokens = tables_.tokens();
  if (options_.unknown_token) unknown_id_ = tokens.find_piece(*options_.unknown_token);
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] = options_.byte_fallback ? tokens.find_piece(fallback_token(static_cast<unsigned char>(byte))) : -1;
  }
  for (char32_t c = 0; c < letter_ids_.size(); ++c) {
    std::string letter;
    append_utf8(c, &letter);
    letter_ids_[c] = tokens.find_piece(letter);
  }
}

std::string BpeModel::affixed(std::string_view character, bool is_first, bool is_last) const {
  std::string text;
  if (!is_first) text += options_.continuing_prefix;
  text += character;
  if (is_last) text += options_.end_of_word_suffix;
  return text;
}

int32_t BpeModel::find_character(std::string_view character, bool is_first, bool is_last) const {
  const bool plain =
      (is_first || options_.continuing_prefix.empty()) && (!is_last || options_.end_of_word_suffix.empty());
  if (!plain) return tables_.tokens().find_piece(affixed(character, is_first, is_last));
  size_t position = 0;
  const char32_t c = next_code_point(character, &position);
  return c < letter_ids_.size() ? letter_ids_[c] : tables_.tokens().find_piece(character);
}

// The character, with its affixes, as byte tokens; false: the vocabulary lacks one.
bool BpeModel::add_bytes(std::string_view character, bool is_first, bool is_last, std::vector<Symbol>* symbols) const {
  if (!options_.byte_fallback) return false;
  const std::string text = affixed(character, is_first, is_last);
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  if (std::any_of(text.begin(), text.end(), [&](char byte) { return id_of(byte) < 0; })) return false;
  for (const char byte : text) symbols->push_back({id_of(byte), -1, -1, 1});
  return true;
}

std::vector<BpeModel::Symbol> BpeModel::symbols_of(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  size_t unknown_bytes = 0;  // of an unknown token that is still to be added
  const auto add_unknown = [&] {
    if (unknown_bytes > 0) symbols.push_back({unknown_id_, -1, -1, unknown_bytes});
    unknown_bytes = 0;
  };
  for (size_t start = 0; start < word.size();) {
    const size_t end = std::min(word.size(), start + utf8_length(word[start]));
    const std::string_view character = word.substr(start, end - start);
    const bool is_first = start == 0;
    const bool is_last = end == word.size();
    start = end;
    if (const int32_t id = find_character(character, is_first, is_last); id >= 0) {
      add_unknown();
      symbols.push_back({id, -1, -1, character.size()});
    } else if (!add_bytes(character, is_first, is_last, &symbols) && unknown_id_ >= 0) {
      if (!options_.fuse_unknown) add_unknown();
      unknown_bytes += character.size();
    }
  }
  add_unknown();
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i) + 1 : -1;
  }
  return symbols;
}

void BpeModel::merge(std::vector<Symbol>* symbols) const {
  std::vector<Symbol>& word = *symbols;
  std::priority_queue<Candidate> queue;
  const auto find = [&](int32_t left, int32_t right) {
    return tables_.find_merge(static_cast<uint32_t>(word[static_cast<size_t>(left)].id),
                              static_cast<uint32_t>(word[static_cast<size_t>(right)].id));
  };
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const MergeSlot merge = find(left, right);
    if (merge.left != kEmptySlot) queue.push({merge.rank, left, merge.merged});
  };
  for (size_t i = 0; i + 1 < word.size(); ++i) consider(static_cast<int32_t>(i), static_cast<int32_t>(i) + 1);

  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = word[static_cast<size_t>(best.place)];
    if (left.bytes == 0 || left.next < 0) continue;
    // Either symbol may have become part of another in the meantime.
    const MergeSlot now = find(best.place, left.next);
    if (now.left == kEmptySlot || now.merged != best.merged) continue;
    Symbol& right = word[static_cast<size_t>(left.next)];
    left.id = static_cast<int32_t>(best.merged);
    left.bytes += right.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next >= 0) word[static_cast<size_t>(left.next)].previous = best.place;
    consider(left.previous, best.place);
    consider(best.place, left.next);
  }
}

void BpeModel::tokenize(std::string_view word, std::vector<WordPart>* parts) const {
  if (options_.ignore_merges) {
    if (const int32_t id = tables_.tokens().find_piece(word); id >= 0) {
      parts->push_back({id, 0, word.size()});
      return;
    }
  }
  std::vector<Symbol> symbols = symbols_of(word);
  merge(&symbols);
  size_t start = 0;
  for (const Symbol& symbol : symbols) {
    if (symbol.bytes == 0) continue;
    parts->push_back({symbol.id, start, start + symbol.bytes});
    start += symbol.bytes;
  }
}

}  // namespace pg_semantic::encoder
