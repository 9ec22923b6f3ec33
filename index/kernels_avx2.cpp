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

struct Octets {
  static constexpr size_t kBytes = 1;
  static __m256 load8(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static float load1(const std::byte* p) { return static_cast<float>(static_cast<unsigned char>(*p)); }
};

struct SignedOctets {
  static constexpr size_t kBytes = 1;
  static __m256 load8(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static float load1(const std::byte* p) { return static_cast<float>(static_cast<signed char>(*p)); }
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

void scan_squared_distance(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i, codes += stride) {
    const CodeHeader header = header_of(codes);
    out[i] =
        squared_distance<Octets>(query.values, query.dimensions, codes + kCodeHeaderBytes, header.scale, header.offset);
  }
}

void scan_inner_product(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i, codes += stride) {
    const CodeHeader header = header_of(codes);
    out[i] = header.offset * query.sum +
             header.scale * inner_product<Octets>(query.values, query.dimensions, codes + kCodeHeaderBytes);
  }
}

// The octets under the bits: each bit is spread to a byte, eight octets are added to a lane at a time.
void bit_estimates(const BitQuery& query, const std::byte* codes, size_t stride, size_t count, float* estimates,
                   float* errors) {
  const __m256i byte_of =
      _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ULL));
  for (size_t i = 0; i < count; ++i, codes += stride) {
    BitCodeHeader header;
    __builtin_memcpy(&header, codes, sizeof header);
    const std::byte* bits = codes + sizeof header;
    __m256i sum = _mm256_setzero_si256();
    for (size_t part = 0; part < 2 * query.words; ++part) {
      int mask;
      __builtin_memcpy(&mask, bits + part * 4, sizeof mask);
      const __m256i spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(mask), byte_of), bit_of);
      const __m256i octets = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query.octets + part * 32));
      const __m256i chosen = _mm256_and_si256(_mm256_cmpeq_epi8(spread, bit_of), octets);
      sum = _mm256_add_epi64(sum, _mm256_sad_epu8(chosen, _mm256_setzero_si256()));
    }
    const __m128i halves = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    const auto total = static_cast<float>(_mm_cvtsi128_si64(halves) + _mm_extract_epi64(halves, 1));
    const float product = query.least * static_cast<float>(header.ones) + query.step * total - query.half_sum;
    estimates[i] = header.add + query.constant + header.rescale * product;
    errors[i] = header.error * query.error_scale + __builtin_fabsf(header.rescale) * query.rescale_error;
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

float signed_octets_product(const float* query, const std::byte* values, size_t d) {
  return inner_product<SignedOctets>(query, d, values);
}

// Four stored values, or one, in doubles.
struct FloatDoubles {
  static constexpr size_t kBytes = 4;
  static __m256d load4(const void* p) { return _mm256_cvtps_pd(_mm_loadu_ps(static_cast<const float*>(p))); }
  static double load1(const std::byte* p) { return Floats::load1(p); }
};

struct HalfDoubles {
  static constexpr size_t kBytes = 2;
  static __m256d load4(const void* p) {
    return _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  }
  static double load1(const std::byte* p) {
    unsigned short half;
    __builtin_memcpy(&half, p, sizeof half);
    return _cvtsh_ss(half);
  }
};

struct ShortDoubles {
  static constexpr size_t kBytes = 2;
  static __m256d load4(const void* p) {
    return _mm256_cvtepi32_pd(_mm_cvtepi16_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  }
  static double load1(const std::byte* p) {
    short value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
  }
};

template <typename Values>
double exact_squared_distance(const float* query, const std::byte* values, double scale, size_t d) {
  const __m256d scales = _mm256_set1_pd(scale);
  __m256d sum[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  size_t i = 0;
  for (; i + 8 <= d; i += 8) {
    for (size_t part = 0; part < 2; ++part) {
      const size_t at = i + part * 4;
      const __m256d difference =
          _mm256_fnmadd_pd(scales, Values::load4(values + at * Values::kBytes), FloatDoubles::load4(query + at));
      sum[part] = _mm256_fmadd_pd(difference, difference, sum[part]);
    }
  }
  double total = add_up(_mm256_add_pd(sum[0], sum[1]));
  for (; i < d; ++i) {
    const double difference = double{query[i]} - scale * Values::load1(values + i * Values::kBytes);
    total += difference * difference;
  }
  return total;
}

template <typename Values>
void exact_inner_product(const float* query, const std::byte* values, size_t d, double* product, double* squared_norm) {
  __m256d products[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  __m256d squares[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  size_t i = 0;
  for (; i + 8 <= d; i += 8) {
    for (size_t part = 0; part < 2; ++part) {
      const size_t at = i + part * 4;
      const __m256d value = Values::load4(values + at * Values::kBytes);
      products[part] = _mm256_fmadd_pd(FloatDoubles::load4(query + at), value, products[part]);
      squares[part] = _mm256_fmadd_pd(value, value, squares[part]);
    }
  }
  *product = add_up(_mm256_add_pd(products[0], products[1]));
  *squared_norm = add_up(_mm256_add_pd(squares[0], squares[1]));
  for (; i < d; ++i) {
    const double value = Values::load1(values + i * Values::kBytes);
    *product += double{query[i]} * value;
    *squared_norm += value * value;
  }
}

}  // namespace

const Kernels kAvx2Kernels = {
    "avx2",
    scan_squared_distance,
    scan_inner_product,
    bit_estimates,
    squared_distance_rows,
    inner_product_rows,
    signed_octets_product,
    {exact_squared_distance<FloatDoubles>, exact_squared_distance<HalfDoubles>, exact_squared_distance<ShortDoubles>},
    {exact_inner_product<FloatDoubles>, exact_inner_product<HalfDoubles>, exact_inner_product<ShortDoubles>},
};

}  // namespace pg_semantic::index
#endif
