// Portable distance kernels, and the choice among the sets.
#include "index/kernels.h"

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

auto floats_of(const std::byte* payload) {
  return [payload](size_t i) { return load<float>(payload + i * sizeof(float)); };
}

auto halves_of(const std::byte* payload) {
  return [payload](size_t i) { return float_from_half(load<uint16_t>(payload + i * sizeof(uint16_t))); };
}

auto octets_of(const std::byte* payload) {
  return [payload](size_t i) { return static_cast<float>(static_cast<uint8_t>(payload[i])); };
}

void squared_distance_f32(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i)
    out[i] = squared_distance(query.values, query.dimensions, floats_of(codes + i * stride + kCodeHeaderBytes));
}

void inner_product_f32(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i)
    out[i] = inner_product(query.values, query.dimensions, floats_of(codes + i * stride + kCodeHeaderBytes));
}

void squared_distance_f16(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const auto header = load<CodeHeader>(codes + i * stride);
    const auto half = halves_of(codes + i * stride + kCodeHeaderBytes);
    out[i] = squared_distance(query.values, query.dimensions, [&](size_t j) { return header.scale * half(j); });
  }
}

void inner_product_f16(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const auto header = load<CodeHeader>(codes + i * stride);
    out[i] =
        header.scale * inner_product(query.values, query.dimensions, halves_of(codes + i * stride + kCodeHeaderBytes));
  }
}

void squared_distance_sq8(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const auto header = load<CodeHeader>(codes + i * stride);
    const auto octet = octets_of(codes + i * stride + kCodeHeaderBytes);
    out[i] = squared_distance(query.values, query.dimensions,
                              [&](size_t j) { return header.offset + header.scale * octet(j); });
  }
}

void inner_product_sq8(const QueryVector& query, const std::byte* codes, size_t stride, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const auto header = load<CodeHeader>(codes + i * stride);
    out[i] = header.offset * query.sum + header.scale * inner_product(query.values, query.dimensions,
                                                                      octets_of(codes + i * stride + kCodeHeaderBytes));
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

double exact_squared_distance(const float* query, const std::byte* bytes, size_t dimensions) {
  double sums[4] = {};
  for (size_t i = 0; i < dimensions; ++i) {
    const double difference = double{query[i]} - double{load<float>(bytes + i * sizeof(float))};
    sums[i % 4] += difference * difference;
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

void exact_inner_product(const float* query, const std::byte* bytes, size_t dimensions, double* product,
                         double* squared_norm) {
  double products[4] = {}, squares[4] = {};
  for (size_t i = 0; i < dimensions; ++i) {
    const double value = load<float>(bytes + i * sizeof(float));
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
    {squared_distance_f32, squared_distance_f16, squared_distance_sq8},
    {inner_product_f32, inner_product_f16, inner_product_sq8},
    squared_distance_rows,
    inner_product_rows,
    exact_squared_distance,
    exact_inner_product,
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
