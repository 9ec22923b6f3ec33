// See rotation.h.
#include "index/rotation.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace pg_semantic::index {
namespace {

constexpr size_t kRounds = 4;

// Four floats: a vector register of every processor of this kind.
typedef float Four __attribute__((vector_size(16)));

Four load(const float* from) {
  Four four;
  std::memcpy(&four, from, sizeof four);
  return four;
}

void store(float* to, Four four) { std::memcpy(to, &four, sizeof four); }

// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
uint64_t splitmix64(uint64_t position) {
  uint64_t z = (position + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// Walsh-Hadamard, not scaled; `count` is a power of two from 64 on.
void hadamard(float* values, size_t count) {
  for (size_t i = 0; i < count; i += 4) {
    const Four x = load(values + i);
    const Four pairs = Four{x[0] + x[1], x[0] - x[1], x[2] + x[3], x[2] - x[3]};
    store(values + i, Four{pairs[0] + pairs[2], pairs[1] + pairs[3], pairs[0] - pairs[2], pairs[1] - pairs[3]});
  }
  for (size_t half = 4; half < count; half *= 2) {
    for (size_t first = 0; first < count; first += 2 * half) {
      for (size_t i = first; i < first + half; i += 4) {
        const Four a = load(values + i), b = load(values + i + half);
        store(values + i, a + b);
        store(values + i + half, a - b);
      }
    }
  }
}

}  // namespace

Rotation::Rotation(size_t dimensions)
    : dimensions_(dimensions), rotated_((dimensions + 63) / 64 * 64), power_(std::bit_floor(rotated_)) {
  if (rotated_ == 0) return;
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(power_)));
  signs_.resize(kRounds * rotated_);
  for (size_t round = 0; round < kRounds; ++round) {
    const size_t first = round % 2 == 0 ? 0 : rotated_ - power_;
    for (size_t i = 0; i < rotated_; ++i) {
      const float sign = (splitmix64(round << 32 | i) & 1) != 0 ? 1.0f : -1.0f;
      signs_[round * rotated_ + i] = i >= first && i < first + power_ ? sign * scale : sign;
    }
  }
}

void Rotation::apply(const float* vector, float* out) const {
  if (out != vector) {
    std::memcpy(out, vector, dimensions_ * sizeof(float));
    std::memset(out + dimensions_, 0, (rotated_ - dimensions_) * sizeof(float));
  }
  for (size_t round = 0; round < kRounds; ++round) {
    const float* signs = signs_.data() + round * rotated_;
    for (size_t i = 0; i < rotated_; i += 4) store(out + i, load(out + i) * load(signs + i));
    hadamard(out + (round % 2 == 0 ? 0 : rotated_ - power_), power_);
  }
}

}  // namespace pg_semantic::index
