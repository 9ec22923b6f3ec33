// What the rest of the extension needs from the index: start-up and one question.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_INIT_H
#define PG_SEMANTIC_EXTENSION_INDEX_INIT_H

#include "extension/server.h"

namespace pg_semantic {

// Called once by _PG_init, after the settings are defined.  Under
// shared_preload_libraries it reserves shared memory and registers the index
// worker; in any case it registers the transaction callbacks.
void initialize_index();

// Whether an index of this database was built with the model; *index gets its
// OID.  Reads metapages of every semantic index.
bool index_uses_model(const char* fingerprint, Oid* index);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_INIT_H
