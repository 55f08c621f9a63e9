// 3 x 3 convolutions by winograd.h, with weights as winograd_factors.h reads them.
#pragma once

#include <cstdint>

#include "registers.h"
#include "winograd.h"

namespace centermask {
namespace winograd {

// E is float or BFloat16.
template <typename E>
void convolve(const Convolution<E>& conv, const float* weight);
template <typename E>
void convolve(const Convolution<E>& conv, const int16_t* weight, const float* scales);

inline int64_t num_weights(int64_t channels, int64_t out_channels) {
  return kPoints * channels * round_up(out_channels, kVector);
}

}  // namespace winograd
}  // namespace centermask
