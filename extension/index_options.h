// WITH (…) options and operator classes of the access method.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_OPTIONS_H
#define PG_SEMANTIC_EXTENSION_INDEX_OPTIONS_H

#include "extension/server.h"

#include "index/engine.h"

namespace pg_semantic {

inline constexpr uint16 kDistanceStrategy = 1;  // the operator of ORDER BY
inline constexpr uint16 kKindProcedure = 1;     // support function: () → int4, an OpclassKind

// What an operator class's support function returns.
enum class OpclassKind : int32 { kText = 0, kVectorCosine = 1, kVectorL2 = 2, kVectorInnerProduct = 3 };

struct IndexOptions {
  int32 vl_len_;
  int model_offset;  // string option
  int codec;         // CodecOption
  int chunk_tokens;
  int chunk_overlap;
  int embed;
};

// Defines the options; once, from _PG_init.
void define_index_options();
bytea* parse_index_options(Datum reloptions, bool validate);

const char* model_option(Relation index);  // nullptr: not given
index::Codec codec_option(Relation index);
OpclassKind opclass_kind(Relation index);
index::Metric metric_of(OpclassKind kind);

// The access method's OID; InvalidOid before CREATE EXTENSION.
Oid semantic_access_method();
bool is_semantic_index(Oid relation);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_OPTIONS_H
