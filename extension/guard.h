// Errors between C++ and PostgreSQL, in both directions.
//
// C++ to PostgreSQL: guarded() runs C++ code, turns any exception into plain
// data, leaves the try block (so that every destructor has run) and only then
// calls ereport.  PostgreSQL to C++: call_server() runs PostgreSQL code from a
// frame with destructors and turns its error into an exception, which guarded()
// raises again with SQLSTATE, message, DETAIL, HINT and context kept.
#ifndef PG_SEMANTIC_EXTENSION_GUARD_H
#define PG_SEMANTIC_EXTENSION_GUARD_H

#include "extension/server.h"

#include <cstddef>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "encoder/status.h"

namespace pg_semantic {

// Reports a failed Status with ereport.  kCancelled first lets PostgreSQL say
// why (timeout, user request, termination).  For frames without destructors;
// elsewhere throw_status() inside guarded().
[[noreturn]] void report_status(const Status& status);

int sqlstate_of(StatusCode code);

// An error that C++ code throws towards guarded().
struct SqlError {
  int sqlstate = 0;
  StatusCode code = StatusCode::kOk;  // kCancelled is handled apart
  std::string message;
  std::string detail;
  std::string hint;
};

[[noreturn]] void throw_status(const Status& status);
[[noreturn]] void throw_error(int sqlstate, std::string message, std::string detail = "", std::string hint = "");

inline void throw_if_error(const Status& status) {
  if (!status.is_ok()) throw_status(status);
}

// The value of a Result, or its Status thrown.
template <typename T>
T value_or_throw(Result<T> result) {
  if (!result.is_ok()) throw_status(result.status());
  return std::move(result).value();
}

// A PostgreSQL error on its way through C++ frames; thrown by call_server().
struct ServerError {
  ErrorData* data = nullptr;  // in the memory context that was current
};

namespace internal {

// Plain data: survives a longjmp without a destructor.
struct CaughtError {
  ErrorData* server_error = nullptr;
  int sqlstate = 0;
  bool cancelled = false;
};

void capture_exception(CaughtError* caught) noexcept;  // call in a catch block
[[noreturn]] void raise(const CaughtError& caught);
void call_server_erased(void (*function)(void*), void* argument);

}  // namespace internal

// Runs `function` and returns what it returns; whatever it throws becomes an
// ereport after its frames are gone.  The result must be plain data, because
// PostgreSQL may later jump over its owner.
template <typename F>
auto guarded(F&& function) -> std::invoke_result_t<F> {
  using Returned = std::invoke_result_t<F>;
  static_assert(std::is_void_v<Returned> || std::is_trivially_destructible_v<Returned>,
                "guarded() returns plain data only");
  internal::CaughtError caught;
  try {
    return std::forward<F>(function)();
  } catch (...) {
    internal::capture_exception(&caught);
  }
  internal::raise(caught);
}

// Runs PostgreSQL code that may ereport.  `function` itself must own nothing
// that needs a destructor while it calls PostgreSQL.  Throws ServerError.
template <typename F>
auto call_server(F&& function) -> std::invoke_result_t<F> {
  using Returned = std::invoke_result_t<F>;
  if constexpr (std::is_void_v<Returned>) {
    internal::call_server_erased([](void* argument) { (*static_cast<std::remove_reference_t<F>*>(argument))(); },
                                 &function);
  } else {
    static_assert(std::is_trivially_destructible_v<Returned>, "call_server() returns plain data only");
    struct Call {
      std::remove_reference_t<F>* function;
      Returned returned;
    } call{&function, Returned{}};
    internal::call_server_erased(
        [](void* argument) {
          auto* typed = static_cast<Call*>(argument);
          typed->returned = (*typed->function)();
        },
        &call);
    return call.returned;
  }
}

// palloc for frames with destructors: throws std::bad_alloc instead of jumping.
template <typename T>
T* allocate_in_context(size_t count) {
  static_assert(std::is_trivially_destructible_v<T>);
  if (count > MaxAllocHugeSize / sizeof(T)) throw std::bad_alloc();
  const size_t bytes = count == 0 ? 1 : count * sizeof(T);
  void* memory = MemoryContextAllocExtended(CurrentMemoryContext, bytes, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
  if (memory == nullptr) throw std::bad_alloc();
  return static_cast<T*>(memory);
}

// A process-wide object whose construction cannot fail and which is never
// destroyed, so that others may hold pointers into it until the process is gone.
template <typename T>
class Permanent {
 public:
  static_assert(std::is_nothrow_default_constructible_v<T>);
  Permanent() noexcept { new (storage_) T; }
  T& operator*() { return *std::launder(reinterpret_cast<T*>(storage_)); }

 private:
  alignas(T) std::byte storage_[sizeof(T)];
};

// Whether the statement should stop now.  Never jumps: it is what the encoder's
// Interrupted callback asks; CHECK_FOR_INTERRUPTS() follows outside.
bool interrupt_pending();

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_GUARD_H
