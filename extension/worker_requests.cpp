#include "extension/worker_requests.h"

#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <string>

namespace pg_semantic {
namespace {

using Bytes = std::vector<std::byte>;

void append(Bytes* out, const void* data, size_t length) {
  const auto* begin = static_cast<const std::byte*>(data);
  out->insert(out->end(), begin, begin + length);
}

template <typename T>
void append_value(Bytes* out, const T& value) {
  append(out, &value, sizeof(value));
}

Bytes reply_ok() {
  Bytes out;
  append_value(&out, ReplyHeader{static_cast<uint32_t>(StatusCode::kOk), 0});
  return out;
}

Bytes reply_error(const Status& status) {
  Bytes out;
  append_value(&out, ReplyHeader{static_cast<uint32_t>(status.code()), 0});
  for (const std::string* text : {&status.message(), &status.detail(), &status.hint()}) {
    append(&out, text->c_str(), text->size() + 1);
  }
  return out;
}

Bytes reply_status(const Status& status) { return status.is_ok() ? reply_ok() : reply_error(status); }

// Takes a T off the front of the body.
template <typename T>
bool take(std::span<const std::byte>* body, T* value) {
  if (body->size() < sizeof(T)) return false;
  std::memcpy(value, body->data(), sizeof(T));
  *body = body->subspan(sizeof(T));
  return true;
}

Bytes malformed() { return reply_error({StatusCode::kInternal, "malformed request to the index worker"}); }

Bytes search(index::Engine& engine, std::span<const std::byte> body, const index::Interrupted& interrupted) {
  SearchHeader header;
  if (!take(&body, &header) || body.size() != static_cast<size_t>(header.dimensions) * sizeof(float))
    return malformed();
  std::vector<float> query(header.dimensions);
  std::memcpy(query.data(), body.data(), body.size());
  index::SearchRequest request;
  request.generation = header.generation;
  request.query = query;
  request.k = header.k;
  request.recall = header.recall;
  request.recall_rows = header.recall_rows;
  request.max_candidates = header.max_candidates;
  Result<index::SearchResult> result = engine.search(request, interrupted);
  if (!result) return reply_error(result.status());
  Bytes out = reply_ok();
  out.reserve(out.size() + sizeof(SearchReply) + result->hits.size() * sizeof(index::SearchHit));
  append_value(&out, SearchReply{static_cast<uint32_t>(result->hits.size()), result->exhausted ? 1u : 0u});
  append(&out, result->hits.data(), result->hits.size() * sizeof(index::SearchHit));
  return out;
}

Bytes score_rows(index::Engine& engine, std::span<const std::byte> body, const index::Interrupted& interrupted) {
  ScoreRowsHeader header;
  if (!take(&body, &header)) return malformed();
  const size_t query_bytes = static_cast<size_t>(header.dimensions) * sizeof(float);
  const size_t row_bytes = static_cast<size_t>(header.rows) * sizeof(index::RowId);
  if (body.size() != query_bytes + row_bytes) return malformed();
  std::vector<float> query(header.dimensions);
  std::vector<index::RowId> rows(header.rows);
  if (query_bytes > 0) std::memcpy(query.data(), body.data(), query_bytes);
  if (row_bytes > 0) std::memcpy(rows.data(), body.data() + query_bytes, row_bytes);
  Result<std::vector<index::SearchHit>> hits = engine.score_rows(header.generation, query, rows, interrupted);
  if (!hits) return reply_error(hits.status());
  Bytes out = reply_ok();
  append(&out, hits->data(), hits->size() * sizeof(index::SearchHit));
  return out;
}

Bytes list_rows(index::Engine& engine, std::span<const std::byte> body) {
  ListRowsHeader header;
  if (!take(&body, &header)) return malformed();
  Result<std::vector<index::ListedRow>> rows = engine.list_rows(header.generation, header.after, header.limit);
  if (!rows) return reply_error(rows.status());
  Bytes out = reply_ok();
  append(&out, rows->data(), rows->size() * sizeof(index::ListedRow));
  return out;
}

Bytes read_vectors(index::Engine& engine, std::span<const std::byte> body, const index::Interrupted& interrupted) {
  ReadVectorsHeader header;
  if (!take(&body, &header) || header.rows > kMostVectorRows || body.size() != header.rows * sizeof(index::RowId))
    return malformed();
  std::vector<index::RowId> rows(header.rows);
  if (!body.empty()) std::memcpy(rows.data(), body.data(), body.size());
  Result<index::StoredVectors> stored = engine.read_vectors(header.generation, rows, interrupted);
  if (!stored) return reply_error(stored.status());
  const size_t row_bytes = stored->rows.size() * sizeof(index::ListedRow);
  const size_t vector_bytes = stored->vectors.size() * sizeof(float);
  Bytes out = reply_ok();
  out.reserve(out.size() + sizeof(ReadVectorsReply) + row_bytes + vector_bytes);
  append_value(&out, ReadVectorsReply{static_cast<uint32_t>(stored->rows.size()), stored->dimensions});
  append(&out, stored->rows.data(), row_bytes);
  append(&out, stored->vectors.data(), vector_bytes);
  return out;
}

Bytes statistics(index::Engine& engine, std::span<const std::byte> body) {
  GenerationHeader header;
  if (!take(&body, &header)) return malformed();
  Result<index::GenerationStatistics> result = engine.statistics(header.generation);
  if (!result) return reply_error(result.status());
  StatisticsReply reply = {};
  reply.rows = result->rows;
  reply.vectors = result->vectors;
  reply.bytes = result->bytes;
  reply.memory_bytes = result->memory_bytes;
  reply.disk_reads = result->disk_reads;
  reply.disk_read_bytes = result->disk_read_bytes;
  reply.lists = result->lists;
  reply.dimensions = result->options.dimensions;
  reply.metric = static_cast<uint32_t>(result->options.metric);
  reply.codec = static_cast<uint32_t>(result->options.codec);
  reply.building = result->options.building ? 1 : 0;
  reply.behind = result->behind ? 1 : 0;
  Bytes out = reply_ok();
  append_value(&out, reply);
  return out;
}

Bytes measure_recall(index::Engine& engine, std::span<const std::byte> body, const index::Interrupted& interrupted) {
  MeasureRecallHeader header;
  if (!take(&body, &header)) return malformed();
  Result<float> recall = engine.measure_recall(header.generation, header.k, header.samples, header.recall, interrupted);
  if (!recall) return reply_error(recall.status());
  Bytes out = reply_ok();
  append_value(&out, *recall);
  return out;
}

Bytes check(index::Engine& engine, std::span<const std::byte> body, const index::Interrupted& interrupted) {
  GenerationHeader header;
  if (!take(&body, &header)) return malformed();
  Result<std::vector<std::string>> problems = engine.check(header.generation, interrupted);
  if (!problems) return reply_error(problems.status());
  Bytes out = reply_ok();
  for (const std::string& problem : *problems) {
    append(&out, problem.data(), problem.size());
    append(&out, "\n", 1);
  }
  return out;
}

Bytes list_generations(index::Engine& engine, std::span<const std::byte> body) {
  IndexHeader header;
  if (!take(&body, &header)) return malformed();
  Bytes out = reply_ok();
  for (const index::GenerationStatistics& found : engine.generations()) {
    if (found.options.database_oid == header.database_oid && found.options.index_oid == header.index_oid) {
      append_value(&out, found.generation);
    }
  }
  return out;
}

Bytes list_owners(index::Engine& engine) {
  Bytes out = reply_ok();
  for (const index::GenerationStatistics& found : engine.generations()) {
    append_value(&out, GenerationOwner{found.generation, found.options.database_oid, found.options.index_oid});
  }
  return out;
}

Bytes execute(index::Engine& engine, RequestKind kind, std::span<const std::byte> body, index::BuildProgress* progress,
              const index::Interrupted& interrupted) {
  switch (kind) {
    case RequestKind::kApply: {
      ApplyHeader header;
      if (!take(&body, &header)) return malformed();
      // What the store held when it was opened need not be replayed.
      if (header.replayed != 0 && header.position <= engine.found_mark().position) return reply_ok();
      return reply_status(engine.apply(body, header.position, false));
    }
    case RequestKind::kRequestFinish: {
      RequestFinishHeader header;
      if (!take(&body, &header)) return malformed();
      if (header.position <= engine.found_mark().position) return reply_ok();
      return reply_status(engine.request_finish(header.generation, header.position));
    }
    case RequestKind::kEndRecovery: {
      EndRecoveryHeader header;
      if (!take(&body, &header)) return malformed();
      return reply_status(engine.end_recovery(header.end));
    }
    case RequestKind::kListOwners:
      return list_owners(engine);
    case RequestKind::kDeclareRepaired: {
      DeclareRepairedHeader header;
      if (!take(&body, &header)) return malformed();
      return reply_status(engine.declare_repaired(header.generation));
    }
    case RequestKind::kSync:
      return reply_status(engine.sync());
    case RequestKind::kSearch:
      return search(engine, body, interrupted);
    case RequestKind::kListRows:
      return list_rows(engine, body);
    case RequestKind::kFinishBuild: {
      FinishBuildHeader header;
      if (!take(&body, &header)) return malformed();
      const index::BuildRequest request = {.generation = header.generation, .memory_bytes = header.memory_bytes};
      return reply_status(engine.finish_build(request, progress, interrupted));
    }
    case RequestKind::kStatistics:
      return statistics(engine, body);
    case RequestKind::kMeasureRecall:
      return measure_recall(engine, body, interrupted);
    case RequestKind::kCheck:
      return check(engine, body, interrupted);
    case RequestKind::kListGenerations:
      return list_generations(engine, body);
    case RequestKind::kScoreRows:
      return score_rows(engine, body, interrupted);
    case RequestKind::kReadVectors:
      return read_vectors(engine, body, interrupted);
  }
  return malformed();
}

}  // namespace

std::vector<std::byte> execute_request(index::Engine& engine, RequestKind kind, std::span<const std::byte> body,
                                       index::BuildProgress* progress, const index::Interrupted& interrupted) noexcept {
  try {
    return execute(engine, kind, body, progress, interrupted);
  } catch (const std::bad_alloc&) {
    return reply_error({StatusCode::kOutOfMemory, "out of memory in the index worker"});
  } catch (const std::exception& error) {
    return reply_error({StatusCode::kInternal, "the index worker failed", error.what()});
  } catch (...) {
    return reply_error({StatusCode::kInternal, "the index worker failed"});
  }
}

bool asks_after_posted_changes(RequestKind kind, std::span<const std::byte> body, index::GenerationId* generation) {
  switch (kind) {
    case RequestKind::kApply: {
      ApplyHeader header;
      if (!take(&body, &header)) return false;
      const std::optional<index::ChangeHeader> change = index::read_header(body);
      if (!change || change->kind == index::ChangeKind::kInsertRows) return false;
      *generation = change->generation;
      return true;
    }
    case RequestKind::kSearch:
    case RequestKind::kListRows:
    case RequestKind::kFinishBuild:
    case RequestKind::kStatistics:
    case RequestKind::kMeasureRecall:
    case RequestKind::kCheck:
    case RequestKind::kScoreRows:
    case RequestKind::kDeclareRepaired:
    case RequestKind::kReadVectors:
      return take(&body, generation);  // the first thing of their headers
    case RequestKind::kSync:
    case RequestKind::kListGenerations:
    case RequestKind::kRequestFinish:  // of replay, in which nothing is posted
    case RequestKind::kEndRecovery:
    case RequestKind::kListOwners:
      break;
  }
  return false;
}

std::vector<std::byte> refuse_request(const Status& status) noexcept { return reply_status(status); }

void drop_generation(index::Engine& engine, index::GenerationId generation, uint64_t position) noexcept {
  try {
    (void)engine.apply(index::encode_drop(generation), position, false);
  } catch (...) {
    // Nothing waits for it; VACUUM finds it again.
  }
}

}  // namespace pg_semantic
