// See retraining.h.
#include "index/retraining.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <unordered_map>

#include "index/clustering.h"
#include "index/engine_impl.h"
#include "index/list_reader.h"
#include "index/search.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr int kIterations = 3;
constexpr uint64_t kDistances = 1'000'000'000;  // of vectors and centroids, that an iteration computes
constexpr uint64_t kLeastPerList = 32;          // vectors of an iteration, however many lists there are
constexpr size_t kVectorsAtOnce = 256;
constexpr uint64_t kSpareBytes = 64 << 20;
constexpr uint32_t kEntriesAtOnce = 256;  // that a batch moves, about
constexpr size_t kListsAtOnce = 64;       // of which a batch takes them, however few they have

// Sums up the vectors that are nearest to each centroid.
class Means {
 public:
  Means(std::span<const float> centroids, size_t dimensions)
      : dimensions_(dimensions),
        nearest_(centroids, dimensions),
        sums_(centroids.size()),
        counts_(centroids.size() / dimensions) {
    vectors_.reserve(kVectorsAtOnce * dimensions);
  }

  template <typename Decode>
  void add(const Decode& decode) {
    vectors_.resize(vectors_.size() + dimensions_);
    decode(vectors_.data() + vectors_.size() - dimensions_);
    if (vectors_.size() == kVectorsAtOnce * dimensions_) sum_up();
  }

  // Centroids without a vector stay where they are.
  void move(bool spherical, std::vector<float>* centroids) {
    sum_up();
    for (size_t list = 0; list < counts_.size(); ++list) {
      if (counts_[list] == 0) continue;
      float* centroid = centroids->data() + list * dimensions_;
      for (size_t i = 0; i < dimensions_; ++i)
        centroid[i] = static_cast<float>(sums_[list * dimensions_ + i] / counts_[list]);
      if (spherical) normalise(centroid, dimensions_);
    }
  }

 private:
  void sum_up() {
    uint32_t nearest[kVectorsAtOnce];
    const size_t count = vectors_.size() / dimensions_;
    nearest_.assign(vectors_.data(), count, nearest);
    for (size_t i = 0; i < count; ++i) {
      ++counts_[nearest[i]];
      double* sum = sums_.data() + nearest[i] * dimensions_;
      for (size_t j = 0; j < dimensions_; ++j) sum[j] += vectors_[i * dimensions_ + j];
    }
    vectors_.clear();
  }

  size_t dimensions_;
  NearestCentroids nearest_;
  std::vector<double> sums_;
  std::vector<uint32_t> counts_;
  std::vector<float> vectors_;  // that wait to be summed up
};

// All is written once more, and compacted afterwards: that is not begun on a disk that it may fill.
bool has_room(const Storage& storage, const ListTable& table) {
  std::error_code error;
  const auto space = std::filesystem::space(storage.directory(), error);
  return error || space.available >= kSpareBytes + 3 * least_bytes(table);
}

class Retraining {
 public:
  Retraining(const Storage& storage, const Tuning& tuning, Generation* generation, const Interrupted& interrupted)
      : storage_(storage), tuning_(tuning), generation_(*generation), interrupted_(interrupted) {}
  ~Retraining() {
    const std::lock_guard lock(generation_.writer);
    generation_.retrained_from.reset();
  }
  Retraining(const Retraining&) = delete;
  Retraining& operator=(const Retraining&) = delete;

  Status run();

 private:
  [[nodiscard]] bool interrupted() const { return is_interrupted(interrupted_) || generation_.dropped; }
  // For the holder of the writer mutex; cancelled when the generation is not there to be changed.
  [[nodiscard]] Result<std::shared_ptr<ListTable>> draft() const;
  Status train();
  Status iterate(const ReadView& view);
  Status create_lists();
  Status move_lists();
  // A list and where its entries go.
  struct Move {
    ListId list = 0;
    std::unordered_map<RowId, ListId> targets;
  };
  Result<std::vector<Move>> plan_moves(const NearestCentroids& nearest);
  Result<Move> plan_move(const ReadView& view, const ListRef& list, const NearestCentroids& nearest) const;
  Status carry_out(const std::vector<Move>& moves);
  void leave_alone(ListId list);
  Status finish();

  const Storage& storage_;
  const Tuning& tuning_;
  Generation& generation_;
  const Interrupted& interrupted_;
  size_t dimensions_ = 0;
  std::vector<float> centroids_;
  std::vector<ListId> created_;  // list of each centroid
  std::set<ListId> left_alone_;  // old ones that cannot be read
};

Result<std::shared_ptr<ListTable>> Retraining::draft() const {
  if (generation_.dropped) return Status::cancelled();
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage_, generation_);
  if (!current) return current.status();
  if ((*current)->catalog.options.building || !(*current)->store) return Status::cancelled();
  return std::make_shared<ListTable>(**current);
}

Status Retraining::iterate(const ReadView& view) {
  const ListTable& table = *view.table;
  const uint64_t lists = table.lists.size();
  const uint64_t sampled = std::max(kDistances / lists, kLeastPerList * lists);
  const uint64_t stride = (table.catalog.vectors + sampled - 1) / sampled;
  Means means(centroids_, dimensions_);
  ListReader reader(storage_, view);
  uint64_t seen = 0;
  for (const ListRef& list : table.lists) {
    if (interrupted()) return Status::cancelled();
    const Status read = reader.for_each(list, [&](RowId, const std::byte* stored) {
      if (seen++ % stride == 0) means.add([&](float* vector) { table.layout.decode_vector(stored, vector); });
      return Status::ok();
    });
    if (!read.is_ok() && read.code() != StatusCode::kCorrupt) return read;  // a damaged list keeps what it has
  }
  means.move(table.catalog.options.metric == Metric::kCosine, &centroids_);
  return Status::ok();
}

Status Retraining::train() {
  Result<ReadView> view = read_view(storage_, generation_);
  if (!view) return view.status();
  const ListTable& table = *view->table;
  if (table.catalog.options.building || table.lists.empty() || !has_room(storage_, table)) return Status::cancelled();
  dimensions_ = table.layout.dimensions();
  for (const ListRef& list : table.lists)
    centroids_.insert(centroids_.end(), table.centroid(list), table.centroid(list) + dimensions_);
  for (int i = 0; i < kIterations; ++i) PG_SEMANTIC_RETURN_IF_ERROR(iterate(*view));
  return Status::ok();
}

// Where there is a graph it is made anew: an insert would wait until all new lists were in the old one.
Status Retraining::create_lists() {
  {
    const std::lock_guard lock(generation_.writer);
    Result<std::shared_ptr<ListTable>> next = draft();
    if (!next) return next.status();
    ListEditor editor(storage_, generation_.id(), next->get(), tuning_, &generation_.unsplittable);
    rocksdb::WriteBatch batch;
    for (size_t at = 0; at < centroids_.size(); at += dimensions_)
      created_.push_back(editor.create(centroids_.data() + at));
    (*next)->graph = nullptr;
    PG_SEMANTIC_RETURN_IF_ERROR(commit_lists(storage_, &generation_, *next, &editor, &batch));
    generation_.retrained_from = created_.front();
  }
  return created_.size() > tuning_.graph_lists ? build_graph(storage_, tuning_, &generation_, interrupted_)
                                               : Status::ok();
}

// It keeps what it has; check() tells of it.
void Retraining::leave_alone(ListId list) {
  left_alone_.insert(list);
  const std::lock_guard lock(generation_.writer);
  generation_.damaged.insert(list);
}

Result<Retraining::Move> Retraining::plan_move(const ReadView& view, const ListRef& list,
                                               const NearestCentroids& nearest) const {
  ListReader reader(storage_, view);
  const CodecLayout& layout = view.table->layout;
  std::vector<RowId> rows;
  std::vector<float> vectors;
  PG_SEMANTIC_RETURN_IF_ERROR(reader.for_each(list, [&](RowId row, const std::byte* stored) {
    rows.push_back(row);
    vectors.resize(rows.size() * dimensions_);
    layout.decode_vector(stored, vectors.data() + (rows.size() - 1) * dimensions_);
    return Status::ok();
  }));
  std::vector<uint32_t> found(rows.size());
  nearest.assign(vectors.data(), rows.size(), found.data());
  Move move;
  move.list = list.id;
  for (size_t i = 0; i < rows.size(); ++i) move.targets[rows[i]] = created_[found[i]];
  return move;
}

// From a snapshot, because it takes most of the time.  None: no list is left to be moved.
Result<std::vector<Retraining::Move>> Retraining::plan_moves(const NearestCentroids& nearest) {
  Result<ReadView> view = read_view(storage_, generation_);
  if (!view) return view.status();
  const uint32_t bound = list_bound_for(tuning_, view->table->layout.vector_size());
  std::vector<Move> moves;
  uint32_t entries = 0;
  for (const ListRef& list : view->table->lists) {
    if (list.id >= created_.front() || entries >= kEntriesAtOnce || moves.size() == kListsAtOnce) break;
    // What cannot be told apart may be any number.
    if (list.live() > bound || left_alone_.contains(list.id)) continue;
    Result<Move> move = plan_move(*view, list, nearest);
    if (move.status().code() == StatusCode::kCorrupt) {
      leave_alone(list.id);
      continue;
    }
    if (!move) return move.status();
    moves.push_back(std::move(*move));
    entries += list.entries;
  }
  return moves;
}

Status Retraining::carry_out(const std::vector<Move>& moves) {
  const std::lock_guard lock(generation_.writer);
  Result<std::shared_ptr<ListTable>> next = draft();
  if (!next) return next.status();
  ListEditor editor(storage_, generation_.id(), next->get(), tuning_, &generation_.unsplittable);
  rocksdb::WriteBatch batch;
  for (const Move& move : moves) {
    if ((*next)->find(move.list) == nullptr) continue;  // split since
    PG_SEMANTIC_RETURN_IF_ERROR(editor.merge_away(move.list, move.targets));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(editor.bound_lists());
  return commit_lists(storage_, &generation_, *next, &editor, &batch);
}

Status Retraining::move_lists() {
  const NearestCentroids nearest(centroids_, dimensions_);
  for (;;) {
    if (interrupted()) return Status::cancelled();
    Result<std::vector<Move>> moves = plan_moves(nearest);
    if (!moves) return moves.status();
    if (moves->empty()) return Status::ok();
    PG_SEMANTIC_RETURN_IF_ERROR(carry_out(*moves));
    let_writers_go_first(generation_);
  }
}

// The old centroids are let go of, in memory and as waypoints of the graph.
Status Retraining::finish() {
  const std::lock_guard lock(generation_.writer);
  Result<std::shared_ptr<ListTable>> next = draft();
  if (!next) return next.status();
  ListTable& table = **next;
  auto store = std::make_shared<CentroidStore>(table.store->dimensions());
  for (ListRef& list : table.lists) list.slot = store->append(table.centroid(list));
  table.store = std::move(store);
  table.graph = nullptr;
  table.catalog.trained = table.catalog.vectors;
  ListEditor editor(storage_, generation_.id(), &table, tuning_, &generation_.unsplittable);
  rocksdb::WriteBatch batch;
  PG_SEMANTIC_RETURN_IF_ERROR(commit_lists(storage_, &generation_, *next, &editor, &batch));
  generation_.retrained_from.reset();
  generation_.tidying_left += table.catalog.vectors;  // new lists came about piece by piece
  return Status::ok();
}

Status Retraining::run() {
  PG_SEMANTIC_RETURN_IF_ERROR(train());
  PG_SEMANTIC_RETURN_IF_ERROR(create_lists());
  PG_SEMANTIC_RETURN_IF_ERROR(move_lists());
  return finish();
}

}  // namespace

bool needs_retraining(const ListTable& table, const Tuning& tuning, bool settled) {
  if (table.catalog.options.building || !table.store) return false;
  const uint64_t trained = std::max(table.catalog.trained, 2 * tuning.exact_vectors);
  return table.catalog.vectors >= (settled ? 2 : 4) * trained;
}

Status retrain_lists(const Storage& storage, const Tuning& tuning, Generation* generation,
                     const Interrupted& interrupted) {
  return Retraining(storage, tuning, generation, interrupted).run();
}

}  // namespace pg_semantic::index
