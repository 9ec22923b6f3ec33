// The parts of model files in the database (see model_parts.h).
#include "extension/model_parts.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "extension/model_files.h"
#include "extension/models.h"

namespace pg_semantic {
namespace {

constexpr char kParts[] = "semantic_model_parts";
constexpr char kPartsKey[] = "semantic_model_parts_pkey";

// Columns as sql/pg_semantic--1.0.sql creates them.
enum PartsColumn : AttrNumber {
  kPartFingerprint = 1,
  kPartFileVersion,
  kPartShipped,
  kPartNumber,
  kPartData,
  kPartsColumns = kPartData
};

// Large enough to be cheap, small enough that a row costs little memory to read.
constexpr size_t kPartBytes = size_t{1} << 20;

// The scan of one model file's parts, in order.
struct PartsScan {
  Relation parts;
  Relation index;
  SysScanDesc scan;
  LOCKMODE lock;
};

PartsScan begin_parts(const char* fingerprint, int32 file_version, bool shipped, LOCKMODE lock) {
  ScanKeyData keys[3];
  init_text_key(&keys[0], kPartFingerprint, fingerprint);
  ScanKeyInit(&keys[1], kPartFileVersion, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(file_version));
  ScanKeyInit(&keys[2], kPartShipped, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(shipped));
  PartsScan scan;
  scan.lock = lock;
  scan.parts = table_open(extension_relation(kParts), lock);
  scan.index = index_open(extension_relation(kPartsKey), AccessShareLock);
  scan.scan = systable_beginscan_ordered(scan.parts, scan.index, nullptr, 3, keys);
  return scan;
}

HeapTuple next_part(const PartsScan& scan) { return systable_getnext_ordered(scan.scan, ForwardScanDirection); }

void end_parts(const PartsScan& scan) {
  systable_endscan_ordered(scan.scan);
  index_close(scan.index, AccessShareLock);
  table_close(scan.parts, scan.lock);
}

void write_all(int file, const char* path, const char* bytes, size_t size) {
  while (size > 0) {
    errno = 0;
    const ssize_t written = write(file, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      if (errno == 0) errno = ENOSPC;
      ereport(ERROR, (errcode_for_file_access(), errmsg("could not write file \"%s\": %m", path)));
    }
    bytes += written;
    size -= static_cast<size_t>(written);
  }
}

void report_damaged_parts(const StoredModel& model, const char* what) {
  ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("stored parts of model \"%s\" are damaged", model.name),
                  errdetail_internal("%s", what), errhint("Drop the model and load it again.")));
}

void write_parts_to_file(const StoredModel& model, const char* path) {
  const int file = OpenTransientFile(path, O_CREAT | O_EXCL | O_WRONLY | PG_BINARY);
  if (file < 0) ereport(ERROR, (errcode_for_file_access(), errmsg("could not create file \"%s\": %m", path)));
  const PartsScan scan = begin_parts(model.fingerprint, model.file_version, model.shipped, AccessShareLock);
  int64 written = 0;
  int32 expected_number = 0;
  while (HeapTuple tuple = next_part(scan)) {
    CHECK_FOR_INTERRUPTS();
    Datum values[kPartsColumns];
    bool nulls[kPartsColumns];
    heap_deform_tuple(tuple, RelationGetDescr(scan.parts), values, nulls);
    if (DatumGetInt32(values[kPartNumber - 1]) != expected_number++) report_damaged_parts(model, "A part is missing.");
    bytea* data = DatumGetByteaPP(values[kPartData - 1]);
    const size_t size = VARSIZE_ANY_EXHDR(data);
    write_all(file, path, VARDATA_ANY(data), size);
    written += static_cast<int64>(size);
    if (reinterpret_cast<Pointer>(data) != DatumGetPointer(values[kPartData - 1])) pfree(data);
  }
  end_parts(scan);
  if (written != model.bytes) report_damaged_parts(model, "Their sizes do not add up to the model's size.");
  if (pg_fsync(file) != 0) ereport(ERROR, (errcode_for_file_access(), errmsg("could not fsync file \"%s\": %m", path)));
  if (CloseTransientFile(file) != 0)
    ereport(ERROR, (errcode_for_file_access(), errmsg("could not close file \"%s\": %m", path)));
}

}  // namespace

Oid extension_relation(const char* name) {
  const Oid relation = get_relname_relid(name, semantic_schema());
  if (!OidIsValid(relation))
    ereport(ERROR,
            (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation \"%s\" of extension pg_semantic is missing", name),
             errhint("Drop the extension and create it again.")));
  return relation;
}

void init_text_key(ScanKey key, AttrNumber column, const char* value) {
  ScanKeyInit(key, column, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(value));
}

void insert_parts(const StoredModel& model, const char* path) {
  Relation parts = table_open(extension_relation(kParts), RowExclusiveLock);
  CatalogIndexState indexes = CatalogOpenIndexes(parts);
  const int file = OpenTransientFile(path, O_RDONLY | PG_BINARY);
  if (file < 0) ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path)));
  auto* data = static_cast<bytea*>(palloc(VARHDRSZ + kPartBytes));
  MemoryContext part_context = AllocSetContextCreate(CurrentMemoryContext, "model part", ALLOCSET_DEFAULT_SIZES);
  int64 stored = 0;
  for (int32 number = 0; stored < model.bytes; ++number) {
    CHECK_FOR_INTERRUPTS();
    size_t filled = 0;
    while (filled < kPartBytes) {
      const ssize_t count = read(file, VARDATA(data) + filled, kPartBytes - filled);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", path)));
      if (count == 0) break;
      filled += static_cast<size_t>(count);
    }
    if (filled == 0) ereport(ERROR, (errcode(ERRCODE_IO_ERROR), errmsg("file \"%s\" ended early", path)));
    SET_VARSIZE(data, VARHDRSZ + filled);
    MemoryContext const outer = MemoryContextSwitchTo(part_context);
    Datum values[kPartsColumns] = {CStringGetTextDatum(model.fingerprint), Int32GetDatum(model.file_version),
                                   BoolGetDatum(model.shipped), Int32GetDatum(number), PointerGetDatum(data)};
    bool nulls[kPartsColumns] = {};
    HeapTuple tuple = heap_form_tuple(RelationGetDescr(parts), values, nulls);
    CatalogTupleInsertWithInfo(parts, tuple, indexes);
    MemoryContextSwitchTo(outer);
    MemoryContextReset(part_context);
    stored += static_cast<int64>(filled);
  }
  MemoryContextDelete(part_context);
  pfree(data);
  CloseTransientFile(file);
  CatalogCloseIndexes(indexes);
  table_close(parts, RowExclusiveLock);
}

void delete_parts(const StoredModel& model) {
  const PartsScan scan = begin_parts(model.fingerprint, model.file_version, model.shipped, RowExclusiveLock);
  while (HeapTuple tuple = next_part(scan)) {
    CHECK_FOR_INTERRUPTS();
    CatalogTupleDelete(scan.parts, &tuple->t_self);
  }
  end_parts(scan);
}

// Sessions that do this at the same time each write a file of their own; the
// first rename wins, so that they map the same one.
void make_file_from_parts(const StoredModel& model, const char* path, bool replace) {
  char* temporary = new_temporary_model_path();
  PG_TRY();
  {
    write_parts_to_file(model, temporary);
    if (strcmp(model_file_sha256(temporary), model.file_sha256) != 0)
      report_damaged_parts(model, "Their SHA-256 is not the one in the catalog.");
    publish_model_file(temporary, path, model.bytes, replace);
  }
  PG_CATCH();
  {
    unlink(temporary);
    PG_RE_THROW();
  }
  PG_END_TRY();
  pfree(temporary);
}

}  // namespace pg_semantic
