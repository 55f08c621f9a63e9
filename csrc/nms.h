// Overlap of boxes whose corners are pixels: a box from x1 to x2 is x2 - x1 + 1 wide.
#pragma once

#include "platform.h"

namespace centermask {

template <typename T>
CM_HOST_DEVICE T inclusive_area(T x1, T y1, T x2, T y2) {
  return (x2 - x1 + T(1)) * (y2 - y1 + T(1));
}

// Whether box a suppresses box b: IoU > threshold. The quotient is formed as everywhere else, so
// that all implementations agree on boxes right at the threshold; NaN suppresses nothing.
template <typename T>
CM_HOST_DEVICE bool suppresses(T ax1, T ay1, T ax2, T ay2, T a_area, T bx1, T by1, T bx2, T by2,
                               T b_area, T threshold) {
  T width = (ax2 < bx2 ? ax2 : bx2) - (ax1 > bx1 ? ax1 : bx1) + T(1);
  T height = (ay2 < by2 ? ay2 : by2) - (ay1 > by1 ? ay1 : by1) + T(1);
  width = width > T(0) ? width : T(0);
  height = height > T(0) ? height : T(0);
  T intersection = width * height;
  return intersection / (a_area + b_area - intersection) > threshold;
}

}  // namespace centermask
