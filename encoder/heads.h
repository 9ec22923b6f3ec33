// What models with a head are asked: which label, how relevant, which words are
// names, where the answer is, what the mask hides.
//
// Each function follows the publisher's pipeline (transformers' pipelines,
// sentence-transformers' CrossEncoder).  A model without the head that a function
// takes is kUnsupported.  Texts are valid UTF-8 and are cut at max_tokens as the
// publisher does it.  Scores that are equal keep the order of what they belong to.
//
// Thread safety: as Model: one call at a time in a process.
#ifndef PG_SEMANTIC_ENCODER_HEADS_H
#define PG_SEMANTIC_ENCODER_HEADS_H

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "encoder/model.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

// An entry of a list, by its place in it.
struct Ranked {
  size_t index = 0;
  float score = 0;
};

// ---- sequence classification -----------------------------------------------------

// Every label (an index of info().labels), best first: softmax over the labels,
// or the sigmoid of each where there is one or a text may have several.
Result<std::vector<Ranked>> classify(const Model& model, std::string_view content, const EmbedOptions& options);
Result<std::vector<Ranked>> classify_pair(const Model& model, std::string_view content, std::string_view pair,
                                          const EmbedOptions& options);

// How relevant each document is to the query, as the publisher of the
// cross-encoder scales it, into `scores` (documents.size()).  One batch.
// kUnsupported when the model has more than one label.
Status score_documents(const Model& model, std::string_view query, std::span<const std::string_view> documents,
                       const EmbedOptions& options, std::span<float> scores);

struct ZeroShotOptions {
  std::string_view hypothesis_template = "This example is {}.";  // {} stands for a label
  bool multi_label = false;
};

// How well each of any labels fits, best first, by a model of natural language
// inference (Yin et al., arXiv 1909.00161).  kUnsupported when no label of the
// model says entailment; kInvalidArgument for a template without {}.
Result<std::vector<Ranked>> zero_shot(const Model& model, std::string_view content,
                                      std::span<const std::string_view> labels, const ZeroShotOptions& zero_shot,
                                      const EmbedOptions& options);

// ---- multiple choice ----------------------------------------------------------------

// Softmax over the choices, best first.
Result<std::vector<Ranked>> choose(const Model& model, std::string_view prompt,
                                   std::span<const std::string_view> choices, const EmbedOptions& options);

// ---- token classification -------------------------------------------------------------

enum class Aggregation : uint8_t {
  kNone,     // a row a token
  kSimple,   // adjacent tokens of one tag are one entity
  kFirst,    // the same of words, whose label is their first token's,
  kAverage,  // … that of the average of their tokens' scores,
  kMax,      // … that of their surest token
};

struct Entity {
  std::string label;  // without B- and I- where tokens are joined
  float score = 0;
  std::string word;
  int32_t char_start = 0;  // code points
  int32_t char_end = 0;
};

// In the order of the text; what is labelled O is left out.
Result<std::vector<Entity>> find_entities(const Model& model, std::string_view content, Aggregation aggregation,
                                          const EmbedOptions& options);

// ---- question answering ------------------------------------------------------------------

struct AnswerOptions {
  int32_t top_k = 1;
  int32_t max_answer_tokens = 15;
};

// A part of the context.
struct Answer {
  float score = 0;
  int32_t char_start = 0;  // code points
  int32_t char_end = 0;
  size_t byte_start = 0;
  size_t byte_end = 0;
};

// The best answers, best first; none when the context has no token.  A context
// that is too long is read in windows that overlap.  kInvalidArgument when
// top_k or max_answer_tokens is below 1 or the question leaves no room.
Result<std::vector<Answer>> find_answers(const Model& model, std::string_view question, std::string_view context,
                                         const AnswerOptions& answering, const EmbedOptions& options);

// ---- masked language modelling -------------------------------------------------------------

struct MaskFilling {
  int32_t token = 0;  // its id
  float score = 0;
  std::string content;  // the decoder's text of the tokens read, with the token in place of the mask
};

// The likeliest tokens, best first.  kInvalidArgument unless there is one mask,
// among the tokens that the model reads, and top_k is at least 1.
Result<std::vector<MaskFilling>> fill_mask(const Model& model, std::string_view content, int32_t top_k,
                                           const EmbedOptions& options);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_HEADS_H
