// Comparing posting blocks, row records and counters with each other.
#ifndef PG_SEMANTIC_INDEX_CHECK_H
#define PG_SEMANTIC_INDEX_CHECK_H

#include "index/generation.h"

namespace pg_semantic::index {

// One line a problem; empty: sound.
Result<std::vector<std::string>> check_view(const Storage& storage, const ReadView& view,
                                            const Interrupted& interrupted);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_CHECK_H
