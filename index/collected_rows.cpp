// See collected_rows.h.
#include "index/collected_rows.h"

#include <algorithm>

#include "index/engine_impl.h"
#include "index/search.h"
#include "index/two_means.h"

namespace pg_semantic::index {

Result<std::unique_ptr<CollectedRows>> CollectedRows::read(const Spool::Mapping& spool,
                                                           const GenerationOptions& options,
                                                           const std::string& scratch_pattern,
                                                           const Interrupted& interrupted) {
  std::unique_ptr<CollectedRows> result(new CollectedRows(spool, options));
  PG_SEMANTIC_RETURN_IF_ERROR(result->read_places(scratch_pattern, interrupted));
  result->keep_last_changes();
  if (result->size_ > UINT32_MAX) return Status(StatusCode::kUnsupported, "too many rows for a semantic index");
  Result<ScratchArray<ListId>> lists = ScratchArray<ListId>::create(scratch_pattern, result->size_);
  if (!lists) return lists.status();
  result->lists_ = std::move(*lists);
  Result<ScratchArray<uint32_t>> positions = ScratchArray<uint32_t>::create(scratch_pattern, result->size_);
  if (!positions) return positions.status();
  result->with_vector_ = std::move(*positions);
  for (size_t i = 0; i < result->size_; ++i) {
    if (result->kind(i) == RowKind::kVector) result->with_vector_[result->vectors_++] = static_cast<uint32_t>(i);
  }
  return result;
}

Status CollectedRows::read_places(const std::string& scratch_pattern, const Interrupted& interrupted) {
  uint64_t changes = 0;
  PG_SEMANTIC_RETURN_IF_ERROR(spool_.for_each(0, [&](std::span<const std::byte> change) -> Status {
    if (is_interrupted(interrupted)) return Status::cancelled();
    Result<uint32_t> rows = count_rows(change);
    if (!rows) return rows.status();
    changes += *rows;
    return Status::ok();
  }));
  Result<ScratchArray<Place>> places = ScratchArray<Place>::create(scratch_pattern, changes);
  if (!places) return places.status();
  places_ = std::move(*places);
  std::vector<float> vector(dimensions_);
  return spool_.for_each(0, [&](std::span<const std::byte> change) -> Status {
    if (is_interrupted(interrupted)) return Status::cancelled();
    return visit_rows(change, dimensions_, [&](RowId row, RowKind kind, const std::byte* bytes) {
      if (bytes == nullptr) {
        // Sorting needs an offset that tells which change was first.
        places_[size_++] = {row, static_cast<uint64_t>(change.data() - spool_.data()), kDeleted};
        return;
      }
      if (kind == RowKind::kVector && metric_ == Metric::kCosine) {
        std::memcpy(vector.data(), bytes + kSpooledVectorOffset, dimensions_ * sizeof(float));
        kind = kind_of(kind, metric_, vector);
      }
      places_[size_++] = {row, static_cast<uint64_t>(bytes - spool_.data()), static_cast<uint64_t>(kind)};
    });
  });
}

void CollectedRows::keep_last_changes() {
  const std::span<Place> places = places_.span();
  const auto by_row = [](const Place& a, const Place& b) { return a.row < b.row; };
  // In place, unlike a stable sort.
  if (!std::is_sorted(places.begin(), places.end(), by_row))
    std::sort(places.begin(), places.end(),
              [](const Place& a, const Place& b) { return a.row != b.row ? a.row < b.row : a.offset < b.offset; });
  size_t kept = 0;
  for (size_t i = 0; i < places.size(); ++i) {
    if (i + 1 < places.size() && places[i + 1].row == places[i].row) continue;
    if (places[i].kind != kDeleted) places[kept++] = places[i];
  }
  size_ = kept;
}

void CollectedRows::gather(std::span<const uint32_t> rows, float* out) const {
  for (const uint32_t row : rows) {
    copy_vector(row, out);
    if (metric_ == Metric::kCosine) normalise(out, dimensions_);
    out += dimensions_;
  }
}

std::vector<uint32_t> CollectedRows::group_by_list(size_t lists) {
  std::vector<uint32_t> begins(lists + 1, 0);
  for (const uint32_t i : with_vector()) ++begins[lists_[i] + 1];
  for (size_t list = 0; list < lists; ++list) begins[list + 1] += begins[list];
  std::vector<uint32_t> next(begins.begin(), begins.end() - 1);
  for (size_t i = 0; i < size_; ++i) {
    if (kind(i) == RowKind::kVector) with_vector_[next[lists_[i]]++] = static_cast<uint32_t>(i);
  }
  return begins;
}

}  // namespace pg_semantic::index
