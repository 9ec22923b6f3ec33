// One request to the index worker and its reply, as bytes: what a backend's side of worker_protocol.h does.
//
// Every wait can be cancelled.  A request that a dying worker left unanswered is sent again to the next one: every
// request is idempotent.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_REQUESTS_H
#define PG_SEMANTIC_EXTENSION_INDEX_REQUESTS_H

#include <cstring>
#include <span>

#include "extension/server.h"
#include "extension/worker_protocol.h"

namespace pg_semantic {

struct Message {
  const void* header;
  size_t header_length;
  const void* body;
  size_t body_length;
};

struct Reply {
  char* data;  // after the ReplyHeader; palloc'd
  size_t length;
};

// A reply whose sizes do not fit what was asked: ERROR XX001.
[[noreturn]] void refuse_reply();

// Leaves an insertion, logged at `position` after `worker` was the number of the worker that was ready, with that
// worker, for which nobody waits.  False: it is to be applied some other way; it may be applied this way, too.  Raises
// nothing.
bool post_change(std::span<const std::byte> change, index::GenerationId generation, XLogRecPtr position,
                 uint32_t worker);

// What the worker said when it refused, as an ERROR.
[[noreturn]] void raise_reply_error(StatusCode code, const char* data, size_t length);

// One request and its reply, whatever its status.  ERROR 55000: no worker comes, or each dies over it.
Reply exchange(RequestKind kind, const Message& message, bool show_progress, StatusCode* status);

// The same for those who can do without an answer.  False: no worker came in this time, or it died over the request.
bool exchange_soon(RequestKind kind, const Message& message, long milliseconds, Reply* reply, StatusCode* status);

// The same for those who need an answer: a failure is raised.
Reply request(RequestKind kind, const Message& message, bool show_progress = false);

// The same for replay, which goes on whatever the answer.
StatusCode status_of(RequestKind kind, const Message& message);

template <typename T>
T read_reply(const Reply& reply) {
  T value;
  if (reply.length < sizeof(T)) refuse_reply();
  memcpy(&value, reply.data, sizeof(T));
  return value;
}

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_REQUESTS_H
