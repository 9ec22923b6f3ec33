// The type semantic_query: a query text, its model and its embedding.
//
// A value is one varlena, 4-byte aligned, in this order:
//   SemanticQuery | embedding float4[dimensions] | model name | text
// It carries the model's fingerprint, so that a value stored or passed on means
// the same vector whatever name or setting has changed since.
//
// The one value without is a literal that pg_upgrade restores (of a view, say), when there
// is no model yet: the text alone, embedded with the setting's model by whoever reads the value.
#ifndef PG_SEMANTIC_EXTENSION_SEMANTIC_QUERY_H
#define PG_SEMANTIC_EXTENSION_SEMANTIC_QUERY_H

#include "extension/server.h"

#include <string_view>

#include "extension/models.h"
#include "extension/vectors.h"

namespace pg_semantic {

// Not to be read directly: use the functions below, which check sizes.
struct SemanticQuery {
  int32 vl_len_;  // varlena header, of the 4-byte form
  uint16 format;  // kSemanticQueryFormat
  uint16 flags;   // kQueryHasText, kQueryTextOnly
  int32 dimensions;
  int32 model_length;  // bytes
  int32 text_length;   // bytes
  char fingerprint[64];
};

inline constexpr uint16 kSemanticQueryFormat = 1;
inline constexpr uint16 kQueryHasText = 1;
inline constexpr uint16 kQueryTextOnly = 2;  // not embedded yet: no dimensions, no model

// A detoasted, checked value, with its embedding.  A value whose sizes disagree: XX001.
const SemanticQuery* semantic_query_from_datum(Datum datum);

bool query_has_text(const SemanticQuery* query);           // false: made from a ready vector
std::string_view query_text(const SemanticQuery* query);   // database encoding; "" without a text
std::string_view query_model(const SemanticQuery* query);  // name at the time it was made
std::string_view query_fingerprint(const SemanticQuery* query);
FloatView query_embedding(const SemanticQuery* query);

// The query's model, now.  42704 when no model has its fingerprint any more.
const LoadedModel* query_loaded_model(const SemanticQuery* query);

// Embeds (through a small cache of the session's last queries).
SemanticQuery* make_semantic_query(const text* content, const char* model, const char* prompt);

}  // namespace pg_semantic

#define PG_GETARG_SEMANTIC_QUERY(n) ::pg_semantic::semantic_query_from_datum(PG_GETARG_DATUM(n))

#endif  // PG_SEMANTIC_EXTENSION_SEMANTIC_QUERY_H
