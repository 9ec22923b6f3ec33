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

struct Octets {
  static constexpr size_t kBytes = 1;
  static __m512 load(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static __m512 load(__mmask16 mask, const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, p)));
  }
};

struct SignedOctets {
  static constexpr size_t kBytes = 1;
  static __m512 load(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static __m512 load(__mmask16 mask, const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, p)));
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

// Sums of the octets under the bits of a code, eight octets added to a lane at a time.
__m512i octets_under(const BitQuery& query, const std::byte* bits) {
  __m512i sum = _mm512_setzero_si512();
  for (size_t word = 0; word < query.words; ++word) {
    unsigned long long mask;
    __builtin_memcpy(&mask, bits + word * 8, sizeof mask);
    const __m512i octets = _mm512_maskz_loadu_epi8(mask, query.octets + word * 64);
    sum = _mm512_add_epi64(sum, _mm512_sad_epu8(octets, _mm512_setzero_si512()));
  }
  return sum;
}

// Four at a time: their headers are transposed, and so are the lanes of their sums.
void bit_estimates(const BitQuery& query, const std::byte* codes, size_t stride, size_t count, float* estimates,
                   float* errors) {
  constexpr size_t kCodes = 4;
  const __m128 least = _mm_set1_ps(query.least), step = _mm_set1_ps(query.step);
  const __m128 half_sum = _mm_set1_ps(query.half_sum), constant = _mm_set1_ps(query.constant);
  const __m128 error_scale = _mm_set1_ps(query.error_scale), rescale_error = _mm_set1_ps(query.rescale_error);
  for (size_t first = 0; first < count; first += kCodes) {
    const size_t left = count - first;
    const auto code = [&](size_t i) { return codes + (first + (i < left ? i : left - 1)) * stride; };
    const auto header = [&](size_t i) { return _mm_loadu_ps(reinterpret_cast<const float*>(code(i))); };
    __m128 add = header(0), rescale = header(1), error = header(2), ones = header(3);
    _MM_TRANSPOSE4_PS(add, rescale, error, ones);
    const auto sums = [&](size_t i) { return octets_under(query, code(i) + sizeof(BitCodeHeader)); };
    const __m512i sum0 = sums(0), sum1 = sums(1), sum2 = sums(2), sum3 = sums(3);
    const __m512i pairs01 = _mm512_add_epi64(_mm512_unpacklo_epi64(sum0, sum1), _mm512_unpackhi_epi64(sum0, sum1));
    const __m512i pairs23 = _mm512_add_epi64(_mm512_unpacklo_epi64(sum2, sum3), _mm512_unpackhi_epi64(sum2, sum3));
    const __m256i halves01 = _mm256_add_epi64(_mm512_castsi512_si256(pairs01), _mm512_extracti64x4_epi64(pairs01, 1));
    const __m256i halves23 = _mm256_add_epi64(_mm512_castsi512_si256(pairs23), _mm512_extracti64x4_epi64(pairs23, 1));
    const __m256i totals = _mm256_add_epi64(_mm256_permute2x128_si256(halves01, halves23, 0x20),
                                            _mm256_permute2x128_si256(halves01, halves23, 0x31));
    const __m128 total = _mm256_cvtepi64_ps(totals);
    const __m128 set = _mm_cvtepi32_ps(_mm_castps_si128(ones));
    const __m128 product = _mm_sub_ps(_mm_fmadd_ps(least, set, _mm_mul_ps(step, total)), half_sum);
    const __m128 estimate = _mm_fmadd_ps(rescale, product, _mm_add_ps(add, constant));
    const __m128 magnitude = _mm_and_ps(rescale, _mm_castsi128_ps(_mm_set1_epi32(0x7fffffff)));
    const __m128 bound = _mm_fmadd_ps(error, error_scale, _mm_mul_ps(magnitude, rescale_error));
    const auto stored = static_cast<__mmask8>(left < kCodes ? (1u << left) - 1u : 0xfu);
    _mm_mask_storeu_ps(estimates + first, stored, estimate);
    _mm_mask_storeu_ps(errors + first, stored, bound);
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

// Stored values in doubles, eight at a time; lanes past the end are zero.
struct FloatDoubles {
  static constexpr size_t kBytes = 4;
  static __m512d load(const void* p, size_t left) {
    if (left >= 8) return _mm512_cvtps_pd(_mm256_loadu_ps(static_cast<const float*>(p)));
    return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(static_cast<__mmask8>((1u << left) - 1u), p));
  }
};

__m128i load_16_bits(const void* p, size_t left) {
  if (left >= 8) return _mm_loadu_si128(static_cast<const __m128i*>(p));
  return _mm_maskz_loadu_epi16(static_cast<__mmask8>((1u << left) - 1u), p);
}

struct HalfDoubles {
  static constexpr size_t kBytes = 2;
  static __m512d load(const void* p, size_t left) { return _mm512_cvtps_pd(_mm256_cvtph_ps(load_16_bits(p, left))); }
};

struct ShortDoubles {
  static constexpr size_t kBytes = 2;
  static __m512d load(const void* p, size_t left) {
    return _mm512_cvtepi32_pd(_mm256_cvtepi16_epi32(load_16_bits(p, left)));
  }
};

template <typename Values>
double exact_squared_distance(const float* query, const std::byte* values, double scale, size_t d) {
  const __m512d scales = _mm512_set1_pd(scale);
  __m512d sum[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
  for (size_t i = 0, part = 0; i < d; i += 8, part ^= 1) {
    const __m512d difference = _mm512_fnmadd_pd(scales, Values::load(values + i * Values::kBytes, d - i),
                                                FloatDoubles::load(query + i, d - i));
    sum[part] = _mm512_fmadd_pd(difference, difference, sum[part]);
  }
  return _mm512_reduce_add_pd(_mm512_add_pd(sum[0], sum[1]));
}

template <typename Values>
void exact_inner_product(const float* query, const std::byte* values, size_t d, double* product, double* squared_norm) {
  __m512d products = _mm512_setzero_pd(), squares = _mm512_setzero_pd();
  for (size_t i = 0; i < d; i += 8) {
    const __m512d value = Values::load(values + i * Values::kBytes, d - i);
    products = _mm512_fmadd_pd(FloatDoubles::load(query + i, d - i), value, products);
    squares = _mm512_fmadd_pd(value, value, squares);
  }
  *product = _mm512_reduce_add_pd(products);
  *squared_norm = _mm512_reduce_add_pd(squares);
}

}  // namespace

const Kernels kAvx512Kernels = {
    "avx512",
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
