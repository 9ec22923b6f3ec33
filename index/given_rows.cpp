// See given_rows.h.  Row records are read first; they say in which lists the vectors lie, and these are read one by
// one.
#include "index/given_rows.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "index/exact_distance.h"
#include "index/list_reader.h"
#include "index/search.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kRecordsAtOnce = 1024;

class GivenRows {
 public:
  // What is given outlives it.
  GivenRows(const Storage& storage, const ReadView& view, std::span<const RowId> rows, const Interrupted& interrupted)
      : storage_(storage), view_(view), rows_(rows), interrupted_(interrupted) {}

  // Calls visit(position in `rows`, record) for the rows that are there, in their order.
  template <typename Visit>
  Status read_records(const Visit& visit);
  // After that: calls visit(position in `rows`, stored vector) for those that have one.
  template <typename Visit>
  Status read_vectors(const Visit& visit);

 private:
  struct Wanted {
    const ListRef* list;
    size_t at;  // in rows_
    bool found;
  };
  template <typename Visit>
  Status read_list(ListReader* reader, std::span<Wanted> wanted, const Visit& visit);

  const Storage& storage_;
  const ReadView& view_;
  std::span<const RowId> rows_;
  const Interrupted& interrupted_;
  std::vector<Wanted> wanted_;
};

template <typename Visit>
Status GivenRows::read_records(const Visit& visit) {
  std::vector<std::string> keys;
  for (size_t first = 0; first < rows_.size(); first += kRecordsAtOnce) {
    if (is_interrupted(interrupted_)) return Status::cancelled();
    keys.clear();
    for (const RowId row : rows_.subspan(first, std::min(kRecordsAtOnce, rows_.size() - first)))
      keys.push_back(row_key(view_.generation, row));
    const auto read = [&](size_t i, std::string_view value) -> Status {
      Result<RowRecord> record = decode_row(value);
      if (!record) return record.status();
      const size_t at = first + i;
      visit(at, *record);
      if (record->kind != RowKind::kVector) return Status::ok();
      const ListRef* list = view_.table->find(record->list);
      if (list == nullptr) return corrupt("Row " + std::to_string(rows_[at]) + " is in a list that is not there.");
      wanted_.push_back({list, at, false});
      return Status::ok();
    };
    PG_SEMANTIC_RETURN_IF_ERROR(storage_.multi_get(Family::kRows, keys, view_.at(), read));
  }
  return Status::ok();
}

// List by list; within one, rows are looked up in the order of their numbers.
template <typename Visit>
Status GivenRows::read_vectors(const Visit& visit) {
  std::sort(wanted_.begin(), wanted_.end(), [this](const Wanted& a, const Wanted& b) {
    return a.list != b.list ? a.list < b.list : rows_[a.at] < rows_[b.at];
  });
  ListReader reader(storage_, view_);
  for (size_t first = 0, last = 0; first < wanted_.size(); first = last) {
    if (is_interrupted(interrupted_)) return Status::cancelled();
    while (last < wanted_.size() && wanted_[last].list == wanted_[first].list) ++last;
    PG_SEMANTIC_RETURN_IF_ERROR(read_list(&reader, std::span(wanted_).subspan(first, last - first), visit));
  }
  return Status::ok();
}

// All of one list.
template <typename Visit>
Status GivenRows::read_list(ListReader* reader, std::span<Wanted> wanted, const Visit& visit) {
  const ListRef& list = *wanted.front().list;
  std::vector<std::byte> buffer(view_.table->layout.vector_size());
  for (uint32_t block = 0; block < list.sizes.blocks(); ++block) {
    Result<BlockView> codes = reader->codes(list, block);
    if (!codes) return codes.status();
    std::optional<VectorBlockView> vectors;
    for (uint32_t i = 0; i < codes->count; ++i) {
      const RowId row = codes->row(i);
      if (row == 0) continue;
      auto at = std::lower_bound(wanted.begin(), wanted.end(), row,
                                 [this](const Wanted& a, RowId value) { return rows_[a.at] < value; });
      for (; at != wanted.end() && rows_[at->at] == row; ++at) {
        if (!vectors) {
          Result<VectorBlockView> stored = reader->vectors(list, block);
          if (!stored) return stored.status();
          vectors = *stored;
        }
        visit(at->at, vectors->vector(i, buffer.data()));
        at->found = true;
      }
    }
  }
  for (const Wanted& one : wanted) {
    if (!one.found)
      return corrupt("Row " + std::to_string(rows_[one.at]) + " is not in list " + std::to_string(list.id) + ".");
  }
  return Status::ok();
}

}  // namespace

Result<std::vector<SearchHit>> score_rows_of_view(const Storage& storage, const ReadView& view,
                                                  std::span<const float> query, std::span<const RowId> rows,
                                                  const Interrupted& interrupted) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_query(view.table->catalog, query));
  std::vector<SearchHit> hits(rows.size());
  std::vector<bool> found(rows.size());
  GivenRows given(storage, view, rows, interrupted);
  PG_SEMANTIC_RETURN_IF_ERROR(given.read_records([&](size_t at, const RowRecord& record) {
    hits[at] = {rows[at], std::numeric_limits<double>::quiet_NaN(), 0, record.kind, record.hash};
    found[at] = true;
  }));
  const ExactDistance distance(view.table->layout, query);
  PG_SEMANTIC_RETURN_IF_ERROR(
      given.read_vectors([&](size_t at, const std::byte* stored) { hits[at] = distance(rows[at], stored); }));
  size_t kept = 0;
  for (size_t i = 0; i < hits.size(); ++i) {
    if (found[i]) hits[kept++] = hits[i];
  }
  hits.resize(kept);
  return hits;
}

Result<StoredVectors> read_vectors_of_view(const Storage& storage, const ReadView& view, std::span<const RowId> rows,
                                           const Interrupted& interrupted) {
  const CodecLayout& layout = view.table->layout;
  StoredVectors result;
  result.dimensions = layout.dimensions();
  struct Place {
    size_t row;     // in result.rows
    size_t vector;  // in result.vectors
  };
  std::vector<Place> places(rows.size());
  size_t vectors = 0;
  GivenRows given(storage, view, rows, interrupted);
  PG_SEMANTIC_RETURN_IF_ERROR(given.read_records([&](size_t at, const RowRecord& record) {
    places[at] = {result.rows.size(), vectors * result.dimensions};
    result.rows.push_back({rows[at], record.kind, record.hash, record.list});
    if (record.kind == RowKind::kVector) ++vectors;
  }));
  result.vectors.resize(vectors * result.dimensions);
  PG_SEMANTIC_RETURN_IF_ERROR(given.read_vectors([&](size_t at, const std::byte* stored) {
    // The vector's own, should the row's record be of another.
    result.rows[places[at].row].hash = load<VectorHeader>(stored).hash;
    layout.restore_vector(stored, result.vectors.data() + places[at].vector);
  }));
  return result;
}

}  // namespace pg_semantic::index
