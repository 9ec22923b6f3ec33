// Splitting and merging lists.  Stored vectors are read for this, and coded anew
// where they come to lie.
#include <algorithm>

#include "index/list_editor.h"

namespace pg_semantic::index {
namespace {

bool is_nearer_to_second(const SplitPlan& plan, const std::vector<float>& vector) {
  float distances[2] = {};
  for (const size_t side : {0, 1})
    kernels().squared_distance_rows(plan.centroids[side].data(), vector.size(), vector.data(), 1, &distances[side]);
  return distances[1] < distances[0];
}

}  // namespace

Status ListEditor::split(const SplitPlan& plan) {
  Result<WorkingList*> opened = open(plan.list);
  if (!opened) return opened.status();
  Result<Entries> entries = live_entries(plan.list, *opened);
  if (!entries) return entries.status();
  drop(plan.list, *opened);
  const ListId created[2] = {create(plan.centroids[0].data()), create(plan.centroids[1].data())};
  std::vector<float> vector(draft_.layout.dimensions());
  for (size_t i = 0; i < entries->rows.size(); ++i) {
    const RowId row = entries->rows[i];
    const std::byte* stored = entries->vectors.data() + i * draft_.layout.vector_size();
    const auto away = plan.away.find(row);
    const auto side = plan.sides.find(row);
    ListId target = created[0];
    if (away != plan.away.end() && draft_.find(away->second) != nullptr) {
      target = away->second;
    } else if (side != plan.sides.end()) {
      target = created[side->second];
    } else {  // it came after the plan
      draft_.layout.decode_vector(stored, vector.data());
      target = created[is_nearer_to_second(plan, vector) ? 1 : 0];
    }
    PG_SEMANTIC_RETURN_IF_ERROR(append(target, row, stored));
  }
  for (const auto& [neighbour, rows] : plan.from_neighbours) {
    if (draft_.find(neighbour) == nullptr) continue;
    std::unordered_map<RowId, ListId> targets;
    for (const auto& [row, side] : rows) targets[row] = created[side];
    PG_SEMANTIC_RETURN_IF_ERROR(move_rows(neighbour, targets));
  }
  return Status::ok();
}

Status ListEditor::merge_away(ListId list, const std::unordered_map<RowId, ListId>& targets) {
  Result<WorkingList*> opened = open(list);
  if (!opened) return opened.status();
  Result<Entries> entries = live_entries(list, *opened);
  if (!entries) return entries.status();
  drop(list, *opened);
  std::vector<float> vector(draft_.layout.dimensions());
  for (size_t i = 0; i < entries->rows.size(); ++i) {
    const std::byte* stored = entries->vectors.data() + i * draft_.layout.vector_size();
    const auto target = targets.find(entries->rows[i]);
    if (target != targets.end() && draft_.find(target->second) != nullptr) {
      PG_SEMANTIC_RETURN_IF_ERROR(append(target->second, entries->rows[i], stored));
      continue;
    }
    draft_.layout.decode_vector(stored, vector.data());
    const auto nearest = nearest_lists(draft_, vector.data(), 1, Order::kDistance);
    if (nearest.empty()) return {StatusCode::kInternal, "the last list of a semantic index cannot be merged"};
    PG_SEMANTIC_RETURN_IF_ERROR(append(draft_.lists[nearest.front().position].id, entries->rows[i], stored));
  }
  return Status::ok();
}

bool ListEditor::is_beyond_bound(ListId list, const WorkingList& working) const {
  if (working.removed) return false;
  const uint32_t live = draft_.find(list)->live();
  if (live <= list_bound_for(tuning_, draft_.layout.vector_size())) return false;
  const auto failed = unsplittable_.find(list);
  return failed == unsplittable_.end() || live / 2 >= failed->second;
}

Status ListEditor::bound_lists() {
  for (bool found = true; found;) {
    found = false;
    for (const auto& [list, working] : working_) {
      if (!is_beyond_bound(list, working)) continue;
      Result<Entries> entries = live_entries(list, &working_[list]);
      if (!entries) return entries.status();
      const auto entries_of = [this](const ListRef& ref) -> Result<Entries> {
        Result<WorkingList*> opened = open(ref.id);
        if (!opened) return opened.status();
        return live_entries(ref.id, *opened);
      };
      Result<SplitPlan> plan = plan_split(draft_, tuning_, list, *entries, entries_of);
      if (!plan) return plan.status();
      if (plan->possible) {
        PG_SEMANTIC_RETURN_IF_ERROR(split(*plan));
      } else {
        unsplittable_[list] = entries->size();
      }
      found = true;
      break;  // lists have come and gone
    }
  }
  return Status::ok();
}

}  // namespace pg_semantic::index
