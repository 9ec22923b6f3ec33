// Portable distance kernels, and the choice among the sets.
#include "index/kernels.h"

#include <array>
#include <bit>
#include <cmath>

#include "index/bytes.h"

namespace pg_semantic::index {

uint16_t half_from_float(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x7f800000u) return sign | (magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u);
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // rounds past 65504
  if (magnitude < 0x38800000u) {
    // Subnormal half: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000u);
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return sign | static_cast<uint16_t>((magnitude - 0x38000000u + 0xfffu + odd) >> 13);
}

float float_from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  const uint32_t wide = exponent == 31 ? 0xffu : exponent + 112u;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

namespace {

constexpr size_t kLanes = 8;  // independent sums: the compiler may use vector registers without reordering

float add_up(const float (&sums)[kLanes]) {
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

// `element(i)` is the i-th value of the stored vector.
template <typename Element>
float squared_distance(const float* query, size_t dimensions, Element element) {
  float sums[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= dimensions; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float difference = query[i + lane] - element(i + lane);
      sums[lane] += difference * difference;
    }
  }
  for (; i < dimensions; ++i) {
    const float difference = query[i] - element(i);
    sums[0] += difference * difference;
  }
  return add_up(sums);
}

template <typename Element>
float inner_product(const float* query, size_t dimensions, Element element) {
  float sums[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= dimensions; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += query[i + lane] * element(i + lane);
  }
  for (; i < dimensions; ++i) sums[0] += query[i] * element(i);
  return add_up(sums);
}

auto octets_of(const std::byte* payload) {
  return [payload](size_t i) { return static_cast<float>(static_cast<uint8_t>(payload[i])); };
}

void scan_squared_distance(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const auto header = load<CodeHeader>(codes + i * stride);
    const auto octet = octets_of(codes + i * stride + kCodeHeaderBytes);
    out[i] = squared_distance(query.values, query.dimensions,
                              [&](size_t j) { return header.offset + header.scale * octet(j); });
  }
}

void scan_inner_product(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const auto header = load<CodeHeader>(codes + i * stride);
    out[i] = header.offset * query.sum + header.scale * inner_product(query.values, query.dimensions,
                                                                      octets_of(codes + i * stride + kCodeHeaderBytes));
  }
}

// Byte i of entry n is 0xff where bit i of n is set.
constexpr std::array<uint64_t, 256> kSpreadBits = [] {
  std::array<uint64_t, 256> spread{};
  for (size_t n = 0; n < spread.size(); ++n) {
    for (size_t bit = 0; bit < 8; ++bit) spread[n] |= (n >> bit & 1) != 0 ? uint64_t{0xff} << (8 * bit) : 0;
  }
  return spread;
}();

// Sum of the octets under the bits.
uint64_t sum_under(const uint8_t* octets, const std::byte* bits, size_t words) {
  constexpr uint64_t kEven = 0x00ff00ff00ff00ff;
  uint64_t total = 0;
  for (size_t word = 0; word < words; ++word) {
    uint64_t lanes = 0;  // four of 16 bits; each grows by at most 510 a byte
    for (size_t i = 0; i < 8; ++i) {
      const uint64_t chosen =
          load<uint64_t>(octets + word * 64 + i * 8) & kSpreadBits[static_cast<uint8_t>(bits[word * 8 + i])];
      lanes += (chosen & kEven) + (chosen >> 8 & kEven);
    }
    total += lanes * 0x0001000100010001 >> 48;
  }
  return total;
}

void bit_estimates(const BitQuery& query, const std::byte* codes, size_t stride, size_t count, float* estimates,
                   float* errors) {
  for (size_t i = 0; i < count; ++i, codes += stride) {
    const auto header = load<BitCodeHeader>(codes);
    const auto total = static_cast<float>(sum_under(query.octets, codes + sizeof header, query.words));
    const float product = query.least * static_cast<float>(header.ones) + query.step * total - query.half_sum;
    estimates[i] = header.add + query.constant + header.rescale * product;
    errors[i] = header.error * query.error_scale + std::fabs(header.rescale) * query.rescale_error;
  }
}

void squared_distance_rows(const float* query, size_t dimensions, const float* rows, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const float* row = rows + i * dimensions;
    out[i] = squared_distance(query, dimensions, [row](size_t j) { return row[j]; });
  }
}

void inner_product_rows(const float* query, size_t dimensions, const float* rows, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const float* row = rows + i * dimensions;
    out[i] = inner_product(query, dimensions, [row](size_t j) { return row[j]; });
  }
}

float signed_octets_product(const float* query, const std::byte* values, size_t dimensions) {
  return inner_product(query, dimensions,
                       [values](size_t j) { return static_cast<float>(static_cast<int8_t>(values[j])); });
}

double float_at(const std::byte* values, size_t i) { return load<float>(values + i * sizeof(float)); }
double half_at(const std::byte* values, size_t i) { return float_from_half(load<uint16_t>(values + i * 2)); }
double short_at(const std::byte* values, size_t i) { return load<int16_t>(values + i * 2); }

template <double (*kValueAt)(const std::byte*, size_t)>
double exact_squared_distance(const float* query, const std::byte* values, double scale, size_t dimensions) {
  double sums[4] = {};
  for (size_t i = 0; i < dimensions; ++i) {
    const double difference = double{query[i]} - scale * kValueAt(values, i);
    sums[i % 4] += difference * difference;
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

template <double (*kValueAt)(const std::byte*, size_t)>
void exact_inner_product(const float* query, const std::byte* values, size_t dimensions, double* product,
                         double* squared_norm) {
  double products[4] = {}, squares[4] = {};
  for (size_t i = 0; i < dimensions; ++i) {
    const double value = kValueAt(values, i);
    products[i % 4] += static_cast<double>(query[i]) * value;
    squares[i % 4] += value * value;
  }
  *product = (products[0] + products[1]) + (products[2] + products[3]);
  *squared_norm = (squares[0] + squares[1]) + (squares[2] + squares[3]);
}

const Kernels& choose() {
#if defined(__x86_64__)
  if (cpu_has_avx512()) return kAvx512Kernels;
  if (cpu_has_avx2()) return kAvx2Kernels;
#endif
  return kPortableKernels;
}

}  // namespace

const Kernels kPortableKernels = {
    "portable",
    scan_squared_distance,
    scan_inner_product,
    bit_estimates,
    squared_distance_rows,
    inner_product_rows,
    signed_octets_product,
    {exact_squared_distance<float_at>, exact_squared_distance<half_at>, exact_squared_distance<short_at>},
    {exact_inner_product<float_at>, exact_inner_product<half_at>, exact_inner_product<short_at>},
};

#if defined(__x86_64__)
bool cpu_has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

bool cpu_has_avx512() {
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace pg_semantic::index
