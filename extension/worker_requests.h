// Executes one decoded request against the engine.  Knows nothing of
// PostgreSQL: runs on the worker's request threads.
#ifndef PG_SEMANTIC_EXTENSION_WORKER_REQUESTS_H
#define PG_SEMANTIC_EXTENSION_WORKER_REQUESTS_H

#include <cstddef>
#include <span>
#include <vector>

#include "extension/worker_protocol.h"
#include "index/engine.h"

namespace pg_semantic {

// The reply's bytes, ReplyHeader first.  Checks every size in `body`; throws
// nothing.
std::vector<std::byte> execute_request(index::Engine& engine, RequestKind kind, std::span<const std::byte> body,
                                       index::BuildProgress* progress, const index::Interrupted& interrupted) noexcept;

// A generation that nothing can reach any more, as logged at `position`.
void drop_generation(index::Engine& engine, index::GenerationId generation, uint64_t position) noexcept;

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_WORKER_REQUESTS_H
