// Distance kernels for AVX-512 (F, BW, DQ, VL).  The tail of a vector is read
// under a mask, so there is no scalar loop.
//
// Everything here has internal linkage and includes no template of ours: a
// function the linker merged with another file's copy would bring these
// instructions to CPUs that lack them.
#if defined(__x86_64__)
// GCC 12's own header reads a deliberately undefined register (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "index/kernels.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kLanes = 16;

__mmask16 first_lanes(size_t count) { return static_cast<__mmask16>((1u << count) - 1u); }

CodeHeader header_of(const std::byte* code) {
  CodeHeader header;
  __builtin_memcpy(&header, code, sizeof header);
  return header;
}

// How sixteen stored values, or those under a mask, are read as floats.
struct Floats {
  static constexpr size_t kBytes = 4;
  static __m512 load(const std::byte* p) { return _mm512_loadu_ps(p); }
  static __m512 load(__mmask16 mask, const std::byte* p) { return _mm512_maskz_loadu_ps(mask, p); }
};

struct Halves {
  static constexpr size_t kBytes = 2;
  static __m512 load(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static __m512 load(__mmask16 mask, const std::byte* p) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p)); }
};

struct Octets {
  static constexpr size_t kBytes = 1;
  static __m512 load(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static __m512 load(__mmask16 mask, const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, p)));
  }
};

// Sum of (query - offset - scale * value)^2.
template <typename Values>
float squared_distance(const float* query, size_t d, const std::byte* payload, float scale, float offset) {
  const __m512 scales = _mm512_set1_ps(scale), offsets = _mm512_set1_ps(offset);
  __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  size_t i = 0;
  const auto step = [&](size_t at, __m512& total) {
    const __m512 shifted = _mm512_sub_ps(_mm512_loadu_ps(query + at), offsets);
    const __m512 difference = _mm512_fnmadd_ps(scales, Values::load(payload + at * Values::kBytes), shifted);
    total = _mm512_fmadd_ps(difference, difference, total);
  };
  for (; i + 4 * kLanes <= d; i += 4 * kLanes) {
    for (size_t part = 0; part < 4; ++part) step(i + part * kLanes, sum[part]);
  }
  for (; i + kLanes <= d; i += kLanes) step(i, sum[0]);
  if (i < d) {
    const __mmask16 mask = first_lanes(d - i);
    const __m512 shifted = _mm512_maskz_sub_ps(mask, _mm512_maskz_loadu_ps(mask, query + i), offsets);
    const __m512 difference =
        _mm512_maskz_fnmadd_ps(mask, scales, Values::load(mask, payload + i * Values::kBytes), shifted);
    sum[0] = _mm512_fmadd_ps(difference, difference, sum[0]);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

template <typename Values>
float inner_product(const float* query, size_t d, const std::byte* payload) {
  __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  size_t i = 0;
  const auto step = [&](size_t at, __m512& total) {
    total = _mm512_fmadd_ps(_mm512_loadu_ps(query + at), Values::load(payload + at * Values::kBytes), total);
  };
  for (; i + 4 * kLanes <= d; i += 4 * kLanes) {
    for (size_t part = 0; part < 4; ++part) step(i + part * kLanes, sum[part]);
  }
  for (; i + kLanes <= d; i += kLanes) step(i, sum[0]);
  if (i < d) {
    const __mmask16 mask = first_lanes(d - i);
    sum[0] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, query + i), Values::load(mask, payload + i * Values::kBytes),
                             sum[0]);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

template <typename Values>
void scan_squared_distance(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i, codes += stride) {
    const CodeHeader header = header_of(codes);
    out[i] =
        squared_distance<Values>(query.values, query.dimensions, codes + kCodeHeaderBytes, header.scale, header.offset);
  }
}

template <typename Values>
void scan_inner_product(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i, codes += stride) {
    const CodeHeader header = header_of(codes);
    out[i] = header.offset * query.sum +
             header.scale * inner_product<Values>(query.values, query.dimensions, codes + kCodeHeaderBytes);
  }
}

void squared_distance_rows(const float* query, size_t d, const float* rows, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i)
    out[i] = squared_distance<Floats>(query, d, reinterpret_cast<const std::byte*>(rows + i * d), 1, 0);
}

void inner_product_rows(const float* query, size_t d, const float* rows, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i)
    out[i] = inner_product<Floats>(query, d, reinterpret_cast<const std::byte*>(rows + i * d));
}

// The float vectors in doubles, eight at a time; lanes past the end are zero.
__m512d load_doubles(const void* floats, size_t left) {
  if (left >= 8) return _mm512_cvtps_pd(_mm256_loadu_ps(static_cast<const float*>(floats)));
  return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(static_cast<__mmask8>((1u << left) - 1u), floats));
}

double exact_squared_distance(const float* query, const std::byte* bytes, size_t d) {
  __m512d sum[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
  for (size_t i = 0, part = 0; i < d; i += 8, part ^= 1) {
    const __m512d difference = _mm512_sub_pd(load_doubles(query + i, d - i), load_doubles(bytes + i * 4, d - i));
    sum[part] = _mm512_fmadd_pd(difference, difference, sum[part]);
  }
  return _mm512_reduce_add_pd(_mm512_add_pd(sum[0], sum[1]));
}

void exact_inner_product(const float* query, const std::byte* bytes, size_t d, double* product, double* squared_norm) {
  __m512d products = _mm512_setzero_pd(), squares = _mm512_setzero_pd();
  for (size_t i = 0; i < d; i += 8) {
    const __m512d value = load_doubles(bytes + i * 4, d - i);
    products = _mm512_fmadd_pd(load_doubles(query + i, d - i), value, products);
    squares = _mm512_fmadd_pd(value, value, squares);
  }
  *product = _mm512_reduce_add_pd(products);
  *squared_norm = _mm512_reduce_add_pd(squares);
}

}  // namespace

const Kernels kAvx512Kernels = {
    "avx512",
    {scan_squared_distance<Floats>, scan_squared_distance<Halves>, scan_squared_distance<Octets>},
    {scan_inner_product<Floats>, scan_inner_product<Halves>, scan_inner_product<Octets>},
    squared_distance_rows,
    inner_product_rows,
    exact_squared_distance,
    exact_inner_product,
};

}  // namespace pg_semantic::index
#endif
