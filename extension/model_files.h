// Model files under $PGDATA/pg_semantic/models/: names, temporary names and the
// steps that make a file appear whole or not at all.
//
// A temporary file is named pgsql_tmp.<process id>.<number>: base backups skip
// such names, and one whose process is gone is a crash's leftover.
#ifndef PG_SEMANTIC_EXTENSION_MODEL_FILES_H
#define PG_SEMANTIC_EXTENSION_MODEL_FILES_H

#include "extension/server.h"

namespace pg_semantic {

// Relative to the data directory.  XX001 for a fingerprint that is not 64 hex digits.
char* model_file_path(const char* fingerprint);

// Whether a regular file of exactly this size is there.
bool model_file_is_present(const char* path, int64 bytes);

// A name that is free.  Makes the directory, and removes leftovers of processes
// that are gone.
char* new_temporary_model_path();

// SHA-256 of a file's content, 64 lower-case hex digits.
char* model_file_sha256(const char* path);

// Gives a complete, fsynced temporary file its final name, durably.  Unless
// `replace`, a file of this size that is there already stays and the temporary
// goes: processes have that one mapped.
void publish_model_file(const char* temporary_path, const char* final_path, int64 bytes, bool replace);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_MODEL_FILES_H
