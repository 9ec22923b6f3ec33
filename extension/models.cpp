// Models by name (see models.h).
#include "extension/models.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "extension/guard.h"
#include "extension/model_store.h"
#include "extension/settings.h"

namespace pg_semantic {
Oid schema_of_extension(const char* name) {
  Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
  SysScanDesc scan = systable_beginscan(extensions, ExtensionNameIndexId, true, nullptr, 1, &key);
  HeapTuple tuple = systable_getnext(scan);
  const Oid schema =
      HeapTupleIsValid(tuple) ? reinterpret_cast<Form_pg_extension>(GETSTRUCT(tuple))->extnamespace : InvalidOid;
  systable_endscan(scan);
  table_close(extensions, AccessShareLock);
  return schema;
}

namespace {

// Raised whenever a name may have come to stand for something else.
uint64 names_generation = 1;
// OIDs that hold until the catalog table's relcache entry is invalidated (ALTER
// EXTENSION … SET SCHEMA and DROP EXTENSION do that).
Oid cached_catalog = InvalidOid;
Oid cached_schema = InvalidOid;

struct NamedModel {
  LoadedModel loaded;
  uint64 generation = 0;  // names_generation when the catalog was read
};

// Entries are never freed: others hold pointers to them.
std::vector<std::unique_ptr<NamedModel>>& named_models() {
  static Permanent<std::vector<std::unique_ptr<NamedModel>>> models;
  return *models;
}

void relation_changed(Datum, Oid relation) {
  if (OidIsValid(relation) && relation != cached_catalog) return;
  ++names_generation;
  cached_catalog = InvalidOid;
  cached_schema = InvalidOid;
}

void watch_catalog() {
  static bool registered = false;
  if (registered) return;
  CacheRegisterRelcacheCallback(relation_changed, 0);
  registered = true;
}

// Reads schema and catalog table; caches them while both are there.
void find_catalog() {
  watch_catalog();
  if (OidIsValid(cached_catalog)) return;
  const Oid schema = schema_of_extension("pg_semantic");
  if (!OidIsValid(schema))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("extension \"pg_semantic\" does not exist"),
                    errhint("Create it with CREATE EXTENSION pg_semantic.")));
  const Oid catalog = get_relname_relid("semantic_model_catalog", schema);
  if (!OidIsValid(catalog))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                    errmsg("relation \"semantic_model_catalog\" of extension pg_semantic is missing"),
                    errhint("Drop the extension and create it again.")));
  cached_schema = schema;
  cached_catalog = catalog;
}

// What the catalog said under `generation`, remembered.
const LoadedModel* remember(const StoredModel& stored, uint64 generation) {
  const encoder::Model* model = open_stored_model(stored);
  return guarded([&]() -> const LoadedModel* {
    for (const std::unique_ptr<NamedModel>& known : named_models())
      if (known->loaded.name == stored.name && known->loaded.model == model) {
        known->generation = generation;
        return &known->loaded;
      }
    auto entry = std::make_unique<NamedModel>();
    entry->loaded = {stored.name, stored.fingerprint, model};
    entry->generation = generation;
    named_models().push_back(std::move(entry));
    return &named_models().back()->loaded;
  });
}

constexpr size_t kPieceTexts = 512;
constexpr size_t kPieceBytes = size_t{256} << 10;

}  // namespace

Oid semantic_schema() {
  find_catalog();
  return cached_schema;
}

Oid model_catalog_relation() {
  find_catalog();
  return cached_catalog;
}

void invalidate_models(Oid catalog_relation) { CacheInvalidateRelcacheByRelid(catalog_relation); }

void lock_model(const char* fingerprint, bool exclusive) {
  // The first 32 bits are enough: a collision only makes someone wait.
  char head[9];
  strlcpy(head, fingerprint, sizeof(head));
  const Oid object = static_cast<Oid>(strtoul(head, nullptr, 16));
  LockDatabaseObject(model_catalog_relation(), object, 0, exclusive ? AccessExclusiveLock : AccessShareLock);
}

void report_unknown_model(const char* name) {
  const char* names = list_model_names();
  ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model \"%s\" does not exist", name),
                  names[0] != '\0' ? errdetail("The models there are: %s.", names) : errdetail("There is no model."),
                  errhint("Load a model with semantic_load_model().")));
  pg_unreachable();
}

const LoadedModel* find_model(const char* name) {
  if (name == nullptr || name[0] == '\0') name = settings.model;
  watch_catalog();
  AcceptInvalidationMessages();
  for (const std::unique_ptr<NamedModel>& known : named_models())
    if (known->generation == names_generation && known->loaded.name == name) return &known->loaded;

  find_catalog();
  const uint64 generation = names_generation;
  StoredModel stored;
  if (!read_stored_model(name, &stored)) report_unknown_model(name);
  return remember(stored, generation);
}

const LoadedModel* find_model_by_fingerprint(const char* fingerprint, bool missing_ok) {
  watch_catalog();
  AcceptInvalidationMessages();
  for (const std::unique_ptr<NamedModel>& known : named_models())
    if (known->generation == names_generation && known->loaded.fingerprint == fingerprint) return &known->loaded;

  find_catalog();
  const uint64 generation = names_generation;
  StoredModel stored;
  if (!read_stored_model_by_fingerprint(fingerprint, &stored)) {
    if (missing_ok) return nullptr;
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("no model has the fingerprint \"%s\"", fingerprint),
                    errdetail("The models there are: %s.", list_model_names()),
                    errhint("Load the model that was used, with semantic_load_model(), or make the query anew.")));
  }
  return remember(stored, generation);
}

encoder::EmbedOptions call_options() {
  encoder::EmbedOptions options;
  options.threads = choose_threads(INT_MAX);
  options.interrupted = interrupt_pending;
  return options;
}

size_t end_of_piece(std::span<const std::string_view> texts, size_t start) {
  size_t end = start;
  for (size_t bytes = 0; end < texts.size() && end - start < kPieceTexts && bytes < kPieceBytes; ++end)
    bytes += texts[end].size();
  return end;
}

void embed_texts(const LoadedModel* model, std::span<const std::string_view> contents, const char* prompt, float* out,
                 const encoder::EmbedOptions& options) {
  const size_t dimensions = static_cast<size_t>(model->model->info().dimensions);
  std::string_view prompt_utf8;
  if (prompt != nullptr) prompt_utf8 = server_to_utf8(prompt);
  for (size_t start = 0; start < contents.size();) {
    CHECK_FOR_INTERRUPTS();
    const size_t end = end_of_piece(contents, start);
    guarded([&] {
      const std::string named(prompt_utf8);
      const std::string prefix = model->model->prompt_prefix(prompt == nullptr ? nullptr : &named);
      throw_if_error(model->model->embed(contents.subspan(start, end - start), prefix, options,
                                         std::span(out + start * dimensions, (end - start) * dimensions)));
    });
    start = end;
  }
  CHECK_FOR_INTERRUPTS();
}

size_t truncated_dimensions(const LoadedModel* model, int32 dimensions) {
  const int32 most = model->model->info().dimensions;
  if (dimensions < 1 || dimensions > most)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("dimensions must be between 1 and %d, not %d", most, dimensions),
                    errdetail("An embedding of model \"%s\" has %d dimensions.", model->name.c_str(), most)));
  return static_cast<size_t>(dimensions);
}

std::string_view server_to_utf8(std::string_view value) {
  const char* converted = pg_server_to_any(value.data(), static_cast<int>(value.size()), PG_UTF8);
  if (converted == value.data()) return value;
  return converted;
}

std::string_view text_to_utf8(const text* value) {
  return server_to_utf8(std::string_view(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)));
}

text* utf8_to_text(std::string_view value) {
  char* converted = pg_any_to_server(value.data(), static_cast<int>(value.size()), PG_UTF8);
  if (converted == value.data()) return cstring_to_text_with_len(value.data(), static_cast<int>(value.size()));
  text* result = cstring_to_text(converted);
  pfree(converted);
  return result;
}

}  // namespace pg_semantic
