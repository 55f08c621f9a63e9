// Which cells a bin of RoIPool looks at. Corners are rounded to cells and both end cells count;
// bins share border cells where sides do not divide.
#pragma once

#include <cmath>
#include <cstdint>

#include "../platform.h"

namespace centermask {

// Cells begin..end of one axis; none if end <= begin.
struct CellRange {
  int64_t begin, end;
};

// One axis of one roi, in cells of the feature map.
template <typename T>
struct PoolAxis {
  T start, bin_size;
};

template <typename T>
CM_HOST_DEVICE PoolAxis<T> pool_axis(T low_px, T high_px, T spatial_scale, int64_t num_bins) {
  // Halves are rounded away from zero.
  const T start = std::round(low_px * spatial_scale);
  const T extent = std::round(high_px * spatial_scale) - start + T(1);
  return {start, (extent < T(1) ? T(1) : extent) / static_cast<T>(num_bins)};
}

template <typename T>
CM_HOST_DEVICE int64_t clipped_cell(T cell, int64_t length) {
  // Arranged so that NaN becomes 0 and nothing huge is converted.
  if (!(cell > T(0))) return 0;
  return cell < static_cast<T>(length) ? static_cast<int64_t>(cell) : length;
}

template <typename T>
CM_HOST_DEVICE CellRange bin_cells(const PoolAxis<T>& axis, int64_t bin, int64_t length) {
  const T low = std::floor(static_cast<T>(bin) * axis.bin_size) + axis.start;
  const T high = std::ceil(static_cast<T>(bin + 1) * axis.bin_size) + axis.start;
  return {clipped_cell(low, length), clipped_cell(high, length)};
}

}  // namespace centermask
