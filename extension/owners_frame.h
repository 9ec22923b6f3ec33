// Functions in an index's expressions and predicate run as the table's owner, whoever checks or repairs the
// index, and can do no more than in a REINDEX.
#ifndef PG_SEMANTIC_EXTENSION_OWNERS_FRAME_H
#define PG_SEMANTIC_EXTENSION_OWNERS_FRAME_H

#include "extension/server.h"

namespace pg_semantic {

struct OwnersFrame {
  Oid user;
  int context;
  int settings;
};

// An ERROR ends it, too: with its transaction.
inline OwnersFrame become_owner(Relation heap) {
  OwnersFrame before = {};
  GetUserIdAndSecContext(&before.user, &before.context);
  SetUserIdAndSecContext(heap->rd_rel->relowner, before.context | SECURITY_RESTRICTED_OPERATION);
  before.settings = NewGUCNestLevel();
#if PG_VERSION_NUM >= 170000
  RestrictSearchPath();
#endif
  return before;
}

inline void become_caller(const OwnersFrame& before) {
  AtEOXact_GUC(false, before.settings);
  SetUserIdAndSecContext(before.user, before.context);
}

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_OWNERS_FRAME_H
