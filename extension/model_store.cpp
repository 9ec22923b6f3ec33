// Models in the database (see model_store.h).
#include "extension/model_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "extension/guard.h"
#include "extension/index_init.h"
#include "extension/model_files.h"
#include "extension/model_parts.h"
#include "extension/models.h"

namespace pg_semantic {
namespace {

constexpr char kCatalog[] = "semantic_model_catalog";
constexpr char kCatalogKey[] = "semantic_model_catalog_pkey";

// Columns as sql/pg_semantic--1.0.sql creates them.
enum CatalogColumn : AttrNumber {
  kName = 1,
  kArchitecture,
  kTask,
  kDimensions,
  kMaxTokens,
  kVocabularySize,
  kLayers,
  kParameters,
  kPooling,
  kNormalized,
  kModelPrecision,
  kBytes,
  kLabels,
  kFingerprint,
  kFileSha256,
  kFileVersion,
  kShipped,
  kCatalogColumns = kShipped
};

constexpr size_t kMaxNameLength = 255;  // bytes

StoredModel model_from_tuple(HeapTuple tuple, TupleDesc description) {
  Datum values[kCatalogColumns];
  bool nulls[kCatalogColumns];
  heap_deform_tuple(tuple, description, values, nulls);
  const auto text_of = [&](CatalogColumn column) { return TextDatumGetCString(values[column - 1]); };
  const auto int_of = [&](CatalogColumn column) { return DatumGetInt32(values[column - 1]); };
  StoredModel model = {};
  model.name = text_of(kName);
  model.architecture = text_of(kArchitecture);
  model.task = text_of(kTask);
  model.dimensions = int_of(kDimensions);
  model.max_tokens = int_of(kMaxTokens);
  model.vocabulary_size = int_of(kVocabularySize);
  model.layers = int_of(kLayers);
  model.parameters = DatumGetInt64(values[kParameters - 1]);
  model.pooling = text_of(kPooling);
  model.normalized = DatumGetBool(values[kNormalized - 1]);
  model.model_precision = text_of(kModelPrecision);
  model.bytes = DatumGetInt64(values[kBytes - 1]);
  model.labels = nulls[kLabels - 1] ? nullptr : DatumGetArrayTypePCopy(values[kLabels - 1]);
  model.fingerprint = text_of(kFingerprint);
  model.file_sha256 = text_of(kFileSha256);
  model.file_version = int_of(kFileVersion);
  model.shipped = DatumGetBool(values[kShipped - 1]);
  return model;
}

// First row of the catalog that the key selects.
bool read_one(Oid index, ScanKey key, StoredModel* model) {
  Relation catalog = table_open(model_catalog_relation(), AccessShareLock);
  SysScanDesc scan = systable_beginscan(catalog, index, OidIsValid(index), nullptr, 1, key);
  HeapTuple tuple = systable_getnext(scan);
  const bool found = HeapTupleIsValid(tuple);
  if (found) *model = model_from_tuple(tuple, RelationGetDescr(catalog));
  systable_endscan(scan);
  table_close(catalog, AccessShareLock);
  return found;
}

// ---- the process's mappings -------------------------------------------------------

struct MappedModel {
  std::string fingerprint;
  std::unique_ptr<encoder::Model> model;
};

// Never shrinks, and stays when the process exits: others hold pointers.
std::vector<MappedModel>& mapped_models() {
  static Permanent<std::vector<MappedModel>> models;
  return *models;
}

void stop_threads_at_exit(int, Datum) { encoder::shut_down_threads(); }

// nullptr: the file is not usable and `may_be_damaged` allows to say so quietly.
const encoder::Model* map_model(const StoredModel& stored, const char* path, bool may_be_damaged) {
  return guarded([&]() -> const encoder::Model* {
    Result<std::unique_ptr<encoder::Model>> opened = encoder::Model::open(path);
    const bool other_model = opened.is_ok() && (*opened)->info().fingerprint != stored.fingerprint;
    if (may_be_damaged && (other_model || opened.status().code() == StatusCode::kCorrupt)) return nullptr;
    throw_if_error(opened.status());
    if (other_model)
      throw_error(ERRCODE_DATA_CORRUPTED, std::string("file of model \"") + stored.name + "\" holds another model");
    mapped_models().push_back({stored.fingerprint, std::move(opened).value()});
    return mapped_models().back().model.get();
  });
}

// ---- storing ----------------------------------------------------------------------

char* copy_utf8(const std::string& value) {
  char* copy = allocate_in_context<char>(value.size() + 1);
  std::memcpy(copy, value.c_str(), value.size() + 1);
  return copy;
}

// Strings in UTF-8 still.
struct Compiled {
  StoredModel model;
  char** labels;
  int label_count;
};

Compiled compile(const char* directory, const char* precision, const char* output_path) {
  return guarded([&] {
    encoder::CompileOptions options;
    options.model_precision = precision;
    options.interrupted = interrupt_pending;
    const encoder::ModelInfo info = value_or_throw(encoder::compile_model(directory, output_path, options));
    Compiled compiled = {};
    StoredModel& model = compiled.model;
    model.architecture = copy_utf8(info.architecture);
    model.task = copy_utf8(info.task);
    model.dimensions = info.dimensions;
    model.max_tokens = info.max_tokens;
    model.vocabulary_size = info.vocabulary_size;
    model.layers = info.layers;
    model.parameters = info.parameters;
    model.pooling = copy_utf8(info.pooling);
    model.normalized = info.normalized;
    model.model_precision = copy_utf8(info.model_precision);
    model.bytes = info.bytes;
    model.fingerprint = copy_utf8(info.fingerprint);
    model.file_version = static_cast<int32>(encoder::kModelFileVersion);
    compiled.label_count = static_cast<int>(info.labels.size());
    compiled.labels = allocate_in_context<char*>(info.labels.size());
    for (size_t i = 0; i < info.labels.size(); ++i) compiled.labels[i] = copy_utf8(info.labels[i]);
    return compiled;
  });
}

ArrayType* labels_array(const Compiled& compiled) {
  if (compiled.label_count == 0) return nullptr;
  auto* labels = static_cast<Datum*>(palloc(sizeof(Datum) * compiled.label_count));
  for (int i = 0; i < compiled.label_count; ++i) labels[i] = PointerGetDatum(utf8_to_text(compiled.labels[i]));
  return construct_array(labels, compiled.label_count, TEXTOID, -1, false, TYPALIGN_INT);
}

void insert_catalog_row(Relation catalog, const StoredModel& model) {
  Datum values[kCatalogColumns];
  bool nulls[kCatalogColumns] = {};
  const auto set = [&](CatalogColumn column, Datum value) { values[column - 1] = value; };
  set(kName, CStringGetTextDatum(model.name));
  set(kArchitecture, PointerGetDatum(utf8_to_text(model.architecture)));
  set(kTask, PointerGetDatum(utf8_to_text(model.task)));
  set(kDimensions, Int32GetDatum(model.dimensions));
  set(kMaxTokens, Int32GetDatum(model.max_tokens));
  set(kVocabularySize, Int32GetDatum(model.vocabulary_size));
  set(kLayers, Int32GetDatum(model.layers));
  set(kParameters, Int64GetDatum(model.parameters));
  set(kPooling, PointerGetDatum(utf8_to_text(model.pooling)));
  set(kNormalized, BoolGetDatum(model.normalized));
  set(kModelPrecision, PointerGetDatum(utf8_to_text(model.model_precision)));
  set(kBytes, Int64GetDatum(model.bytes));
  set(kLabels, PointerGetDatum(model.labels));
  nulls[kLabels - 1] = model.labels == nullptr;
  set(kFingerprint, CStringGetTextDatum(model.fingerprint));
  set(kFileSha256, CStringGetTextDatum(model.file_sha256));
  set(kFileVersion, Int32GetDatum(model.file_version));
  set(kShipped, BoolGetDatum(model.shipped));
  CatalogTupleInsert(catalog, heap_form_tuple(RelationGetDescr(catalog), values, nulls));
}

void check_name(const char* name) {
  const size_t length = strlen(name);
  if (length == 0 || length > kMaxNameLength)
    ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("invalid model name"),
                    errdetail("A name has 1 to %zu bytes; this one has %zu.", kMaxNameLength, length)));
}

void check_name_is_free(const char* name) {
  StoredModel existing;
  if (read_stored_model(name, &existing))
    ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("model \"%s\" already exists", name),
                    errhint("Drop it with semantic_drop_model() first, or choose another name.")));
}

// A row other than `model`'s own that stands for the same parts.
bool parts_are_shared(Relation catalog, const StoredModel& model, StoredModel* other) {
  bool found = false;
  ScanKeyData key;
  init_text_key(&key, kFingerprint, model.fingerprint);
  SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, nullptr, 1, &key);
  while (HeapTuple tuple = systable_getnext(scan)) {
    const StoredModel row = model_from_tuple(tuple, RelationGetDescr(catalog));
    if (strcmp(row.name, model.name) == 0 || row.file_version != model.file_version || row.shipped != model.shipped)
      continue;
    *other = row;
    found = true;
    break;
  }
  systable_endscan(scan);
  return found;
}

}  // namespace

bool read_stored_model(const char* name, StoredModel* model) {
  ScanKeyData key;
  init_text_key(&key, kName, name);
  return read_one(extension_relation(kCatalogKey), &key, model);
}

bool read_stored_model_by_fingerprint(const char* fingerprint, StoredModel* model) {
  ScanKeyData key;
  init_text_key(&key, kFingerprint, fingerprint);
  return read_one(InvalidOid, &key, model);
}

char* list_model_names() {
  StringInfoData names;
  initStringInfo(&names);
  Relation catalog = table_open(model_catalog_relation(), AccessShareLock);
  Relation index = index_open(extension_relation(kCatalogKey), AccessShareLock);
  SysScanDesc scan = systable_beginscan_ordered(catalog, index, nullptr, 0, nullptr);
  while (HeapTuple tuple = systable_getnext_ordered(scan, ForwardScanDirection)) {
    const StoredModel model = model_from_tuple(tuple, RelationGetDescr(catalog));
    appendStringInfo(&names, "%s\"%s\"", names.len == 0 ? "" : ", ", model.name);
  }
  systable_endscan_ordered(scan);
  index_close(index, AccessShareLock);
  table_close(catalog, AccessShareLock);
  return names.data;
}

void store_model(const char* name, const char* directory, const char* precision, bool shipped) {
  check_name(name);
  check_name_is_free(name);
  char* temporary = new_temporary_model_path();
  PG_TRY();
  {
    const Compiled compiled = compile(directory, precision, temporary);
    StoredModel model = compiled.model;
    model.name = pstrdup(name);
    model.labels = labels_array(compiled);
    model.shipped = shipped;
    model.file_sha256 = model_file_sha256(temporary);

    // Loads and drops take turns until commit; readers go on.
    Relation catalog = table_open(model_catalog_relation(), ShareRowExclusiveLock);
    check_name_is_free(name);
    StoredModel other;
    if (parts_are_shared(catalog, model, &other))
      model.file_sha256 = other.file_sha256;
    else
      insert_parts(model, temporary);
    insert_catalog_row(catalog, model);
    const char* path = model_file_path(model.fingerprint);
    const bool sound_file_is_there =
        model_file_is_present(path, model.bytes) && strcmp(model_file_sha256(path), model.file_sha256) == 0;
    publish_model_file(temporary, path, model.bytes, !sound_file_is_there);
    invalidate_models(RelationGetRelid(catalog));
    CommandCounterIncrement();
    table_close(catalog, NoLock);
  }
  PG_CATCH();
  {
    unlink(temporary);
    PG_RE_THROW();
  }
  PG_END_TRY();
}

void remove_stored_model(const char* name) {
  Relation catalog = table_open(model_catalog_relation(), ShareRowExclusiveLock);
  ScanKeyData key;
  init_text_key(&key, kName, name);
  SysScanDesc scan = systable_beginscan(catalog, extension_relation(kCatalogKey), true, nullptr, 1, &key);
  HeapTuple tuple = systable_getnext(scan);
  if (!HeapTupleIsValid(tuple)) report_unknown_model(name);
  const StoredModel model = model_from_tuple(tuple, RelationGetDescr(catalog));
  ItemPointerData place = tuple->t_self;
  systable_endscan(scan);

  if (model.shipped)
    ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
                    errmsg("cannot drop model \"%s\" because extension pg_semantic requires it", name),
                    errhint("Set semantic.model to use another model where none is named.")));
  lock_model(model.fingerprint, true);
  Oid index = InvalidOid;
  if (index_uses_model(model.fingerprint, &index))
    ereport(ERROR,
            (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
             errmsg("cannot drop model \"%s\" because an index uses it", name),
             errdetail("Index \"%s\" holds its embeddings.", get_rel_name(index)), errhint("Drop the index first.")));

  StoredModel other;
  if (!parts_are_shared(catalog, model, &other)) delete_parts(model);
  CatalogTupleDelete(catalog, &place);
  invalidate_models(RelationGetRelid(catalog));
  CommandCounterIncrement();
  table_close(catalog, NoLock);
}

const encoder::Model* open_stored_model(const StoredModel& model) {
  for (const MappedModel& mapped : mapped_models())
    if (mapped.fingerprint == model.fingerprint) return mapped.model.get();
  if (model.file_version != static_cast<int32>(encoder::kModelFileVersion))
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("model \"%s\" was stored by another version of pg_semantic", model.name),
                    errdetail("Its file has version %d; this library reads version %u.", model.file_version,
                              encoder::kModelFileVersion),
                    errhint("Drop the model and load it again.")));

  static bool exit_callback_registered = false;
  if (!exit_callback_registered) {
    on_proc_exit(stop_threads_at_exit, 0);
    exit_callback_registered = true;
  }

  char* path = model_file_path(model.fingerprint);
  bool damaged = false;
  if (model_file_is_present(path, model.bytes)) {
    const encoder::Model* mapped = map_model(model, path, true);
    if (mapped != nullptr) return mapped;
    damaged = true;
    ereport(LOG, (errmsg("file \"%s\" is damaged and is made again from the stored parts", path)));
  }
  make_file_from_parts(model, path, damaged);
  return map_model(model, path, false);
}

}  // namespace pg_semantic
