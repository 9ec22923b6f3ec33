// The functions behind the distance operators.
//
// text <=> semantic_query embeds the text, which costs milliseconds: an index
// scan that has just returned the row knows its distance, and is asked first.
#include "extension/server.h"

#include "extension/index_distance_cache.h"
#include "extension/models.h"
#include "extension/semantic_query.h"
#include "extension/vectors.h"

using namespace pg_semantic;

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

PG_SEMANTIC_FUNCTION(pg_semantic_cosine_distance) {
  PG_RETURN_FLOAT8(distance_of_arrays(cosine_distance, PG_GETARG_ARRAYTYPE_P(0), PG_GETARG_ARRAYTYPE_P(1)));
}

PG_SEMANTIC_FUNCTION(pg_semantic_l2_distance) {
  PG_RETURN_FLOAT8(distance_of_arrays(l2_distance, PG_GETARG_ARRAYTYPE_P(0), PG_GETARG_ARRAYTYPE_P(1)));
}

PG_SEMANTIC_FUNCTION(pg_semantic_negative_inner_product) {
  PG_RETURN_FLOAT8(distance_of_arrays(negative_inner_product, PG_GETARG_ARRAYTYPE_P(0), PG_GETARG_ARRAYTYPE_P(1)));
}
