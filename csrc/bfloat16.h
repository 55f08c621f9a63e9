// The upper half of a float, for CPU kernels that read and write 16 bits and compute in 32.
#pragma once

#include <cstdint>
#include <cstring>

#include "platform.h"

namespace centermask {

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

}  // namespace centermask
