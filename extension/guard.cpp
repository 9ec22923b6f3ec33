// Errors between C++ and PostgreSQL (see guard.h).
#include "extension/guard.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string_view>

namespace pg_semantic {
namespace {

// Texts of the error being carried from a catch block to ereport.  Static: an
// error about lack of memory must not need memory.  One error at a time.
constexpr size_t kMaxErrorText = 8192;
char message_buffer[kMaxErrorText];
char detail_buffer[kMaxErrorText];
char hint_buffer[kMaxErrorText];

// Cut at a character; bytes that the database's encoding does not allow (a file
// name can hold any) become '?', because they could not be sent to the client.
void copy_error_text(char* buffer, std::string_view text) noexcept {
  size_t length = std::min(text.size(), kMaxErrorText - 1);
  while (length < text.size() && length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  std::memcpy(buffer, text.data(), length);
  buffer[length] = '\0';
  for (size_t i = 0; i < length; ++i)
    if (buffer[i] == '\0') buffer[i] = '?';
  const int encoding = GetDatabaseEncoding();
  if (pg_encoding_verifymbstr(encoding, buffer, static_cast<int>(length)) == static_cast<int>(length) &&
      (encoding == PG_UTF8 || encoding == PG_SQL_ASCII))
    return;
  for (size_t i = 0; i < length; ++i)
    if (static_cast<unsigned char>(buffer[i]) >= 0x80) buffer[i] = '?';
}

void copy_error_texts(std::string_view message, std::string_view detail, std::string_view hint) noexcept {
  copy_error_text(message_buffer, message);
  copy_error_text(detail_buffer, detail);
  copy_error_text(hint_buffer, hint);
}

}  // namespace

int sqlstate_of(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
    case StatusCode::kInternal:
      return ERRCODE_INTERNAL_ERROR;
    case StatusCode::kInvalidArgument:
      return ERRCODE_INVALID_PARAMETER_VALUE;
    case StatusCode::kNotFound:
      return ERRCODE_UNDEFINED_FILE;
    case StatusCode::kCorrupt:
      return ERRCODE_DATA_EXCEPTION;
    case StatusCode::kUnsupported:
      return ERRCODE_FEATURE_NOT_SUPPORTED;
    case StatusCode::kIoError:
      return ERRCODE_IO_ERROR;
    case StatusCode::kOutOfMemory:
      return ERRCODE_OUT_OF_MEMORY;
    case StatusCode::kDiskFull:
      return ERRCODE_DISK_FULL;
    case StatusCode::kCancelled:
      return ERRCODE_QUERY_CANCELED;
    case StatusCode::kBehind:
    case StatusCode::kNotReady:
      return ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
  }
  return ERRCODE_INTERNAL_ERROR;
}

void throw_status(const Status& status) {
  throw SqlError{sqlstate_of(status.code()), status.code(), status.message(), status.detail(), status.hint()};
}

void throw_error(int sqlstate, std::string message, std::string detail, std::string hint) {
  throw SqlError{sqlstate, StatusCode::kInternal, std::move(message), std::move(detail), std::move(hint)};
}

void report_status(const Status& status) {
  copy_error_texts(status.message(), status.detail(), status.hint());
  internal::CaughtError caught;
  caught.sqlstate = sqlstate_of(status.code());
  caught.cancelled = status.code() == StatusCode::kCancelled;
  internal::raise(caught);
}

bool interrupt_pending() {
  return InterruptPending && (QueryCancelPending || ProcDiePending) && InterruptHoldoffCount == 0 &&
         CritSectionCount == 0;
}

namespace internal {

void capture_exception(CaughtError* caught) noexcept {
  try {
    throw;
  } catch (const ServerError& error) {
    caught->server_error = error.data;
  } catch (const SqlError& error) {
    caught->sqlstate = error.sqlstate;
    caught->cancelled = error.code == StatusCode::kCancelled;
    copy_error_texts(error.message, error.detail, error.hint);
  } catch (const std::bad_alloc&) {
    caught->sqlstate = ERRCODE_OUT_OF_MEMORY;
    copy_error_texts("out of memory", "Failed in C++ code of pg_semantic.", "");
  } catch (const std::length_error&) {
    caught->sqlstate = ERRCODE_OUT_OF_MEMORY;
    copy_error_texts("out of memory", "A C++ container of pg_semantic would grow past its limit.", "");
  } catch (const std::exception& error) {
    caught->sqlstate = ERRCODE_INTERNAL_ERROR;
    copy_error_texts("unexpected exception in pg_semantic", error.what(), "");
  } catch (...) {
    caught->sqlstate = ERRCODE_INTERNAL_ERROR;
    copy_error_texts("unexpected exception of unknown type in pg_semantic", "", "");
  }
}

void raise(const CaughtError& caught) {
  if (caught.server_error != nullptr) ReThrowError(caught.server_error);
  if (caught.cancelled) CHECK_FOR_INTERRUPTS();
  ereport(ERROR, (errcode(caught.sqlstate), errmsg_internal("%s", message_buffer),
                  detail_buffer[0] != '\0' ? errdetail_internal("%s", detail_buffer) : 0,
                  hint_buffer[0] != '\0' ? errhint("%s", hint_buffer) : 0));
  pg_unreachable();
}

void call_server_erased(void (*function)(void*), void* argument) {
  MemoryContext const context = CurrentMemoryContext;
  sigjmp_buf* const saved_stack = PG_exception_stack;
  ErrorContextCallback* const saved_callbacks = error_context_stack;
  ErrorData* volatile error = nullptr;
  try {
    PG_TRY();
    { function(argument); }
    PG_CATCH();
    {
      MemoryContextSwitchTo(context);
      error = CopyErrorData();
      FlushErrorState();
    }
    PG_END_TRY();
  } catch (...) {
    // A C++ exception left PG_TRY's block: take back what it installed.
    PG_exception_stack = saved_stack;
    error_context_stack = saved_callbacks;
    throw;
  }
  if (error != nullptr) throw ServerError{error};
}

}  // namespace internal
}  // namespace pg_semantic
