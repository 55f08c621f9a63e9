// Feature maps as rows of channels, for any device.
#pragma once

#include <array>
#include <cstdint>

#include "stable_util.h"

namespace centermask {

// (N, C, H, W) as (N, H W, C), contiguous; no copy if it is in channels-last order already.
inline Tensor channels_last(const Tensor& input) {
  const std::array<int64_t, 3> flat{input.size(0), input.size(1), input.size(2) * input.size(3)};
  const bool is_last = input.stride(1) == 1 && input.stride(3) == flat[1] &&
                       input.stride(2) == input.size(3) * flat[1] &&
                       input.stride(0) == flat[1] * flat[2];
  if (is_last) {
    const Tensor rows = torch::stable::transpose(torch::stable::transpose(input, 1, 2), 2, 3);
    return torch::stable::reshape(rows, {flat[0], flat[2], flat[1]});
  }
  const Tensor planes = torch::stable::reshape(input, {flat[0], flat[1], flat[2]});
  return torch::stable::contiguous(torch::stable::transpose(planes, 1, 2));
}

}  // namespace centermask
