// Building lists over rows that were collected: sample, cluster, assign and
// write, split what is too long, then catch up with what changed meanwhile.
//
// The lists are private to the build until its last batch turns `building` off:
// writers only touch row records and vectors and note the rows, so nobody waits
// for a build.  A build that was cut off leaves lists without meaning, which the
// next build, or the drop, deletes.
#include <algorithm>

#include "index/clustering.h"
#include "index/engine_impl.h"
#include "index/measure.h"
#include "index/search.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kVectorsAtOnce = 4096;
constexpr size_t kBatchBytes = 4 << 20;
constexpr uint64_t kLeastSampleBytes = 64ull << 20;
constexpr size_t kSamplesPerList = 48;      // FAISS asks for 39 or more
constexpr size_t kLeastSamplesPerList = 8;  // fewer lists rather than worse ones
constexpr Family kListFamilies[] = {Family::kLists, Family::kCounts, Family::kBlocks, Family::kLocations,
                                    Family::kCalibrations};

void start_phase(BuildProgress* progress, BuildPhase phase, uint64_t total) {
  if (progress == nullptr) return;
  progress->done = 0;
  progress->total = total;
  progress->phase = static_cast<uint32_t>(phase);
}

// Rows changed while the build ran are noted for as long as this lives.
class ChangeLog {
 public:
  explicit ChangeLog(Generation* generation) : generation_(*generation) {}
  ~ChangeLog() {
    const std::lock_guard lock(generation_.writer);
    end();
  }
  ChangeLog(const ChangeLog&) = delete;
  ChangeLog& operator=(const ChangeLog&) = delete;

  // Both under the writer mutex.
  void begin() {
    generation_.changed_in_build.clear();
    generation_.build_running = true;
  }
  void end() {
    generation_.build_running = false;
    generation_.changed_in_build.clear();
  }

 private:
  Generation& generation_;
};

class Builder {
 public:
  Builder(const BuildContext& context, Generation* generation, BuildProgress* progress, const Interrupted& interrupted)
      : storage_(context.storage),
        tuning_(context.tuning),
        options_(context.options),
        generation_(*generation),
        progress_(progress),
        interrupted_(interrupted) {}

  Status run();

 private:
  // Entries of a list that do not fill a block yet.
  struct Tail {
    std::vector<RowId> rows;
    std::vector<std::byte> codes;
    uint32_t full_blocks = 0;
  };

  Result<bool> begin(ChangeLog* log);
  Status train();
  Status assign_all();
  Status assign_chunk(const Assigner& assigner, const std::vector<RowId>& rows, const std::vector<float>& vectors);
  Status write_block(ListId list, Tail* tail);
  Status write_tails();
  Status split_long_lists();
  Status finish(ChangeLog* log);
  Status catch_up(ListEditor* editor, rocksdb::WriteBatch* batch);
  Status measure();
  Status flush_batch(size_t least_bytes);

  void normalise_all(std::vector<float>* vectors) const {
    if (draft_->catalog.options.metric != Metric::kCosine) return;
    const size_t dimensions = draft_->layout.dimensions();
    for (size_t at = 0; at < vectors->size(); at += dimensions) normalise(vectors->data() + at, dimensions);
  }
  Status put(Family family, const std::string& key, const rocksdb::Slice& value) {
    return from_rocksdb(batch_.Put(storage_.family(family), key, value));
  }

  const Storage& storage_;
  const Tuning& tuning_;
  const EngineOptions& options_;
  Generation& generation_;
  BuildProgress* progress_;
  const Interrupted& interrupted_;

  ReadView view_;                     // what is built; later changes are caught up with
  std::shared_ptr<ListTable> draft_;  // the table to be published
  std::vector<float> centroids_;      // [lists][dimensions]; a list's number is its row
  std::vector<Tail> tails_;
  Unsplittable unsplittable_;
  rocksdb::WriteBatch batch_;
};

Status Builder::run() {
  ChangeLog log(&generation_);
  Result<bool> needed = begin(&log);
  if (!needed) return needed.status();
  if (!*needed) return Status::ok();
  if (view_.table->catalog.vectors > 0) {
    PG_SEMANTIC_RETURN_IF_ERROR(train());
    PG_SEMANTIC_RETURN_IF_ERROR(assign_all());
    PG_SEMANTIC_RETURN_IF_ERROR(write_tails());
    PG_SEMANTIC_RETURN_IF_ERROR(split_long_lists());
  }
  view_.snapshot.reset();
  PG_SEMANTIC_RETURN_IF_ERROR(finish(&log));
  return measure();
}

// False: it is built already.
Result<bool> Builder::begin(ChangeLog* log) {
  const std::lock_guard lock(generation_.writer);
  if (generation_.dropped)
    return Status(StatusCode::kNotFound, "semantic index has no data",
                  "The generation " + std::to_string(generation_.id()) + " was dropped.");
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage_, generation_);
  if (!current) return current.status();
  if (!(*current)->catalog.options.building) return false;
  if (storage_.has_contents(generation_.id(), kListFamilies)) {
    PG_SEMANTIC_RETURN_IF_ERROR(storage_.delete_contents(&batch_, generation_.id(), kListFamilies));
    PG_SEMANTIC_RETURN_IF_ERROR(flush_batch(0));
  }
  log->begin();
  view_ = {generation_.id(), *current, std::make_shared<const Snapshot>(storage_)};
  draft_ = std::make_shared<ListTable>(**current);
  return true;
}

Status Builder::train() {
  start_phase(progress_, BuildPhase::kSampling, view_.table->catalog.rows);
  const uint64_t vectors = view_.table->catalog.vectors;
  const size_t dimensions = draft_->layout.dimensions();
  const uint64_t most = std::max(options_.memory_bytes, kLeastSampleBytes) / (dimensions * sizeof(float));
  const uint32_t limit = list_limit_for(tuning_, draft_->layout.code_size());
  uint64_t lists = std::max<uint64_t>(vectors / std::min(tuning_.built_list_entries, limit / 2), 1);
  const uint64_t sample_size = std::min({vectors, most, lists * kSamplesPerList});
  lists = std::max<uint64_t>(std::min(lists, sample_size / kLeastSamplesPerList), 1);
  Result<SampledVectors> sample = sample_vectors(storage_, view_, sample_size, 20240229, interrupted_);
  if (!sample) return sample.status();
  normalise_all(&sample->vectors);

  start_phase(progress_, BuildPhase::kClustering, 0);
  Result<std::vector<float>> centroids = train_centroids(
      &sample->vectors, dimensions, lists, draft_->catalog.options.metric == Metric::kCosine, progress_, interrupted_);
  if (!centroids) return centroids.status();
  centroids_ = std::move(*centroids);
  const size_t count = centroids_.size() / dimensions;
  tails_.resize(count);
  if (count > tuning_.graph_lists) {
    draft_->graph = std::make_shared<CentroidGraph>(static_cast<uint32_t>(dimensions));
    constexpr size_t kCentroidsAtOnce = 512;
    std::vector<ListId> numbers;
    for (size_t first = 0; first < count; first += kCentroidsAtOnce) {
      if (is_interrupted(interrupted_)) return Status::cancelled();
      numbers.clear();
      for (size_t i = first; i < std::min(first + kCentroidsAtOnce, count); ++i)
        numbers.push_back(static_cast<ListId>(i));
      draft_->graph->add(numbers, centroids_.data() + first * dimensions);
    }
  }
  return Status::ok();
}

Status Builder::assign_all() {
  start_phase(progress_, BuildPhase::kAssigning, view_.table->catalog.vectors);
  const size_t dimensions = draft_->layout.dimensions();
  const Assigner assigner(centroids_, dimensions, draft_->graph);
  const std::string prefix = generation_key(generation_.id());
  std::vector<RowId> rows;
  std::vector<float> vectors;
  auto stored = storage_.iterate(Family::kVectors, view_.at(), Reading::kSweep);
  for (stored->Seek(prefix); stored->Valid() && stored->key().starts_with(prefix); stored->Next()) {
    Result<RowId> row = row_of_key(view(stored->key()));
    if (!row) return row.status();
    PG_SEMANTIC_RETURN_IF_ERROR(check_vector(view(stored->value()), draft_->layout.dimensions()));
    rows.push_back(*row);
    vectors.resize(rows.size() * dimensions);
    std::memcpy(vectors.data() + (rows.size() - 1) * dimensions, stored->value().data(), stored->value().size());
    if (rows.size() < kVectorsAtOnce) continue;
    normalise_all(&vectors);
    PG_SEMANTIC_RETURN_IF_ERROR(assign_chunk(assigner, rows, vectors));
    rows.clear();
    if (is_interrupted(interrupted_)) return Status::cancelled();
  }
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(stored->status()));
  vectors.resize(rows.size() * dimensions);
  normalise_all(&vectors);
  return assign_chunk(assigner, rows, vectors);
}

Status Builder::assign_chunk(const Assigner& assigner, const std::vector<RowId>& rows,
                             const std::vector<float>& vectors) {
  const CodecLayout& layout = draft_->layout;
  const std::vector<uint32_t> lists = assigner.assign(vectors);
  for (size_t i = 0; i < rows.size(); ++i) {
    Tail& tail = tails_[lists[i]];
    tail.rows.push_back(rows[i]);
    tail.codes.resize(tail.rows.size() * layout.code_size());
    layout.encode({vectors.data() + i * layout.dimensions(), layout.dimensions()},
                  tail.codes.data() + (tail.rows.size() - 1) * layout.code_size());
    PG_SEMANTIC_RETURN_IF_ERROR(put(Family::kLocations, row_key(generation_.id(), rows[i]), encode_u32(lists[i])));
    if (tail.rows.size() == layout.entries_per_block()) PG_SEMANTIC_RETURN_IF_ERROR(write_block(lists[i], &tail));
  }
  if (progress_ != nullptr) progress_->done += rows.size();
  return flush_batch(kBatchBytes);
}

Status Builder::write_block(ListId list, Tail* tail) {
  PG_SEMANTIC_RETURN_IF_ERROR(put(Family::kBlocks, block_key(generation_.id(), list, tail->full_blocks),
                                  encode_block(tail->rows.data(), tail->codes.data(),
                                               static_cast<uint32_t>(tail->rows.size()), draft_->layout.code_size())));
  if (tail->rows.size() == draft_->layout.entries_per_block()) {
    ++tail->full_blocks;
    tail->rows.clear();
    tail->codes.clear();
  }
  return Status::ok();
}

Status Builder::write_tails() {
  start_phase(progress_, BuildPhase::kWriting, tails_.size());
  const CodecLayout& layout = draft_->layout;
  draft_->catalog.next_list = static_cast<ListId>(tails_.size());
  for (ListId list = 0; list < tails_.size(); ++list) {
    Tail& tail = tails_[list];
    const uint32_t entries = tail.full_blocks * layout.entries_per_block() + static_cast<uint32_t>(tail.rows.size());
    if (!tail.rows.empty()) PG_SEMANTIC_RETURN_IF_ERROR(write_block(list, &tail));
    if (entries > 0) {
      const float* centroid = centroids_.data() + size_t{list} * layout.dimensions();
      const std::string key = list_key(generation_.id(), list);
      PG_SEMANTIC_RETURN_IF_ERROR(
          put(Family::kLists, key,
              rocksdb::Slice(reinterpret_cast<const char*>(centroid), layout.dimensions() * sizeof(float))));
      PG_SEMANTIC_RETURN_IF_ERROR(put(Family::kCounts, key, encode_u32(entries)));
      draft_->lists.push_back({list, entries, draft_->store->append(centroid)});
    }
    PG_SEMANTIC_RETURN_IF_ERROR(flush_batch(kBatchBytes));
    if (progress_ != nullptr) ++progress_->done;
  }
  tails_ = {};
  return flush_batch(0);
}

Status Builder::split_long_lists() {
  const uint32_t limit = list_limit_for(tuning_, draft_->layout.code_size());
  std::vector<ListId> too_long;
  for (const ListRef& list : draft_->lists) {
    if (list.entries > limit) too_long.push_back(list.id);
  }
  for (const ListId list : too_long) {
    if (is_interrupted(interrupted_)) return Status::cancelled();
    if (draft_->find(list) == nullptr) continue;  // a neighbour's split took it along
    ListEditor editor(storage_, generation_.id(), draft_.get(), tuning_, &unsplittable_);
    PG_SEMANTIC_RETURN_IF_ERROR(editor.touch(list));
    PG_SEMANTIC_RETURN_IF_ERROR(editor.balance());
    PG_SEMANTIC_RETURN_IF_ERROR(editor.write(&batch_));
    if (draft_->graph) editor.extend_graph();
    PG_SEMANTIC_RETURN_IF_ERROR(flush_batch(0));
  }
  return Status::ok();
}

// Rows inserted, replaced or deleted since begin(): out of the list the build put
// them in, and into the one where they belong now.
Status Builder::catch_up(ListEditor* editor, rocksdb::WriteBatch* batch) {
  for (const RowId row : generation_.changed_in_build) {
    const std::string key = row_key(generation_.id(), row);
    rocksdb::PinnableSlice location, record, stored;
    Result<bool> found = storage_.get(Family::kLocations, key, nullptr, &location);
    if (!found) return found.status();
    if (*found) {
      Result<uint32_t> list = decode_u32(view(location), "row's location");
      if (!list) return list.status();
      PG_SEMANTIC_RETURN_IF_ERROR(editor->remove(*list, row));
      PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->Delete(storage_.family(Family::kLocations), key)));
    }
    found = storage_.get(Family::kVectors, key, nullptr, &stored);
    if (!found) return found.status();
    if (!*found) continue;
    PG_SEMANTIC_RETURN_IF_ERROR(check_vector(view(stored), draft_->layout.dimensions()));
    std::vector<float> vector(draft_->layout.dimensions());
    std::memcpy(vector.data(), stored.data(), stored.size());
    normalise_all(&vector);
    std::vector<std::byte> code(draft_->layout.code_size());
    draft_->layout.encode(vector, code.data());
    const ListId list = draft_->lists.empty()
                            ? editor->create(vector.data())
                            : draft_->lists[nearest_lists(*draft_, vector.data(), 1, Order::kDistance).front()].id;
    PG_SEMANTIC_RETURN_IF_ERROR(editor->append(list, row, code.data()));
  }
  return Status::ok();
}

Status Builder::finish(ChangeLog* log) {
  const std::lock_guard lock(generation_.writer);
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage_, generation_);
  if (!current) return current.status();
  const ListId next_list = draft_->catalog.next_list;
  draft_->catalog = (*current)->catalog;
  draft_->catalog.next_list = next_list;
  draft_->catalog.options.building = false;
  ++draft_->catalog.version;
  if (!draft_->store && (*current)->store) {  // the first vector came after begin()
    draft_->store = (*current)->store;
    draft_->layout = (*current)->layout;
  }
  generation_.unsplittable = std::move(unsplittable_);
  ListEditor editor(storage_, generation_.id(), draft_.get(), tuning_, &generation_.unsplittable);
  if (draft_->store) {
    PG_SEMANTIC_RETURN_IF_ERROR(catch_up(&editor, &batch_));
    PG_SEMANTIC_RETURN_IF_ERROR(editor.balance());
    PG_SEMANTIC_RETURN_IF_ERROR(editor.write(&batch_));
    if (draft_->graph) editor.extend_graph();
  }
  PG_SEMANTIC_RETURN_IF_ERROR(
      put(Family::kGenerations, generation_key(generation_.id()), encode_catalog(draft_->catalog)));
  Status written = flush_batch(0);
  if (!written.is_ok()) {
    generation_.publish(nullptr);
    return written;
  }
  generation_.publish(draft_);
  log->end();
  return storage_.sync();
}

Status Builder::measure() {
  if (draft_->catalog.vectors <= tuning_.exact_vectors) return Status::ok();
  start_phase(progress_, BuildPhase::kCalibrating, 0);
  Result<ReadView> now = read_view(storage_, generation_);
  if (!now) return now.status();
  Result<Calibration> calibration = calibrate(storage_, *now, tuning_, progress_, interrupted_);
  if (!calibration) return calibration.status();
  PG_SEMANTIC_RETURN_IF_ERROR(store_calibration(storage_, &generation_, *calibration));
  return storage_.sync();
}

Status Builder::flush_batch(size_t least_bytes) {
  if (batch_.Count() == 0 || batch_.GetDataSize() < least_bytes) return Status::ok();
  PG_SEMANTIC_RETURN_IF_ERROR(storage_.write(&batch_));
  batch_.Clear();
  return Status::ok();
}

}  // namespace

Status build_generation(const BuildContext& context, const std::shared_ptr<Generation>& generation,
                        BuildProgress* progress, const Interrupted& interrupted) {
  const std::lock_guard lock(generation->build);
  return Builder(context, generation.get(), progress, interrupted).run();
}

Status build_graph(const Storage& storage, Generation* generation, const Interrupted& interrupted) {
  constexpr size_t kListsAtOnce = 256;
  const std::shared_ptr<const ListTable> table = generation->table();
  if (!table || table->graph || !table->store) return Status::ok();
  const uint32_t dimensions = table->store->dimensions();
  auto graph = std::make_shared<CentroidGraph>(dimensions);
  std::vector<ListId> ids;
  std::vector<float> centroids;
  const auto add_missing = [&](const ListTable& from, bool stop_when_asked) {
    for (const ListRef& list : from.lists) {
      if (graph->contains(list.id)) continue;
      ids.push_back(list.id);
      centroids.insert(centroids.end(), from.centroid(list), from.centroid(list) + dimensions);
      if (ids.size() < kListsAtOnce) continue;
      if (stop_when_asked && (is_interrupted(interrupted) || generation->dropped)) return false;
      graph->add(ids, centroids.data());
      ids.clear();
      centroids.clear();
    }
    if (!ids.empty()) graph->add(ids, centroids.data());
    ids.clear();
    centroids.clear();
    return true;
  };
  if (!add_missing(*table, true)) return Status::cancelled();
  const std::lock_guard lock(generation->writer);
  if (generation->dropped) return Status::ok();
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage, *generation);
  if (!current) return current.status();
  if ((*current)->graph) return Status::ok();
  add_missing(**current, false);
  auto next = std::make_shared<ListTable>(**current);
  next->graph = std::move(graph);
  generation->publish(std::move(next));
  return Status::ok();
}

}  // namespace pg_semantic::index
