// The functions behind the distance operators.
//
// text <=> semantic_query embeds the text, which costs milliseconds: an index
// scan that has just returned the row knows its distance, and is asked first.
#include "extension/server.h"

#include <cstring>

#include "extension/index_distance_cache.h"
#include "extension/models.h"
#include "extension/semantic_query.h"
#include "extension/vectors.h"

using namespace pg_semantic;

namespace {

// An argument that lies in a TOAST table is most often the query, the same for every row: what was read for the last
// row is kept for as long as the next one names the same value.
struct KeptArray {
  varatt_external pointer;
  ArrayType* array;
};

ArrayType* array_argument(FunctionCallInfo fcinfo, int number) {
  varlena* value = PG_GETARG_RAW_VARLENA_P(number);
  if (!VARATT_IS_EXTERNAL_ONDISK(value) || fcinfo->flinfo == nullptr) return DatumGetArrayTypeP(PointerGetDatum(value));
  FmgrInfo* function = fcinfo->flinfo;
  if (function->fn_extra == nullptr)
    function->fn_extra = MemoryContextAllocZero(function->fn_mcxt, 2 * sizeof(KeptArray));
  KeptArray* kept = static_cast<KeptArray*>(function->fn_extra) + number;
  varatt_external pointer;
  VARATT_EXTERNAL_GET_POINTER(pointer, value);
  if (kept->array != nullptr && std::memcmp(&kept->pointer, &pointer, sizeof pointer) == 0) return kept->array;
  if (kept->array != nullptr) pfree(kept->array);
  kept->array = nullptr;
  const MemoryContext before = MemoryContextSwitchTo(function->fn_mcxt);
  kept->array = DatumGetArrayTypeP(PointerGetDatum(value));
  MemoryContextSwitchTo(before);
  kept->pointer = pointer;
  return kept->array;
}

Datum distance_of_arguments(FunctionCallInfo fcinfo, DistanceFunction distance) {
  ArrayType* first = array_argument(fcinfo, 0);
  ArrayType* second = array_argument(fcinfo, 1);
  PG_RETURN_FLOAT8(distance_of_arrays(distance, first, second));
}

}  // namespace

PG_SEMANTIC_FUNCTION(pg_semantic_text_distance) {
  const text* content = PG_GETARG_TEXT_PP(0);
  const SemanticQuery* query = PG_GETARG_SEMANTIC_QUERY(1);
  if (has_scanned_distances()) {
    const ContentHashBytes hash = content_hash(std::string_view(VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content)));
    double distance;
    if (find_scanned_distance(query, hash.data(), &distance)) PG_RETURN_FLOAT8(distance);
  }
  const LoadedModel* model = query_loaded_model(query);
  const size_t dimensions = static_cast<size_t>(model->model->info().dimensions);
  const std::string_view content_utf8 = text_to_utf8(content);
  auto* embedding = static_cast<float*>(palloc(dimensions * sizeof(float)));
  embed_texts(model, {&content_utf8, 1}, nullptr, embedding);
  PG_RETURN_FLOAT8(cosine_distance({embedding, dimensions}, query_embedding(query)));
}

PG_SEMANTIC_FUNCTION(pg_semantic_cosine_distance) { return distance_of_arguments(fcinfo, cosine_distance); }

PG_SEMANTIC_FUNCTION(pg_semantic_l2_distance) { return distance_of_arguments(fcinfo, l2_distance); }

PG_SEMANTIC_FUNCTION(pg_semantic_negative_inner_product) {
  return distance_of_arguments(fcinfo, negative_inner_product);
}
