// SQL functions that rank: documents for a query, labels for a text, choices for
// a prompt.
//
// None is STRICT, because a NULL model or option means a default: each gives NULL
// or no rows for NULL texts itself.
#include "extension/server.h"

#include <cstring>

#include "encoder/heads.h"
#include "extension/function_support.h"
#include "extension/models.h"
#include "extension/rerank.h"

namespace pg_semantic {
namespace {

using RankedList = CopiedList<encoder::Ranked>;

// The array's elements in UTF-8, none of them NULL.
std::span<const std::string_view> required_texts(const TextArray& array, const char* name) {
  auto* texts = static_cast<std::string_view*>(palloc(sizeof(std::string_view) * std::max(array.count, 1)));
  for (int i = 0; i < array.count; ++i) {
    if (array.nulls[i])
      ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not contain NULL", name)));
    texts[i] = text_to_utf8(DatumGetTextPP(array.values[i]));
  }
  return {texts, static_cast<size_t>(array.count)};
}

// A number of rows to give; NULL: all of them.
int32 optional_top_k(FunctionCallInfo fcinfo, int number) {
  if (PG_ARGISNULL(number)) return INT_MAX;
  const int32 top_k = PG_GETARG_INT32(number);
  if (top_k < 1)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("top_k must be at least 1, not %d", top_k)));
  return top_k;
}

void add_label(ReturnSetInfo* rows, Datum label, float score) {
  Datum values[2] = {label, Float4GetDatum(score)};
  bool nulls[2] = {};
  add_row(rows, values, nulls);
}

}  // namespace
}  // namespace pg_semantic

using namespace pg_semantic;

PG_SEMANTIC_FUNCTION(pg_semantic_classify) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0)) return 0;
  const LoadedModel* model = find_model_for(optional_text(fcinfo, 1), "sequence-classification");
  const std::string_view content = text_to_utf8(PG_GETARG_TEXT_PP(0));
  const bool has_pair = !PG_ARGISNULL(2);
  const std::string_view pair = has_pair ? text_to_utf8(PG_GETARG_TEXT_PP(2)) : std::string_view();
  const RankedList found = guarded([&] {
    return copy_list(value_or_throw(has_pair ? encoder::classify_pair(*model->model, content, pair, call_options())
                                             : encoder::classify(*model->model, content, call_options())));
  });
  CHECK_FOR_INTERRUPTS();
  for (const encoder::Ranked& entry : found)
    add_label(rows, PointerGetDatum(utf8_to_text(model->model->info().labels[entry.index])), entry.score);
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_zero_shot) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) return 0;
  const LoadedModel* model = find_model_for(optional_text(fcinfo, 2), "sequence-classification");
  require_argument(fcinfo, 3, "template");
  require_argument(fcinfo, 4, "multi_label");
  const TextArray labels = get_text_array(fcinfo, 1);
  const std::span<const std::string_view> texts = required_texts(labels, "labels");
  const std::string_view content = text_to_utf8(PG_GETARG_TEXT_PP(0));
  const encoder::ZeroShotOptions zero_shot{text_to_utf8(PG_GETARG_TEXT_PP(3)), PG_GETARG_BOOL(4)};
  const RankedList found = guarded([&] {
    return copy_list(value_or_throw(encoder::zero_shot(*model->model, content, texts, zero_shot, call_options())));
  });
  CHECK_FOR_INTERRUPTS();
  for (const encoder::Ranked& entry : found) add_label(rows, labels.values[entry.index], entry.score);
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_choose) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) return 0;
  const LoadedModel* model = find_model_for(optional_text(fcinfo, 2), "multiple-choice");
  const TextArray choices = get_text_array(fcinfo, 1);
  const std::span<const std::string_view> texts = required_texts(choices, "choices");
  const std::string_view prompt = text_to_utf8(PG_GETARG_TEXT_PP(0));
  const RankedList found =
      guarded([&] { return copy_list(value_or_throw(encoder::choose(*model->model, prompt, texts, call_options()))); });
  CHECK_FOR_INTERRUPTS();
  for (const encoder::Ranked& entry : found) {
    Datum values[3] = {Int32GetDatum(static_cast<int32>(entry.index + 1)), choices.values[entry.index],
                       Float4GetDatum(entry.score)};
    bool nulls[3] = {};
    add_row(rows, values, nulls);
  }
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_rerank) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) return 0;
  const LoadedModel* model = find_rerank_model(optional_text(fcinfo, 2));
  const int32 top_k = optional_top_k(fcinfo, 3);
  const std::string_view query = text_to_utf8(PG_GETARG_TEXT_PP(0));
  const TextArray documents = get_text_array(fcinfo, 1);

  const size_t room = static_cast<size_t>(std::max(documents.count, 1));
  auto* texts = static_cast<std::string_view*>(palloc(room * sizeof(std::string_view)));
  auto* scores = static_cast<float*>(palloc(room * sizeof(float)));
  auto* ranked = static_cast<ScoredDocument*>(palloc(room * sizeof(ScoredDocument)));
  size_t text_count = 0;
  for (int i = 0; i < documents.count; ++i)
    if (!documents.nulls[i]) texts[text_count++] = text_to_utf8(DatumGetTextPP(documents.values[i]));
  score_documents(model, query, {texts, text_count}, scores);
  const float* score = scores;
  for (int i = 0; i < documents.count; ++i) ranked[i] = {i, documents.nulls[i] ? 0.0F : *score++, documents.nulls[i]};
  sort_best_first(ranked, static_cast<size_t>(documents.count));

  for (int i = 0; i < std::min(documents.count, top_k); ++i) {
    const ScoredDocument& next = ranked[i];
    Datum values[3] = {Int32GetDatum(next.place + 1), Float4GetDatum(next.score), documents.values[next.place]};
    bool nulls[3] = {false, next.is_null, next.is_null};
    add_row(rows, values, nulls);
  }
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_score) {
  if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) PG_RETURN_NULL();
  const LoadedModel* model = find_rerank_model(optional_text(fcinfo, 2));
  const std::string_view query = text_to_utf8(PG_GETARG_TEXT_PP(0));
  const std::string_view document = text_to_utf8(PG_GETARG_TEXT_PP(1));
  float score = 0;
  score_documents(model, query, {&document, 1}, &score);
  PG_RETURN_FLOAT4(score);
}
