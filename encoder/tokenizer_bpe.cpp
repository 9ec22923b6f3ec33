// See tokenizer_bpe.h.
#include "encoder/tokenizer_bpe.h"

#include <algorithm>
#include <array>
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

// Up to so many, a look at all of them is faster than a queue.
constexpr size_t kFewSymbols = 32;
// From so many on it pays to know where no merge reaches: to find that out takes a walk over all merges, once.
constexpr size_t kManySymbols = 128;

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

// Calls push(Symbol) for the character's bytes, with its affixes; false: the vocabulary lacks one.
template <typename Push>
bool BpeModel::push_bytes(std::string_view character, bool is_first, bool is_last, const Push& push) const {
  if (!options_.byte_fallback) return false;
  const std::string text = affixed(character, is_first, is_last);
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  if (std::any_of(text.begin(), text.end(), [&](char byte) { return id_of(byte) < 0; })) return false;
  for (const char byte : text) push({id_of(byte), -1, -1, 1});
  return true;
}

// Calls push(Symbol) for what the word's characters are before anything is merged.
template <typename Push>
void BpeModel::push_symbols(std::string_view word, const Push& push) const {
  size_t unknown_bytes = 0;  // of an unknown token that is still to be added
  const auto push_unknown = [&] {
    if (unknown_bytes > 0) push({unknown_id_, -1, -1, unknown_bytes});
    unknown_bytes = 0;
  };
  for (size_t start = 0; start < word.size();) {
    const size_t end = std::min(word.size(), start + utf8_length(word[start]));
    const std::string_view character = word.substr(start, end - start);
    const bool is_first = start == 0;
    const bool is_last = end == word.size();
    start = end;
    if (const int32_t id = find_character(character, is_first, is_last); id >= 0) {
      push_unknown();
      push({id, -1, -1, character.size()});
    } else if (!push_bytes(character, is_first, is_last, push) && unknown_id_ >= 0) {
      if (!options_.fuse_unknown) push_unknown();
      unknown_bytes += character.size();
    }
  }
  push_unknown();
}

// Which tokens may ever become one: those where some merge's left token ends with
// the same byte and its right one begins with the same byte.  What a merge makes ends
// and begins as its parts do, so between other tokens no merge will ever reach.
std::unique_ptr<const BpeModel::Joints> BpeModel::find_joints() const {
  auto joints = std::make_unique<Joints>();
  for (uint32_t slot = 0; slot < tables_.merge_slots(); ++slot) {
    const MergeSlot merge = tables_.merge_slot(slot);
    if (merge.left == kEmptySlot) continue;
    const size_t joint = joint_of(static_cast<int32_t>(merge.left), static_cast<int32_t>(merge.right));
    if (joint != kNoJoint) joints->set(joint);
  }
  return joints;
}

size_t BpeModel::joint_of(int32_t left, int32_t right) const {
  const std::string_view before = tables_.tokens().token(left);
  const std::string_view after = tables_.tokens().token(right);
  if (before.empty() || after.empty()) return kNoJoint;
  return size_t{static_cast<unsigned char>(before.back())} << 8 | static_cast<unsigned char>(after.front());
}

bool BpeModel::may_join(int32_t left, int32_t right) const {
  std::call_once(joints_made_, [this] { joints_ = find_joints(); });
  const size_t joint = joint_of(left, right);
  return joint == kNoJoint || joints_->test(joint);
}

void BpeModel::merge(std::span<Symbol> stretch) const {
  // With a continuing prefix a merge may leave the left symbol as it is, and then the
  // queue knows pairs that are no more.
  if (stretch.size() <= kFewSymbols && options_.continuing_prefix.empty()) {
    merge_few(stretch);
  } else {
    merge_many(stretch);
  }
}

// Looks through all pairs each time, which is faster for few of them.
void BpeModel::merge_few(std::span<Symbol> stretch) const {
  std::array<MergeSlot, kFewSymbols> merges;  // of each symbol with the next one
  size_t count = stretch.size();
  const auto look_up = [&](size_t left) {
    merges[left] =
        tables_.find_merge(static_cast<uint32_t>(stretch[left].id), static_cast<uint32_t>(stretch[left + 1].id));
  };
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    size_t best = count;
    for (size_t i = 0; i + 1 < count; ++i) {
      const bool is_merge = merges[i].left != kEmptySlot;
      if (is_merge && (best == count || merges[i].rank < merges[best].rank)) best = i;
    }
    if (best == count) break;
    stretch[best].id = static_cast<int32_t>(merges[best].merged);
    stretch[best].bytes += stretch[best + 1].bytes;
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      stretch[i] = stretch[i + 1];
      merges[i] = merges[i + 1];
    }
    stretch[count].bytes = 0;
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
}

void BpeModel::merge_many(std::span<Symbol> stretch) const {
  const auto size = static_cast<int32_t>(stretch.size());
  for (int32_t i = 0; i < size; ++i) {
    stretch[static_cast<size_t>(i)].previous = i - 1;
    stretch[static_cast<size_t>(i)].next = i + 1 < size ? i + 1 : -1;
  }
  std::priority_queue<Candidate> queue;
  const auto find = [&](int32_t left, int32_t right) {
    return tables_.find_merge(static_cast<uint32_t>(stretch[static_cast<size_t>(left)].id),
                              static_cast<uint32_t>(stretch[static_cast<size_t>(right)].id));
  };
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const MergeSlot merge = find(left, right);
    if (merge.left != kEmptySlot) queue.push({merge.rank, left, merge.merged});
  };
  for (size_t i = 0; i + 1 < stretch.size(); ++i) consider(static_cast<int32_t>(i), static_cast<int32_t>(i) + 1);

  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = stretch[static_cast<size_t>(best.place)];
    if (left.bytes == 0 || left.next < 0) continue;
    // Either symbol may have become part of another in the meantime.
    const MergeSlot now = find(best.place, left.next);
    if (now.left == kEmptySlot || now.merged != best.merged) continue;
    Symbol& right = stretch[static_cast<size_t>(left.next)];
    left.id = static_cast<int32_t>(best.merged);
    left.bytes += right.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next >= 0) stretch[static_cast<size_t>(left.next)].previous = best.place;
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
  std::vector<Symbol> stretch;
  stretch.reserve(std::min(word.size(), kManySymbols));
  size_t start = 0;  // of the stretch, in the word
  const auto end_stretch = [&] {
    merge(stretch);
    for (const Symbol& symbol : stretch) {
      if (symbol.bytes == 0) continue;
      parts->push_back({symbol.id, start, start + symbol.bytes});
      start += symbol.bytes;
    }
    stretch.clear();
  };
  // A long word, such as a text that nothing splits, stretch by stretch: a queue of all its pairs would be read and
  // written all over.  With a continuing prefix the text of a token is not that of its parts.
  const bool may_cut = word.size() > kManySymbols && options_.continuing_prefix.empty();
  push_symbols(word, [&](const Symbol& symbol) {
    if (may_cut && !stretch.empty() && !may_join(stretch.back().id, symbol.id)) end_stretch();
    stretch.push_back(symbol);
  });
  end_stretch();
}

}  // namespace pg_semantic::encoder
