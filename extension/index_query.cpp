#include "extension/index_query.h"

#include <algorithm>
#include <cmath>

#include "extension/index_options.h"

namespace pg_semantic {
namespace {

constexpr double kDistanceRounding = 1e-9;  // of the operators and of the index, both in double

void check_query_model(const IndexMetapage& metapage, const SemanticQuery* query, Relation index) {
  if (query_fingerprint(query) == std::string_view(metapage.fingerprint)) return;
  const std::string_view model = query_model(query);
  ereport(ERROR,
          (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
           errmsg("index \"%s\" was built with model \"%s\", not with the query's model \"%.*s\"",
                  RelationGetRelationName(index), metapage.model, static_cast<int>(model.size()), model.data()),
           errhint("SET semantic.model = '%s', or write semantic_query(…, '%s').", metapage.model, metapage.model)));
}

}  // namespace

bool rechecks_distances(Relation index, const IndexMetapage& metapage) {
  return metapage.embeds_text == 0 && index->rd_opcintype[0] == FLOAT4ARRAYOID;
}

double least_distance(const index::SearchHit& hit) {
  const double rounding = kDistanceRounding * std::max(1.0, std::fabs(hit.distance)) + 0.001 * hit.error;
  return hit.distance - hit.error - rounding;
}

IndexQuery read_index_query(Relation index, const IndexMetapage& metapage, Datum argument, Oid type) {
  if (metapage.embeds_text != 0) {
    const SemanticQuery* query = semantic_query_from_datum(argument);
    check_query_model(metapage, query, index);
    const FloatView embedding = query_embedding(query);
    return {query, embedding.first(std::min<size_t>(embedding.size(), metapage.dimensions))};
  }
  const Oid column_type = index->rd_opcintype[0];
  if (type != column_type) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                    errmsg("operator class of index \"%s\" orders by a distance to type %s",
                           RelationGetRelationName(index), format_type_be(type)),
                    errdetail("It can be asked for the distance to a value of the column's type, %s.",
                              format_type_be(column_type))));
  }
  return {nullptr, vector_of_value(index, argument)};
}

bool remember_row_distance(const IndexQuery& query, const index::ContentHash& hash, double distance, ScannedKey* key) {
  // The operator's value is the distance of whole embeddings: one of leading dimensions must not become it.
  if (query.text == nullptr || query.vector.size() != query_embedding(query.text).size()) return false;
  const ScannedKey left =
      remember_scanned_distance(query.text, reinterpret_cast<const uint8_t*>(hash.data()), distance);
  if (key != nullptr) *key = left;
  return true;
}

}  // namespace pg_semantic
