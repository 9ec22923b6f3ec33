// SQL functions about an index: statistics, recall, search.
#include "extension/server.h"

extern "C" {
#include "catalog/pg_amop.h"
#include "catalog/pg_operator.h"
#include "utils/catcache.h"
#include "utils/regproc.h"
#include "utils/rls.h"
#include "utils/ruleutils.h"
}

#include <algorithm>

#include "extension/function_support.h"
#include "extension/index_client.h"
#include "extension/index_functions.h"
#include "extension/index_metapage.h"
#include "extension/index_options.h"
#include "extension/index_shared_memory.h"
#include "extension/index_transaction.h"
#include "extension/models.h"
#include "extension/rerank.h"
#include "extension/semantic_query.h"

namespace pg_semantic {
namespace {

const char* metric_name(uint8 metric) {
  switch (static_cast<index::Metric>(metric)) {
    case index::Metric::kL2:
      return "l2";
    case index::Metric::kInnerProduct:
      return "inner product";
    default:
      return "cosine";
  }
}

const char* codec_name(uint8 codec) {
  switch (static_cast<index::Codec>(codec)) {
    case index::Codec::kF32:
      return "f32";
    case index::Codec::kF16:
      return "f16";
    case index::Codec::kSq8:
      return "sq8";
    default:
      return "bit";
  }
}

// Why the index cannot be asked, or nullptr.
const char* obstacle(Relation index, const IndexMetapage& metapage) {
  if (metapage.magic != kMetapageMagic || metapage.version != kMetapageVersion) return "damaged";
  if (metapage.database_oid != MyDatabaseId) return "copied from another database";
  if (index_shared_memory() == nullptr) return "not preloaded";
  return nullptr;
}

}  // namespace

Relation open_semantic_index(Oid index, LOCKMODE lock) {
  Relation relation = try_relation_open(index, lock);
  if (relation == nullptr) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", index),
                    errhint("The view semantic_indexes lists the semantic indexes.")));
  }
  if (relation->rd_rel->relkind != RELKIND_INDEX || relation->rd_rel->relam != semantic_access_method()) {
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("\"%s\" is not a semantic index", RelationGetRelationName(relation)),
                    relation->rd_rel->relkind == RELKIND_PARTITIONED_INDEX
                        ? errhint("Name the index of one of the partitions.")
                        : errhint("The view semantic_indexes lists the semantic indexes.")));
  }
  return relation;
}

bool may_read_every_row(Oid table) {
  return pg_class_aclcheck(table, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
         check_enable_rls(table, InvalidOid, true) != RLS_ENABLED;
}

void require_every_row(Oid table) {
  const AclResult allowed = pg_class_aclcheck(table, GetUserId(), ACL_SELECT);
  if (allowed != ACLCHECK_OK) aclcheck_error(allowed, OBJECT_TABLE, get_rel_name(table));
  if (check_enable_rls(table, InvalidOid, true) == RLS_ENABLED) {
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                    errmsg("permission denied to read every row of table \"%s\"", get_rel_name(table)),
                    errdetail("Row-level security of the table applies to this role, and the function reads all rows."),
                    errhint("Call it as the table's owner or as a role with BYPASSRLS.")));
  }
}

namespace {

// One row of the view semantic_indexes, after the catalog columns.
void put_statistics(ReturnSetInfo* rows, Relation index) {
  const IndexMetapage metapage = peek_metapage(index);
  const char* hindrance = obstacle(index, metapage);
  Datum values[12] = {};
  bool nulls[12] = {};
  const bool readable = metapage.magic == kMetapageMagic && metapage.version == kMetapageVersion;
  nulls[0] = !readable || metapage.embeds_text == 0;
  if (!nulls[0]) values[0] = CStringGetTextDatum(metapage.model);
  uint32 dimensions = metapage.dimensions;
  const char* state = hindrance;
  StatisticsReply found = {};
  if (hindrance == nullptr && metapage.generation != 0 && !find_index_statistics(metapage.generation, &found)) {
    state = hindrance = "lost";
  }
  if (hindrance == nullptr && metapage.generation != 0) {
    dimensions = found.dimensions;
    values[4] = Int64GetDatum(static_cast<int64>(found.vectors));
    values[5] = Int64GetDatum(static_cast<int64>(count_pending_rows(metapage.generation)));
    values[6] = Int32GetDatum(static_cast<int32>(found.lists));
    values[7] =
        Int64GetDatum(static_cast<int64>(found.bytes) + BLCKSZ * static_cast<int64>(RelationGetNumberOfBlocks(index)));
    values[8] = Int64GetDatum(static_cast<int64>(found.memory_bytes));
    values[10] = Int64GetDatum(static_cast<int64>(found.disk_reads));
    values[11] = Int64GetDatum(static_cast<int64>(found.disk_read_bytes));
    state = found.building != 0           ? "building"
            : found.behind != 0           ? "behind"
            : index->rd_index->indisvalid ? "ready"
                                          : "invalid";
  } else if (hindrance == nullptr) {
    values[4] = values[5] = Int64GetDatum(0);
    values[6] = Int32GetDatum(0);
    values[7] = Int64GetDatum(BLCKSZ);
    values[8] = values[10] = values[11] = Int64GetDatum(0);
    state = "ready";
  } else {
    for (const int i : {4, 5, 6, 7, 8, 10, 11}) nulls[i] = true;
  }
  nulls[1] = dimensions == 0 || !readable;
  values[1] = Int32GetDatum(static_cast<int32>(dimensions));
  nulls[2] = nulls[3] = !readable;
  if (readable) {
    values[2] = CStringGetTextDatum(metric_name(metapage.metric));
    values[3] = CStringGetTextDatum(codec_name(metapage.codec));
  }
  values[9] = CStringGetTextDatum(state);
  add_row(rows, values, nulls);
}

// The index of the model that made the index's vectors, or the setting's model
// for an index over ready vectors.
const char* model_name_of(const IndexMetapage& metapage) {
  return metapage.embeds_text != 0 ? find_model_by_fingerprint(metapage.fingerprint, false)->name.c_str() : nullptr;
}

// The index's operator: schema-qualified, and the type of its right argument.
struct DistanceOperator {
  const char* name;
  Oid query_type;
};

DistanceOperator distance_operator(Relation index) {
  const Oid family = index->rd_opfamily[0];
  const Oid type = index->rd_opcintype[0];
  CatCList* entries = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(family));
  Oid found = InvalidOid;
  for (int i = 0; i < entries->n_members; ++i) {
    const auto* entry = reinterpret_cast<Form_pg_amop>(GETSTRUCT(&entries->members[i]->tuple));
    if (entry->amopstrategy == kDistanceStrategy && entry->amoplefttype == type) found = entry->amopopr;
  }
  ReleaseCatCacheList(entries);
  if (!OidIsValid(found)) elog(ERROR, "missing operator %d in operator family %u", kDistanceStrategy, family);
  HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(found));
  if (!HeapTupleIsValid(tuple)) elog(ERROR, "cache lookup failed for operator %u", found);
  const auto* form = reinterpret_cast<Form_pg_operator>(GETSTRUCT(tuple));
  const char* schema = quote_identifier(get_namespace_name(form->oprnamespace));
  const DistanceOperator distance = {psprintf("%s.%s", schema, NameStr(form->oprname)), form->oprright};
  ReleaseSysCache(tuple);
  return distance;
}

// SELECT ctid, distance, content of the k nearest rows of an index's table.
// With row security, privileges and visibility of the caller, since it is the caller's query.
char* search_statement(Relation index, const IndexMetapage& metapage, const DistanceOperator& distance) {
  const Oid table = index->rd_index->indrelid;
  const char* content = TextDatumGetCString(DirectFunctionCall3(
      pg_get_indexdef_ext, ObjectIdGetDatum(RelationGetRelid(index)), Int16GetDatum(1), BoolGetDatum(false)));
  const char* expression = psprintf("%s OPERATOR(%s) $1::%s", content, distance.name,
                                    format_type_extended(distance.query_type, -1, FORMAT_TYPE_FORCE_QUALIFY));
  StringInfoData statement;
  initStringInfo(&statement);
  appendStringInfo(&statement, "SELECT ctid, %s, %s FROM ONLY %s", expression,
                   metapage.embeds_text != 0 ? psprintf("(%s)::pg_catalog.text", content) : "NULL::pg_catalog.text",
                   quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), get_rel_name(table)));
  bool no_predicate = false;
  const Datum predicate = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, Anum_pg_index_indpred, &no_predicate);
  // A row without content is near to nothing.
  appendStringInfo(&statement, " WHERE %s IS NOT NULL", content);
  if (!no_predicate) {
    const Datum text_form = DirectFunctionCall2(pg_get_expr, predicate, ObjectIdGetDatum(table));
    appendStringInfo(&statement, " AND (%s)", TextDatumGetCString(text_form));
  }
  appendStringInfo(&statement, " ORDER BY %s LIMIT $2", expression);
  return statement.data;
}

// What a search was asked for.
struct SearchRequest {
  int32 k;
  const LoadedModel* reranker;  // nullptr: none
  std::string_view query;       // UTF-8, for the reranker
  int64 candidates;             // rows that the index gives
};

// The rows of SPI_tuptable in their order, or, with a reranker, in the order of its scores.
ScoredDocument* rank_candidates(const SearchRequest& request, uint64 count) {
  const size_t room = std::max<uint64>(count, 1);
  auto* ranked =
      static_cast<ScoredDocument*>(MemoryContextAllocHuge(CurrentMemoryContext, room * sizeof(ScoredDocument)));
  auto* texts =
      static_cast<std::string_view*>(MemoryContextAllocHuge(CurrentMemoryContext, room * sizeof(std::string_view)));
  auto* scores = static_cast<float*>(MemoryContextAllocHuge(CurrentMemoryContext, room * sizeof(float)));
  for (uint64 i = 0; i < count; ++i) {
    bool is_null = false;
    const int column = request.reranker != nullptr ? 3 : 2;
    const Datum value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column, &is_null);
    ranked[i] = {static_cast<int32>(i), 0.0F, is_null};
    if (request.reranker != nullptr) {
      texts[i] = is_null ? std::string_view() : text_to_utf8(DatumGetTextPP(value));
    } else if (!is_null) {
      ranked[i].score = static_cast<float>(1.0 - DatumGetFloat8(value));
    }
  }
  if (request.reranker == nullptr) return ranked;
  score_documents(request.reranker, request.query, {texts, count}, scores);
  for (uint64 i = 0; i < count; ++i) ranked[i].score = scores[i];
  sort_best_first(ranked, count);
  return ranked;
}

void put_search_rows(ReturnSetInfo* rows, const char* statement, Oid query_type, Datum query,
                     const SearchRequest& request) {
  if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
  Oid types[2] = {query_type, INT8OID};
  Datum arguments[2] = {query, Int64GetDatum(request.candidates)};
  if (SPI_execute_with_args(statement, 2, types, arguments, nullptr, true, 0) != SPI_OK_SELECT) {
    elog(ERROR, "SPI_execute_with_args failed");
  }
  const uint64 count = SPI_processed;
  const ScoredDocument* ranked = rank_candidates(request, count);
  for (uint64 i = 0; i < std::min<uint64>(count, request.k); ++i) {
    Datum values[4];
    bool nulls[4];
    HeapTuple tuple = SPI_tuptable->vals[ranked[i].place];
    values[0] = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &nulls[0]);
    values[1] = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &nulls[1]);
    values[2] = Float4GetDatum(ranked[i].score);
    nulls[2] = ranked[i].is_null;
    values[3] = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 3, &nulls[3]);
    add_row(rows, values, nulls);
  }
  SPI_finish();
}

// Argument `number`, at least 1.
int32 positive_argument(FunctionCallInfo fcinfo, int number, const char* name) {
  if (PG_ARGISNULL(number) || PG_GETARG_INT32(number) < 1) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be at least 1", name)));
  }
  return PG_GETARG_INT32(number);
}

}  // namespace
}  // namespace pg_semantic

using namespace pg_semantic;

PG_SEMANTIC_FUNCTION(pg_semantic_index_statistics) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  Relation index = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
  if (index == nullptr) PG_RETURN_VOID();
  const bool ours = index->rd_rel->relkind == RELKIND_INDEX && index->rd_rel->relam == semantic_access_method();
  if (ours && !RELATION_IS_OTHER_TEMP(index) && RelationGetNumberOfBlocks(index) > 0) put_statistics(rows, index);
  relation_close(index, AccessShareLock);
  PG_RETURN_VOID();
}

PG_SEMANTIC_FUNCTION(pg_semantic_index_recall) {
  const int32 k = PG_GETARG_INT32(1);
  const int32 samples = PG_GETARG_INT32(2);
  if (k < 1 || k > 10000) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("k must be between 1 and 10000, not %d", k)));
  }
  if (samples < 1 || samples > 100000) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("samples must be between 1 and 100000, not %d", samples)));
  }
  require_index_worker();
  Relation index = open_semantic_index(PG_GETARG_OID(0), AccessShareLock);
  require_every_row(index->rd_index->indrelid);
  const IndexMetapage metapage = *read_metapage(index);
  float recall = get_float4_nan();
  if (metapage.generation != 0) {
    send_pending_rows(metapage.generation);
    recall = measure_index_recall(index, metapage.generation, static_cast<uint32_t>(k), static_cast<uint32_t>(samples));
  }
  relation_close(index, AccessShareLock);
  if (recall != recall) PG_RETURN_NULL();
  PG_RETURN_FLOAT4(recall);
}

PG_SEMANTIC_FUNCTION(pg_semantic_search) {
  ReturnSetInfo* rows = begin_rows(fcinfo);
  if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) PG_RETURN_VOID();
  SearchRequest request = {};
  request.k = positive_argument(fcinfo, 2, "k");
  request.candidates = request.k;
  if (!PG_ARGISNULL(3)) {
    request.candidates = std::max(request.k, positive_argument(fcinfo, 4, "candidates"));
    request.reranker = find_rerank_model(text_to_cstring(PG_GETARG_TEXT_PP(3)));
    request.query = text_to_utf8(PG_GETARG_TEXT_PP(1));
  }
  Relation index = open_semantic_index(PG_GETARG_OID(0), AccessShareLock);
  // The query does without the index on a standby that has none of its own.
  const IndexMetapage metapage = RecoveryInProgress() ? check_metapage(index) : *read_metapage(index);
  if (request.reranker != nullptr && metapage.embeds_text == 0) {
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("the rows of index \"%s\" cannot be reranked", RelationGetRelationName(index)),
                    errdetail("It holds vectors; a reranker reads texts.")));
  }
  const SemanticQuery* query = make_semantic_query(PG_GETARG_TEXT_PP(1), model_name_of(metapage), nullptr);
  const DistanceOperator distance = distance_operator(index);
  const char* statement = search_statement(index, metapage, distance);
  const bool embeds_text = metapage.embeds_text != 0;
  const Oid query_type = embeds_text ? distance.query_type : FLOAT4ARRAYOID;
  const Datum argument = embeds_text ? PointerGetDatum(query) : PointerGetDatum(make_array(query_embedding(query)));
  put_search_rows(rows, statement, query_type, argument, request);
  relation_close(index, AccessShareLock);
  PG_RETURN_VOID();
}
