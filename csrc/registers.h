// Registers full of floats, and the sizes that kernels for channels-last maps multiply matrices in.
#pragma once

#include <cstdint>
#include <cstring>

#include "channel_blocks.h"
#include "platform.h"
#include "storage.h"

namespace centermask {

// Channels that lie side by side in what is computed on the way.
constexpr int64_t kVector = 16;
// Output channels whose weights lie side by side, in vectors.
constexpr int64_t kGroup = 4;
// Rows that are multiplied at a time: with kGroup vectors of channels each, 24 sums.
constexpr int64_t kRows = 6;

CM_ALWAYS_INLINE int64_t round_up(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Registers of so many bytes, full of floats; memory need not be aligned.
template <int kBytes>
struct Registers {
  static constexpr int64_t kLanes = kBytes / sizeof(float);
  using Vector = typename VectorOf<float, kBytes>::type;
  using Words = typename IntegersOf<kBytes>::Words;
  using Halves = typename IntegersOf<kBytes>::Halves;

  static CM_ALWAYS_INLINE void store(const Vector& vector, float* values) {
    store_register(vector, values);
  }
  // The nearest numbers, of two the even ones; NaN stays NaN.
  static CM_ALWAYS_INLINE void store(const Vector& vector, BFloat16* values) {
    const Words words = (Words)vector;
    const Words rounded = words + 0x7fff + (words >> 16 & 1), nan = Words{} + 0x7fc00000;
    const Words chosen = (vector == vector ? rounded : nan) >> 16;
    store_register(__builtin_convertvector(chosen, Halves), values);
  }

  // The first `count` numbers, and zeros after them; zeros alone where there are none.
  template <typename E>
  static CM_ALWAYS_INLINE void load_first(const E* values, int64_t count, Vector& vector) {
    if (count >= kLanes) return load_vector(values, vector);
    E padded[kLanes] = {};
    if (count > 0) std::memcpy(padded, values, count * sizeof(E));
    load_vector(padded, vector);
  }
  template <typename E>
  static CM_ALWAYS_INLINE void store_first(const Vector& vector, int64_t count, E* values) {
    if (count >= kLanes) return store(vector, values);
    E padded[kLanes];
    store(vector, padded);
    if (count > 0) std::memcpy(values, padded, count * sizeof(E));
  }
};

}  // namespace centermask
