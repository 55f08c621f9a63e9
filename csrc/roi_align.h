// Where RoIAlign samples. The legacy variant knows no half-pixel shift, and sides are at least one
// cell long. The aligned variant has cells' centres at whole coordinates and takes sides as they
// are: an inverted one is sampled backwards or, adaptively, not at all, like one without length.
//
// The samples of a roi form a regular grid and bilinear interpolation is separable, so each axis is
// described on its own; a pooled map is (weights of rows) x (feature map) x (weights of columns).
#pragma once

#include <cmath>
#include <cstdint>

#include "platform.h"

namespace centermask {

// One axis of one roi, in cells of the feature map.
template <typename T>
struct RoiAxis {
  T start, bin_size;
  int64_t samples_per_bin;
};

template <typename T>
CM_HOST_DEVICE RoiAxis<T> roi_axis(T low_px, T high_px, T spatial_scale, int64_t num_bins,
                                   int64_t sampling_ratio, bool aligned) {
  const T shift = aligned ? T(0.5) : T(0);
  const T start = low_px * spatial_scale - shift;
  const T extent = high_px * spatial_scale - shift - start;
  const T bin_size = (!aligned && extent < T(1) ? T(1) : extent) / static_cast<T>(num_bins);
  // Farther samples than this many a bin can only come from corners that are no coordinates.
  constexpr T kMostSamples = T(1 << 20);
  const bool sane = bin_size <= kMostSamples;
  const T started = bin_size > T(0) ? std::ceil(bin_size) : T(0);
  const int64_t adaptive = sane ? static_cast<int64_t>(started) : 1;
  return {start, bin_size, sampling_ratio > 0 ? sampling_ratio : adaptive};
}

// The two cells that a sample interpolates between. Up to one cell outside the map the border
// value counts; farther out both weights are 0, as they are for NaN.
template <typename T>
struct AxisSample {
  int64_t low, high;
  T low_weight, high_weight;
};

template <typename T>
CM_HOST_DEVICE AxisSample<T> axis_sample(const RoiAxis<T>& axis, int64_t bin, int64_t sample,
                                         int64_t length) {
  const T within = (static_cast<T>(sample) + T(0.5)) * axis.bin_size;
  T position = axis.start + static_cast<T>(bin) * axis.bin_size +
               within / static_cast<T>(axis.samples_per_bin);
  if (!(position >= T(-1) && position <= static_cast<T>(length))) return {0, 0, T(0), T(0)};
  position = position > T(0) ? position : T(0);
  const int64_t low = static_cast<int64_t>(position);
  if (low >= length - 1) return {length - 1, length - 1, T(1), T(0)};
  const T fraction = position - static_cast<T>(low);
  return {low, low + 1, T(1) - fraction, fraction};
}

}  // namespace centermask
