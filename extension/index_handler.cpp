// The access method "semantic": what PostgreSQL needs to know of it.
#include "extension/server.h"

extern "C" {
#include "access/amvalidate.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opfamily.h"
#include "utils/catcache.h"
#include "utils/regproc.h"
}

#include "extension/index_build.h"
#include "extension/index_cost.h"
#include "extension/index_options.h"
#include "extension/index_scan.h"
#include "extension/index_vacuum.h"

namespace pg_semantic {
namespace {

void build_empty(Relation index) { build_empty_index(index); }
char* phase_name(int64 phase) { return const_cast<char*>(build_phase_name(phase)); }

// `sound`; where it is not, says that the class lacks support function `number`.
bool require_procedure(bool sound, const char* opclass, int number) {
  if (sound) return true;
  ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                 errmsg("operator class \"%s\" of access method semantic lacks support function %d", opclass, number)));
  return false;
}

// An operator class has one ordering operator returning float8, the support
// function that says what kind it is and, over types other than text and real[],
// the one that makes real[] of a value.
bool validate_opclass(Oid opclass) {
  HeapTuple class_tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
  if (!HeapTupleIsValid(class_tuple)) elog(ERROR, "cache lookup failed for operator class %u", opclass);
  const auto* form = reinterpret_cast<Form_pg_opclass>(GETSTRUCT(class_tuple));
  const Oid family = form->opcfamily;
  const Oid type = form->opcintype;
  bool valid = true;

  CatCList* operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(family));
  for (int i = 0; i < operators->n_members; ++i) {
    const auto* entry = reinterpret_cast<Form_pg_amop>(GETSTRUCT(&operators->members[i]->tuple));
    if (entry->amopstrategy != kDistanceStrategy || entry->amoppurpose != AMOP_ORDER ||
        get_op_rettype(entry->amopopr) != FLOAT8OID) {
      ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                     errmsg("operator family %u of access method semantic contains unsupported operator %s", family,
                            format_operator(entry->amopopr))));
      valid = false;
    }
  }
  ReleaseCatCacheList(operators);

  const Oid kind = get_opfamily_proc(family, type, type, kKindProcedure);
  const bool kind_sound = OidIsValid(kind) && check_amproc_signature(kind, INT4OID, true, 0, 0);
  valid = require_procedure(kind_sound, NameStr(form->opcname), kKindProcedure) && valid;
  const Oid conversion = get_opfamily_proc(family, type, type, kVectorProcedure);
  const bool conversion_sound =
      kind_sound &&
      column_is_readable(static_cast<OpclassKind>(DatumGetInt32(OidFunctionCall0(kind))), type, conversion);
  valid = require_procedure(conversion_sound, NameStr(form->opcname), kVectorProcedure) && valid;
  ReleaseSysCache(class_tuple);
  return valid;
}

IndexAmRoutine* make_routine() {
  IndexAmRoutine* routine = makeNode(IndexAmRoutine);
  routine->amstrategies = 1;
  routine->amsupport = kSupportProcedures;
  routine->amoptsprocnum = 0;
  routine->amcanorder = false;
  routine->amcanorderbyop = true;
  routine->amcanbackward = false;
  routine->amcanunique = false;
  routine->amcanmulticol = false;
  routine->amoptionalkey = true;
  routine->amsearcharray = false;
  routine->amsearchnulls = false;
  routine->amstorage = false;
  routine->amclusterable = false;
  routine->ampredlocks = false;
  routine->amcanparallel = false;
#if PG_VERSION_NUM >= 170000
  routine->amcanbuildparallel = false;
#endif
  routine->amcaninclude = false;
  routine->amusemaintenanceworkmem = false;
#if PG_VERSION_NUM >= 160000
  routine->amsummarizing = false;
#endif
  routine->amparallelvacuumoptions = VACUUM_OPTION_NO_PARALLEL;
  routine->amkeytype = InvalidOid;

  routine->ambuild = build_index;
  routine->ambuildempty = build_empty;
  routine->aminsert = insert_row;
  routine->ambulkdelete = bulk_delete;
  routine->amvacuumcleanup = vacuum_cleanup;
  routine->amcanreturn = nullptr;
  routine->amcostestimate = estimate_cost;
  routine->amoptions = parse_index_options;
  routine->amproperty = nullptr;
  routine->ambuildphasename = phase_name;
  routine->amvalidate = validate_opclass;
  routine->amadjustmembers = nullptr;
  routine->ambeginscan = begin_scan;
  routine->amrescan = restart_scan;
  routine->amgettuple = next_tuple;
  routine->amgetbitmap = nullptr;
  routine->amendscan = end_scan;
  routine->ammarkpos = nullptr;
  routine->amrestrpos = nullptr;
  routine->amestimateparallelscan = nullptr;
  routine->aminitparallelscan = nullptr;
  routine->amparallelrescan = nullptr;
  return routine;
}

}  // namespace
}  // namespace pg_semantic

PG_SEMANTIC_FUNCTION(pg_semantic_index_handler) { PG_RETURN_POINTER(pg_semantic::make_routine()); }

PG_SEMANTIC_FUNCTION(pg_semantic_opclass_text) { PG_RETURN_INT32(static_cast<int32>(pg_semantic::OpclassKind::kText)); }
PG_SEMANTIC_FUNCTION(pg_semantic_opclass_real_cosine) {
  PG_RETURN_INT32(static_cast<int32>(pg_semantic::OpclassKind::kVectorCosine));
}
PG_SEMANTIC_FUNCTION(pg_semantic_opclass_real_l2) {
  PG_RETURN_INT32(static_cast<int32>(pg_semantic::OpclassKind::kVectorL2));
}
PG_SEMANTIC_FUNCTION(pg_semantic_opclass_real_ip) {
  PG_RETURN_INT32(static_cast<int32>(pg_semantic::OpclassKind::kVectorInnerProduct));
}
