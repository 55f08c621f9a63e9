// Where the bins of deformable position-sensitive RoI pooling sample. The channels of an output
// come from group_size x group_size maps, one for each cell of a coarse grid over the roi; a bin
// may be moved by an offset, which part_size x part_size parts of the roi learn for each class.
#pragma once

#include <cmath>
#include <cstdint>

#include "../platform.h"

namespace centermask {

// Sizes of one call. Without offsets there is one class, and nothing moves.
template <typename T>
struct PartGeometry {
  int64_t num_rois, num_images, height, width;
  int64_t output_channels, pooled_size, group_size, part_size, samples_per_part, num_classes;
  T spatial_scale, offset_scale;

  CM_HOST_DEVICE int64_t channels() const { return output_channels * group_size * group_size; }
  CM_HOST_DEVICE int64_t num_bins() const { return pooled_size * pooled_size; }
  CM_HOST_DEVICE int64_t class_channels() const { return output_channels / num_classes; }
  // Map that a bin of an output channel reads.
  CM_HOST_DEVICE int64_t input_channel(int64_t channel, int64_t row, int64_t column) const {
    const int64_t group_row = row * group_size / pooled_size;
    const int64_t group_column = column * group_size / pooled_size;
    return (channel * group_size + group_row) * group_size + group_column;
  }
  // Offset to the right of the bin; the one down is part_size x part_size farther.
  CM_HOST_DEVICE int64_t offset_index(int64_t roi, int64_t label, int64_t row,
                                      int64_t column) const {
    const int64_t part_row = row * part_size / pooled_size;
    const int64_t part_column = column * part_size / pooled_size;
    return ((roi * num_classes + label) * 2 * part_size + part_row) * part_size + part_column;
  }
};

// One axis of one roi, in cells of the feature map.
template <typename T>
struct PartAxis {
  T start, extent, bin_size, step;
};

template <typename T>
CM_HOST_DEVICE PartAxis<T> part_axis(T low_px, T high_px, const PartGeometry<T>& g) {
  // Halves are rounded away from zero; both end pixels count.
  const T start = std::round(low_px) * g.spatial_scale - T(0.5);
  const T end = (std::round(high_px) + T(1)) * g.spatial_scale - T(0.5);
  const T least = T(0.1);
  const T extent = end - start < least ? least : end - start;
  const T bin_size = extent / static_cast<T>(g.pooled_size);
  return {start, extent, bin_size, bin_size / static_cast<T>(g.samples_per_part)};
}

// First sample of a bin moved by `offset`, in shares of the extent.
template <typename T>
CM_HOST_DEVICE T first_sample(const PartAxis<T>& axis, int64_t bin, T offset) {
  return static_cast<T>(bin) * axis.bin_size + axis.start + offset * axis.extent;
}

// A place along one axis between two cells, which are the same one at whole numbers.
template <typename T>
struct PartSample {
  bool counts;
  int64_t low, high;
  T fraction;
};

template <typename T>
CM_HOST_DEVICE PartSample<T> part_sample(T place, int64_t length) {
  // Arranged so that NaN does not count.
  if (!(place >= T(-0.5) && place <= static_cast<T>(length) - T(0.5))) return {false, 0, 0, T(0)};
  const T last = static_cast<T>(length - 1);
  const T clamped = place < T(0) ? T(0) : (place > last ? last : place);
  const T low = std::floor(clamped);
  return {true, static_cast<int64_t>(low), static_cast<int64_t>(std::ceil(clamped)), clamped - low};
}

// The four values around a sample, and what follows from them.
template <typename T>
struct PartCorners {
  T top_left, top_right, bottom_left, bottom_right, down, right;

  CM_HOST_DEVICE T value() const {
    return (T(1) - down) * ((T(1) - right) * top_left + right * top_right) +
           down * ((T(1) - right) * bottom_left + right * bottom_right);
  }
  CM_HOST_DEVICE T slope_right() const {
    return (T(1) - down) * (top_right - top_left) + down * (bottom_right - bottom_left);
  }
  CM_HOST_DEVICE T slope_down() const {
    return (T(1) - right) * (bottom_left - top_left) + right * (bottom_right - top_right);
  }
};

template <typename T>
CM_HOST_DEVICE PartCorners<T> corners_of(const T* plane, int64_t width, const PartSample<T>& y,
                                         const PartSample<T>& x) {
  const T* top = plane + y.low * width;
  const T* bottom = plane + y.high * width;
  return {top[x.low], top[x.high], bottom[x.low], bottom[x.high], y.fraction, x.fraction};
}

}  // namespace centermask
