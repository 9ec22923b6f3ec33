// Comparing posting blocks, row records and counters with each other.
#include "index/check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>

#include "index/bytes.h"
#include "index/list_reader.h"
#include "index/search.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kMostProblems = 1000;
constexpr uint32_t kRecordsBetweenPolls = 4096;

class Checker {
 public:
  Checker(const Storage& storage, const ReadView& view, const Interrupted& interrupted)
      : storage_(storage), view_(view), table_(*view.table), interrupted_(interrupted) {}

  Result<std::vector<std::string>> run() {
    if (table_.catalog.options.building) return std::move(problems_);  // nothing of it means anything yet
    PG_SEMANTIC_RETURN_IF_ERROR(check_rows());
    PG_SEMANTIC_RETURN_IF_ERROR(check_lists());
    PG_SEMANTIC_RETURN_IF_ERROR(check_strays(Family::kCodes));
    PG_SEMANTIC_RETURN_IF_ERROR(check_strays(Family::kVectors));
    return std::move(problems_);
  }

 private:
  struct Expected {
    RowId row = 0;
    ContentHash hash{};
    ListId list = 0;
    bool seen = false;
  };

  Status check_rows();
  Status check_lists();
  Status check_strays(Family family);
  void check_block(const ListRef& list, const BlockView& codes, const VectorBlockView& vectors, ListCoder* coder,
                   uint32_t* dead);

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
  const Storage& storage_;
  const ReadView& view_;
  const ListTable& table_;
  const Interrupted& interrupted_;
  std::vector<std::string> problems_;
  std::vector<Expected> rows_;  // rows with a vector, ascending
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
      rows_.push_back({.row = *row, .hash = record->hash, .list = record->list});
      if (table_.find(record->list) == nullptr)
        report("row " + std::to_string(*row) + " is said to be in list " + std::to_string(record->list) +
               ", which is not there");
    }
  }));
  if (total != table_.catalog.rows)
    report("there are " + std::to_string(total) + " rows, the catalog says " + std::to_string(table_.catalog.rows));
  if (rows_.size() != table_.catalog.vectors)
    report("there are " + std::to_string(rows_.size()) + " rows with a vector, the catalog says " +
           std::to_string(table_.catalog.vectors));
  return Status::ok();
}

void Checker::check_block(const ListRef& list, const BlockView& codes, const VectorBlockView& vectors, ListCoder* coder,
                          uint32_t* dead) {
  const CodecLayout& layout = table_.layout;
  std::vector<float> vector(layout.dimensions());
  std::vector<std::byte> code(layout.code_size()), buffer(layout.vector_size());
  for (uint32_t i = 0; i < codes.count; ++i) {
    const RowId row = codes.row(i);
    if (row == 0) {
      ++*dead;
      continue;
    }
    const std::string name = "row " + std::to_string(row);
    Expected* expected = find(row);
    if (expected == nullptr) {
      report(name + " is in list " + std::to_string(list.id) + " and has no row record with a vector");
      continue;
    }
    if (expected->seen) report(name + " is in a list twice");
    expected->seen = true;
    if (expected->list != list.id)
      report(name + " is in list " + std::to_string(list.id) + " instead of " + std::to_string(expected->list));
    const std::byte* stored = vectors.vector(i, buffer.data());
    if (load<VectorHeader>(stored).hash != expected->hash)
      report("the vector of " + name + " is of another content than its record");
    layout.decode_vector(stored, vector.data());
    if (!std::all_of(vector.begin(), vector.end(), [](float value) { return std::isfinite(value); })) {
      report("the vector of " + name + " is not finite");
      continue;
    }
    coder->encode(vector.data(), code.data());
    if (!std::equal(code.begin(), code.end(), codes.codes + i * layout.code_size()))
      report("the code of " + name + " is not that of its vector");
    if (!coarse_part_is_right(vectors, i, stored)) report("the coarse part of " + name + " is not that of its vector");
  }
}

Status Checker::check_lists() {
  ListReader reader(storage_, view_);
  for (const ListRef& list : table_.lists) {
    if (is_interrupted(interrupted_)) return Status::cancelled();
    ListCoder coder(table_.layout, table_.centroid(list));
    uint32_t dead = 0;
    for (uint32_t block = 0; block < list.sizes.blocks(); ++block) {
      Result<BlockView> codes = reader.codes(list, block);
      Result<VectorBlockView> vectors = reader.vectors(list, block);
      for (const Status& status : {codes.status(), vectors.status()}) {
        if (status.is_ok()) continue;
        if (status.code() != StatusCode::kCorrupt) return status;
        report(status.detail());
      }
      if (codes && vectors) check_block(list, *codes, *vectors, &coder, &dead);
    }
    if (dead != list.dead)
      report("list " + std::to_string(list.id) + " has " + std::to_string(dead) + " dead entries, its record says " +
             std::to_string(list.dead));
  }
  for (const Expected& expected : rows_) {
    if (!expected.seen) report("row " + std::to_string(expected.row) + " is in no list");
  }
  return Status::ok();
}

// Blocks that no list has.
Status Checker::check_strays(Family family) {
  return sweep(family, [&](std::string_view key, std::string_view) {
    Result<ListId> id = list_of_key(key);
    if (!id || key.size() != 16) return report("a block has a key of " + std::to_string(key.size()) + " bytes");
    const auto block = static_cast<uint32_t>(*row_of_key(key));  // the low half
    const ListRef* list = table_.find(*id);
    if (list == nullptr || block >= list->sizes.blocks())
      report("block " + std::to_string(block) + " of list " + std::to_string(*id) + " belongs to no list");
  });
}

}  // namespace

Result<std::vector<std::string>> check_view(const Storage& storage, const ReadView& view,
                                            const Interrupted& interrupted) {
  return Checker(storage, view, interrupted).run();
}

}  // namespace pg_semantic::index
