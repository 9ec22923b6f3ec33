// Models by name: from a row of the model catalog to a mapped encoder::Model.
//
// Each process maps a model once, when it is first asked for, and keeps it
// until it ends: pointers to LoadedModel stay valid.  Which name stands for which
// model is looked up again after any load or drop in any session, committed or
// rolled back (relcache invalidation of the catalog table).
#ifndef PG_SEMANTIC_EXTENSION_MODELS_H
#define PG_SEMANTIC_EXTENSION_MODELS_H

#include "extension/server.h"

#include <span>
#include <string>
#include <string_view>

#include "encoder/model.h"

namespace pg_semantic {

struct LoadedModel {
  std::string name;
  std::string fingerprint;  // 64 lower-case hex digits
  const encoder::Model* model = nullptr;
};

// nullptr or "": the model that semantic.model names.  An unknown name is 42704
// and lists the names there are.
const LoadedModel* find_model(const char* name);

// 42704, with the names there are.
[[noreturn]] void report_unknown_model(const char* name);

// A model whose every byte that counts is the same, under whatever name.
// missing_ok: nullptr instead of 42704.
const LoadedModel* find_model_by_fingerprint(const char* fingerprint, bool missing_ok);

// Schema of the extension (it is relocatable).  42704 when it is not created.
Oid semantic_schema();

// The schema of the database's extension `name`; InvalidOid: it has none of that name.
Oid schema_of_extension(const char* name);

// Keeps a model from being dropped until the transaction ends: CREATE INDEX
// takes it before it writes the fingerprint anywhere.  semantic_drop_model takes
// the exclusive form before it looks for indexes.
void lock_model(const char* fingerprint, bool exclusive);

// Forgets which name stands for which model (here and, at commit, in every
// other session of the database).
void invalidate_models(Oid catalog_relation);

// Threads and interrupts of a call of the encoder.
encoder::EmbedOptions call_options();

// Where the piece of a long batch that begins at `start` ends: large enough for
// full speed, small enough that interrupts other than cancellation are served,
// between the pieces, about every second.
size_t end_of_piece(std::span<const std::string_view> texts, size_t start);

// Sentence embeddings of texts in UTF-8, each after the prompt (nullptr: the
// model's default), into `out`: contents.size() × dimensions, row-major.
// Long batches are cut so that interrupts are served between the pieces.
void embed_texts(const LoadedModel* model, std::span<const std::string_view> contents, const char* prompt, float* out,
                 const encoder::EmbedOptions& options = call_options());

// How many leading numbers of the model's embeddings a caller wants who asks for
// `dimensions` (encoder::truncate_embeddings() keeps them): 22023 unless it is
// between 1 and the model's own number.
size_t truncated_dimensions(const LoadedModel* model, int32 dimensions);

// The database's encoding to UTF-8 and back.  The view lives as long as the
// datum or the current memory context.  Text that is not valid: 22021.
std::string_view text_to_utf8(const text* value);
std::string_view server_to_utf8(std::string_view value);
text* utf8_to_text(std::string_view value);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_MODELS_H
