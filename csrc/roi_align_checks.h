// What RoIAlign refuses on every device.
#pragma once

#include "roi_align.h"
#include "stable_util.h"

namespace centermask {

// More samples a bin would keep a processor busy for hours.
constexpr int64_t kMostSamplesPerBin = 1 << 12;

inline void check_pooling(int64_t pooled_height, int64_t pooled_width, int64_t num_rois,
                          int64_t height, int64_t width, int64_t sampling_ratio) {
  STD_TORCH_CHECK(pooled_height > 0 && pooled_width > 0,
                  "pooled_height and pooled_width: expected positive sides, got ", pooled_height,
                  " x ", pooled_width);
  STD_TORCH_CHECK(num_rois == 0 || (height > 0 && width > 0),
                  "rois: expected none on an empty feature map, got ", num_rois);
  STD_TORCH_CHECK(sampling_ratio <= kMostSamplesPerBin, "sampling_ratio: expected at most ",
                  kMostSamplesPerBin, ", got ", sampling_ratio);
}

}  // namespace centermask
