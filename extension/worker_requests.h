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

// Whether changes posted before the request are to be applied before it is executed, and those of which generation (0:
// of all): it reads rows of it or changes other than by inserting.
bool asks_after_posted_changes(RequestKind kind, std::span<const std::byte> body, index::GenerationId* generation);

// The reply of a request that is not executed.
std::vector<std::byte> refuse_request(const Status& status) noexcept;

// A generation that nothing can reach any more, as logged at `position`.
void drop_generation(index::Engine& engine, index::GenerationId generation, uint64_t position) noexcept;

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_WORKER_REQUESTS_H
