// Keeping posting lists in the background.
#include "index/upkeep.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "index/engine_impl.h"
#include "index/list_reader.h"
#include "index/search.h"

namespace pg_semantic::index {
namespace {

constexpr uint32_t kDeadShare = 4;        // a list of which so much is dead is written anew
constexpr uint32_t kEntriesAtOnce = 256;  // that a step writes anew, about; and merges, a quarter of it
constexpr size_t kListsAtOnce = 256;      // that a step merges away, however empty they are
constexpr uint64_t kTidyingPerRow = 8;    // entries

enum class Chore { kNothing, kSplit, kMerge, kRewrite, kTidy };

struct Choice {
  Chore chore = Chore::kNothing;
  std::vector<ListId> lists;
};

uint32_t least_blocks(const ListRef& list, uint32_t entries_per_block) {
  return (list.live() + entries_per_block - 1) / entries_per_block;
}

// Chooses what to do next; reads nothing but the table.
class Chooser {
 public:
  Chooser(const ListTable& table, const Tuning& tuning, const Generation& generation)
      : table_(table),
        generation_(generation),
        floor_(tuning.list_floor),
        limit_(list_limit_for(tuning, table.layout.vector_size())),
        target_(list_target_for(tuning, table.layout.vector_size())),
        mean_(static_cast<double>(table.catalog.vectors) /
              static_cast<double>(std::max<size_t>(table.lists.size(), 1))) {}

  Choice choose(Tidiness tidiness) const {
    if (Choice choice = {Chore::kSplit, longest()}; !choice.lists.empty()) return choice;
    if (generation_.retrained_from) return {};  // lists are long and short because rows are on their way
    if (Choice choice = {Chore::kRewrite, some([](const ListRef& list) {
                           return list.dead > list.entries / kDeadShare ? list.dead : 0;
                         })};
        !choice.lists.empty())
      return choice;
    if (Choice choice = {Chore::kMerge, smallest()}; !choice.lists.empty()) return choice;
    if (tidiness == Tidiness::kUrgent || generation_.tidying_left == 0) return {};
    const uint32_t entries_per_block = table_.layout.entries_per_block();
    Choice choice = {
        Chore::kTidy, some([&](const ListRef& list) {
          const uint32_t spare = list.sizes.blocks() - least_blocks(list, entries_per_block);
          return list.live() > 0 ? (spare * list.entries + 7) / 8 + (list.dead > list.entries / 16 ? list.dead : 0) : 0;
        })};
    if (choice.lists.empty()) return {};
    return choice;
  }

 private:
  [[nodiscard]] bool is_left_alone(const ListRef& list) const { return generation_.damaged.contains(list.id); }

  [[nodiscard]] std::vector<ListId> longest() const {
    const ListRef* found = nullptr;
    for (const ListRef& list : table_.lists) {
      const bool is_long = list.live() > limit_ ||
                           (mean_ > target_ && list.live() > target_ + target_ / 4 && !generation_.retrained_from);
      if (!is_long || (found != nullptr && list.live() <= found->live()) || is_left_alone(list)) continue;
      const auto failed = generation_.unsplittable.find(list.id);
      if (failed == generation_.unsplittable.end() || list.live() / 2 >= failed->second) found = &list;
    }
    return found != nullptr ? std::vector<ListId>{found->id} : std::vector<ListId>{};
  }

  // Small ones are merged; so are the smallest when many rows are gone.
  [[nodiscard]] std::vector<ListId> smallest() const {
    const bool is_sparse = mean_ < target_ * 0.75;
    if (table_.lists.size() < 2 && table_.catalog.vectors > 0) return {};
    std::vector<const ListRef*> found;
    for (const ListRef& list : table_.lists) {
      const bool is_small = list.live() < floor_ || (is_sparse && list.live() < target_ / 2);
      if (is_small && !is_left_alone(list)) found.push_back(&list);
    }
    std::sort(found.begin(), found.end(), [](const ListRef* a, const ListRef* b) {
      return a->live() != b->live() ? a->live() < b->live() : a->id < b->id;
    });
    // One list stays as long as there is anything to be in it.
    if (found.size() == table_.lists.size() && table_.catalog.vectors > 0) found.pop_back();
    std::vector<ListId> lists;
    uint32_t entries = 0;
    for (const ListRef* list : found) {
      entries += list->live();
      if (!lists.empty() && (entries > kEntriesAtOnce / 4 || lists.size() == kListsAtOnce)) break;
      lists.push_back(list->id);
    }
    return lists;
  }

  // Those for which `urgency` gives most.
  template <typename Urgency>
  [[nodiscard]] std::vector<ListId> some(const Urgency& urgency) const {
    struct Candidate {
      uint32_t urgency;
      const ListRef* list;
    };
    std::vector<Candidate> found;
    for (const ListRef& list : table_.lists) {
      const uint32_t urgent = urgency(list);
      if (urgent > 0 && !is_left_alone(list)) found.push_back({urgent, &list});
    }
    const size_t most = std::min<size_t>(found.size(), 8);
    std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(most), found.end(),
                      [](const Candidate& a, const Candidate& b) {
                        return a.urgency != b.urgency ? a.urgency > b.urgency : a.list->id < b.list->id;
                      });
    std::vector<ListId> lists;
    uint32_t entries = 0;
    for (size_t i = 0; i < most; ++i) {
      entries += found[i].list->entries;
      if (!lists.empty() && entries > kEntriesAtOnce) break;
      lists.push_back(found[i].list->id);
    }
    return lists;
  }

  const ListTable& table_;
  const Generation& generation_;
  uint32_t floor_, limit_, target_;
  double mean_;
};

class Upkeep {
 public:
  Upkeep(const Storage& storage, const Tuning& tuning, Generation* generation)
      : storage_(storage), tuning_(tuning), generation_(*generation) {}

  // False: there is nothing left to do.
  Result<bool> step(Tidiness tidiness);

 private:
  Result<std::shared_ptr<const ListTable>> table() const;
  Status carry_out(const Choice& choice, const ListTable& table);
  Status carry_out(const SplitPlan& plan);
  Result<SplitPlan> plan(const ReadView& view, ListId list) const;

  const Storage& storage_;
  const Tuning& tuning_;
  Generation& generation_;
};

// For the holder of the writer mutex.  Null: there is nothing to look after.
Result<std::shared_ptr<const ListTable>> Upkeep::table() const {
  std::shared_ptr<const ListTable> nothing;
  if (generation_.dropped) return nothing;
  Result<std::shared_ptr<const ListTable>> table = table_for_writing(storage_, generation_);
  if (table && ((*table)->catalog.options.building || !(*table)->store)) return nothing;
  return table;
}

Status Upkeep::carry_out(const Choice& choice, const ListTable& table) {
  auto draft = std::make_shared<ListTable>(table);
  ListEditor editor(storage_, generation_.id(), draft.get(), tuning_, &generation_.unsplittable);
  rocksdb::WriteBatch batch;
  uint64_t moved = 0;
  for (const ListId list : choice.lists) {
    moved += draft->find(list)->entries;
    PG_SEMANTIC_RETURN_IF_ERROR(choice.chore == Chore::kMerge ? editor.merge_away(list) : editor.rewrite(list));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(commit_lists(storage_, &generation_, draft, &editor, &batch));
  if (choice.chore == Chore::kTidy) generation_.tidying_left -= std::min(generation_.tidying_left, moved);
  return Status::ok();
}

Result<SplitPlan> Upkeep::plan(const ReadView& view, ListId list) const {
  ListReader reader(storage_, view);
  const size_t vector_size = view.table->layout.vector_size();
  const auto entries_of = [&](const ListRef& ref) -> Result<Entries> {
    Entries entries;
    Status read = reader.for_each(ref, [&](RowId row, const std::byte* stored) {
      entries.add(row, stored, vector_size);
      return Status::ok();
    });
    // A damaged neighbour keeps what it has.
    if (read.code() == StatusCode::kCorrupt && ref.id != list) return Entries{};
    if (!read.is_ok()) return read;
    return entries;
  };
  Result<Entries> entries = entries_of(*view.table->find(list));
  if (!entries) return entries.status();
  return plan_split(*view.table, tuning_, list, *entries, entries_of);
}

Status Upkeep::carry_out(const SplitPlan& plan) {
  const std::lock_guard lock(generation_.writer);
  Result<std::shared_ptr<const ListTable>> current = table();
  if (!current) return current.status();
  const ListRef* list = *current ? (*current)->find(plan.list) : nullptr;
  if (list == nullptr) return Status::ok();  // gone since
  if (!plan.possible) {
    generation_.unsplittable[plan.list] = list->live();
    return Status::ok();
  }
  auto draft = std::make_shared<ListTable>(**current);
  ListEditor editor(storage_, generation_.id(), draft.get(), tuning_, &generation_.unsplittable);
  rocksdb::WriteBatch batch;
  PG_SEMANTIC_RETURN_IF_ERROR(editor.split(plan));
  return commit_lists(storage_, &generation_, draft, &editor, &batch);
}

Result<bool> Upkeep::step(Tidiness tidiness) {
  Choice choice;
  ReadView view{generation_.id(), nullptr, nullptr};
  Status done;
  {
    const std::lock_guard lock(generation_.writer);
    Result<std::shared_ptr<const ListTable>> current = table();
    if (!current) return current.status();
    if (!*current) return false;
    if (!generation_.upkeep_begun) generation_.tidying_left += (*current)->catalog.vectors;  // of the last process
    generation_.upkeep_begun = true;
    choice = Chooser(**current, tuning_, generation_).choose(tidiness);
    if (choice.chore == Chore::kNothing) return false;
    if (choice.chore == Chore::kSplit) {
      view.table = *current;
      view.snapshot = std::make_shared<const Snapshot>(storage_);
    } else {
      done = carry_out(choice, **current);
    }
  }
  if (choice.chore == Chore::kSplit) {
    Result<SplitPlan> planned = plan(view, choice.lists.front());
    done = planned ? carry_out(*planned) : planned.status();
  }
  if (done.code() == StatusCode::kCorrupt) {
    const std::lock_guard lock(generation_.writer);
    generation_.damaged.insert(choice.lists.begin(), choice.lists.end());
    return true;
  }
  if (!done.is_ok()) return done;
  return true;
}

}  // namespace

void let_writers_go_first(const Generation& generation) {
  constexpr int kTries = 200;
  for (int i = 0; i < kTries && generation.writers_waiting > 0; ++i)
    std::this_thread::sleep_for(std::chrono::microseconds(20));
}

Status keep_lists(const Storage& storage, const Tuning& tuning, Generation* generation, Tidiness tidiness,
                  const Interrupted& interrupted) {
  Upkeep upkeep(storage, tuning, generation);
  // The bound only guards against data that keeps moving back and forth.
  const std::shared_ptr<const ListTable> table = generation->table();
  uint64_t left = 1000;
  if (table && table->store)
    left += 4 * table->lists.size() + table->catalog.vectors / list_target_for(tuning, table->layout.vector_size()) * 8;
  for (; left > 0; --left) {
    if (is_interrupted(interrupted) || generation->dropped) return Status::cancelled();
    Result<bool> more = upkeep.step(tidiness);
    if (!more) return generation->dropped ? Status::cancelled() : more.status();
    if (!*more) return Status::ok();
    let_writers_go_first(*generation);
  }
  return Status::ok();
}

void earn_tidying(Generation* generation, uint64_t rows) {
  const std::shared_ptr<const ListTable> table = generation->table();
  const uint64_t most = table ? 2 * table->catalog.vectors : 0;
  generation->tidying_left = std::min(generation->tidying_left + kTidyingPerRow * rows, most);
}

uint64_t least_bytes(const ListTable& table) {
  constexpr uint64_t kRowBytes = 48, kListBytes = 64;  // keys and what RocksDB adds
  uint64_t entries = 0;
  for (const ListRef& list : table.lists) entries += list.entries;
  return entries * (table.layout.stored_size() + table.layout.code_size() + sizeof(RowId)) +
         table.catalog.rows * kRowBytes + table.lists.size() * (table.layout.dimensions() * sizeof(float) + kListBytes);
}

}  // namespace pg_semantic::index
