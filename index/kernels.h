// Distance kernels over posting codes and float rows, chosen at run time.
//
// Debian's FAISS is compiled for plain x86-64, so the loops that matter are
// here, once portable, once for AVX2, once for AVX-512.  All three agree to
// float rounding; no kernel needs alignment.
//
// Thread safety: pure functions; the choice is made once, at first use.
#ifndef PG_SEMANTIC_INDEX_KERNELS_H
#define PG_SEMANTIC_INDEX_KERNELS_H

#include <cstddef>
#include <cstdint>

namespace pg_semantic::index {

// An 8-bit code begins with these four floats (index/FORMAT.md, "Codes"); its
// payload follows.  A kernel is given the first code and the distance between codes.
struct CodeHeader {
  float scale = 1;
  float offset = 0;
  float error = 0;  // bound of the distance between the vector and its code, rounding included
  float norm = 0;   // of the encoded vector
};

// A 1-bit code (RaBitQ, arXiv 2405.12497) begins with these; its bits follow, least significant first.
struct BitCodeHeader {
  float add = 0;      // of the estimate: what depends on the vector alone
  float rescale = 0;  // of the estimate: times the inner product of query and signs
  float error = 0;    // of the estimate: times the distance of query and centroid
  uint32_t ones = 0;  // bits set
};

inline constexpr size_t kCodeHeaderBytes = sizeof(CodeHeader);
static_assert(kCodeHeaderBytes == 16 && sizeof(BitCodeHeader) == 16);

struct QueryVector {
  const float* values = nullptr;
  size_t dimensions = 0;
  float sum = 0;  // of the values; the offset of an 8-bit code multiplies it
};

// A rotated query for 1-bit codes: value i is about least + step · octets[i].
struct BitQuery {
  const uint8_t* octets = nullptr;
  size_t words = 0;  // dimensions / 64
  float least = 0;
  float step = 0;
  float half_sum = 0;       // of the values
  float constant = 0;       // of a list: added to every estimate
  float error_scale = 0;    // of a list: times a code's error
  float rescale_error = 0;  // times |rescale|: what rounding to octets may change
};

// How a stored vector's values are written.  Values are on disk.
enum class Element : uint8_t { kFloat32 = 0, kFloat16 = 1, kInt16 = 2 };

// out[i]: squared Euclidean distance, or inner product, of query and 8-bit code i.
using ScanKernel = void (*)(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out);
// estimates[i] and, at least with high probability, a bound of its error, for 1-bit code i.
using BitScanKernel = void (*)(const BitQuery& query, const std::byte* codes, size_t stride, size_t count,
                               float* estimates, float* errors);
// The same over `count` contiguous rows of `dimensions` floats.
using RowsKernel = void (*)(const float* query, size_t dimensions, const float* rows, size_t count, float* out);

// The inner product of a query and so many signed bytes.
using SignedOctetsKernel = float (*)(const float* query, const std::byte* values, size_t dimensions);

struct Kernels {
  const char* name;
  ScanKernel squared_distance;
  ScanKernel inner_product;
  BitScanKernel bit_estimates;
  RowsKernel squared_distance_rows;
  RowsKernel inner_product_rows;
  SignedOctetsKernel signed_octets_product;
  // By Element, sums in double; `values` are `dimensions` stored values of any alignment.
  // Of the query and scale · values:
  double (*exact_squared_distance[3])(const float* query, const std::byte* values, double scale, size_t dimensions);
  // Of the query and the values as they are:
  void (*exact_inner_product[3])(const float* query, const std::byte* values, size_t dimensions, double* product,
                                 double* squared_norm);
};

extern const Kernels kPortableKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
bool cpu_has_avx2();
bool cpu_has_avx512();
#endif

// The fastest set this CPU runs.
const Kernels& kernels();

// IEEE 754 binary16, round to nearest even.
uint16_t half_from_float(float value);
float float_from_half(uint16_t half);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_KERNELS_H
