// Models with a head, and the scores of a reranker.
#ifndef PG_SEMANTIC_EXTENSION_RERANK_H
#define PG_SEMANTIC_EXTENSION_RERANK_H

#include "extension/server.h"

#include <span>
#include <string_view>

#include "encoder/heads.h"
#include "extension/models.h"
#include "extension/settings.h"

namespace pg_semantic {

// find_model(), and 0A000 unless the model has a head for the task.
const LoadedModel* find_model_for(const char* name, std::string_view task);

// A cross-encoder with one label: the named one; nullptr or "": that of
// semantic.rerank_model, and 22023 when the setting is empty.
const LoadedModel* find_rerank_model(const char* name);

// Scores of UTF-8 documents for a query, into scores[0 … documents.size() - 1].
// Long lists are cut so that interrupts are served between the pieces.
void score_documents(const LoadedModel* model, std::string_view query, std::span<const std::string_view> documents,
                     float* scores);

// A document of a list with its score; NULL documents have none.
struct ScoredDocument {
  int32 place;  // in the list, from 0
  float score;
  bool is_null;
};

// Best first, NULL ones last, equal ones in the order of the list.
void sort_best_first(ScoredDocument* documents, size_t count);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_RERANK_H
