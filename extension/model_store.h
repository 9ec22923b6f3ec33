// Models in the database: the catalog table, the parts of the model files, and
// the files made from them.
//
// semantic_model_catalog   one row a name: what the view semantic_models shows
// semantic_model_parts     the model file in parts of about 1 MB, stored uncompressed
//                          and out of line; names with one fingerprint share them
// $PGDATA/pg_semantic/models/<fingerprint>-v<version>.model
//                          made from the parts when a server first needs it, and
//                          shared by all databases of the cluster
//
// Both tables are ordinary WAL-logged tables: a standby, a backup and a dump have
// them.  C code reads them without privileges of the calling user.
#ifndef PG_SEMANTIC_EXTENSION_MODEL_STORE_H
#define PG_SEMANTIC_EXTENSION_MODEL_STORE_H

#include "extension/server.h"

#include "encoder/model.h"

namespace pg_semantic {

// A row of the catalog, in the memory context that was current.
struct StoredModel {
  char* name;
  char* architecture;
  char* task;
  int32 dimensions;
  int32 max_tokens;
  int32 vocabulary_size;
  int32 layers;
  int64 parameters;
  char* pooling;
  bool normalized;
  char* model_precision;
  int64 bytes;         // of the model file
  ArrayType* labels;   // text[]; nullptr: the model has none
  char* fingerprint;   // 64 lower-case hex digits
  char* file_sha256;   // of the model file, likewise
  int32 file_version;  // encoder::kModelFileVersion when it was stored
  bool shipped;        // came with the extension: not dumped, not dropped
};

// OID of the catalog table, cached; 42704 when the extension is not created.
Oid model_catalog_relation();

// What the latest snapshot shows (the transaction's own changes included).
bool read_stored_model(const char* name, StoredModel* model);
bool read_stored_model_by_fingerprint(const char* fingerprint, StoredModel* model);

// Names in order, quoted and separated by commas; "" when there are none.
char* list_model_names();

// Compiles a Hugging Face directory and stores it under `name`.  Existing name:
// 42710.  The caller has checked privileges.
void store_model(const char* name, const char* directory, const char* precision, bool shipped);

// Unknown name: 42704; a shipped model, or one that an index uses: 2BP01.
void remove_stored_model(const char* name);

// The process's mapping of the model's file, which is made from the parts if the
// server does not have it, or has it damaged.
const encoder::Model* open_stored_model(const StoredModel& model);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_MODEL_STORE_H
