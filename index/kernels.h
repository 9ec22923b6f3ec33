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

// A code begins with these four floats (index/FORMAT.md, "Codes"); its payload
// follows.  A kernel is given the first code and the distance between codes.
struct CodeHeader {
  float scale = 1;
  float offset = 0;
  float error = 0;  // bound of the distance between the vector and its code, rounding included
  float norm = 0;   // of the encoded vector
};

inline constexpr size_t kCodeHeaderBytes = sizeof(CodeHeader);
static_assert(kCodeHeaderBytes == 16);

struct QueryVector {
  const float* values = nullptr;
  size_t dimensions = 0;
  float sum = 0;  // of the values; the offset of an 8-bit code multiplies it
};

// out[i]: squared Euclidean distance, or inner product, of query and code i.
using ScanKernel = void (*)(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out);
// The same over `count` contiguous rows of `dimensions` floats.
using RowsKernel = void (*)(const float* query, size_t dimensions, const float* rows, size_t count, float* out);

struct Kernels {
  const char* name;
  ScanKernel squared_distance[3];  // by Codec
  ScanKernel inner_product[3];     // by Codec
  RowsKernel squared_distance_rows;
  RowsKernel inner_product_rows;
  // Sums in double; `bytes` are `dimensions` floats of any alignment.
  double (*exact_squared_distance)(const float* query, const std::byte* bytes, size_t dimensions);
  void (*exact_inner_product)(const float* query, const std::byte* bytes, size_t dimensions, double* product,
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
