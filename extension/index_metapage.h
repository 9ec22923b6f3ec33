// Block 0 of a semantic index: what the index is, and which generation of the
// worker's store holds its rows.
//
// An ordinary WAL-logged page, the only one the index has.  It is written by a
// build, by the first row after an unlogged index was reset, and never else, so
// the relation cache keeps a copy of it (dropped with every relcache
// invalidation, which a new build causes).
#ifndef PG_SEMANTIC_EXTENSION_INDEX_METAPAGE_H
#define PG_SEMANTIC_EXTENSION_INDEX_METAPAGE_H

#include "extension/server.h"

#include "index/engine.h"

namespace pg_semantic {

inline constexpr uint32 kMetapageMagic = 0x50475345;  // "PGSE"
inline constexpr uint32 kMetapageVersion = 1;

// On disk.
struct IndexMetapage {
  uint32 magic;
  uint32 version;
  uint64 generation;  // 0: no row since the index was made or reset
  Oid database_oid;   // of the database it was built in: a copied template differs
  uint32 dimensions;  // of a text's vector: the model's, or its leading ones; 0 for vectors (the first row decides)
  uint8 metric;       // index::Metric
  uint8 codec;        // index::Codec
  uint8 embeds_text;  // 1: text column, 0: vectors
  uint8 reserved[5];
  char model[NAMEDATALEN];  // its name at build time; "" for real[]
  char fingerprint[65];     // "" for real[]
};

// The cached copy, checked; ERROR with a HINT when it is damaged (XX002), or comes from pg_upgrade without its model
// (55000).  An index that was copied with its database gets rows of its own first (index_repair.h).
const IndexMetapage* read_metapage(Relation index);

// The page, checked as there.  Of an index that was copied with its database the generation is still the original's.
IndexMetapage check_metapage(Relation index);

// What this backend has learnt of an index, kept as long as the cached copy.
struct IndexNotes {
  // Of its vectors; 0: not known.  Once a generation has a width it never changes: the worker is asked once.
  uint32 dimensions;
  // That the last scan returned; 0: none yet.
  uint32 returned_rows;
};
// nullptr: there is no cached copy.
IndexNotes* notes_of(Relation index);

// The page as it is on disk, unchecked: for those who must not fail over it.
// The index has at least one block.
IndexMetapage peek_metapage(Relation index);

// Replaces the page, or adds it to an empty fork.
void write_metapage(Relation index, ForkNumber fork, const IndexMetapage& metapage);

// What a build of this index would write, without a generation: its operator
// class, its options, and the model (nullptr for real[]).
struct LoadedModel;
IndexMetapage describe_index(Relation index, const LoadedModel** model);

// Those of a generation of such an index.
index::GenerationOptions generation_options(Relation index, const IndexMetapage& metapage, bool building);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_METAPAGE_H
