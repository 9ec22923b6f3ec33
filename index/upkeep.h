// Keeping posting lists in the background: splitting long ones, merging small
// ones, dropping empty ones, writing anew those with many dead entries, and
// tidying, which is writing lists that lie in many blocks into as few as they take.
//
// What there is to do is read off the list table, so nothing has to be remembered
// over a restart.  How long lists may be is a matter of their mean: a list is split when it is
// longer than the limit, or the longest of all while the mean is above what a build
// aims at.  So a grown index has as many lists as a built one.
//
// Steps are short: one batch for one list or a few, and Generation::writer is held
// while it is made and written.  The neighbours' vectors that a split looks at are
// read from a snapshot before.
//
// Tidying is paid for by changes: each row that comes or goes allows a few entries
// to be moved, so that what upkeep writes stays in proportion to what was changed.
#ifndef PG_SEMANTIC_INDEX_UPKEEP_H
#define PG_SEMANTIC_INDEX_UPKEEP_H

#include "index/generation.h"
#include "index/tuning.h"

namespace pg_semantic::index {

enum class Tidiness { kUrgent, kTidy };

// Works until nothing is left or `interrupted`.  An error other than kCorrupt, which makes a list be left
// alone, ends it.
Status keep_lists(const Storage& storage, const Tuning& tuning, Generation* generation, Tidiness tidiness,
                  const Interrupted& interrupted);

// For who has just given Generation::writer back and will take it again: a mutex is not fair.
void let_writers_go_first(const Generation& generation);

// For the holder of Generation::writer: so many rows came or went.
void earn_tidying(Generation* generation, uint64_t rows);

// Bytes that a generation takes when there is no garbage.
uint64_t least_bytes(const ListTable& table);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_UPKEEP_H
