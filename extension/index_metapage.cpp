#include "extension/index_metapage.h"

#include <cstring>

#include "extension/index_options.h"
#include "extension/index_repair.h"
#include "extension/models.h"

namespace pg_semantic {
namespace {

// What rd_amcache points to.
struct CachedMetapage {
  IndexMetapage page;
  IndexNotes notes;
};

CachedMetapage* cached_metapage(Relation index) { return static_cast<CachedMetapage*>(index->rd_amcache); }

}  // namespace

IndexMetapage peek_metapage(Relation index) {
  Buffer buffer = ReadBuffer(index, 0);
  LockBuffer(buffer, BUFFER_LOCK_SHARE);
  IndexMetapage metapage;
  std::memcpy(&metapage, PageGetContents(BufferGetPage(buffer)), sizeof(metapage));
  UnlockReleaseBuffer(buffer);
  metapage.model[NAMEDATALEN - 1] = '\0';
  metapage.fingerprint[sizeof(metapage.fingerprint) - 1] = '\0';
  return metapage;
}

IndexMetapage check_metapage(Relation index) {
  const IndexMetapage metapage = peek_metapage(index);
  if (metapage.magic != kMetapageMagic || metapage.version != kMetapageVersion) {
    ereport(ERROR, (errcode(ERRCODE_INDEX_CORRUPTED),
                    errmsg("metapage of index \"%s\" is not one of pg_semantic", RelationGetRelationName(index)),
                    errdetail("Found magic number %08X, version %u; expected %08X, version %u.", metapage.magic,
                              metapage.version, kMetapageMagic, kMetapageVersion),
                    errhint("REINDEX INDEX %s.", RelationGetRelationName(index))));
  }
  return metapage;
}

const IndexMetapage* read_metapage(Relation index) {
  if (index->rd_amcache != nullptr) return &cached_metapage(index)->page;
  const IndexMetapage metapage = check_metapage(index);
  if (metapage.database_oid != MyDatabaseId) {
    make_copied_index_its_own(index);
    return read_metapage(index);
  }
  if (metapage.embeds_text != 0 && metapage.fingerprint[0] == '\0') {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("index \"%s\" has no model", RelationGetRelationName(index)),
                    errdetail("It is of an unlogged table, and was emptied by a crash after pg_upgrade had made it."),
                    errhint("REINDEX INDEX %s.", RelationGetRelationName(index))));
  }
  // Generation 0 is about to change; everything else stays until the next build.
  if (metapage.generation == 0) {
    auto* copy = static_cast<IndexMetapage*>(palloc(sizeof(metapage)));
    *copy = metapage;
    return copy;
  }
  auto* cached = static_cast<CachedMetapage*>(MemoryContextAlloc(index->rd_indexcxt, sizeof(CachedMetapage)));
  *cached = {metapage, {metapage.dimensions, 0}};
  index->rd_amcache = cached;
  return &cached->page;
}

IndexNotes* notes_of(Relation index) { return index->rd_amcache != nullptr ? &cached_metapage(index)->notes : nullptr; }

void write_metapage(Relation index, ForkNumber fork, const IndexMetapage& metapage) {
  const bool extend = RelationGetNumberOfBlocksInFork(index, fork) == 0;
  Buffer buffer = ReadBufferExtended(index, fork, extend ? P_NEW : 0, RBM_NORMAL, nullptr);
  LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
  // The init fork is logged even though the relation is not.
  const bool logged = RelationNeedsWAL(index) || fork == INIT_FORKNUM;
  START_CRIT_SECTION();
  Page page = BufferGetPage(buffer);
  PageInit(page, BufferGetPageSize(buffer), 0);
  std::memcpy(PageGetContents(page), &metapage, sizeof(metapage));
  auto* header = reinterpret_cast<PageHeader>(page);
  header->pd_lower = static_cast<LocationIndex>(PageGetContents(page) + sizeof(metapage) - static_cast<char*>(page));
  MarkBufferDirty(buffer);
  if (logged) log_newpage_buffer(buffer, true);
  END_CRIT_SECTION();
  UnlockReleaseBuffer(buffer);
  if (index->rd_amcache != nullptr) {
    pfree(index->rd_amcache);
    index->rd_amcache = nullptr;
  }
}

IndexMetapage describe_index(Relation index, const LoadedModel** model) {
  IndexMetapage metapage = {};
  metapage.magic = kMetapageMagic;
  metapage.version = kMetapageVersion;
  metapage.database_oid = MyDatabaseId;
  const OpclassKind kind = opclass_kind(index);
  const Oid type = index->rd_opcintype[0];
  if (!column_is_readable(kind, type, index_getprocid(index, 1, kVectorProcedure))) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
                    errmsg("operator class of index \"%s\" cannot read type %s", RelationGetRelationName(index),
                           format_type_be(type)),
                    errhint("Its support function %d must be a function of %s that returns real[].", kVectorProcedure,
                            format_type_be(type))));
  }
  metapage.metric = static_cast<uint8>(metric_of(kind));
  metapage.codec = static_cast<uint8>(codec_option(index));
  metapage.embeds_text = kind == OpclassKind::kText ? 1 : 0;
  *model = nullptr;
  // The models come after the indexes there.
  if (IsBinaryUpgrade) return metapage;
  if (kind == OpclassKind::kText) {
    const LoadedModel* found = find_model(model_option(index));
    lock_model(found->fingerprint.c_str(), false);
    const int32 wanted = dimensions_option(index);
    metapage.dimensions =
        static_cast<uint32>(wanted != 0 ? truncated_dimensions(found, wanted) : found->model->info().dimensions);
    strlcpy(metapage.model, found->name.c_str(), sizeof(metapage.model));
    strlcpy(metapage.fingerprint, found->fingerprint.c_str(), sizeof(metapage.fingerprint));
    *model = found;
  } else if (model_option(index) != nullptr || dimensions_option(index) != 0) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("option \"%s\" does not apply to a %s column",
                           model_option(index) != nullptr ? "model" : "dimensions", format_type_be(type)),
                    errdetail("Vectors are indexed as they are.")));
  }
  return metapage;
}

index::GenerationOptions generation_options(Relation index, const IndexMetapage& metapage, bool building) {
  index::GenerationOptions options;
  options.database_oid = MyDatabaseId;
  options.index_oid = RelationGetRelid(index);
  options.dimensions = metapage.dimensions;
  options.metric = static_cast<index::Metric>(metapage.metric);
  options.codec = static_cast<index::Codec>(metapage.codec);
  options.building = building;
  return options;
}

}  // namespace pg_semantic
