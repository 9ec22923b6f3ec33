#include "extension/index_garbage.h"

#include "extension/server.h"

#include "extension/index_client.h"
#include "extension/index_metapage.h"
#include "extension/index_options.h"
#include "extension/index_shared_memory.h"

namespace pg_semantic {
namespace {

// Whether the index has the generation, as all transactions see it; the caller holds a lock on it.
bool is_used(Oid index_oid, index::GenerationId generation) {
  if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(index_oid)) || !is_semantic_index(index_oid)) return false;
  Relation index = try_relation_open(index_oid, NoLock);
  if (index == nullptr) return false;
  const bool used = RELATION_IS_OTHER_TEMP(index) ||
                    (RelationGetNumberOfBlocks(index) > 0 && peek_metapage(index).generation == generation);
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
