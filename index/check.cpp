// Comparing posting blocks, row records and counters with each other.
#include "index/check.h"

#include <algorithm>
#include <string_view>

#include "index/search.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kMostProblems = 1000;
constexpr uint32_t kRecordsBetweenPolls = 4096;

class Checker {
 public:
  Checker(const Storage& storage, const ReadView& view, const Interrupted& interrupted)
      : storage_(storage), view_(view), table_(*view.table), interrupted_(interrupted) {}

  Result<std::vector<std::string>> run() {
    PG_SEMANTIC_RETURN_IF_ERROR(check_rows());
    PG_SEMANTIC_RETURN_IF_ERROR(check_vectors());
    if (!table_.catalog.options.building) {
      PG_SEMANTIC_RETURN_IF_ERROR(check_locations());
      PG_SEMANTIC_RETURN_IF_ERROR(check_blocks());
      check_entries();
    }
    return std::move(problems_);
  }

 private:
  struct Expected {
    RowId row = 0;
    size_t code_hash = 0;
    ListId list = 0;
    bool has_vector = false;
    bool has_list = false;
    bool seen = false;
  };

  Status check_rows();
  Status check_vectors();
  Status check_locations();
  Status check_blocks();
  void check_block(ListId list, const BlockView& block);
  void check_entries();

  void report(std::string problem) {
    if (problems_.size() < kMostProblems) problems_.push_back(std::move(problem));
  }
  Expected* find(RowId row) {
    const auto at = std::lower_bound(rows_.begin(), rows_.end(), row,
                                     [](const Expected& expected, RowId wanted) { return expected.row < wanted; });
    return at != rows_.end() && at->row == row ? &*at : nullptr;
  }
  // Calls visit(key, value) over the generation's records of a family.
  template <typename Visit>
  Status sweep(Family family, Visit visit) {
    const std::string prefix = generation_key(view_.generation);
    auto records = storage_.iterate(family, view_.at(), Reading::kSweep);
    uint32_t count = 0;
    for (records->Seek(prefix); records->Valid() && records->key().starts_with(prefix); records->Next()) {
      if (++count % kRecordsBetweenPolls == 0 && is_interrupted(interrupted_)) return Status::cancelled();
      visit(view(records->key()), view(records->value()));
    }
    return from_rocksdb(records->status());
  }
  // Calls visit(expected row or null, row, value) for the families keyed by row.
  template <typename Visit>
  Status sweep_rows(Family family, Visit visit) {
    return sweep(family, [&](std::string_view key, std::string_view value) {
      Result<RowId> row = row_of_key(key);
      if (!row) {
        report(row.status().detail());
        return;
      }
      visit(find(*row), "row " + std::to_string(*row), value);
    });
  }

  const Storage& storage_;
  const ReadView& view_;
  const ListTable& table_;
  const Interrupted& interrupted_;
  std::vector<std::string> problems_;
  std::vector<Expected> rows_;  // rows with a vector, ascending
  std::unordered_map<ListId, uint64_t> entries_;
};

Status Checker::check_rows() {
  uint64_t total = 0;
  PG_SEMANTIC_RETURN_IF_ERROR(sweep(Family::kRows, [&](std::string_view key, std::string_view value) {
    ++total;
    Result<RowId> row = row_of_key(key);
    Result<RowRecord> record = decode_row(value);
    if (!row || !record) {
      report(row ? record.status().detail() : row.status().detail());
    } else if (record->kind == RowKind::kVector) {
      rows_.push_back({.row = *row});
    }
  }));
  if (total != table_.catalog.rows)
    report("there are " + std::to_string(total) + " rows, the catalog says " + std::to_string(table_.catalog.rows));
  if (rows_.size() != table_.catalog.vectors)
    report("there are " + std::to_string(rows_.size()) + " rows with a vector, the catalog says " +
           std::to_string(table_.catalog.vectors));
  return Status::ok();
}

Status Checker::check_vectors() {
  const uint32_t dimensions = table_.catalog.options.dimensions;
  std::vector<float> vector(dimensions);
  std::vector<std::byte> code(table_.layout.code_size());
  PG_SEMANTIC_RETURN_IF_ERROR(
      sweep_rows(Family::kVectors, [&](Expected* expected, const std::string& name, std::string_view value) {
        if (expected == nullptr) return report(name + " has a vector and no row record that says so");
        if (value.size() != size_t{dimensions} * sizeof(float))
          return report("the vector of " + name + " has " + std::to_string(value.size()) + " bytes");
        std::memcpy(vector.data(), value.data(), value.size());
        if (table_.catalog.options.metric == Metric::kCosine) normalise(vector.data(), dimensions);
        table_.layout.encode(vector, code.data());
        expected->code_hash = std::hash<std::string_view>()({reinterpret_cast<const char*>(code.data()), code.size()});
        expected->has_vector = true;
      }));
  for (const Expected& expected : rows_) {
    if (!expected.has_vector) report("row " + std::to_string(expected.row) + " has no vector");
  }
  return Status::ok();
}

Status Checker::check_locations() {
  PG_SEMANTIC_RETURN_IF_ERROR(
      sweep_rows(Family::kLocations, [&](Expected* expected, const std::string& name, std::string_view value) {
        Result<uint32_t> list = decode_u32(value, "row's location");
        if (!list) return report(name + ": " + list.status().detail());
        if (expected == nullptr) return report(name + " has a location and no vector");
        if (table_.find(*list) == nullptr)
          return report(name + " is said to be in list " + std::to_string(*list) + ", which is not there");
        expected->list = *list;
        expected->has_list = true;
      }));
  for (const Expected& expected : rows_) {
    if (!expected.has_list) report("row " + std::to_string(expected.row) + " has no location");
  }
  return Status::ok();
}

void Checker::check_block(ListId list, const BlockView& block) {
  const size_t code_size = table_.layout.code_size();
  for (uint32_t i = 0; i < block.count; ++i) {
    const RowId row = block.row(i);
    const std::string name = "row " + std::to_string(row);
    Expected* expected = find(row);
    if (expected == nullptr) {
      report(name + " is in list " + std::to_string(list) + " and has no row record");
      continue;
    }
    if (expected->seen) report(name + " is in a list twice");
    expected->seen = true;
    if (expected->has_list && expected->list != list)
      report(name + " is in list " + std::to_string(list) + " instead of " + std::to_string(expected->list));
    const std::string_view code(reinterpret_cast<const char*>(block.codes) + i * code_size, code_size);
    if (expected->has_vector && std::hash<std::string_view>()(code) != expected->code_hash)
      report("the code of " + name + " is not that of its vector");
  }
}

Status Checker::check_blocks() {
  return sweep(Family::kBlocks, [&](std::string_view key, std::string_view value) {
    Result<ListId> id = list_of_key(key);
    if (!id || key.size() != 16) return report("a posting block has a key of " + std::to_string(key.size()) + " bytes");
    const uint32_t number = static_cast<uint32_t>(*row_of_key(key));  // the low half: the block
    const std::string name = "block " + std::to_string(number) + " of list " + std::to_string(*id);
    if (table_.find(*id) == nullptr) return report(name + " belongs to no list");
    Result<BlockView> block = decode_block(value, table_.layout);
    if (!block) return report(name + ": " + block.status().detail());
    // Keys come in order, so the blocks before this one were counted and full.
    if (entries_[*id] != uint64_t{number} * table_.layout.entries_per_block())
      report(name + " follows " + std::to_string(entries_[*id]) + " entries");
    entries_[*id] += block->count;
    check_block(*id, *block);
  });
}

void Checker::check_entries() {
  for (const ListRef& list : table_.lists) {
    if (entries_[list.id] != list.entries)
      report("list " + std::to_string(list.id) + " has " + std::to_string(entries_[list.id]) +
             " entries, its counter says " + std::to_string(list.entries));
  }
  for (const Expected& expected : rows_) {
    if (!expected.seen) report("row " + std::to_string(expected.row) + " is in no list");
  }
}

}  // namespace

Result<std::vector<std::string>> check_view(const Storage& storage, const ReadView& view,
                                            const Interrupted& interrupted) {
  return Checker(storage, view, interrupted).run();
}

}  // namespace pg_semantic::index
