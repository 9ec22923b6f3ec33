// Building lists over rows that were collected: sample, cluster, assign, write
// sorted files and hand them to RocksDB, then catch up with what came meanwhile.
//
// Collected changes are read where they lie, in the mapped spool; what is kept of each
// row and the sample lie in scratch files (collected_rows.h, scratch.h).  In memory are the
// centroids, a word or two for each list, and buffers within the build's bound.  Nothing
// that a build writes means anything before its last batch, which turns `building` off.
#include <algorithm>
#include <random>

#include "index/change.h"
#include "index/clustering.h"
#include "index/collected_rows.h"
#include "index/engine_impl.h"
#include "index/measure.h"
#include "index/search.h"
#include "index/sorted_file_writer.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kVectorsAtOnce = 1024;
constexpr size_t kLeastVectorsAtOnce = 64;
constexpr size_t kSamplesPerList = 64;
constexpr size_t kLeastSamplesPerList = 8;  // fewer lists rather than worse ones
constexpr Family kBuiltFamilies[] = {Family::kLists,   Family::kCounts, Family::kCodes,
                                     Family::kVectors, Family::kRows,   Family::kCalibrations};

void start_phase(BuildProgress* progress, BuildPhase phase, uint64_t total) {
  if (progress == nullptr) return;
  progress->done = 0;
  progress->total = total;
  progress->phase = static_cast<uint32_t>(phase);
}

class Builder {
 public:
  Builder(const BuildContext& context, Generation* generation, BuildProgress* progress, const Interrupted& interrupted)
      : storage_(context.storage),
        tuning_(context.tuning),
        threads_(std::clamp<uint32_t>(context.options.threads, 1, 64)),
        memory_bytes_(context.memory_bytes),
        scratch_pattern_(context.storage.unfinished_file_pattern()),
        generation_(*generation),
        progress_(progress),
        interrupted_(interrupted) {}
  ~Builder() { storage_.remove_unfinished_files_of(generation_.id()); }

  Status run();
  // It ended because what it had read was taken back meanwhile.
  [[nodiscard]] bool is_outdated() const { return is_outdated_; }

 private:
  Result<bool> begin();
  Status read_spool();
  Status train();
  Status assign_all();
  Status split_long_lists();
  Result<bool> split_list(ListId list);
  Status write_lists();
  Status write_list(ListId list, std::span<const uint32_t> members, SortedFileWriter* codes, SortedFileWriter* vectors,
                    ListRef* ref);
  Status make_graph();
  Status write_rows();
  Status finish();
  Status measure();

  [[nodiscard]] bool interrupted() const { return is_interrupted(interrupted_); }
  [[nodiscard]] bool spherical() const { return draft_->catalog.options.metric == Metric::kCosine; }
  [[nodiscard]] size_t vectors_within(uint64_t bytes, size_t threads) const;
  // Runs work(part) on all threads; the first error of one is returned.
  template <typename Work>
  Status on_all_threads(const Work& work) const {
    std::vector<Status> statuses(threads_);
    in_parallel(threads_, [&](size_t part) { statuses[part] = work(part); });
    for (const Status& status : statuses) PG_SEMANTIC_RETURN_IF_ERROR(status);
    return Status::ok();
  }

  const Storage& storage_;
  const Tuning& tuning_;
  const size_t threads_;
  const uint64_t memory_bytes_;
  const std::string scratch_pattern_;
  Generation& generation_;
  BuildProgress* progress_;
  const Interrupted& interrupted_;

  std::unique_ptr<Spool::Mapping> spool_;
  uint64_t times_taken_back_ = 0;  // when the spool was mapped
  bool is_outdated_ = false;
  std::shared_ptr<ListTable> draft_;  // the table to be published
  size_t dimensions_ = 0;
  std::unique_ptr<CollectedRows> rows_;
  std::vector<float> centroids_;              // [lists][dimensions]; a list's number is its row
  std::vector<std::span<uint32_t>> members_;  // of each list, parts of rows_->with_vector()
  std::vector<Storage::SortedFiles> files_;
  Unsplittable generation_unsplittable_;
};

Status Builder::run() {
  Result<bool> needed = begin();
  if (!needed) return needed.status();
  if (!*needed) return Status::ok();
  PG_SEMANTIC_RETURN_IF_ERROR(read_spool());
  if (!rows_->with_vector().empty()) {
    PG_SEMANTIC_RETURN_IF_ERROR(train());
    PG_SEMANTIC_RETURN_IF_ERROR(assign_all());
    PG_SEMANTIC_RETURN_IF_ERROR(split_long_lists());
    PG_SEMANTIC_RETURN_IF_ERROR(write_lists());
    PG_SEMANTIC_RETURN_IF_ERROR(make_graph());
  }
  PG_SEMANTIC_RETURN_IF_ERROR(write_rows());
  PG_SEMANTIC_RETURN_IF_ERROR(finish());
  return measure();
}

// False: it is built already.
Result<bool> Builder::begin() {
  const std::lock_guard lock(generation_.writer);
  if (generation_.dropped)
    return Status(StatusCode::kNotFound, "semantic index has no data",
                  "The generation " + std::to_string(generation_.id()) + " was dropped.");
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage_, generation_);
  if (!current) return current.status();
  if (!(*current)->catalog.options.building) {
    PG_SEMANTIC_RETURN_IF_ERROR(catch_up(storage_, tuning_, &generation_));
    return false;
  }
  if (storage_.has_contents(generation_.id(), kBuiltFamilies)) {
    rocksdb::WriteBatch batch;
    PG_SEMANTIC_RETURN_IF_ERROR(storage_.delete_contents(&batch, generation_.id(), kBuiltFamilies));
    PG_SEMANTIC_RETURN_IF_ERROR(storage_.write(&batch));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(open_spool(storage_, &generation_));
  Result<std::unique_ptr<Spool::Mapping>> mapping = generation_.spool->map();
  if (!mapping) return mapping.status();
  spool_ = std::move(*mapping);
  times_taken_back_ = generation_.times_taken_back;
  draft_ = std::make_shared<ListTable>(**current);
  dimensions_ = draft_->catalog.options.dimensions;
  if (dimensions_ > 0 && !draft_->store) {
    draft_->layout =
        CodecLayout(draft_->catalog.options.codec, draft_->catalog.options.metric, static_cast<uint32_t>(dimensions_));
    draft_->store = std::make_shared<CentroidStore>(static_cast<uint32_t>(dimensions_));
  }
  return true;
}

Status Builder::read_spool() {
  start_phase(progress_, BuildPhase::kSampling, 0);
  Result<std::unique_ptr<CollectedRows>> rows =
      CollectedRows::read(*spool_, draft_->catalog.options, scratch_pattern_, interrupted_);
  if (!rows) return rows.status();
  rows_ = std::move(*rows);
  return Status::ok();
}

Status Builder::train() {
  const std::span<const uint32_t> vectors = rows_->with_vector();
  const uint32_t limit = list_limit_for(tuning_, draft_->layout.vector_size());
  uint64_t lists = std::max<uint64_t>(vectors.size() / std::min(tuning_.built_list_entries, limit / 2), 1);
  const uint64_t sample_size = std::min<uint64_t>(vectors.size(), lists * kSamplesPerList);
  lists = std::max<uint64_t>(std::min(lists, sample_size / kLeastSamplesPerList), 1);
  Result<ScratchArray<float>> sample = ScratchArray<float>::create(scratch_pattern_, sample_size * dimensions_);
  if (!sample) return sample.status();
  Result<ScratchArray<uint32_t>> nearest = ScratchArray<uint32_t>::create(scratch_pattern_, sample_size);
  if (!nearest) return nearest.status();
  std::mt19937_64 random(20240229);
  // Each equally likely, in their order (Knuth, volume 2, algorithm 3.4.2 S).
  size_t chosen = 0;
  for (size_t i = 0; i < vectors.size() && chosen < sample_size; ++i) {
    if (random() % (vectors.size() - i) >= sample_size - chosen) continue;
    if (chosen % kVectorsAtOnce == 0 && interrupted()) return Status::cancelled();
    rows_->gather(vectors.subspan(i, 1), sample->span().data() + chosen++ * dimensions_);
  }

  start_phase(progress_, BuildPhase::kClustering, 0);
  const TrainingRequest request = {.sample = sample->span(),
                                   .nearest = nearest->span(),
                                   .dimensions = dimensions_,
                                   .lists = lists,
                                   .spherical = spherical(),
                                   .threads = threads_,
                                   .memory_bytes = memory_bytes_ / 4};
  Result<std::vector<float>> centroids = train_centroids(request, progress_, interrupted_);
  if (!centroids) return centroids.status();
  centroids_ = std::move(*centroids);
  return Status::ok();
}

// How many vectors a buffer may hold, when each of so many threads has one.
size_t Builder::vectors_within(uint64_t bytes, size_t threads) const {
  return std::max<size_t>(bytes / (threads * dimensions_ * sizeof(float)), kLeastVectorsAtOnce);
}

Status Builder::assign_all() {
  const std::span<const uint32_t> rows = rows_->with_vector();
  start_phase(progress_, BuildPhase::kAssigning, rows.size());
  const NearestCentroids nearest(centroids_, dimensions_);
  const size_t at_once = std::min(kVectorsAtOnce, vectors_within(memory_bytes_ / 4, threads_));
  return on_all_threads([&](size_t part) -> Status {
    std::vector<float> vectors(at_once * dimensions_);
    std::vector<uint32_t> lists(at_once);
    const size_t last = rows.size() * (part + 1) / threads_;
    for (size_t first = rows.size() * part / threads_; first < last; first += at_once) {
      if (interrupted()) return Status::cancelled();
      const size_t count = std::min(at_once, last - first);
      rows_->gather(rows.subspan(first, count), vectors.data());
      nearest.assign(vectors.data(), count, lists.data());
      for (size_t i = 0; i < count; ++i) rows_->list(rows[first + i]) = lists[i];
      if (progress_ != nullptr) progress_->done += count;
    }
    return Status::ok();
  });
}

Status Builder::split_long_lists() {
  const uint32_t limit = list_limit_for(tuning_, draft_->layout.vector_size());
  const std::vector<uint32_t> begins = rows_->group_by_list(centroids_.size() / dimensions_);
  members_.clear();
  for (size_t list = 0; list + 1 < begins.size(); ++list)
    members_.push_back(rows_->with_vector().subspan(begins[list], begins[list + 1] - begins[list]));
  for (size_t list = 0; list < members_.size(); ++list) {
    while (members_[list].size() > limit) {
      if (interrupted()) return Status::cancelled();
      Result<bool> split = split_list(static_cast<ListId>(list));
      if (!split) return split.status();
      if (*split) continue;
      generation_unsplittable_[static_cast<ListId>(list)] = static_cast<uint32_t>(members_[list].size());
      break;
    }
  }
  return Status::ok();
}

// In two, by some of its vectors when they are too many; false: they cannot be told apart.
Result<bool> Builder::split_list(ListId list) {
  const std::span<uint32_t> members = members_[list];
  const size_t most = vectors_within(memory_bytes_ / 4, 1);
  const size_t step = (members.size() + most - 1) / most;
  std::vector<uint32_t> chosen;
  for (size_t i = 0; i < members.size(); i += step) chosen.push_back(members[i]);
  std::vector<float> vectors(chosen.size() * dimensions_);
  rows_->gather(chosen, vectors.data());
  TwoMeans halves;
  if (!two_means(vectors, dimensions_, spherical(), list, &halves)) return false;

  const auto created = static_cast<ListId>(members_.size());
  if (step == 1) {
    for (size_t i = 0; i < chosen.size(); ++i) {
      if (halves.side[i] != 0) rows_->list(chosen[i]) = created;
    }
  } else {
    std::vector<float> both = halves.centroids[0];
    both.insert(both.end(), halves.centroids[1].begin(), halves.centroids[1].end());
    const NearestCentroids nearest(both, dimensions_);
    for (size_t first = 0; first < members.size(); first += most) {
      if (interrupted()) return Status::cancelled();
      const std::span<const uint32_t> part = members.subspan(first, std::min(most, members.size() - first));
      chosen.resize(part.size());  // now: which of the two
      vectors.resize(part.size() * dimensions_);
      rows_->gather(part, vectors.data());
      nearest.assign(vectors.data(), part.size(), chosen.data());
      for (size_t i = 0; i < part.size(); ++i) {
        if (chosen[i] != 0) rows_->list(part[i]) = created;
      }
    }
  }
  const auto middle =
      std::partition(members.begin(), members.end(), [&](uint32_t row) { return rows_->list(row) == list; });
  const auto kept = static_cast<size_t>(middle - members.begin());
  if (kept == 0 || kept == members.size()) {  // the rest is unlike the chosen
    for (const uint32_t row : members) rows_->list(row) = list;
    return false;
  }
  std::copy(halves.centroids[0].begin(), halves.centroids[0].end(),
            centroids_.begin() + static_cast<std::ptrdiff_t>(size_t{list} * dimensions_));
  centroids_.insert(centroids_.end(), halves.centroids[1].begin(), halves.centroids[1].end());
  members_[list] = members.first(kept);
  members_.push_back(members.subspan(kept));
  return true;
}

Status Builder::write_list(ListId list, std::span<const uint32_t> members, SortedFileWriter* codes,
                           SortedFileWriter* vectors, ListRef* ref) {
  const CodecLayout& layout = draft_->layout;
  ListCoder coder(layout, centroids_.data() + size_t{list} * dimensions_);
  ref->sizes.append(members.size(), layout.entries_per_block());
  ref->entries = static_cast<uint32_t>(members.size());
  std::vector<float> vector(dimensions_);
  std::vector<RowId> rows;
  std::vector<std::byte> code_bytes, vector_bytes;
  size_t next = 0;
  for (uint32_t block = 0; block < ref->sizes.blocks(); ++block) {
    const uint32_t count = ref->sizes.of_block(block, layout.entries_per_block());
    rows.resize(count);
    code_bytes.resize(count * layout.code_size());
    vector_bytes.resize(count * layout.vector_size());
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t row = members[next++];
      rows[i] = rows_->row(row);
      std::byte* stored = vector_bytes.data() + i * layout.vector_size();
      rows_->copy_vector(row, vector.data());
      layout.encode_vector(vector, rows_->hash(row), stored);
      if (layout.code_size() == 0) continue;
      layout.decode_vector(stored, vector.data());
      coder.encode(vector.data(), code_bytes.data() + i * layout.code_size());
    }
    const std::string key = block_key(generation_.id(), list, block);
    PG_SEMANTIC_RETURN_IF_ERROR(
        codes->put(key, encode_block(rows.data(), code_bytes.data(), count, layout.code_size())));
    PG_SEMANTIC_RETURN_IF_ERROR(vectors->put(key, encode_vector_block(layout, vector_bytes.data(), count)));
  }
  return Status::ok();
}

Status Builder::write_lists() {
  const size_t count = rows_->with_vector().size();
  start_phase(progress_, BuildPhase::kWriting, count);
  const auto lists = static_cast<ListId>(members_.size());
  std::vector<ListRef> refs(lists);
  // Each thread takes neighbouring lists of about as many vectors: keys of its files are apart from others'.
  std::vector<ListId> cuts = {0};
  size_t seen = 0;
  for (ListId list = 0; list < lists; ++list) {
    if (seen >= count * cuts.size() / threads_ && cuts.size() < threads_) cuts.push_back(list);
    seen += members_[list].size();
  }
  while (cuts.size() <= threads_) cuts.push_back(lists);
  std::vector<SortedFileWriter> codes, vectors;
  for (size_t part = 0; part < threads_; ++part) {
    codes.emplace_back(storage_, generation_.id(), Family::kCodes, memory_bytes_, part << 20);
    vectors.emplace_back(storage_, generation_.id(), Family::kVectors, memory_bytes_, part << 20);
  }
  PG_SEMANTIC_RETURN_IF_ERROR(on_all_threads([&](size_t part) -> Status {
    for (ListId list = cuts[part]; list < cuts[part + 1]; ++list) {
      if (interrupted()) return Status::cancelled();
      PG_SEMANTIC_RETURN_IF_ERROR(write_list(list, members_[list], &codes[part], &vectors[part], &refs[list]));
      if (progress_ != nullptr) progress_->done += members_[list].size();
    }
    PG_SEMANTIC_RETURN_IF_ERROR(codes[part].finish());
    return vectors[part].finish();
  }));
  Storage::SortedFiles code_files{Family::kCodes, {}}, vector_files{Family::kVectors, {}};
  for (size_t part = 0; part < threads_; ++part) {
    code_files.paths.insert(code_files.paths.end(), codes[part].paths().begin(), codes[part].paths().end());
    vector_files.paths.insert(vector_files.paths.end(), vectors[part].paths().begin(), vectors[part].paths().end());
  }
  files_.push_back(std::move(code_files));
  files_.push_back(std::move(vector_files));

  SortedFileWriter centroids(storage_, generation_.id(), Family::kLists, memory_bytes_);
  SortedFileWriter counts(storage_, generation_.id(), Family::kCounts, memory_bytes_);
  for (ListId list = 0; list < lists; ++list) {
    if (members_[list].empty()) continue;
    const float* centroid = centroids_.data() + size_t{list} * dimensions_;
    const std::string key = list_key(generation_.id(), list);
    PG_SEMANTIC_RETURN_IF_ERROR(
        centroids.put(key, {reinterpret_cast<const char*>(centroid), dimensions_ * sizeof(float)}));
    PG_SEMANTIC_RETURN_IF_ERROR(counts.put(key, encode_list({refs[list].sizes, 0})));
    refs[list].id = list;
    refs[list].slot = draft_->store->append(centroid);
    draft_->lists.push_back(refs[list]);
  }
  draft_->catalog.next_list = lists;
  draft_->catalog.vectors = count;
  draft_->catalog.trained = count;
  PG_SEMANTIC_RETURN_IF_ERROR(centroids.finish());
  PG_SEMANTIC_RETURN_IF_ERROR(counts.finish());
  files_.push_back({Family::kLists, centroids.paths()});
  files_.push_back({Family::kCounts, counts.paths()});
  std::vector<float>().swap(centroids_);  // they are in the store
  return Status::ok();
}

Status Builder::make_graph() {
  const std::vector<ListRef>& lists = draft_->lists;
  if (lists.size() <= tuning_.graph_lists) return Status::ok();
  draft_->graph = std::make_shared<CentroidGraph>(static_cast<uint32_t>(dimensions_), tuning_.distances_per_walk);
  constexpr size_t kCentroidsAtOnce = 512;
  std::vector<ListId> ids;
  std::vector<float> centroids;
  for (size_t first = 0; first < lists.size(); first += kCentroidsAtOnce) {
    if (interrupted()) return Status::cancelled();
    ids.clear();
    centroids.clear();
    for (size_t i = first; i < std::min(first + kCentroidsAtOnce, lists.size()); ++i) {
      const float* centroid = draft_->centroid(lists[i]);
      ids.push_back(lists[i].id);
      centroids.insert(centroids.end(), centroid, centroid + dimensions_);
    }
    draft_->graph->add(ids, centroids.data());
  }
  return Status::ok();
}

Status Builder::write_rows() {
  SortedFileWriter writer(storage_, generation_.id(), Family::kRows, memory_bytes_);
  for (size_t i = 0; i < rows_->size(); ++i) {
    if (i % 4096 == 0 && interrupted()) return Status::cancelled();
    const RowRecord record = {rows_->kind(i), rows_->hash(i), rows_->list(i)};
    PG_SEMANTIC_RETURN_IF_ERROR(writer.put(row_key(generation_.id(), rows_->row(i)), encode_row(record)));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(writer.finish());
  files_.push_back({Family::kRows, writer.paths()});
  return Status::ok();
}

Status Builder::finish() {
  const std::lock_guard lock(generation_.writer);
  if (generation_.dropped) return Status::cancelled();
  if (times_taken_back_ != generation_.times_taken_back) {
    is_outdated_ = true;
    return Status::cancelled();
  }
  PG_SEMANTIC_RETURN_IF_ERROR(storage_.ingest(files_));
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage_, generation_);
  if (!current) return current.status();
  Catalog& catalog = draft_->catalog;
  catalog.version = (*current)->catalog.version + 1;
  catalog.options = (*current)->catalog.options;
  catalog.options.building = false;
  catalog.behind = (*current)->catalog.behind;
  catalog.finishing = false;
  catalog.rows = rows_->size();
  rocksdb::WriteBatch batch;
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(
      batch.Put(storage_.family(Family::kGenerations), generation_key(generation_.id()), encode_catalog(catalog))));
  // What came since begin() are changes like any other, and must not be forgotten if the process ends here.
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(
      batch.Put(storage_.family(Family::kDefault), catch_up_key(generation_.id()), encode_catch_up(spool_->size()))));
  const Status written = storage_.write(&batch);
  if (!written.is_ok()) {
    generation_.publish(nullptr);
    return written;
  }
  generation_.unsplittable = std::move(generation_unsplittable_);
  generation_.publish(draft_);
  generation_.catch_up_from = spool_->size();
  return catch_up(storage_, tuning_, &generation_);
}

Status Builder::measure() {
  if (draft_->catalog.vectors <= tuning_.exact_vectors) return Status::ok();
  start_phase(progress_, BuildPhase::kCalibrating, 0);
  Result<ReadView> now = read_view(storage_, generation_);
  if (!now) return now.status();
  Result<Calibration> calibration =
      calibrate(storage_, *now, tuning_, {.threads = threads_, .memory_bytes = memory_bytes_}, progress_, interrupted_);
  if (!calibration) return calibration.status();
  PG_SEMANTIC_RETURN_IF_ERROR(store_calibration(storage_, &generation_, *calibration));
  return storage_.sync();
}

}  // namespace

Status build_generation(const BuildContext& context, const std::shared_ptr<Generation>& generation,
                        BuildProgress* progress, const Interrupted& interrupted) {
  const std::lock_guard lock(generation->build);
  for (;;) {
    Builder builder(context, generation.get(), progress, interrupted);
    Status built = builder.run();
    if (!builder.is_outdated()) return built;
  }
}

Status build_graph(const Storage& storage, const Tuning& tuning, Generation* generation,
                   const Interrupted& interrupted) {
  constexpr size_t kListsAtOnce = 256;
  const std::shared_ptr<const ListTable> table = generation->table();
  if (!table || table->graph || !table->store) return Status::ok();
  const uint32_t dimensions = table->store->dimensions();
  auto graph = std::make_shared<CentroidGraph>(dimensions, tuning.distances_per_walk);
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
