// How numbers lie in memory, for CPU kernels that read tensors of several types and layouts:
// bfloat16 is read and written as it is, and computed with in 32 bits.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "platform.h"
#include "stable_util.h"

namespace centermask {

// The upper half of a float.
struct BFloat16 {
  uint16_t bits;
};

// Numbers as kernels compute with them.
CM_ALWAYS_INLINE float widened(float value) { return value; }
CM_ALWAYS_INLINE double widened(double value) { return value; }
CM_ALWAYS_INLINE float widened(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof(wide));
  return wide;
}

// Numbers as they are stored: the nearest, of two the even one; NaN stays NaN.
CM_ALWAYS_INLINE void store(float value, float* target) { *target = value; }
CM_ALWAYS_INLINE void store(double value, double* target) { *target = value; }
CM_ALWAYS_INLINE void store(float value, BFloat16* target) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
  target->bits = static_cast<uint16_t>((value == value ? rounded : 0x7fc00000) >> 16);
}

inline void check_element(const Tensor& tensor, const char* name) {
  const ScalarType type = tensor.scalar_type();
  STD_TORCH_CHECK(
      type == ScalarType::BFloat16 || type == ScalarType::Float || type == ScalarType::Double, name,
      ": expected bfloat16, float32 or float64, got ", toString(type));
}

// Calls f with a zero of the element type, and one of the type that it is computed in.
template <typename F>
void for_element(const Tensor& tensor, const char* name, const F& f) {
  check_element(tensor, name);
  if (tensor.scalar_type() == ScalarType::BFloat16) {
    f(BFloat16{}, float{});
  } else if (tensor.scalar_type() == ScalarType::Double) {
    f(double{}, double{});
  } else {
    f(float{}, float{});
  }
}

// The type that a tensor's numbers are computed in.
inline ScalarType precise_type(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::BFloat16 ? ScalarType::Float : tensor.scalar_type();
}

// Whether values follow each other in the order of these axes.
inline bool is_dense(const Tensor& tensor, const std::array<int64_t, 4>& axes) {
  int64_t stride = 1;
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    if (tensor.size(*axis) != 1 && tensor.stride(*axis) != stride) return false;
    stride *= tensor.size(*axis);
  }
  return true;
}

}  // namespace centermask
