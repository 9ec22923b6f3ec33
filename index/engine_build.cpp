// Building lists over rows that were collected: sample, cluster, assign, write
// sorted files and hand them to RocksDB, then catch up with what came meanwhile.
//
// Collected changes are read where they lie, in the mapped spool; what is kept in
// memory is a few words for each row, the sample and the centroids.  Nothing that
// a build writes means anything before its last batch, which turns `building` off.
#include <rocksdb/sst_file_writer.h>

#include <algorithm>
#include <random>

#include "index/bytes.h"
#include "index/change.h"
#include "index/clustering.h"
#include "index/engine_impl.h"
#include "index/measure.h"
#include "index/search.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kVectorsAtOnce = 1024;
constexpr uint64_t kLeastSampleBytes = 64ull << 20;
constexpr uint64_t kSortedFileBytes = 64ull << 20;
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

// Writes ascending keys of one family to sorted files.
class SortedFileWriter {
 public:
  SortedFileWriter(const Storage& storage, GenerationId generation, Family family, size_t first_number)
      : storage_(storage), generation_(generation), family_(family), number_(first_number) {}

  Status put(const std::string& key, std::string_view value) {
    if (writer_ && writer_->FileSize() >= kSortedFileBytes) PG_SEMANTIC_RETURN_IF_ERROR(finish());
    if (!writer_) {
      rocksdb::ColumnFamilyHandle* handle = storage_.family(family_);
      writer_ =
          std::make_unique<rocksdb::SstFileWriter>(rocksdb::EnvOptions(), storage_.db()->GetOptions(handle), handle);
      paths_.push_back(storage_.unfinished_file(generation_, family_, number_++));
      PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(writer_->Open(paths_.back())));
    }
    return from_rocksdb(writer_->Put(key, rocksdb::Slice(value.data(), value.size())));
  }
  Status finish() {
    if (!writer_) return Status::ok();
    const rocksdb::Status status = writer_->Finish();
    writer_.reset();
    return from_rocksdb(status);
  }
  [[nodiscard]] const std::vector<std::string>& paths() const { return paths_; }

 private:
  const Storage& storage_;
  GenerationId generation_;
  Family family_;
  size_t number_;
  std::unique_ptr<rocksdb::SstFileWriter> writer_;
  std::vector<std::string> paths_;
};

// A row as the spool has it.
struct Collected {
  RowId row = 0;
  const std::byte* bytes = nullptr;  // of the row in its change; null: deleted
  RowKind kind = RowKind::kVector;
  ListId list = 0;
};

class Builder {
 public:
  Builder(const BuildContext& context, Generation* generation, BuildProgress* progress, const Interrupted& interrupted)
      : storage_(context.storage),
        tuning_(context.tuning),
        options_(context.options),
        threads_(std::clamp<uint32_t>(context.options.threads, 1, 64)),
        generation_(*generation),
        progress_(progress),
        interrupted_(interrupted) {}
  ~Builder() { storage_.remove_unfinished_files_of(generation_.id()); }

  Status run();

 private:
  Result<bool> begin();
  Status read_spool();
  Status train();
  Status assign_all();
  Status split_long_lists();
  Status write_lists();
  Status write_list(ListId list, std::span<const uint32_t> members, SortedFileWriter* codes, SortedFileWriter* vectors,
                    ListRef* ref);
  Status write_rows();
  Status finish();
  Status measure();

  [[nodiscard]] bool interrupted() const { return is_interrupted(interrupted_); }
  // The vectors of these rows, of length 1 under cosine.
  void gather(std::span<const uint32_t> rows, float* out) const;
  [[nodiscard]] std::vector<std::vector<uint32_t>> members_of_lists() const;
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
  const EngineOptions& options_;
  const size_t threads_;
  Generation& generation_;
  BuildProgress* progress_;
  const Interrupted& interrupted_;

  std::unique_ptr<Spool::Mapping> spool_;
  std::shared_ptr<ListTable> draft_;  // the table to be published
  size_t dimensions_ = 0;
  std::vector<Collected> rows_;    // ascending
  std::vector<uint32_t> vectors_;  // positions in rows_ of those with a vector
  std::vector<float> centroids_;   // [lists][dimensions]; a list's number is its row
  std::vector<Storage::SortedFiles> files_;
  Unsplittable generation_unsplittable_;
};

Status Builder::run() {
  Result<bool> needed = begin();
  if (!needed) return needed.status();
  if (!*needed) return Status::ok();
  PG_SEMANTIC_RETURN_IF_ERROR(read_spool());
  if (!vectors_.empty()) {
    PG_SEMANTIC_RETURN_IF_ERROR(train());
    PG_SEMANTIC_RETURN_IF_ERROR(assign_all());
    PG_SEMANTIC_RETURN_IF_ERROR(split_long_lists());
    PG_SEMANTIC_RETURN_IF_ERROR(write_lists());
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
  if (!(*current)->catalog.options.building) return false;
  if (storage_.has_contents(generation_.id(), kBuiltFamilies)) {
    rocksdb::WriteBatch batch;
    PG_SEMANTIC_RETURN_IF_ERROR(storage_.delete_contents(&batch, generation_.id(), kBuiltFamilies));
    PG_SEMANTIC_RETURN_IF_ERROR(storage_.write(&batch));
  }
  if (!generation_.spool) {
    Result<std::unique_ptr<Spool>> spool = Spool::open(storage_.directory(), generation_.id());
    if (!spool) return spool.status();
    generation_.spool = std::move(*spool);
  }
  Result<std::unique_ptr<Spool::Mapping>> mapping = generation_.spool->map();
  if (!mapping) return mapping.status();
  spool_ = std::move(*mapping);
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
  const Metric metric = draft_->catalog.options.metric;
  std::vector<float> vector(dimensions_);
  PG_SEMANTIC_RETURN_IF_ERROR(spool_->for_each(0, [&](std::span<const std::byte> change) -> Status {
    if (interrupted()) return Status::cancelled();
    return visit_rows(change, dimensions_, [&](RowId row, RowKind kind, const std::byte* bytes) {
      if (kind == RowKind::kVector && metric == Metric::kCosine) {
        std::memcpy(vector.data(), bytes + kSpooledVectorOffset, dimensions_ * sizeof(float));
        kind = kind_of(kind, metric, vector);
      }
      rows_.push_back({row, bytes, kind, 0});
    });
  }));
  const auto before = [](const Collected& a, const Collected& b) { return a.row < b.row; };
  if (!std::is_sorted(rows_.begin(), rows_.end(), before)) std::stable_sort(rows_.begin(), rows_.end(), before);
  // Of several changes of a row the last holds.
  size_t kept = 0;
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (i + 1 < rows_.size() && rows_[i + 1].row == rows_[i].row) continue;
    if (rows_[i].bytes != nullptr) rows_[kept++] = rows_[i];
  }
  rows_.resize(kept);
  if (rows_.size() > UINT32_MAX) return {StatusCode::kUnsupported, "too many rows for a semantic index"};
  for (uint32_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].kind == RowKind::kVector) vectors_.push_back(i);
  }
  return Status::ok();
}

void Builder::gather(std::span<const uint32_t> rows, float* out) const {
  const bool spherical = draft_->catalog.options.metric == Metric::kCosine;
  for (size_t i = 0; i < rows.size(); ++i) {
    float* vector = out + i * dimensions_;
    std::memcpy(vector, rows_[rows[i]].bytes + kSpooledVectorOffset, dimensions_ * sizeof(float));
    if (spherical) normalise(vector, dimensions_);
  }
}

Status Builder::train() {
  const uint64_t most = std::max(options_.memory_bytes, kLeastSampleBytes) / (dimensions_ * sizeof(float));
  const uint32_t limit = list_limit_for(tuning_, draft_->layout.vector_size());
  uint64_t lists = std::max<uint64_t>(vectors_.size() / std::min(tuning_.built_list_entries, limit / 2), 1);
  const uint64_t sample_size = std::min<uint64_t>({vectors_.size(), most, lists * kSamplesPerList});
  lists = std::max<uint64_t>(std::min(lists, sample_size / kLeastSamplesPerList), 1);
  std::vector<uint32_t> chosen;
  chosen.reserve(sample_size);
  std::mt19937_64 random(20240229);
  // Each equally likely, in their order (Knuth, volume 2, algorithm 3.4.2 S).
  for (size_t i = 0; i < vectors_.size() && chosen.size() < sample_size; ++i) {
    if (random() % (vectors_.size() - i) < sample_size - chosen.size()) chosen.push_back(vectors_[i]);
  }
  std::vector<float> sample(chosen.size() * dimensions_);
  gather(chosen, sample.data());

  start_phase(progress_, BuildPhase::kClustering, 0);
  const bool spherical = draft_->catalog.options.metric == Metric::kCosine;
  Result<std::vector<float>> centroids =
      train_centroids(&sample, dimensions_, lists, spherical, threads_, progress_, interrupted_);
  if (!centroids) return centroids.status();
  centroids_ = std::move(*centroids);
  return Status::ok();
}

Status Builder::assign_all() {
  start_phase(progress_, BuildPhase::kAssigning, vectors_.size());
  const NearestCentroids nearest(centroids_, dimensions_);
  return on_all_threads([&](size_t part) -> Status {
    std::vector<float> vectors(kVectorsAtOnce * dimensions_);
    std::vector<uint32_t> lists(kVectorsAtOnce);
    const size_t last = vectors_.size() * (part + 1) / threads_;
    for (size_t first = vectors_.size() * part / threads_; first < last; first += kVectorsAtOnce) {
      if (interrupted()) return Status::cancelled();
      const size_t count = std::min(kVectorsAtOnce, last - first);
      gather({vectors_.data() + first, count}, vectors.data());
      nearest.assign(vectors.data(), count, lists.data());
      for (size_t i = 0; i < count; ++i) rows_[vectors_[first + i]].list = lists[i];
      if (progress_ != nullptr) progress_->done += count;
    }
    return Status::ok();
  });
}

std::vector<std::vector<uint32_t>> Builder::members_of_lists() const {
  std::vector<std::vector<uint32_t>> members(centroids_.size() / dimensions_);
  for (const uint32_t i : vectors_) members[rows_[i].list].push_back(i);
  return members;
}

Status Builder::split_long_lists() {
  const uint32_t limit = list_limit_for(tuning_, draft_->layout.vector_size());
  const bool spherical = draft_->catalog.options.metric == Metric::kCosine;
  std::vector<std::vector<uint32_t>> members = members_of_lists();
  std::vector<float> vectors;
  for (size_t list = 0; list < members.size(); ++list) {
    while (members[list].size() > limit) {
      if (interrupted()) return Status::cancelled();
      vectors.resize(members[list].size() * dimensions_);
      gather(members[list], vectors.data());
      TwoMeans halves;
      if (!two_means(vectors, dimensions_, spherical, list, &halves)) {
        generation_unsplittable_[static_cast<ListId>(list)] = static_cast<uint32_t>(members[list].size());
        break;
      }
      const auto created = static_cast<ListId>(members.size());
      std::vector<uint32_t> sides[2];
      for (size_t i = 0; i < members[list].size(); ++i) sides[halves.side[i]].push_back(members[list][i]);
      for (const uint32_t row : sides[1]) rows_[row].list = created;
      std::copy(halves.centroids[0].begin(), halves.centroids[0].end(),
                centroids_.begin() + static_cast<std::ptrdiff_t>(list * dimensions_));
      centroids_.insert(centroids_.end(), halves.centroids[1].begin(), halves.centroids[1].end());
      members[list] = std::move(sides[0]);
      members.push_back(std::move(sides[1]));
    }
  }
  return Status::ok();
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
      const Collected& row = rows_[members[next++]];
      rows[i] = row.row;
      std::byte* stored = vector_bytes.data() + i * layout.vector_size();
      std::memcpy(vector.data(), row.bytes + kSpooledVectorOffset, dimensions_ * sizeof(float));
      layout.encode_vector(vector, load<ContentHash>(row.bytes + kSpooledHashOffset), stored);
      if (layout.code_size() == 0) continue;
      layout.decode_vector(stored, vector.data());
      coder.encode(vector.data(), code_bytes.data() + i * layout.code_size());
    }
    const std::string key = block_key(generation_.id(), list, block);
    PG_SEMANTIC_RETURN_IF_ERROR(
        codes->put(key, encode_block(rows.data(), code_bytes.data(), count, layout.code_size())));
    PG_SEMANTIC_RETURN_IF_ERROR(
        vectors->put(key, encode_vector_block(vector_bytes.data(), count, layout.vector_size())));
  }
  return Status::ok();
}

Status Builder::write_lists() {
  start_phase(progress_, BuildPhase::kWriting, vectors_.size());
  const std::vector<std::vector<uint32_t>> members = members_of_lists();
  const auto lists = static_cast<ListId>(members.size());
  std::vector<ListRef> refs(lists);
  // Each thread takes neighbouring lists of about as many vectors: keys of its files are apart from others'.
  std::vector<ListId> cuts = {0};
  size_t seen = 0;
  for (ListId list = 0; list < lists; ++list) {
    if (seen >= vectors_.size() * cuts.size() / threads_ && cuts.size() < threads_) cuts.push_back(list);
    seen += members[list].size();
  }
  while (cuts.size() <= threads_) cuts.push_back(lists);
  std::vector<SortedFileWriter> codes, vectors;
  for (size_t part = 0; part < threads_; ++part) {
    codes.emplace_back(storage_, generation_.id(), Family::kCodes, part << 20);
    vectors.emplace_back(storage_, generation_.id(), Family::kVectors, part << 20);
  }
  PG_SEMANTIC_RETURN_IF_ERROR(on_all_threads([&](size_t part) -> Status {
    for (ListId list = cuts[part]; list < cuts[part + 1]; ++list) {
      if (interrupted()) return Status::cancelled();
      PG_SEMANTIC_RETURN_IF_ERROR(write_list(list, members[list], &codes[part], &vectors[part], &refs[list]));
      if (progress_ != nullptr) progress_->done += members[list].size();
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

  SortedFileWriter centroids(storage_, generation_.id(), Family::kLists, 0);
  SortedFileWriter counts(storage_, generation_.id(), Family::kCounts, 0);
  std::vector<ListId> ids;
  std::vector<float> kept;
  for (ListId list = 0; list < lists; ++list) {
    if (members[list].empty()) continue;
    const float* centroid = centroids_.data() + size_t{list} * dimensions_;
    const std::string key = list_key(generation_.id(), list);
    PG_SEMANTIC_RETURN_IF_ERROR(
        centroids.put(key, {reinterpret_cast<const char*>(centroid), dimensions_ * sizeof(float)}));
    PG_SEMANTIC_RETURN_IF_ERROR(counts.put(key, encode_list({refs[list].sizes, 0})));
    refs[list].id = list;
    refs[list].slot = draft_->store->append(centroid);
    draft_->lists.push_back(refs[list]);
    ids.push_back(list);
    kept.insert(kept.end(), centroid, centroid + dimensions_);
  }
  draft_->catalog.next_list = lists;
  draft_->catalog.vectors = vectors_.size();
  PG_SEMANTIC_RETURN_IF_ERROR(centroids.finish());
  PG_SEMANTIC_RETURN_IF_ERROR(counts.finish());
  files_.push_back({Family::kLists, centroids.paths()});
  files_.push_back({Family::kCounts, counts.paths()});
  if (ids.size() <= tuning_.graph_lists) return Status::ok();
  draft_->graph = std::make_shared<CentroidGraph>(static_cast<uint32_t>(dimensions_));
  constexpr size_t kCentroidsAtOnce = 512;
  for (size_t first = 0; first < ids.size(); first += kCentroidsAtOnce) {
    if (interrupted()) return Status::cancelled();
    const size_t count = std::min(kCentroidsAtOnce, ids.size() - first);
    draft_->graph->add({ids.data() + first, count}, kept.data() + first * dimensions_);
  }
  return Status::ok();
}

Status Builder::write_rows() {
  SortedFileWriter writer(storage_, generation_.id(), Family::kRows, 0);
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (i % 4096 == 0 && interrupted()) return Status::cancelled();
    const Collected& row = rows_[i];
    const RowRecord record = {row.kind, load<ContentHash>(row.bytes + kSpooledHashOffset), row.list};
    PG_SEMANTIC_RETURN_IF_ERROR(writer.put(row_key(generation_.id(), row.row), encode_row(record)));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(writer.finish());
  files_.push_back({Family::kRows, writer.paths()});
  return Status::ok();
}

Status Builder::finish() {
  const std::lock_guard lock(generation_.writer);
  if (generation_.dropped) return Status::cancelled();
  PG_SEMANTIC_RETURN_IF_ERROR(storage_.ingest(files_));
  Result<std::shared_ptr<const ListTable>> current = table_for_writing(storage_, generation_);
  if (!current) return current.status();
  Catalog& catalog = draft_->catalog;
  catalog.version = (*current)->catalog.version + 1;
  catalog.options = (*current)->catalog.options;
  catalog.options.building = false;
  catalog.rows = rows_.size();
  rocksdb::WriteBatch batch;
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(
      batch.Put(storage_.family(Family::kGenerations), generation_key(generation_.id()), encode_catalog(catalog))));
  const Status written = storage_.write(&batch);
  if (!written.is_ok()) {
    generation_.publish(nullptr);
    return written;
  }
  generation_.unsplittable = std::move(generation_unsplittable_);
  generation_.publish(draft_);
  // What came since begin(): changes like any other.
  if (generation_.spool->size() > spool_->size()) {
    Result<std::unique_ptr<Spool::Mapping>> grown = generation_.spool->map();
    if (!grown) return grown.status();
    PG_SEMANTIC_RETURN_IF_ERROR((*grown)->for_each(spool_->size(), [&](std::span<const std::byte> bytes) -> Status {
      Result<DecodedChange> change = decode_change(bytes);
      if (!change) return change.status();
      return write_rows_locked(storage_, tuning_, &generation_, *change, bytes);
    }));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(storage_.sync());
  generation_.spool.reset();
  Spool::remove(storage_.directory(), generation_.id());
  return Status::ok();
}

Status Builder::measure() {
  if (draft_->catalog.vectors <= tuning_.exact_vectors) return Status::ok();
  start_phase(progress_, BuildPhase::kCalibrating, 0);
  Result<ReadView> now = read_view(storage_, generation_);
  if (!now) return now.status();
  Result<Calibration> calibration = calibrate(storage_, *now, tuning_, threads_, progress_, interrupted_);
  if (!calibration) return calibration.status();
  PG_SEMANTIC_RETURN_IF_ERROR(store_calibration(storage_, &generation_, *calibration));
  return storage_.sync();
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
