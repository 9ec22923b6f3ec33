#include "extension/index_rows.h"

#include <algorithm>
#include <cstring>

#include "encoder/pooling.h"
#include "extension/guard.h"
#include "extension/index_client.h"
#include "extension/index_options.h"
#include "extension/models.h"
#include "extension/vectors.h"

namespace pg_semantic {
namespace {

// One message to the worker: enough texts to keep every thread of the encoder
// busy, few enough to hold in memory twice.
constexpr size_t kBatchRows = 1024;
constexpr size_t kBatchVectorBytes = 4 << 20;
// What a RowCollector sends at once.
constexpr size_t kCollectedBytes = 4 << 20;
constexpr size_t kCollectedRows = 2048;

index::ContentHash to_content_hash(const ContentHashBytes& bytes) {
  index::ContentHash hash;
  std::memcpy(hash.data(), bytes.data(), hash.size());
  return hash;
}

bool is_zero(std::span<const float> vector) {
  return std::all_of(vector.begin(), vector.end(), [](float value) { return value == 0.0F; });
}

// The numbers that are kept of the embeddings of the batch's texts, in their order.
std::vector<float> embed_batch(const RowTarget& target, const LoadedModel* model, std::span<const IndexRow> batch) {
  std::vector<std::string_view> texts;
  for (const IndexRow& row : batch) {
    if (row.kind == index::RowKind::kVector && row.vector.empty()) texts.push_back(row.text);
  }
  if (texts.empty()) return {};
  const auto dimensions = static_cast<size_t>(model->model->info().dimensions);
  std::vector<float> embeddings(texts.size() * dimensions);
  encoder::EmbedOptions options = call_options();
  if (target.threads > 0) options.threads = target.threads;
  call_server([&] { embed_texts(model, texts, nullptr, embeddings.data(), options); });
  encoder::truncate_embeddings(texts.size(), dimensions, target.dimensions, embeddings.data());
  return embeddings;
}

void send_batch(const RowTarget& target, const LoadedModel* model, std::span<const IndexRow> batch) {
  const size_t dimensions = target.dimensions;
  const std::vector<float> embeddings = embed_batch(target, model, batch);
  std::vector<index::RowChange> changes;
  changes.reserve(batch.size());
  size_t next = 0;
  for (const IndexRow& row : batch) {
    index::RowChange change;
    change.row = row.row;
    change.kind = row.kind;
    change.hash = row.hash;
    if (row.kind == index::RowKind::kVector) {
      if (row.vector.empty()) {
        change.vector = std::span(embeddings).subspan(next, dimensions);
        next += dimensions;
        // A model may give a zero vector (all tokens outside the mean); it has no direction.
        if (is_zero(change.vector)) {
          change.kind = index::RowKind::kNoDirection;
          change.vector = {};
        }
      } else {
        change.vector = row.vector;
      }
    }
    changes.push_back(change);
  }
  std::vector<index::RowId> ids;
  ids.reserve(batch.size());
  for (const IndexRow& row : batch) ids.push_back(row.row);
  const std::vector<std::byte> bytes = index::encode_insert(target.generation, changes);
  const std::vector<std::byte> opposite = index::encode_delete(target.generation, ids);
  call_server([&] { make_index_change(LogRecord::kInsert, bytes, target.durability, opposite, target.may_be_posted); });
}

}  // namespace

bool read_tuple_header(Relation heap, index::RowId row, HeapTupleHeaderData* header) {
  ItemPointerData tid;
  set_item_pointer(&tid, row);
  Buffer buffer = ReadBuffer(heap, ItemPointerGetBlockNumber(&tid));
  LockBuffer(buffer, BUFFER_LOCK_SHARE);
  Page page = BufferGetPage(buffer);
  bool found = false;
  if (ItemPointerGetOffsetNumber(&tid) <= PageGetMaxOffsetNumber(page)) {
    ItemId item = PageGetItemId(page, ItemPointerGetOffsetNumber(&tid));
    found = ItemIdIsNormal(item);
    if (found) memcpy(header, PageGetItem(page, item), SizeofHeapTupleHeader);
  }
  UnlockReleaseBuffer(buffer);
  return found;
}

IndexedContent read_content(Relation index, const IndexMetapage& metapage, Datum value, bool is_null,
                            uint32 dimensions) {
  IndexedContent content = {};
  if (is_null) {
    content.kind = index::RowKind::kNull;
    return content;
  }
  content.kind = index::RowKind::kVector;
  if (metapage.embeds_text != 0) {
    const text* value_text = DatumGetTextPP(value);
    content.hash = to_content_hash(
        content_hash(std::string_view(VARDATA_ANY(value_text), static_cast<size_t>(VARSIZE_ANY_EXHDR(value_text)))));
    content.text = text_to_utf8(value_text);
    return content;
  }
  content.vector = vector_of_value(index, value);
  content.hash = to_content_hash(content_hash(content.vector));
  if (dimensions != 0 && content.vector.size() != dimensions) {
    ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
                    errmsg("expected %u dimensions, not %zu", dimensions, content.vector.size()),
                    errdetail("The vectors of one index all have the same number of dimensions.")));
  }
  if (metapage.metric == static_cast<uint8>(index::Metric::kCosine) && is_zero(content.vector)) {
    content.kind = index::RowKind::kNoDirection;
    content.vector = {};
  }
  return content;
}

void copy_row(index::RowId row, const IndexedContent& content, IndexRow* out) {
  out->row = row;
  out->kind = content.kind;
  out->hash = content.hash;
  out->text.assign(content.text);
  out->vector.assign(content.vector.begin(), content.vector.end());
}

void send_rows(const RowTarget& target, std::span<const IndexRow> rows) {
  const bool embeds = target.fingerprint[0] != '\0';
  const LoadedModel* model = embeds ? find_model_by_fingerprint(target.fingerprint, false) : nullptr;
  guarded([&] {
    for (size_t begin = 0; begin < rows.size();) {
      const size_t width = model == nullptr ? rows[begin].vector.size() : model->model->info().dimensions;
      const size_t limit =
          std::clamp<size_t>(kBatchVectorBytes / (std::max<size_t>(width, 1) * sizeof(float)), 1, kBatchRows);
      const size_t count = std::min(limit, rows.size() - begin);
      send_batch(target, model, rows.subspan(begin, count));
      begin += count;
      call_server([] { CHECK_FOR_INTERRUPTS(); });
    }
  });
}

namespace {

void send_collected(RowCollector* collector) {
  send_rows(collector->target, std::span(*collector->rows).first(collector->count));
  collector->sent += static_cast<int64>(collector->count);
  collector->count = 0;
  collector->bytes = 0;
}

// As collect_rows().
template <typename Produce>
void collect(RowCollector* collector, const Produce& produce) {
  collector->row_context =
      AllocSetContextCreate(CurrentMemoryContext, "pg_semantic collected row", ALLOCSET_DEFAULT_SIZES);
  std::vector<IndexRow>* rows = guarded([] { return new std::vector<IndexRow>; });
  collector->rows = rows;
  PG_TRY();
  {
    produce();
    send_collected(collector);
  }
  PG_FINALLY();
  { delete rows; }
  PG_END_TRY();
  MemoryContextDelete(collector->row_context);
}

}  // namespace

void collect_rows(RowCollector* collector, void (*produce)(void* state), void* state) {
  collect(collector, [&] { produce(state); });
}

double collect_table(RowCollector* collector, Relation heap, Relation index, IndexInfo* info, bool progress,
                     IndexBuildCallback collect_one, void* state) {
  double heap_tuples = 0;
  collect(collector, [&] {
    heap_tuples = table_index_build_scan(heap, index, info, true, progress, collect_one, state, nullptr);
  });
  return heap_tuples;
}

void collect_row(RowCollector* collector, ItemPointer tid, const IndexedContent& content) {
  guarded([&] {
    if (collector->count == collector->rows->size()) collector->rows->emplace_back();
    IndexRow& row = (*collector->rows)[collector->count++];
    copy_row(row_id(tid), content, &row);
    collector->bytes += row.bytes();
  });
}

bool send_many_collected(RowCollector* collector) {
  if (collector->bytes <= kCollectedBytes && collector->count < kCollectedRows) return false;
  send_collected(collector);
  return true;
}

}  // namespace pg_semantic
