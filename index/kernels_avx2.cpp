// Distance kernels for AVX2, FMA and F16C.
//
// Everything here has internal linkage and includes no template of ours: a
// function the linker merged with another file's copy would bring these
// instructions to CPUs that lack them.
#if defined(__x86_64__)
#include <immintrin.h>

#include "index/kernels.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kLanes = 8;

float add_up(__m256 a) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

double add_up(__m256d a) {
  const __m128d sum = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
  return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
}

CodeHeader header_of(const std::byte* code) {
  CodeHeader header;
  __builtin_memcpy(&header, code, sizeof header);
  return header;
}

// How eight (one) stored values are read and turned into floats.
struct Floats {
  static constexpr size_t kBytes = 4;
  static __m256 load8(const std::byte* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }
  static float load1(const std::byte* p) {
    float value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
  }
};

struct Halves {
  static constexpr size_t kBytes = 2;
  static __m256 load8(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static float load1(const std::byte* p) {
    unsigned short half;
    __builtin_memcpy(&half, p, sizeof half);
    return _cvtsh_ss(half);
  }
};

struct Octets {
  static constexpr size_t kBytes = 1;
  static __m256 load8(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static float load1(const std::byte* p) { return static_cast<float>(static_cast<unsigned char>(*p)); }
};

// Sum of (query - offset - scale * value)^2.
template <typename Values>
float squared_distance(const float* query, size_t d, const std::byte* payload, float scale, float offset) {
  const __m256 scales = _mm256_set1_ps(scale), offsets = _mm256_set1_ps(offset);
  __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  size_t i = 0;
  const auto step = [&](size_t at, __m256& total) {
    const __m256 shifted = _mm256_sub_ps(_mm256_loadu_ps(query + at), offsets);
    const __m256 difference = _mm256_fnmadd_ps(scales, Values::load8(payload + at * Values::kBytes), shifted);
    total = _mm256_fmadd_ps(difference, difference, total);
  };
  for (; i + 4 * kLanes <= d; i += 4 * kLanes) {
    for (size_t part = 0; part < 4; ++part) step(i + part * kLanes, sum[part]);
  }
  for (; i + kLanes <= d; i += kLanes) step(i, sum[0]);
  float total = add_up(_mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
  for (; i < d; ++i) {
    const float difference = query[i] - offset - scale * Values::load1(payload + i * Values::kBytes);
    total += difference * difference;
  }
  return total;
}

template <typename Values>
float inner_product(const float* query, size_t d, const std::byte* payload) {
  __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  size_t i = 0;
  const auto step = [&](size_t at, __m256& total) {
    total = _mm256_fmadd_ps(_mm256_loadu_ps(query + at), Values::load8(payload + at * Values::kBytes), total);
  };
  for (; i + 4 * kLanes <= d; i += 4 * kLanes) {
    for (size_t part = 0; part < 4; ++part) step(i + part * kLanes, sum[part]);
  }
  for (; i + kLanes <= d; i += kLanes) step(i, sum[0]);
  float total = add_up(_mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
  for (; i < d; ++i) total += query[i] * Values::load1(payload + i * Values::kBytes);
  return total;
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

__m256d load_doubles(const void* p) { return _mm256_cvtps_pd(_mm_loadu_ps(static_cast<const float*>(p))); }

double exact_squared_distance(const float* query, const std::byte* bytes, size_t d) {
  __m256d sum[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  size_t i = 0;
  for (; i + 8 <= d; i += 8) {
    for (size_t part = 0; part < 2; ++part) {
      const size_t at = i + part * 4;
      const __m256d difference = _mm256_sub_pd(load_doubles(query + at), load_doubles(bytes + at * 4));
      sum[part] = _mm256_fmadd_pd(difference, difference, sum[part]);
    }
  }
  double total = add_up(_mm256_add_pd(sum[0], sum[1]));
  for (; i < d; ++i) {
    const double difference = double{query[i]} - double{Floats::load1(bytes + i * 4)};
    total += difference * difference;
  }
  return total;
}

void exact_inner_product(const float* query, const std::byte* bytes, size_t d, double* product, double* squared_norm) {
  __m256d products[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  __m256d squares[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  size_t i = 0;
  for (; i + 8 <= d; i += 8) {
    for (size_t part = 0; part < 2; ++part) {
      const size_t at = i + part * 4;
      const __m256d value = load_doubles(bytes + at * 4);
      products[part] = _mm256_fmadd_pd(load_doubles(query + at), value, products[part]);
      squares[part] = _mm256_fmadd_pd(value, value, squares[part]);
    }
  }
  *product = add_up(_mm256_add_pd(products[0], products[1]));
  *squared_norm = add_up(_mm256_add_pd(squares[0], squares[1]));
  for (; i < d; ++i) {
    const double value = Floats::load1(bytes + i * 4);
    *product += double{query[i]} * value;
    *squared_norm += value * value;
  }
}

}  // namespace

const Kernels kAvx2Kernels = {
    "avx2",
    {scan_squared_distance<Floats>, scan_squared_distance<Halves>, scan_squared_distance<Octets>},
    {scan_inner_product<Floats>, scan_inner_product<Halves>, scan_inner_product<Octets>},
    squared_distance_rows,
    inner_product_rows,
    exact_squared_distance,
    exact_inner_product,
};

}  // namespace pg_semantic::index
#endif
