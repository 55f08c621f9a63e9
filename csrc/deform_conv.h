// Where the taps of a deformable convolution read, and how much of which cell.
//
// Columns are the matrix that turns the convolution into a product with the weights: for each group
// of channels, location of the output, tap and channel of the group one sample.
#pragma once

#include <cmath>
#include <cstdint>

#include "platform.h"

namespace centermask {

// Sizes of one call, in cells and channels. Offsets and modulation are shared by the channels of a
// part; weights connect the channels of a group.
struct DeformGeometry {
  int64_t channels, height, width, out_height, out_width;
  int64_t kernel_height, kernel_width, stride_height, stride_width;
  int64_t padding_height, padding_width, dilation_height, dilation_width;
  int64_t num_groups, num_parts;

  CM_HOST_DEVICE int64_t num_taps() const { return kernel_height * kernel_width; }
  CM_HOST_DEVICE int64_t num_locations() const { return out_height * out_width; }
  CM_HOST_DEVICE int64_t group_channels() const { return channels / num_groups; }
  CM_HOST_DEVICE int64_t part_channels() const { return channels / num_parts; }
};

// The four cells around a place, row by row, -1 where there is none; their weights are the products
// of a row's and a column's.
template <typename T>
struct Neighbours {
  int64_t cell[4];
  T row_weight[2], column_weight[2];

  CM_HOST_DEVICE T weight(int k) const { return row_weight[k / 2] * column_weight[k % 2]; }
  // Derivative of the weight with respect to the place.
  CM_HOST_DEVICE T slope_down(int k) const {
    return k / 2 ? column_weight[k % 2] : -column_weight[k % 2];
  }
  CM_HOST_DEVICE T slope_right(int k) const {
    return k % 2 ? row_weight[k / 2] : -row_weight[k / 2];
  }
};

template <typename T>
CM_HOST_DEVICE Neighbours<T> neighbours(T y, T x, int64_t height, int64_t width) {
  // Arranged so that NaN is outside.
  const bool inside =
      y > T(-1) && y < static_cast<T>(height) && x > T(-1) && x < static_cast<T>(width);
  if (!inside) return {{-1, -1, -1, -1}, {T(0), T(0)}, {T(0), T(0)}};
  const T top = std::floor(y), left = std::floor(x);
  const int64_t row = static_cast<int64_t>(top), column = static_cast<int64_t>(left);
  const bool has_top = row >= 0, has_bottom = row + 1 < height;
  const bool has_left = column >= 0, has_right = column + 1 < width;
  const int64_t cell = row * width + column;
  return {
      {has_top && has_left ? cell : -1, has_top && has_right ? cell + 1 : -1,
       has_bottom && has_left ? cell + width : -1, has_bottom && has_right ? cell + width + 1 : -1},
      {T(1) - (y - top), y - top},
      {T(1) - (x - left), x - left}};
}

// Offsets (2 parts x taps, locations) and modulation (parts x taps, locations) of one image;
// without modulation `mask` is null.
template <typename T>
struct Deformation {
  const T* offset;
  const T* mask;

  CM_HOST_DEVICE T factor(const DeformGeometry& g, int64_t part, int64_t tap,
                          int64_t location) const {
    return mask == nullptr ? T(1)
                           : mask[(part * g.num_taps() + tap) * g.num_locations() + location];
  }

  CM_HOST_DEVICE Neighbours<T> at(const DeformGeometry& g, int64_t part, int64_t tap,
                                  int64_t location) const {
    const T* shift = offset + 2 * (part * g.num_taps() + tap) * g.num_locations() + location;
    const int64_t y = location / g.out_width * g.stride_height - g.padding_height +
                      tap / g.kernel_width * g.dilation_height;
    const int64_t x = location % g.out_width * g.stride_width - g.padding_width +
                      tap % g.kernel_width * g.dilation_width;
    return neighbours(static_cast<T>(y) + shift[0], static_cast<T>(x) + shift[g.num_locations()],
                      g.height, g.width);
  }
};

// Some locations of one image. `image` has the channels last; `columns` begins at
// the first location of the chunk in every group.
template <typename T>
struct DeformChunk {
  DeformGeometry geometry;
  Deformation<T> deformation;
  int64_t first_location, num_locations;
  const T* image;

  CM_HOST_DEVICE int64_t column(int64_t channel, int64_t place, int64_t tap) const {
    const int64_t per_group = geometry.group_channels(), group = channel / per_group;
    const int64_t row = (group * num_locations + place) * geometry.num_taps() + tap;
    return row * per_group + channel % per_group;
  }
};

}  // namespace centermask
