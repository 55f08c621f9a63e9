// RoIAlign's sparse weights: which cells a bin of a roi reads along one axis, and how much of each.
#pragma once

#include <algorithm>
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
  // Samples advance along the axis: a cell seen before is one of the last two.
  void add(int64_t cell, T weight) {
    if (weight == T(0)) return;
    const int64_t slot = slot_of(cell);
    const int64_t known = static_cast<int64_t>(taps.size());
    for (int64_t i = known - 1; i >= std::max(begins.back(), known - 2); --i) {
      if (taps[i].slot == slot) {
        taps[i].weight += weight;
        return;
      }
    }
    taps.push_back({cell, slot, weight});
  }

  int64_t slot_of(int64_t cell) {
    const int64_t known = static_cast<int64_t>(cells.size());
    for (int64_t slot = known - 1; slot >= std::max<int64_t>(0, known - 2); --slot) {
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

  int64_t num_bins() const { return pooled_height * pooled_width; }
  int64_t image_of(int64_t roi) const { return static_cast<int64_t>(rois[5 * roi]); }
  RoiAxis<T> rows_of(int64_t roi) const {
    const T* r = rois + 5 * roi;
    return roi_axis(r[2], r[4], spatial_scale, pooled_height, sampling_ratio);
  }
  RoiAxis<T> columns_of(int64_t roi) const {
    const T* r = rois + 5 * roi;
    return roi_axis(r[1], r[3], spatial_scale, pooled_width, sampling_ratio);
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

}  // namespace centermask
