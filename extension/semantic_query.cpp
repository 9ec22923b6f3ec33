// The type semantic_query (see semantic_query.h).
#include "extension/semantic_query.h"

extern "C" {
#include "libpq/pqformat.h"
}

#include <algorithm>
#include <cstring>

#include "extension/model_store.h"
#include "index/engine.h"

namespace pg_semantic {
namespace {

// Offsets of the parts, computed without overflow; false: sizes do not fit.
bool layout_is_sound(const SemanticQuery* query, size_t size) {
  if (size < sizeof(SemanticQuery) || query->format != kSemanticQueryFormat) return false;
  const bool text_only = (query->flags & kQueryTextOnly) != 0;
  if (query->dimensions < (text_only ? 0 : 1) || static_cast<uint32_t>(query->dimensions) > index::kMaxDimensions)
    return false;
  if (query->model_length < 0 || query->text_length < 0) return false;
  const uint64_t expected = sizeof(SemanticQuery) + uint64_t{static_cast<uint32_t>(query->dimensions)} * sizeof(float) +
                            static_cast<uint64_t>(query->model_length) + static_cast<uint64_t>(query->text_length);
  return expected == size;
}

float* embedding_of(SemanticQuery* query) { return reinterpret_cast<float*>(query + 1); }

// A value with everything but its embedding filled in; `model` nullptr: it has none.
SemanticQuery* allocate_query(const LoadedModel* model, size_t dimensions, const std::string_view* content) {
  const size_t text_length = content == nullptr ? 0 : content->size();
  const std::string_view name = model == nullptr ? std::string_view() : model->name;
  const size_t size = sizeof(SemanticQuery) + dimensions * sizeof(float) + name.size() + text_length;
  auto* query = static_cast<SemanticQuery*>(palloc0(size));
  SET_VARSIZE(query, size);
  query->format = kSemanticQueryFormat;
  query->flags = content == nullptr ? 0 : kQueryHasText;
  query->dimensions = static_cast<int32>(dimensions);
  query->model_length = static_cast<int32>(name.size());
  query->text_length = static_cast<int32>(text_length);
  if (model != nullptr) std::memcpy(query->fingerprint, model->fingerprint.data(), sizeof(query->fingerprint));
  char* rest = reinterpret_cast<char*>(embedding_of(query) + dimensions);
  rest = std::copy(name.begin(), name.end(), rest);
  if (content != nullptr) std::copy(content->begin(), content->end(), rest);
  return query;
}

// The session's last queries.  A STABLE cast of a parameter is evaluated once a
// row by a sequential scan, and again by planner and executor.
struct CachedQuery {
  SemanticQuery* query;
  char* prompt;  // nullptr: none was given
};
constexpr size_t kCachedQueries = 8;
constexpr size_t kMaxCachedText = 65536;  // bytes
CachedQuery cached_queries[kCachedQueries];
size_t next_cached_query = 0;

bool same_prompt(const char* a, const char* b) { return a == nullptr || b == nullptr ? a == b : strcmp(a, b) == 0; }

SemanticQuery* copy_of_cached(const LoadedModel* model, std::string_view content, const char* prompt) {
  for (const CachedQuery& cached : cached_queries) {
    if (cached.query == nullptr || query_text(cached.query) != content || !same_prompt(cached.prompt, prompt) ||
        query_model(cached.query) != model->name || query_fingerprint(cached.query) != model->fingerprint)
      continue;
    auto* copy = static_cast<SemanticQuery*>(palloc(VARSIZE(cached.query)));
    std::memcpy(copy, cached.query, VARSIZE(cached.query));
    return copy;
  }
  return nullptr;
}

void cache_query(const SemanticQuery* query, const char* prompt) {
  if (static_cast<size_t>(query->text_length) > kMaxCachedText ||
      (prompt != nullptr && strlen(prompt) > kMaxCachedText))
    return;
  MemoryContext const outer = MemoryContextSwitchTo(TopMemoryContext);
  auto* copy = static_cast<SemanticQuery*>(palloc(VARSIZE(query)));
  std::memcpy(copy, query, VARSIZE(query));
  char* prompt_copy = prompt == nullptr ? nullptr : pstrdup(prompt);
  MemoryContextSwitchTo(outer);
  CachedQuery& slot = cached_queries[next_cached_query++ % kCachedQueries];
  if (slot.query != nullptr) pfree(slot.query);
  if (slot.prompt != nullptr) pfree(slot.prompt);
  slot = {copy, prompt_copy};
}

SemanticQuery* make_text_only(const text* content) {
  const std::string_view stored(VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content));
  SemanticQuery* query = allocate_query(nullptr, 0, &stored);
  query->flags |= kQueryTextOnly;
  return query;
}

// As it is stored.
const SemanticQuery* checked_query(Datum datum) {
  const auto* query = reinterpret_cast<const SemanticQuery*>(PG_DETOAST_DATUM(datum));
  if (!layout_is_sound(query, VARSIZE(query)))
    ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("invalid semantic_query value"),
                    errdetail("The sizes of its parts do not add up to its own.")));
  return query;
}

// The query's text; of a ready vector, the array's.
char* external_form(const SemanticQuery* query) {
  if (query_has_text(query)) {
    const std::string_view content = query_text(query);
    return pnstrdup(content.data(), content.size());
  }
  Oid output;
  bool is_varlena;
  getTypeOutputInfo(FLOAT4ARRAYOID, &output, &is_varlena);
  return OidOutputFunctionCall(output, PointerGetDatum(make_array(query_embedding(query))));
}

}  // namespace

const SemanticQuery* semantic_query_from_datum(Datum datum) {
  const SemanticQuery* query = checked_query(datum);
  if ((query->flags & kQueryTextOnly) == 0) return query;
  const std::string_view content = query_text(query);
  return make_semantic_query(cstring_to_text_with_len(content.data(), static_cast<int>(content.size())), nullptr,
                             nullptr);
}

bool query_has_text(const SemanticQuery* query) { return (query->flags & kQueryHasText) != 0; }

FloatView query_embedding(const SemanticQuery* query) {
  return {reinterpret_cast<const float*>(query + 1), static_cast<size_t>(query->dimensions)};
}

std::string_view query_model(const SemanticQuery* query) {
  const FloatView embedding = query_embedding(query);
  return {reinterpret_cast<const char*>(embedding.data() + embedding.size()), static_cast<size_t>(query->model_length)};
}

std::string_view query_text(const SemanticQuery* query) {
  const std::string_view model = query_model(query);
  return {model.data() + model.size(), static_cast<size_t>(query->text_length)};
}

std::string_view query_fingerprint(const SemanticQuery* query) {
  return {query->fingerprint, sizeof(query->fingerprint)};
}

const LoadedModel* query_loaded_model(const SemanticQuery* query) {
  char fingerprint[sizeof(query->fingerprint) + 1];
  std::memcpy(fingerprint, query->fingerprint, sizeof(query->fingerprint));
  fingerprint[sizeof(query->fingerprint)] = '\0';
  const LoadedModel* model = find_model_by_fingerprint(fingerprint, true);
  if (model == nullptr) {
    const std::string_view name = query_model(query);
    ereport(ERROR,
            (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the model of this semantic_query does not exist any more"),
             errdetail("It was made with model \"%.*s\" of fingerprint %s. The models there are: %s.",
                       static_cast<int>(name.size()), name.data(), fingerprint, list_model_names()),
             errhint("Make the query anew, or load the model again with semantic_load_model().")));
  }
  return model;
}

SemanticQuery* make_semantic_query(const text* content, const char* model_name, const char* prompt) {
  const LoadedModel* model = find_model(model_name);
  const std::string_view stored(VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content));
  if (SemanticQuery* cached = copy_of_cached(model, stored, prompt)) return cached;
  const std::string_view content_utf8 = text_to_utf8(content);
  SemanticQuery* query = allocate_query(model, static_cast<size_t>(model->model->info().dimensions), &stored);
  embed_texts(model, {&content_utf8, 1}, prompt, embedding_of(query));
  cache_query(query, prompt);
  return query;
}

}  // namespace pg_semantic

using namespace pg_semantic;

PG_SEMANTIC_FUNCTION(pg_semantic_query_in) {
  const text* content = cstring_to_text(PG_GETARG_CSTRING(0));
  PG_RETURN_POINTER(IsBinaryUpgrade ? make_text_only(content) : make_semantic_query(content, nullptr, nullptr));
}

PG_SEMANTIC_FUNCTION(pg_semantic_query_out) { PG_RETURN_CSTRING(external_form(checked_query(PG_GETARG_DATUM(0)))); }

PG_SEMANTIC_FUNCTION(pg_semantic_query_recv) {
  auto* message = reinterpret_cast<StringInfo>(PG_GETARG_POINTER(0));
  int length;
  const char* content = pq_getmsgtext(message, message->len - message->cursor, &length);
  PG_RETURN_POINTER(make_semantic_query(cstring_to_text_with_len(content, length), nullptr, nullptr));
}

PG_SEMANTIC_FUNCTION(pg_semantic_query_send) {
  const char* form = external_form(checked_query(PG_GETARG_DATUM(0)));
  StringInfoData message;
  pq_begintypsend(&message);
  pq_sendtext(&message, form, static_cast<int>(strlen(form)));
  PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

// The implicit casts from text and varchar: STRICT.
PG_SEMANTIC_FUNCTION(pg_semantic_query_from_text) {
  PG_RETURN_POINTER(make_semantic_query(PG_GETARG_TEXT_PP(0), nullptr, nullptr));
}

PG_SEMANTIC_FUNCTION(pg_semantic_query_make) {
  if (PG_ARGISNULL(0)) PG_RETURN_NULL();
  const char* model = PG_ARGISNULL(1) ? nullptr : text_to_cstring(PG_GETARG_TEXT_PP(1));
  const char* prompt = PG_ARGISNULL(2) ? nullptr : text_to_cstring(PG_GETARG_TEXT_PP(2));
  PG_RETURN_POINTER(make_semantic_query(PG_GETARG_TEXT_PP(0), model, prompt));
}

PG_SEMANTIC_FUNCTION(pg_semantic_query_from_vector) {
  if (PG_ARGISNULL(0)) PG_RETURN_NULL();
  const FloatView vector = vector_from_array(PG_GETARG_ARRAYTYPE_P(0));
  const LoadedModel* model = find_model(PG_ARGISNULL(1) ? nullptr : text_to_cstring(PG_GETARG_TEXT_PP(1)));
  const size_t dimensions = static_cast<size_t>(model->model->info().dimensions);
  if (vector.size() != dimensions)
    ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
                    errmsg("different vector dimensions %zu and %zu", vector.size(), dimensions),
                    errdetail("Embeddings of model \"%s\" have %zu dimensions.", model->name.c_str(), dimensions)));
  SemanticQuery* query = allocate_query(model, dimensions, nullptr);
  std::memcpy(embedding_of(query), vector.data(), vector.size_bytes());
  PG_RETURN_POINTER(query);
}
