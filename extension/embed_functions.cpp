// SQL functions that turn text into vectors, tokens and chunks.
//
// None is STRICT, because a NULL model or prompt means a default: each gives NULL
// or no rows for a NULL content itself.
#include "extension/server.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "encoder/pooling.h"
#include "extension/function_support.h"
#include "extension/guard.h"
#include "extension/models.h"
#include "extension/settings.h"
#include "extension/vectors.h"

namespace pg_semantic {
namespace {

using TokenList = CopiedList<encoder::Token>;

TokenList encode(const LoadedModel* model, std::string_view content) {
  return guarded([&] {
    const std::vector<encoder::Token> tokens = model->model->tokenizer().encode(content);
    return copy_list(tokens);
  });
}

struct HiddenStates {
  TokenList tokens;
  float* states;  // tokens.count × width
  size_t width;
};

HiddenStates hidden_states(const LoadedModel* model, std::string_view content) {
  return guarded([&] {
    const encoder::TokenEmbeddings found = value_or_throw(model->model->token_embeddings(content, call_options()));
    return HiddenStates{copy_list(found.tokens), copy_list(found.states).elements, static_cast<size_t>(found.width)};
  });
}

using ChunkList = CopiedList<encoder::Chunk>;

ChunkList cut(const LoadedModel* model, std::string_view content, int32 max_tokens, int32 overlap) {
  return guarded([&] {
    return copy_list(value_or_throw(encoder::chunk_text(model->model->tokenizer(), content, max_tokens, overlap)));
  });
}

// Texts of a batch that are embedded, and held in memory, together.
constexpr int kBatchTexts = 512;

struct BatchOptions {
  const char* prompt;  // nullptr: the model's default
  size_t kept;         // leading dimensions that are returned
};

// Rows for contents[start, end): NULL elements give NULL embeddings.
void add_embeddings(ReturnSetInfo* rows, const LoadedModel* model, BatchOptions options, const TextArray& contents,
                    int start, int end) {
  const size_t dimensions = static_cast<size_t>(model->model->info().dimensions);
  auto* texts = static_cast<std::string_view*>(palloc(sizeof(std::string_view) * (end - start)));
  size_t text_count = 0;
  for (int i = start; i < end; ++i)
    if (!contents.nulls[i]) texts[text_count++] = text_to_utf8(DatumGetTextPP(contents.values[i]));
  auto* embeddings = static_cast<float*>(
      MemoryContextAllocHuge(CurrentMemoryContext, std::max<size_t>(1, text_count * dimensions * sizeof(float))));
  embed_texts(model, {texts, text_count}, options.prompt, embeddings);
  encoder::truncate_embeddings(text_count, dimensions, options.kept, embeddings);
  const float* embedding = embeddings;
  for (int i = start; i < end; ++i) {
    Datum values[2] = {Int32GetDatum(i + 1), 0};
    bool nulls[2] = {false, contents.nulls[i]};
    ArrayType* array = nullptr;
    if (!contents.nulls[i]) {
      array = make_array({embedding, options.kept});
      embedding += options.kept;
      values[1] = PointerGetDatum(array);
    }
    add_row(rows, values, nulls);
    if (array != nullptr) pfree(array);
  }
}

}  // namespace
}  // namespace pg_semantic

using namespace pg_semantic;

PG_SEMANTIC_FUNCTION(pg_semantic_embed) {
  if (PG_ARGISNULL(0)) PG_RETURN_NULL();
  const LoadedModel* model = find_model(optional_text(fcinfo, 1));
  const size_t dimensions = static_cast<size_t>(model->model->info().dimensions);
  const std::string_view content = text_to_utf8(PG_GETARG_TEXT_PP(0));
  auto* embedding = static_cast<float*>(palloc(dimensions * sizeof(float)));
  embed_texts(model, {&content, 1}, optional_text(fcinfo, 2), embedding);
  PG_RETURN_ARRAYTYPE_P(make_array({embedding, dimensions}));
}

PG_SEMANTIC_FUNCTION(pg_semantic_embed_batch) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0)) return 0;
  const LoadedModel* model = find_model(optional_text(fcinfo, 1));
  const size_t kept = PG_ARGISNULL(3) ? static_cast<size_t>(model->model->info().dimensions)
                                      : truncated_dimensions(model, PG_GETARG_INT32(3));
  const BatchOptions options{optional_text(fcinfo, 2), kept};
  const TextArray contents = get_text_array(fcinfo, 0);
  MemoryContext batch_context = make_row_context();
  for (int start = 0; start < contents.count; start += kBatchTexts) {
    MemoryContext const outer = MemoryContextSwitchTo(batch_context);
    add_embeddings(rows, model, options, contents, start, std::min(contents.count, start + kBatchTexts));
    MemoryContextSwitchTo(outer);
    MemoryContextReset(batch_context);
  }
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_token_embeddings) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0)) return 0;
  const LoadedModel* model = find_model(optional_text(fcinfo, 1));
  const HiddenStates found = hidden_states(model, text_to_utf8(PG_GETARG_TEXT_PP(0)));
  CHECK_FOR_INTERRUPTS();
  const encoder::Tokenizer& tokenizer = model->model->tokenizer();
  MemoryContext row_context = make_row_context();
  for (size_t i = 0; i < found.tokens.count; ++i) {
    MemoryContext const outer = MemoryContextSwitchTo(row_context);
    Datum values[3] = {Int32GetDatum(static_cast<int32>(i + 1)),
                       PointerGetDatum(utf8_to_text(tokenizer.token_text(found.tokens.elements[i].id))),
                       PointerGetDatum(make_array({found.states + i * found.width, found.width}))};
    bool nulls[3] = {};
    add_row(rows, values, nulls);
    MemoryContextSwitchTo(outer);
    MemoryContextReset(row_context);
  }
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_tokenize) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0)) return 0;
  const LoadedModel* model = find_model(optional_text(fcinfo, 1));
  const TokenList found = encode(model, text_to_utf8(PG_GETARG_TEXT_PP(0)));
  const encoder::Tokenizer& tokenizer = model->model->tokenizer();
  MemoryContext row_context = make_row_context();
  for (size_t i = 0; i < found.count; ++i) {
    CHECK_FOR_INTERRUPTS();
    const encoder::Token& token = found.elements[i];
    const bool added = token.char_start < 0;
    MemoryContext const outer = MemoryContextSwitchTo(row_context);
    Datum values[5] = {Int32GetDatum(static_cast<int32>(i + 1)), Int32GetDatum(token.id),
                       PointerGetDatum(utf8_to_text(tokenizer.token_text(token.id))), Int32GetDatum(token.char_start),
                       Int32GetDatum(token.char_end)};
    bool nulls[5] = {false, false, false, added, added};
    add_row(rows, values, nulls);
    MemoryContextSwitchTo(outer);
    MemoryContextReset(row_context);
  }
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_count_tokens) {
  if (PG_ARGISNULL(0)) PG_RETURN_NULL();
  const LoadedModel* model = find_model(optional_text(fcinfo, 1));
  const std::string_view content = text_to_utf8(PG_GETARG_TEXT_PP(0));
  const size_t count = guarded([&] { return model->model->tokenizer().encode(content).size(); });
  PG_RETURN_INT32(static_cast<int32>(count));
}

PG_SEMANTIC_FUNCTION(pg_semantic_chunk) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0)) return 0;
  const int32 max_tokens = required_int(fcinfo, 1, "max_tokens");
  const int32 overlap = required_int(fcinfo, 2, "overlap");
  const LoadedModel* model = find_model(optional_text(fcinfo, 3));
  const std::string_view content = text_to_utf8(PG_GETARG_TEXT_PP(0));
  const ChunkList found = cut(model, content, max_tokens, overlap);
  MemoryContext row_context = make_row_context();
  for (size_t i = 0; i < found.count; ++i) {
    CHECK_FOR_INTERRUPTS();
    const encoder::Chunk& chunk = found.elements[i];
    MemoryContext const outer = MemoryContextSwitchTo(row_context);
    Datum values[5] = {
        Int32GetDatum(static_cast<int32>(i + 1)),
        PointerGetDatum(utf8_to_text(content.substr(chunk.byte_start, chunk.byte_end - chunk.byte_start))),
        Int32GetDatum(chunk.char_start), Int32GetDatum(chunk.char_end), Int32GetDatum(chunk.tokens)};
    bool nulls[5] = {};
    add_row(rows, values, nulls);
    MemoryContextSwitchTo(outer);
    MemoryContextReset(row_context);
  }
  return 0;
}

PG_SEMANTIC_FUNCTION(pg_semantic_similarity) {
  if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) PG_RETURN_NULL();
  const LoadedModel* model = find_model(optional_text(fcinfo, 2));
  const size_t dimensions = static_cast<size_t>(model->model->info().dimensions);
  const std::string_view contents[2] = {text_to_utf8(PG_GETARG_TEXT_PP(0)), text_to_utf8(PG_GETARG_TEXT_PP(1))};
  auto* embeddings = static_cast<float*>(palloc(2 * dimensions * sizeof(float)));
  embed_texts(model, contents, nullptr, embeddings);
  const double distance = cosine_distance({embeddings, dimensions}, {embeddings + dimensions, dimensions});
  PG_RETURN_FLOAT4(static_cast<float>(1.0 - distance));
}
