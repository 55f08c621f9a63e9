// RoIAlign's sparse weights: which cells a bin of a roi reads along one axis, and how much of each;
// and the order in which rois are worked on.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "roi_align.h"

namespace centermask {

template <typename T>
struct Tap {
  int64_t cell, slot;
  T weight;
};

// Samples of one axis gathered by bin. `cells` are the cells in use; a tap's slot is its place
// there.
template <typename T>
struct AxisTaps {
  static constexpr int64_t kLast = 3;
  std::vector<int64_t> cells;
  std::vector<Tap<T>> taps;
  std::vector<int64_t> begins;

  void build(const RoiAxis<T>& axis, int64_t num_bins, int64_t length) {
    cells.clear();
    taps.clear();
    begins.assign(1, 0);
    const T share = T(1) / static_cast<T>(axis.samples_per_bin);
    for (int64_t bin = 0; bin < num_bins; ++bin) {
      for (int64_t sample = 0; sample < axis.samples_per_bin; ++sample) {
        const AxisSample<T> s = axis_sample(axis, bin, sample, length);
        add(s.low, s.low_weight * share);
        add(s.high, s.high_weight * share);
      }
      begins.push_back(static_cast<int64_t>(taps.size()));
    }
  }

  const Tap<T>* begin(int64_t bin) const { return taps.data() + begins[bin]; }
  const Tap<T>* end(int64_t bin) const { return taps.data() + begins[bin + 1]; }

 private:
  // Samples go along the axis in one direction: a cell seen before is one of the last three, of
  // the last two if they go up.
  void add(int64_t cell, T weight) {
    if (weight == T(0)) return;
    const int64_t slot = slot_of(cell);
    const int64_t known = static_cast<int64_t>(taps.size());
    for (int64_t i = known - 1; i >= std::max(begins.back(), known - kLast); --i) {
      if (taps[i].slot == slot) {
        taps[i].weight += weight;
        return;
      }
    }
    taps.push_back({cell, slot, weight});
  }

  int64_t slot_of(int64_t cell) {
    const int64_t known = static_cast<int64_t>(cells.size());
    for (int64_t slot = known - 1; slot >= std::max<int64_t>(0, known - kLast); --slot) {
      if (cells[slot] == cell) return slot;
    }
    cells.push_back(cell);
    return known;
  }
};

// Rois (R, 5) and the geometry of one call.
template <typename T>
struct Geometry {
  const T* rois;
  int64_t num_rois, num_images, height, width, pooled_height, pooled_width, sampling_ratio;
  T spatial_scale;
  bool aligned;

  int64_t num_bins() const { return pooled_height * pooled_width; }
  int64_t image_of(int64_t roi) const { return static_cast<int64_t>(rois[5 * roi]); }
  RoiAxis<T> rows_of(int64_t roi) const {
    const T* r = rois + 5 * roi;
    return roi_axis(r[2], r[4], spatial_scale, pooled_height, sampling_ratio, aligned);
  }
  RoiAxis<T> columns_of(int64_t roi) const {
    const T* r = rois + 5 * roi;
    return roi_axis(r[1], r[3], spatial_scale, pooled_width, sampling_ratio, aligned);
  }
};

// Weights of one roi, rebuilt when a task moves on to the next one.
template <typename T>
struct RoiTaps {
  AxisTaps<T> rows, columns;
  int64_t roi = -1;

  void move_to(const Geometry<T>& geometry, int64_t next) {
    if (next == roi) return;
    roi = next;
    rows.build(geometry.rows_of(roi), geometry.pooled_height, geometry.height);
    columns.build(geometry.columns_of(roi), geometry.pooled_width, geometry.width);
  }
};

// Bits of x and y in turn: numbers that are close belong to places that are close.
inline uint64_t interleaved(uint32_t x, uint32_t y) {
  const auto spread_bits = [](uint64_t bits) {
    bits = (bits | bits << 16) & 0x0000ffff0000ffffu;
    bits = (bits | bits << 8) & 0x00ff00ff00ff00ffu;
    bits = (bits | bits << 4) & 0x0f0f0f0f0f0f0f0fu;
    bits = (bits | bits << 2) & 0x3333333333333333u;
    return (bits | bits << 1) & 0x5555555555555555u;
  };
  return spread_bits(x) | spread_bits(y) << 1;
}

// Rois in an order in which neighbours follow each other, so that what one has read is still in
// the cache for the next.
template <typename T>
std::vector<int64_t> neighbours_together(const Geometry<T>& g) {
  constexpr T kTile = 8;  // cells
  const auto tile = [](const RoiAxis<T>& axis, int64_t num_bins, int64_t length) {
    const T middle = axis.start + axis.bin_size * static_cast<T>(num_bins) / 2;
    const T limit = static_cast<T>(length);
    // Comparisons arranged so that NaN becomes 0.
    const T inside = middle > T(0) ? (middle < limit ? middle : limit) : T(0);
    return static_cast<uint32_t>(inside / kTile);
  };
  std::vector<std::array<uint64_t, 3>> keys(g.num_rois);
  for (int64_t roi = 0; roi < g.num_rois; ++roi) {
    const uint32_t x = tile(g.columns_of(roi), g.pooled_width, g.width);
    const uint32_t y = tile(g.rows_of(roi), g.pooled_height, g.height);
    keys[roi] = {static_cast<uint64_t>(g.image_of(roi)), interleaved(x, y),
                 static_cast<uint64_t>(roi)};
  }
  std::sort(keys.begin(), keys.end());
  std::vector<int64_t> order(g.num_rois);
  for (int64_t i = 0; i < g.num_rois; ++i) order[i] = static_cast<int64_t>(keys[i][2]);
  return order;
}

}  // namespace centermask
