// What a transaction still owes the index: rows to embed before it commits,
// generations to remove when it ends.
//
// aminsert only collects.  The rows are sent when a scan of the same index needs
// them, when they grow large, before a parallel plan starts, and before the
// commit record is written: what is committed is in the log, and in the index for whoever reads it.  A rolled-back
// subtransaction's rows are dropped here if they were not sent, and are dead entries for VACUUM if they were.
//
// A row must not be sent when VACUUM may already have given its place to another
// one.  That can be so of rolled-back subtransactions, and of the rows that
// INSERT ... ON CONFLICT takes back because another session was faster.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_TRANSACTION_H
#define PG_SEMANTIC_EXTENSION_INDEX_TRANSACTION_H

#include "extension/server.h"

#include "extension/index_metapage.h"
#include "extension/index_rows.h"

namespace pg_semantic {

void register_transaction_callbacks();

// Collects a row of `index`; sends what is collected when it has grown large.
void add_pending_row(Relation heap, Relation index, const IndexMetapage& metapage, ItemPointer tid, Datum value,
                     bool is_null);

// Sends what this transaction has collected for one generation, or for all.
void send_pending_rows(index::GenerationId generation);
void send_all_pending_rows();
uint64 count_pending_rows(index::GenerationId generation);

// A number that no generation has.
index::GenerationId random_generation();

// Makes a generation to be built.  It goes when the (sub)transaction rolls back;
// when it commits, the generations that `index` had before go instead.
index::GenerationId create_built_generation(Relation index, const IndexMetapage& metapage);

// Makes an empty generation at once, whatever becomes of the transaction, and
// removes those that `index` had before: for an index that a crash has reset.
index::GenerationId create_reset_generation(Relation index, const IndexMetapage& metapage);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_TRANSACTION_H
