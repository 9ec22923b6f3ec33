// SQL functions that read a text closely: names in it, answers from it, the word
// that a mask hides.
//
// None is STRICT: each gives no rows for NULL texts itself, and says which option
// must not be NULL.
#include "extension/server.h"

#include <cstring>

#include "encoder/heads.h"
#include "extension/function_support.h"
#include "extension/models.h"
#include "extension/rerank.h"

namespace pg_semantic {
namespace {

encoder::Aggregation parse_aggregation(const char* name) {
  static constexpr std::pair<const char*, encoder::Aggregation> kNames[] = {{"none", encoder::Aggregation::kNone},
                                                                            {"simple", encoder::Aggregation::kSimple},
                                                                            {"first", encoder::Aggregation::kFirst},
                                                                            {"average", encoder::Aggregation::kAverage},
                                                                            {"max", encoder::Aggregation::kMax}};
  for (const auto& [known, aggregation] : kNames)
    if (strcmp(known, name) == 0) return aggregation;
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown aggregation \"%s\"", name),
                  errhint("The aggregations are none, simple, first, average and max.")));
  pg_unreachable();
}

// encoder::Entity without an owner.
struct EntityRow {
  std::string_view label;
  std::string_view word;
  float score;
  int32 char_start;
  int32 char_end;
};

CopiedList<EntityRow> find_entities(const LoadedModel* model, std::string_view content,
                                    encoder::Aggregation aggregation) {
  return guarded([&] {
    std::vector<EntityRow> found;
    for (const encoder::Entity& entity :
         value_or_throw(encoder::find_entities(*model->model, content, aggregation, call_options())))
      found.push_back(
          {copy_text(entity.label), copy_text(entity.word), entity.score, entity.char_start, entity.char_end});
    return copy_list(found);
  });
}

// encoder::MaskFilling without an owner.
struct FillingRow {
  int32 token;
  float score;
  std::string_view content;
};

CopiedList<FillingRow> fill_mask(const LoadedModel* model, std::string_view content, int32 top_k) {
  return guarded([&] {
    std::vector<FillingRow> found;
    for (const encoder::MaskFilling& filling :
         value_or_throw(encoder::fill_mask(*model->model, content, top_k, call_options())))
      found.push_back({filling.token, filling.score, copy_text(filling.content)});
    return copy_list(found);
  });
}

}  // namespace
}  // namespace pg_semantic

using namespace pg_semantic;

PG_SEMANTIC_FUNCTION(pg_semantic_entities) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0)) return 0;
  const LoadedModel* model = find_model_for(optional_text(fcinfo, 1), "token-classification");
  require_argument(fcinfo, 2, "aggregation");
  const encoder::Aggregation aggregation = parse_aggregation(optional_text(fcinfo, 2));
  const CopiedList<EntityRow> found = find_entities(model, text_to_utf8(PG_GETARG_TEXT_PP(0)), aggregation);
  CHECK_FOR_INTERRUPTS();
  for (const EntityRow& entity : found) {
    Datum values[5] = {PointerGetDatum(utf8_to_text(entity.label)), Float4GetDatum(entity.score),
                       PointerGetDatum(utf8_to_text(entity.word)), Int32GetDatum(entity.char_start),
                       Int32GetDatum(entity.char_end)};
    bool nulls[5] = {};
    add_row(rows, values, nulls);
  }
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_answer) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) return 0;
  const LoadedModel* model = find_model_for(optional_text(fcinfo, 2), "question-answering");
  const encoder::AnswerOptions answering{required_int(fcinfo, 3, "top_k"),
                                         required_int(fcinfo, 4, "max_answer_tokens")};
  const std::string_view question = text_to_utf8(PG_GETARG_TEXT_PP(0));
  const std::string_view context = text_to_utf8(PG_GETARG_TEXT_PP(1));
  const CopiedList<encoder::Answer> found = guarded([&] {
    return copy_list(
        value_or_throw(encoder::find_answers(*model->model, question, context, answering, call_options())));
  });
  CHECK_FOR_INTERRUPTS();
  for (const encoder::Answer& answer : found) {
    const std::string_view text = context.substr(answer.byte_start, answer.byte_end - answer.byte_start);
    Datum values[4] = {PointerGetDatum(utf8_to_text(text)), Float4GetDatum(answer.score),
                       Int32GetDatum(answer.char_start), Int32GetDatum(answer.char_end)};
    bool nulls[4] = {};
    add_row(rows, values, nulls);
  }
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_fill_mask) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0)) return 0;
  const LoadedModel* model = find_model_for(optional_text(fcinfo, 1), "fill-mask");
  const int32 top_k = required_int(fcinfo, 2, "top_k");
  const CopiedList<FillingRow> found = fill_mask(model, text_to_utf8(PG_GETARG_TEXT_PP(0)), top_k);
  CHECK_FOR_INTERRUPTS();
  for (const FillingRow& filling : found) {
    Datum values[3] = {PointerGetDatum(utf8_to_text(model->model->tokenizer().token_text(filling.token))),
                       Float4GetDatum(filling.score), PointerGetDatum(utf8_to_text(filling.content))};
    bool nulls[3] = {};
    add_row(rows, values, nulls);
  }
  return 0;
}
