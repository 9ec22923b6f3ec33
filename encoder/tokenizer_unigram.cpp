// See tokenizer_unigram.h.
#include "encoder/tokenizer_unigram.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <utility>

#include "encoder/tokenizer_aligned_text.h"

namespace pg_semantic::encoder {

namespace {

// How much less likely an unknown character is than the least likely piece (SentencePiece's kUnkPenalty).
constexpr double kUnknownPenalty = 10;

constexpr std::string_view kMetaspace = "\xE2\x96\x81";

}  // namespace

UnigramModel::UnigramModel(int32_t unknown_id, bool byte_fallback, const PipelineTables& tables)
    : tables_(tables), unknown_id_(unknown_id), byte_fallback_(byte_fallback), root_(widen(tables.root())) {
  TrieNode node = tables_.root();
  knows_metaspace_ = tables_.tokens().header().longest_piece_bytes >= kMetaspace.size();
  for (size_t i = 0; i < kMetaspace.size() && knows_metaspace_; ++i) {
    knows_metaspace_ = tables_.descend(kMetaspace[i], &node) && (i + 1 == kMetaspace.size() || node.id < 0);
  }
  if (knows_metaspace_) metaspace_ = widen(node);
}

UnigramModel::WideNode UnigramModel::widen(const TrieNode& node) const {
  WideNode wide;
  wide.node = node;
  for (size_t label = 0; label < wide.children.size(); ++label) {
    wide.children[label] = node;
    wide.has_child[label] = tables_.descend(static_cast<char>(label), &wide.children[label]);
  }
  return wide;
}

void UnigramModel::best_segmentation(std::string_view word, std::span<Arrival> arrivals) const {
  const auto arrive = [&](size_t start, size_t end, int32_t id, double score) {
    Arrival& arrival = arrivals[end];
    if (arrival.is_reached && !(score > arrival.score)) return;
    arrival = {score, start, id, true};
  };
  const auto piece_count = static_cast<int32_t>(tables_.tokens().header().piece_count);
  const size_t longest = tables_.tokens().header().longest_piece_bytes;
  for (size_t start = 0; start < word.size();) {
    const size_t character_end = std::min(word.size(), start + utf8_length(word[start]));
    const double before = arrivals[start].score;
    bool has_character = false;
    const auto arrive_by = [&](const TrieNode& node, size_t end) {
      if (node.id < 0 || node.id >= piece_count) return;
      arrive(start, end, node.id, tables_.score(node.id) + before);
      has_character |= end == character_end;
    };
    const bool skips_metaspace = knows_metaspace_ && word.substr(start, kMetaspace.size()) == kMetaspace;
    const WideNode& first = skips_metaspace ? metaspace_ : root_;
    size_t end = start;
    if (skips_metaspace) {
      end += kMetaspace.size();
      arrive_by(first.node, end);
    }
    // The length is bounded: in a file that is not sound the trie may have circles.
    const size_t last = std::min(word.size(), start + longest);
    if (end < last && first.has_child[static_cast<unsigned char>(word[end])]) {
      TrieNode node = first.children[static_cast<unsigned char>(word[end])];
      do {
        arrive_by(node, ++end);
      } while (end < last && tables_.descend(word[end], &node));
    }
    if (!has_character) {
      arrive(start, character_end, unknown_id_, tables_.header().lowest_score - kUnknownPenalty + before);
    }
    start = character_end;
  }
}

// An unknown stretch as a piece, as its bytes, or as the unknown token.
void UnigramModel::append(std::string_view word, WordPart part, std::vector<WordPart>* parts) const {
  const TokenizerTables& tokens = tables_.tokens();
  const std::string_view text = word.substr(part.start, part.end - part.start);
  const int32_t piece = tokens.find_piece(text);
  if (piece >= 0 || !byte_fallback_) {
    parts->push_back({piece >= 0 ? piece : unknown_id_, part.start, part.end});
    return;
  }
  const size_t before = parts->size();
  for (const char byte : text) {
    const int32_t id = tokens.find_piece(fallback_token(static_cast<unsigned char>(byte)));
    if (id < 0) {
      parts->resize(before);
      parts->push_back(part);
      return;
    }
    parts->push_back({id, part.start, part.end});
  }
}

void UnigramModel::tokenize(std::string_view word, std::vector<WordPart>* parts) const {
  std::array<Arrival, 64> few;
  std::vector<Arrival> many;
  if (word.size() >= few.size()) many.resize(word.size() + 1);
  const std::span<Arrival> arrivals = many.empty() ? std::span<Arrival>(few) : std::span<Arrival>(many);
  best_segmentation(word, arrivals);
  std::vector<WordPart> backwards;
  for (size_t end = word.size(); end > 0;) {
    const Arrival& arrival = arrivals[end];
    if (!arrival.is_reached || arrival.start >= end) break;  // tables that are not sound
    // Unknown characters in a row are one token.
    if (arrival.id == unknown_id_ && !backwards.empty() && backwards.back().id == unknown_id_) {
      backwards.back().start = arrival.start;
    } else {
      backwards.push_back({arrival.id, arrival.start, end});
    }
    end = arrival.start;
  }
  std::reverse(backwards.begin(), backwards.end());
  for (const WordPart& part : backwards) {
    if (part.id == unknown_id_) {
      append(word, part, parts);
    } else {
      parts->push_back(part);
    }
  }
}

}  // namespace pg_semantic::encoder
