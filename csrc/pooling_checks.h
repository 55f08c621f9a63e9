// What operators that pool regions refuse on every device.
#pragma once

#include "stable_util.h"

namespace centermask {

// More samples along a side of a bin would keep a processor busy for hours.
constexpr int64_t kMostSamplesPerBin = 1 << 12;

inline void check_pooled_size(int64_t num_rois, int64_t channels, int64_t pooled_height,
                              int64_t pooled_width) {
  STD_TORCH_CHECK(pooled_height > 0 && pooled_width > 0,
                  "pooled_height and pooled_width: expected positive sides, got ", pooled_height,
                  " x ", pooled_width);
  check_sides({num_rois, channels, pooled_height, pooled_width}, "pooled_height and pooled_width");
}

// The gradient of pooled features.
inline void check_pooled_grad(const Tensor& grad) {
  STD_TORCH_CHECK(grad.size(2) > 0 && grad.size(3) > 0, "grad: expected positive sides, got ",
                  shape_of(grad));
}

inline void check_map(int64_t num_rois, int64_t height, int64_t width) {
  STD_TORCH_CHECK(num_rois == 0 || (height > 0 && width > 0),
                  "rois: expected none on an empty feature map, got ", num_rois);
}

// Sizes of the feature maps whose gradient is asked for.
inline void check_map_sizes(int64_t batch_size, int64_t channels, int64_t height, int64_t width) {
  check_not_negative(batch_size, "batch_size");
  check_not_negative(channels, "channels");
  check_not_negative(height, "height");
  check_not_negative(width, "width");
  check_sides({batch_size, channels, height, width}, "batch_size, channels, height and width");
}

inline void check_sampling_ratio(int64_t sampling_ratio) {
  STD_TORCH_CHECK(sampling_ratio <= kMostSamplesPerBin, "sampling_ratio: expected at most ",
                  kMostSamplesPerBin, ", got ", sampling_ratio);
}

}  // namespace centermask
