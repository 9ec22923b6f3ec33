// WITH (…) options and operator classes of the access method.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_OPTIONS_H
#define PG_SEMANTIC_EXTENSION_INDEX_OPTIONS_H

#include "extension/server.h"

#include "extension/vectors.h"
#include "index/engine.h"

namespace pg_semantic {

inline constexpr uint16 kDistanceStrategy = 1;  // the operator of ORDER BY
inline constexpr uint16 kKindProcedure = 1;     // support function: () → int4, an OpclassKind
// Support function: (the column's type [, typmod int4 [, explicit bool]]) → real[], as a cast function.
// Classes over text and over real[] itself have none.
inline constexpr uint16 kVectorProcedure = 2;
inline constexpr uint16 kSupportProcedures = 2;

// What an operator class's support function returns.
enum class OpclassKind : int32 { kText = 0, kVectorCosine = 1, kVectorL2 = 2, kVectorInnerProduct = 3 };

struct IndexOptions {
  int32 vl_len_;
  int model_offset;  // string option
  int codec;         // CodecOption
  int chunk_tokens;
  int chunk_overlap;
  int embed;
  int dimensions;
};

// Defines the options; once, from _PG_init.
void define_index_options();
bytea* parse_index_options(Datum reloptions, bool validate);

const char* model_option(Relation index);  // nullptr: not given
index::Codec codec_option(Relation index);
int dimensions_option(Relation index);  // 0: all of the model's
OpclassKind opclass_kind(Relation index);
// Whether values of `type` can be read as the kind says: as what they are, or
// through `conversion`, the class's kVectorProcedure (InvalidOid: none).  Anybody
// who may create operator classes may create one for which they cannot.
bool column_is_readable(OpclassKind kind, Oid type, Oid conversion);
index::Metric metric_of(OpclassKind kind);

// A value of a vector column, or of its ORDER BY argument, as elements: through
// the operator class's own conversion where it has one.  Errors of vector_from_array.
FloatView vector_of_value(Relation index, Datum value);

// The access method's OID; InvalidOid before CREATE EXTENSION.
Oid semantic_access_method();
bool is_semantic_index(Oid relation);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_OPTIONS_H
