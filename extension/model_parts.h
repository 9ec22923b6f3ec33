// The parts of model files in the database: table semantic_model_parts.
//
// A model file is stored in rows of about 1 MB, numbered from 0, and written out
// again by a server that lacks the file.
#ifndef PG_SEMANTIC_EXTENSION_MODEL_PARTS_H
#define PG_SEMANTIC_EXTENSION_MODEL_PARTS_H

#include "extension/server.h"

#include "extension/model_store.h"

namespace pg_semantic {

// A relation that CREATE EXTENSION made; 42P01 when it is gone.
Oid extension_relation(const char* name);

// Equality with a text, for a column of collation "C".
void init_text_key(ScanKey key, AttrNumber column, const char* value);

// Stores the file's content as parts of `model` (fingerprint, file_version, shipped, bytes).
void insert_parts(const StoredModel& model, const char* path);
void delete_parts(const StoredModel& model);

// Makes the model's file; XX001 when parts are missing or damaged.  `replace`: also
// when a file of the right size is there.
void make_file_from_parts(const StoredModel& model, const char* path, bool replace);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_MODEL_PARTS_H
