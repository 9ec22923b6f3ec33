// semantic_enable_pgvector(): operator classes of the access method over
// pgvector's types.
//
// Nothing here knows how pgvector stores a vector: the classes name pgvector's
// operators, and its cast to real[] as their support function.  They belong to
// neither extension, since a dump leaves out what belongs to one, and a database
// restored without them could not make its indexes: a dump has them as plain
// CREATE OPERATOR CLASS commands, after both extensions.
#include "extension/server.h"

extern "C" {
#include "catalog/pg_cast.h"
#include "utils/regproc.h"
}

#include "extension/index_options.h"
#include "extension/models.h"

namespace pg_semantic {
namespace {

constexpr const char* kPgvectorTypes[] = {"vector", "halfvec"};

struct Distance {
  const char* suffix;  // of the class's name, as pgvector's own classes have it
  const char* operator_name;
  const char* kind_function;
  bool is_default;
};
constexpr Distance kDistances[] = {{"cosine_ops", "<=>", "semantic_opclass_real_cosine", true},
                                   {"l2_ops", "<->", "semantic_opclass_real_l2", false},
                                   {"ip_ops", "<#>", "semantic_opclass_real_ip", false}};

// The schema of pgvector, which is where its types are.
Oid pgvector_schema() {
  const Oid schema = schema_of_extension("vector");
  if (!OidIsValid(schema)) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("extension \"vector\" does not exist"),
                    errdetail("pgvector's types are not in this database."), errhint("CREATE EXTENSION vector;")));
  }
  return schema;
}

// The function behind the cast from `type` to real[].
Oid cast_to_array(Oid type) {
  HeapTuple tuple = SearchSysCache2(CASTSOURCETARGET, ObjectIdGetDatum(type), ObjectIdGetDatum(FLOAT4ARRAYOID));
  const Oid function =
      HeapTupleIsValid(tuple) ? reinterpret_cast<Form_pg_cast>(GETSTRUCT(tuple))->castfunc : InvalidOid;
  if (HeapTupleIsValid(tuple)) ReleaseSysCache(tuple);
  if (!OidIsValid(function)) {
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("type %s has no function that casts it to real[]", format_type_be(type))));
  }
  return function;
}

// Whatever the schema: ALTER EXTENSION pg_semantic SET SCHEMA leaves classes behind.
bool has_class(Oid type, const char* name) {
  Relation classes = table_open(OperatorClassRelationId, AccessShareLock);
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_opclass_opcmethod, BTEqualStrategyNumber, F_OIDEQ,
              ObjectIdGetDatum(semantic_access_method()));
  SysScanDesc scan = systable_beginscan(classes, OpclassAmNameNspIndexId, true, nullptr, 1, &key);
  bool found = false;
  for (HeapTuple tuple = systable_getnext(scan); HeapTupleIsValid(tuple) && !found; tuple = systable_getnext(scan)) {
    const auto* form = reinterpret_cast<Form_pg_opclass>(GETSTRUCT(tuple));
    found = form->opcintype == type && strcmp(NameStr(form->opcname), name) == 0;
  }
  systable_endscan(scan);
  table_close(classes, AccessShareLock);
  return found;
}

void run(const char* statement) {
  if (SPI_execute(statement, false, 0) != SPI_OK_UTILITY) elog(ERROR, "could not run \"%s\"", statement);
}

void create_class(Oid type, const char* type_name, const char* vector_schema, const Distance& distance) {
  const char* name = psprintf("%s_%s", type_name, distance.suffix);
  if (has_class(type, name)) return;
  const char* schema = quote_identifier(get_namespace_name(semantic_schema()));
  const char* type_sql = format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY);
  run(
      psprintf("CREATE OPERATOR CLASS %s.%s %s FOR TYPE %s USING semantic AS"
               " OPERATOR %d %s.%s (%s, %s) FOR ORDER BY pg_catalog.float_ops,"
               " FUNCTION %d %s.%s(), FUNCTION %d %s",
               schema, name, distance.is_default ? "DEFAULT" : "", type_sql, kDistanceStrategy, vector_schema,
               distance.operator_name, type_sql, type_sql, kKindProcedure, schema, distance.kind_function,
               kVectorProcedure, format_procedure_qualified(cast_to_array(type))));
  run(psprintf("COMMENT ON OPERATOR CLASS %s.%s USING semantic IS 'made by semantic_enable_pgvector()'", schema, name));
}

}  // namespace
}  // namespace pg_semantic

PG_SEMANTIC_FUNCTION(pg_semantic_enable_pgvector) {
  using namespace pg_semantic;
  if (!superuser()) {
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                    errmsg("must be superuser to create operator classes for pgvector's types")));
  }
  const Oid schema = pgvector_schema();
  if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
  for (const char* name : kPgvectorTypes) {
    const Oid type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name), ObjectIdGetDatum(schema));
    if (!OidIsValid(type)) continue;  // halfvec is there since pgvector 0.7
    for (const Distance& distance : kDistances) {
      create_class(type, name, quote_identifier(get_namespace_name(schema)), distance);
    }
  }
  SPI_finish();
  PG_RETURN_VOID();
}
