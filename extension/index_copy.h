// Filling an index of texts that was copied with its database (CREATE DATABASE … TEMPLATE): vectors are taken from the
// entries of the original, so that texts are not embedded again.
//
// The copied table's rows lie where the original's do, and the metapage, with the model's fingerprint, was copied as
// well.  Either table may have been changed since: an entry counts only if it was made from the content that the row in
// its place has.  So nothing of the other database gets into this one: a vector is asked for by a row of the same
// content, from which it could be computed.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_COPY_H
#define PG_SEMANTIC_EXTENSION_INDEX_COPY_H

#include "extension/server.h"

#include "extension/index_metapage.h"
#include "extension/index_rows.h"

namespace pg_semantic {

// Puts the table's rows into the collector's generation.  The original may be gone, damaged or changing: what cannot be
// taken from it is embedded.  Returns how many vectors were taken.  Errors: those of embedding a text.
int64 copy_index_rows(const RowTarget& target, const IndexMetapage& metapage, index::GenerationId original,
                      Relation heap, Relation index);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_COPY_H
