// SQL functions for the other ways to embed: sparse, over the vocabulary, and
// late interaction, token by token.
//
// Neither is STRICT, because a NULL model means the setting's: each gives NULL or
// no rows for a NULL text itself.
#include "extension/server.h"

#include "encoder/late_interaction.h"
#include "encoder/sparse_embedding.h"
#include "extension/function_support.h"
#include "extension/guard.h"
#include "extension/models.h"
#include "extension/rerank.h"

using namespace pg_semantic;

PG_SEMANTIC_FUNCTION(pg_semantic_sparse_embed) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0)) return 0;
  const LoadedModel* model = find_model_for(optional_text(fcinfo, 1), "fill-mask");
  const std::string_view content = text_to_utf8(PG_GETARG_TEXT_PP(0));
  const CopiedList<encoder::TokenWeight> found = guarded(
      [&] { return copy_list(value_or_throw(encoder::sparse_embedding(*model->model, content, call_options()))); });
  CHECK_FOR_INTERRUPTS();
  const encoder::Tokenizer& tokenizer = model->model->tokenizer();
  MemoryContext row_context = make_row_context();
  for (const encoder::TokenWeight& entry : found) {
    MemoryContext const outer = MemoryContextSwitchTo(row_context);
    Datum values[2] = {PointerGetDatum(utf8_to_text(tokenizer.token_text(entry.token))), Float4GetDatum(entry.weight)};
    bool nulls[2] = {};
    add_row(rows, values, nulls);
    MemoryContextSwitchTo(outer);
    MemoryContextReset(row_context);
  }
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_late_interaction) {
  if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) PG_RETURN_NULL();
  const LoadedModel* model = find_model(optional_text(fcinfo, 2));
  const std::string_view query = text_to_utf8(PG_GETARG_TEXT_PP(0));
  const std::string_view document = text_to_utf8(PG_GETARG_TEXT_PP(1));
  const float score = guarded(
      [&] { return value_or_throw(encoder::late_interaction(*model->model, query, document, call_options())); });
  CHECK_FOR_INTERRUPTS();
  PG_RETURN_FLOAT4(score);
}
