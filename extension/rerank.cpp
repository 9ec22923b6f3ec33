// Models with a head, and the scores of a reranker (see rerank.h).
#include "extension/rerank.h"

#include <algorithm>
#include <cmath>

#include "extension/guard.h"

namespace pg_semantic {

const LoadedModel* find_model_for(const char* name, std::string_view task) {
  const LoadedModel* model = find_model(name);
  if (model->model->info().task != task)
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("model \"%s\" has no head for %.*s", model->name.c_str(), static_cast<int>(task.size()),
                           task.data()),
                    errdetail("Its task is %s.", model->model->info().task.c_str()),
                    errhint("The view semantic_models says which task each model has a head for.")));
  return model;
}

const LoadedModel* find_rerank_model(const char* name) {
  if (name == nullptr || name[0] == '\0') name = settings.rerank_model;
  if (name == nullptr || name[0] == '\0')
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no model for reranking"),
                    errdetail("The call names none, and the setting semantic.rerank_model is empty."),
                    errhint("Load a cross-encoder with semantic_load_model() and name it in the call, or set "
                            "semantic.rerank_model.")));
  const LoadedModel* model = find_model_for(name, "sequence-classification");
  const size_t labels = model->model->info().labels.size();
  if (labels != 1)
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("model \"%s\" is not a reranker", name),
                    errdetail("It has %zu labels; a reranker has one.", labels),
                    errhint("Ask for its labels with semantic_classify().")));
  return model;
}

void score_documents(const LoadedModel* model, std::string_view query, std::span<const std::string_view> documents,
                     float* scores) {
  for (size_t start = 0; start < documents.size();) {
    CHECK_FOR_INTERRUPTS();
    const size_t end = end_of_piece(documents, start);
    guarded([&] {
      throw_if_error(encoder::score_documents(*model->model, query, documents.subspan(start, end - start),
                                              call_options(), std::span(scores + start, end - start)));
    });
    start = end;
  }
  CHECK_FOR_INTERRUPTS();
}

void sort_best_first(ScoredDocument* documents, size_t count) {
  std::sort(documents, documents + count, [](const ScoredDocument& a, const ScoredDocument& b) {
    if (a.is_null != b.is_null) return b.is_null;
    const bool a_is_nan = std::isnan(a.score);
    const bool b_is_nan = std::isnan(b.score);
    if (a_is_nan != b_is_nan) return b_is_nan;
    if (!a_is_nan && a.score != b.score) return a.score > b.score;
    return a.place < b.place;
  });
}

}  // namespace pg_semantic
