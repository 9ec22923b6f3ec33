#include "extension/index_garbage.h"

#include "extension/server.h"

#include "extension/index_client.h"
#include "extension/index_metapage.h"
#include "extension/index_options.h"
#include "extension/index_shared_memory.h"

namespace pg_semantic {
namespace {

// All zero where there is none yet.
IndexMetapage metapage_of(Relation index) {
  return RelationGetNumberOfBlocks(index) > 0 ? peek_metapage(index) : IndexMetapage{};
}

bool is_used_by(Relation index, index::GenerationId generation) {
  if (RELATION_IS_OTHER_TEMP(index)) return true;
  IndexMetapage metapage = metapage_of(index);
  if (metapage.generation == 0) {
    // It may be getting this one, which its metapage names last: whoever builds CONCURRENTLY or inserts holds a lock
    // that lets readers in.
    if (!ConditionalLockRelationOid(RelationGetRelid(index), ShareLock)) return true;
    metapage = metapage_of(index);
    UnlockRelationOid(RelationGetRelid(index), ShareLock);
  }
  if (metapage.generation == generation) return true;
  // Copied with its database, it may be getting one of its own.
  return metapage.generation != 0 && metapage.database_oid != MyDatabaseId;
}

// Whether the index has the generation, as all transactions see it, or is getting it; the caller holds a lock on it.
bool is_used(Oid index_oid, index::GenerationId generation) {
  if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(index_oid)) || !is_semantic_index(index_oid)) return false;
  Relation index = try_relation_open(index_oid, NoLock);
  if (index == nullptr) return false;
  const bool used = is_used_by(index, generation);
  relation_close(index, NoLock);
  return used;
}

bool is_garbage(const GenerationOwner& owner) {
  if (!OidIsValid(owner.database_oid)) return false;  // cannot be read: whose it is, is not known
  if (owner.database_oid != MyDatabaseId) {
    return !SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(owner.database_oid));
  }
  if (!ConditionalLockRelationOid(owner.index_oid, AccessShareLock)) return false;
  const bool used = is_used(owner.index_oid, owner.generation);
  UnlockRelationOid(owner.index_oid, AccessShareLock);
  return !used;
}

}  // namespace

void collect_garbage() {
  uint32 count = 0;
  const GenerationOwner* owners = list_generation_owners(&count);
  for (uint32 i = 0; i < count; ++i) {
    if (!is_garbage(owners[i])) continue;
    GarbageItem item = {};
    item.kind = GarbageItem::kGeneration;
    item.generation = owners[i].generation;
    if (!add_garbage(item)) break;  // the next VACUUM finds it again
  }
}

}  // namespace pg_semantic
