// Status and Result<T>: how encoder/ and index/ report failure.
//
// Nothing in these two folders throws across a public function: exceptions of
// libraries stop in the file that calls them and become a Status.  The code
// chooses the SQLSTATE in extension/; message, detail and hint follow
// PostgreSQL's style (message: lower case, no full stop; detail and hint: whole
// sentences).
//
// Thread safety: values, no shared state.
#ifndef PG_SEMANTIC_ENCODER_STATUS_H
#define PG_SEMANTIC_ENCODER_STATUS_H

#include <cassert>
#include <optional>
#include <string>
#include <utility>

namespace pg_semantic {

enum class StatusCode {
  kOk,
  kInvalidArgument,  // the caller's value is not usable (22023)
  kNotFound,         // a file, generation or name is not there (58P01, 42704)
  kCorrupt,          // a file's content is not what its format says (22000)
  kUnsupported,      // sound, but not something this version does (0A000)
  kIoError,          // the operating system refused a read or write (58030)
  kOutOfMemory,      // 53200
  kDiskFull,         // 53100
  kCancelled,        // interrupted() said so (57014)
  kInternal,         // a bug or a broken invariant (XX000)
  kBehind,           // an index lacks changes of its table (55000)
  kNotReady,         // an index is being built (55000)
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message, std::string detail = "", std::string hint = "")
      : code_(code), message_(std::move(message)), detail_(std::move(detail)), hint_(std::move(hint)) {}

  static Status ok() { return {}; }
  static Status cancelled() { return {StatusCode::kCancelled, "canceling statement due to user request"}; }

  [[nodiscard]] bool is_ok() const { return code_ == StatusCode::kOk; }
  explicit operator bool() const { return is_ok(); }
  [[nodiscard]] StatusCode code() const { return code_; }
  [[nodiscard]] const std::string& message() const { return message_; }
  [[nodiscard]] const std::string& detail() const { return detail_; }
  [[nodiscard]] const std::string& hint() const { return hint_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
  std::string detail_;
  std::string hint_;
};

// A T, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                                     // NOLINT
  Result(Status status) : status_(std::move(status)) { assert(!status_.is_ok()); }  // NOLINT

  [[nodiscard]] bool is_ok() const { return status_.is_ok(); }
  explicit operator bool() const { return is_ok(); }
  [[nodiscard]] const Status& status() const { return status_; }

  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return *std::move(value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace pg_semantic

// Returns from the enclosing function when the expression's Status is not ok.
#define PG_SEMANTIC_RETURN_IF_ERROR(expression)           \
  do {                                                    \
    ::pg_semantic::Status status_in_macro = (expression); \
    if (!status_in_macro.is_ok()) return status_in_macro; \
  } while (false)

#endif  // PG_SEMANTIC_ENCODER_STATUS_H
