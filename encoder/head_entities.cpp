// Token classification (heads.h), as transformers' token-classification pipeline
// groups tokens into entities.
#include <algorithm>
#include <new>
#include <utility>

#include "encoder/character_offsets.h"
#include "encoder/head_scores.h"
#include "encoder/heads.h"
#include "encoder/model_config.h"
#include "encoder/token_sequence.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

namespace {

// A token with its scores, before anything is joined.
struct ScoredToken {
  std::string word;
  std::vector<double> scores;  // of each label
  int32_t char_start = 0;
  int32_t char_end = 0;
  bool is_subword = false;
};

// A token or a word with its label.
struct LabelledPart {
  size_t label = 0;
  double score = 0;
  std::string word;
  int32_t char_start = 0;
  int32_t char_end = 0;
};

size_t best_label(const std::vector<double>& scores) {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

// The pipeline's own tests.  Where pieces tell by a prefix, "##x" is longer than
// the text it stands for; else a word begins at the text's beginning or at a space.
bool continues_word(const Tokenizer& tokenizer, const Token& token, std::string_view piece, CharacterOffsets* offsets) {
  if (!tokenizer.continuing_prefix().empty()) {
    return count_code_points(piece) != static_cast<size_t>(std::max(0, token.char_end - token.char_start));
  }
  return token.char_start > 0 &&
         offsets->slice(token.char_start - 1, token.char_start + 1).find(' ') == std::string_view::npos;
}

std::vector<ScoredToken> score_tokens(const Tokenizer& tokenizer, std::string_view content,
                                      const std::vector<Token>& tokens, std::span<const float> logits) {
  const size_t labels = tokens.empty() ? 0 : logits.size() / tokens.size();
  CharacterOffsets offsets(content);
  std::vector<ScoredToken> scored;
  scored.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token& token = tokens[i];
    ScoredToken& next = scored.emplace_back();
    next.scores = softmax(logits.subspan(i * labels, labels));
    next.char_start = token.char_start;
    next.char_end = token.char_end;
    if (token.id == tokenizer.unknown_id()) {
      next.word = offsets.slice(token.char_start, token.char_end);
      continue;
    }
    next.word = tokenizer.token_text(token.id);
    next.is_subword = continues_word(tokenizer, token, next.word, &offsets);
  }
  return scored;
}

LabelledPart label_of_token(const ScoredToken& token) {
  const size_t label = best_label(token.scores);
  return {label, token.scores[label], token.word, token.char_start, token.char_end};
}

// The scores that decide on the label of a word.
std::vector<double> scores_of_word(std::span<const ScoredToken> tokens, Aggregation aggregation) {
  if (aggregation == Aggregation::kFirst) return tokens[0].scores;
  if (aggregation == Aggregation::kMax) {
    const auto surest = std::max_element(tokens.begin(), tokens.end(), [](const ScoredToken& a, const ScoredToken& b) {
      return a.scores[best_label(a.scores)] < b.scores[best_label(b.scores)];
    });
    return surest->scores;
  }
  std::vector<double> sums(tokens[0].scores.size());
  for (const ScoredToken& token : tokens) {
    for (size_t label = 0; label < sums.size(); ++label) sums[label] += token.scores[label];
  }
  for (double& sum : sums) sum /= static_cast<double>(tokens.size());
  return sums;
}

std::vector<LabelledPart> label_words(const std::vector<ScoredToken>& tokens, Aggregation aggregation,
                                      const Tokenizer& tokenizer) {
  std::vector<LabelledPart> words;
  for (size_t begin = 0; begin < tokens.size();) {
    size_t end = begin + 1;
    while (end < tokens.size() && tokens[end].is_subword) ++end;
    const std::span<const ScoredToken> word = std::span(tokens).subspan(begin, end - begin);
    const std::vector<double> scores = scores_of_word(word, aggregation);
    std::vector<std::string> pieces;
    pieces.reserve(word.size());
    for (const ScoredToken& token : word) pieces.push_back(token.word);
    const size_t label = best_label(scores);
    words.push_back({label, scores[label], tokenizer.decode(pieces), word.front().char_start, word.back().char_end});
    begin = end;
  }
  return words;
}

// "B-PER" is the tag "PER", and begins an entity; a label without B- or I- continues one.
struct Tag {
  std::string_view name;
  bool begins = false;
};

Tag tag_of(std::string_view label) {
  if (label.starts_with("B-")) return {label.substr(2), true};
  if (label.starts_with("I-")) return {label.substr(2), false};
  return {label, false};
}

std::vector<Entity> join_parts(const std::vector<LabelledPart>& parts, const std::vector<std::string>& labels,
                               const Tokenizer& tokenizer) {
  std::vector<Entity> entities;
  for (size_t begin = 0; begin < parts.size();) {
    size_t end = begin + 1;
    for (; end < parts.size(); ++end) {
      const Tag tag = tag_of(labels[parts[end].label]);
      if (tag.begins || tag.name != tag_of(labels[parts[end - 1].label]).name) break;
    }
    double sum = 0;
    std::vector<std::string> words;
    for (size_t i = begin; i < end; ++i) {
      sum += parts[i].score;
      words.push_back(parts[i].word);
    }
    const std::string& label = labels[parts[begin].label];
    const size_t dash = label.find('-');
    entities.push_back({dash == std::string::npos ? label : label.substr(dash + 1),
                        static_cast<float>(sum / static_cast<double>(end - begin)), tokenizer.decode(words),
                        parts[begin].char_start, parts[end - 1].char_end});
    begin = end;
  }
  return entities;
}

std::vector<Entity> aggregate_tokens(const Model& model, const std::vector<ScoredToken>& tokens,
                                     Aggregation aggregation) {
  const std::vector<std::string>& labels = model.info().labels;
  const Tokenizer& tokenizer = model.tokenizer();
  std::vector<LabelledPart> parts;
  if (aggregation == Aggregation::kNone || aggregation == Aggregation::kSimple) {
    parts.reserve(tokens.size());
    for (const ScoredToken& token : tokens) parts.push_back(label_of_token(token));
  } else {
    parts = label_words(tokens, aggregation, tokenizer);
  }
  if (aggregation != Aggregation::kNone) return join_parts(parts, labels, tokenizer);
  std::vector<Entity> entities;
  entities.reserve(parts.size());
  for (const LabelledPart& part : parts) {
    entities.push_back({labels[part.label], static_cast<float>(part.score), part.word, part.char_start, part.char_end});
  }
  return entities;
}

}  // namespace

Result<std::vector<Entity>> find_entities(const Model& model, std::string_view content, Aggregation aggregation,
                                          const EmbedOptions& options) {
  PG_SEMANTIC_RETURN_IF_ERROR(require_task(model, kTokenClassification));
  try {
    const Tokenizer& tokenizer = model.tokenizer();
    const size_t limit = single_room(tokenizer, static_cast<size_t>(model.info().max_tokens));
    const std::vector<Token> tokens = leading_tokens(tokenizer, content, limit);
    TokenSequence sequence = single_sequence(tokenizer, tokens);
    sequence.wanted.clear();
    for (size_t i = 0; i < tokens.size(); ++i) sequence.wanted.push_back(sequence.first_text + i);
    std::vector<std::vector<float>> logits;
    PG_SEMANTIC_RETURN_IF_ERROR(model.head_logits({&sequence, 1}, options, &logits));
    std::vector<Entity> entities =
        aggregate_tokens(model, score_tokens(tokenizer, content, tokens, logits[0]), aggregation);
    std::erase_if(entities, [](const Entity& entity) { return entity.label == "O"; });
    return entities;
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory");
  }
}

}  // namespace pg_semantic::encoder
