// See blas.h.
#include "encoder/blas.h"

#include <dlfcn.h>

#include <atomic>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "encoder/blocked_signals.h"

namespace pg_semantic::encoder {

namespace {

// cblas.h's constants; its header is not a build dependency.
constexpr int kRowMajor = 101;
constexpr int kNoTranspose = 111;
constexpr int kTranspose = 112;

using Sgemm = void (*)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float* a,
                       int lda, const float* b, int ldb, float beta, float* c, int ldc);
using GetCorename = char* (*)();
using SetNumThreads = void (*)(int);

Sgemm sgemm = nullptr;

// Sets a variable and puts back what was there: programs that the server starts
// later must not inherit it.
class TemporaryVariable {
 public:
  TemporaryVariable(const char* name, const char* value) : name_(name) {
    if (const char* before = getenv(name); before != nullptr) before_ = before;
    setenv(name, value, 1);
  }
  ~TemporaryVariable() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  TemporaryVariable(const TemporaryVariable&) = delete;
  TemporaryVariable& operator=(const TemporaryVariable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

const char* core_for_this_processor() {
  switch (vector_level()) {
    case VectorLevel::kAvx512Vnni:
    case VectorLevel::kAvx512:
      return "SkylakeX";
    case VectorLevel::kAvx2:
      return "Haswell";
    case VectorLevel::kPortable:
      break;
  }
  return nullptr;
}

void* load_library() {
  const BlockedSignals blocked;
  // One thread whatever the user set: our own threads each call it.
  const TemporaryVariable threads("OPENBLAS_NUM_THREADS", "1");
  // The core type is the user's to choose.
  std::optional<TemporaryVariable> core;
  if (getenv("OPENBLAS_CORETYPE") == nullptr && core_for_this_processor() != nullptr) {
    core.emplace("OPENBLAS_CORETYPE", core_for_this_processor());
  }
  return dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
}

// Freivalds' check (1977) of c = a · bᵀ: c·v against a·(bᵀ·v) in double precision,
// row by row, for one vector v.  It costs the matrices' size, not the product's.
bool product_is_right(const ProductShape& shape) {
  const auto [rows, columns, inner] = shape;
  uint32_t state = 12345;
  const auto next = [&state] {
    state = state * 1664525U + 1013904223U;
    return static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
  };
  std::vector<float> a(rows * inner), b(columns * inner), c(rows * columns, NAN);
  for (float& x : a) x = next();
  for (float& x : b) x = next();
  sgemm(kRowMajor, kNoTranspose, kTranspose, static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(inner),
        1.0f, a.data(), static_cast<int>(inner), b.data(), static_cast<int>(inner), 0.0f, c.data(),
        static_cast<int>(columns));
  std::vector<float> v(columns);
  for (float& x : v) x = next();
  std::vector<double> projected(inner);
  for (size_t j = 0; j < columns; ++j) {
    for (size_t k = 0; k < inner; ++k) projected[k] += static_cast<double>(b[j * inner + k]) * v[j];
  }
  for (size_t i = 0; i < rows; ++i) {
    double expected = 0, found = 0;
    for (size_t k = 0; k < inner; ++k) expected += a[i * inner + k] * projected[k];
    for (size_t j = 0; j < columns; ++j) found += static_cast<double>(c[i * columns + j]) * v[j];
    // Typical size of the sums: sqrt(columns · inner) / 5; a wrong element shows as about 0.1.
    const double tolerance = 1e-5 * std::sqrt(static_cast<double>(columns * inner)) + 1e-3;
    if (!(std::fabs(expected - found) <= tolerance)) return false;
  }
  return true;
}

// Shapes below and above the library's blocking, and not multiples of it.
bool products_are_right() {
  return product_is_right({7, 19, 33}) && product_is_right({67, 130, 260}) && product_is_right({401, 70, 390});
}

BlasState load() {
  BlasState state;
  void* library = load_library();
  if (library == nullptr) {
    const char* why = dlerror();
    state.warning = "OpenBLAS could not be loaded, the slower built-in kernels are used: " +
                    std::string(why == nullptr ? "unknown error" : why) + ".";
    return state;
  }
  sgemm = reinterpret_cast<Sgemm>(dlsym(library, "cblas_sgemm"));
  const auto corename = reinterpret_cast<GetCorename>(dlsym(library, "openblas_get_corename"));
  const auto set_num_threads = reinterpret_cast<SetNumThreads>(dlsym(library, "openblas_set_num_threads"));
  if (sgemm == nullptr) {
    state.warning = "The library libopenblas.so.0 has no cblas_sgemm, the slower built-in kernels are used.";
    return state;
  }
  if (set_num_threads != nullptr) set_num_threads(1);
  if (corename != nullptr) state.core = corename();
  if (!products_are_right()) {
    state.warning = "OpenBLAS (core type " + state.core +
                    ") computes wrong products on this processor, the slower built-in kernels are used.";
    return state;
  }
  state.usable = true;
  const char* wanted = core_for_this_processor();
  if (wanted != nullptr && getenv("OPENBLAS_CORETYPE") == nullptr && state.core != wanted) {
    state.warning = "OpenBLAS runs as core type " + state.core + " although " + wanted + " was asked for.";
  }
  return state;
}

// Our kernels pack nothing: on few rows they are two to three times as fast as
// OpenBLAS.  On many rows OpenBLAS gains up to a fifth, where it runs on the
// kernels that fit the processor.
constexpr size_t kSmallRows = 96;

// Loading and trying the library costs 10 to 40 ms; it saves a fifth of about
// 0.15 s of products of this many operations.
constexpr double kWorthLoading = 2e10;

std::atomic<bool> tried = false;

bool blas_wins() {
  if (!tried) return false;
  const BlasState& state = blas_state();
  const char* fitting = core_for_this_processor();
  return state.usable && (fitting == nullptr || state.core == fitting);
}

}  // namespace

const BlasState& blas_state() {
  static const BlasState state = load();
  tried = true;
  return state;
}

void blas_multiply_transposed(ProductShape shape, ConstMatrix a, ConstMatrix b, Matrix c) {
  sgemm(kRowMajor, kNoTranspose, kTranspose, static_cast<int>(shape.rows), static_cast<int>(shape.columns),
        static_cast<int>(shape.inner), 1.0f, a.data, static_cast<int>(a.stride), b.data, static_cast<int>(b.stride),
        0.0f, c.data, static_cast<int>(c.stride));
}

void prepare_multiply(double operations) {
  if (operations > kWorthLoading) blas_state();
}

void multiply_transposed(ProductShape shape, ConstMatrix a, ConstMatrix b, Matrix c) {
  const bool fits = shape.rows <= INT_MAX && shape.columns <= INT_MAX && shape.inner <= INT_MAX &&
                    a.stride <= INT_MAX && b.stride <= INT_MAX && c.stride <= INT_MAX;
  if (shape.rows > kSmallRows && fits && blas_wins()) {
    blas_multiply_transposed(shape, a, b, c);
  } else {
    kernels().multiply_transposed(shape, 1.0f, a, b, c);
  }
}

}  // namespace pg_semantic::encoder
