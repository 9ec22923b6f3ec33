// See tokenizer_unigram.h.
#include "encoder/tokenizer_unigram.h"

#include <algorithm>
#include <string>
#include <utility>

#include "encoder/tokenizer_aligned_text.h"

namespace pg_semantic::encoder {

namespace {

// How much less likely an unknown character is than the least likely piece (SentencePiece's kUnkPenalty).
constexpr double kUnknownPenalty = 10;

}  // namespace

std::vector<UnigramModel::Arrival> UnigramModel::best_segmentation(std::string_view word) const {
  std::vector<Arrival> arrivals(word.size() + 1);
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
    TrieNode node = tables_.root();
    // The length is bounded: in a file that is not sound the trie may have circles.
    const size_t last = std::min(word.size(), start + longest);
    for (size_t end = start; end < last && tables_.descend(word[end], &node);) {
      ++end;
      if (node.id < 0 || node.id >= piece_count) continue;
      arrive(start, end, node.id, tables_.score(node.id) + before);
      has_character |= end == character_end;
    }
    if (!has_character) {
      arrive(start, character_end, unknown_id_, tables_.header().lowest_score - kUnknownPenalty + before);
    }
    start = character_end;
  }
  return arrivals;
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
  const std::vector<Arrival> arrivals = best_segmentation(word);
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
