// In three steps.  The table is read: rows without an agreeing entry are embedded, the others wait.  Their vectors are
// read list by list.  If some are not there any more, the table is read again for these.
#include "extension/index_copy.h"

#include <algorithm>

#include "extension/index_client.h"
#include "extension/index_entries.h"

namespace pg_semantic {
namespace {

constexpr size_t kVectorBytesAtOnce = 4 << 20;

struct Copy {
  RowCollector collector;
  const IndexMetapage* metapage;
  index::GenerationId original;
  IndexEntries entries;  // of the original; matched: the row waits for the vector
  size_t waiting;
  int64 taken;
  bool embeds_waiting;  // the last step
};

// Whether the row need not be embedded now.
bool may_wait(Copy* copy, index::RowId row, const IndexedContent& content) {
  const size_t place = find_entry(copy->entries, row);
  const bool known = place < copy->entries.count;
  if (copy->embeds_waiting) return !known || !copy->entries.matched[place];
  if (!known) return false;
  const index::ListedRow& entry = copy->entries.rows[place];
  const bool waits = entry.kind == index::RowKind::kVector && agrees(entry, content);
  // A row may come twice, its last version last.
  copy->entries.matched[place] = waits;
  return waits;
}

void copy_row(Relation index, ItemPointer tid, Datum* values, bool* is_null, bool alive, void* argument) {
  auto* copy = static_cast<Copy*>(argument);
  CHECK_FOR_INTERRUPTS();
  MemoryContext before = MemoryContextSwitchTo(copy->collector.row_context);
  const IndexedContent content = read_content(index, *copy->metapage, values[0], is_null[0], 0);
  if (!may_wait(copy, row_id(tid), content)) collect_row(&copy->collector, tid, content);
  MemoryContextSwitchTo(before);
  MemoryContextReset(copy->collector.row_context);
  send_many_collected(&copy->collector);
}

void copy_table(Copy* copy, Relation heap, Relation index) {
  collect_table(&copy->collector, heap, index, BuildIndexInfo(index), false, copy_row, copy);
}

// Sends the vector if it is the one that the row waits for.
void take_vector(Copy* copy, const index::ListedRow& found, std::span<const float> vector) {
  const size_t place = find_entry(copy->entries, found.row);
  if (place == copy->entries.count || !copy->entries.matched[place]) return;
  if (found.hash != copy->entries.rows[place].hash || vector.size() != copy->metapage->dimensions) return;
  ItemPointerData tid;
  set_item_pointer(&tid, found.row);
  collect_row(&copy->collector, &tid, {.kind = found.kind, .hash = found.hash, .text = {}, .vector = vector});
  copy->entries.matched[place] = false;
  --copy->waiting;
  ++copy->taken;
}

// False: the original cannot be read.
bool take_vectors(Copy* copy, std::span<const index::RowId> rows) {
  MemoryContext before = MemoryContextSwitchTo(copy->collector.row_context);
  IndexVectors found;
  const bool readable = find_index_vectors(copy->original, rows, &found);
  const float* vector = found.vectors;
  for (uint32 i = 0; readable && i < found.count; ++i) {
    if (found.rows[i].kind != index::RowKind::kVector) continue;
    take_vector(copy, found.rows[i], {vector, found.dimensions});
    vector += found.dimensions;
  }
  MemoryContextSwitchTo(before);
  MemoryContextReset(copy->collector.row_context);
  return readable;
}

// The places of the entries that are waited for, those of one list together.
size_t* order_waiting(const Copy* copy) {
  const IndexEntries& entries = copy->entries;
  auto* places = static_cast<size_t*>(MemoryContextAllocHuge(CurrentMemoryContext, copy->waiting * sizeof(size_t)));
  size_t count = 0;
  for (size_t i = 0; i < entries.count; ++i) {
    if (entries.matched[i]) places[count++] = i;
  }
  std::sort(places, places + count, [&entries](size_t a, size_t b) {
    return entries.rows[a].list != entries.rows[b].list ? entries.rows[a].list < entries.rows[b].list : a < b;
  });
  return places;
}

void take_waiting(void* state) {
  auto* copy = static_cast<Copy*>(state);
  const size_t width = std::max<size_t>(copy->metapage->dimensions, 1) * sizeof(float);
  const size_t most = std::clamp<size_t>(kVectorBytesAtOnce / width, 1, kMostVectorRows);
  const size_t* places = order_waiting(copy);
  const size_t count = copy->waiting;
  auto* rows = static_cast<index::RowId*>(palloc(most * sizeof(index::RowId)));
  for (size_t first = 0; first < count; first += most) {
    CHECK_FOR_INTERRUPTS();
    const size_t asked = std::min(most, count - first);
    for (size_t i = 0; i < asked; ++i) rows[i] = copy->entries.rows[places[first + i]].row;
    if (!take_vectors(copy, {rows, asked})) return;
    send_many_collected(&copy->collector);
  }
}

}  // namespace

int64 copy_index_rows(const RowTarget& target, const IndexMetapage& metapage, index::GenerationId original,
                      Relation heap, Relation index) {
  Copy copy = {};
  copy.collector.target = target;
  copy.metapage = &metapage;
  copy.original = original;
  if (!find_index_entries(original, &copy.entries)) copy.entries = {};
  copy_table(&copy, heap, index);
  copy.waiting = static_cast<size_t>(std::count(copy.entries.matched, copy.entries.matched + copy.entries.count, true));
  if (copy.waiting > 0) collect_rows(&copy.collector, take_waiting, &copy);
  if (copy.waiting > 0) {
    copy.embeds_waiting = true;
    copy_table(&copy, heap, index);
  }
  return copy.taken;
}

}  // namespace pg_semantic
