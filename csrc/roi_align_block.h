// Pooling of one block of channels of one roi from rows of channels.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "channel_blocks.h"
#include "roi_align_taps.h"
#include "storage.h"

namespace centermask {

// One block of channels of one roi; `features` points at the first of them in cell (0, 0). Features
// of type E are pooled in T to an output of type O.
template <typename T, typename E, typename O>
struct PoolBlock {
  const RoiTaps<T>& taps;
  int64_t pooled_height, pooled_width, row_stride, column_stride, num_valid;
  const E* features;
  T* row_sums;
  T* tile;
  O* output;
};

template <typename T, int V, typename E>
CM_ALWAYS_INLINE void add_taps(typename VectorOf<T>::type (&sums)[V], const E* row,
                               int64_t column_stride, const Tap<T>* begin, const Tap<T>* end) {
  for (const Tap<T>* tap = begin; tap != end; ++tap) {
    add_scaled<T, V>(sums, row + tap->cell * column_stride, tap->weight);
  }
}

// Rows that several bins read are resampled to the roi's columns once.
template <int V, typename T, typename E, typename O>
CM_ALWAYS_INLINE void pool_by_rows(const PoolBlock<T, E, O>& b) {
  using Vector = typename VectorOf<T>::type;
  constexpr int64_t kWidth = V * kLanes<T>;
  const auto& rows = b.taps.rows;
  const auto& columns = b.taps.columns;
  for (int64_t slot = 0; slot < static_cast<int64_t>(rows.cells.size()); ++slot) {
    const E* row = b.features + rows.cells[slot] * b.row_stride;
    for (int64_t q = 0; q < b.pooled_width; ++q) {
      Vector sums[V] = {};
      add_taps<T, V>(sums, row, b.column_stride, columns.begin(q), columns.end(q));
      std::memcpy(b.row_sums + (slot * b.pooled_width + q) * kWidth, sums, sizeof(sums));
    }
  }
  for (int64_t p = 0; p < b.pooled_height; ++p) {
    for (int64_t q = 0; q < b.pooled_width; ++q) {
      Vector sums[V] = {};
      for (const Tap<T>* tap = rows.begin(p); tap != rows.end(p); ++tap) {
        add_scaled<T, V>(sums, b.row_sums + (tap->slot * b.pooled_width + q) * kWidth, tap->weight);
      }
      std::memcpy(b.tile + (p * b.pooled_width + q) * kWidth, sums, sizeof(sums));
    }
  }
}

// The same sums without a detour through memory, where no two bins read a row.
template <int V, typename T, typename E, typename O>
CM_ALWAYS_INLINE void pool_by_bins(const PoolBlock<T, E, O>& b) {
  using Vector = typename VectorOf<T>::type;
  constexpr int64_t kWidth = V * kLanes<T>;
  const auto& rows = b.taps.rows;
  const auto& columns = b.taps.columns;
  for (int64_t p = 0; p < b.pooled_height; ++p) {
    for (int64_t q = 0; q < b.pooled_width; ++q) {
      Vector sums[V] = {};
      for (const Tap<T>* tap = rows.begin(p); tap != rows.end(p); ++tap) {
        const E* row = b.features + tap->cell * b.row_stride;
        Vector parts[V] = {};
        add_taps<T, V>(parts, row, b.column_stride, columns.begin(q), columns.end(q));
        for (int v = 0; v < V; ++v) sums[v] += tap->weight * parts[v];
      }
      std::memcpy(b.tile + (p * b.pooled_width + q) * kWidth, sums, sizeof(sums));
    }
  }
}

template <int V, typename T, typename E, typename O>
CM_ALWAYS_INLINE void pool(const PoolBlock<T, E, O>& b) {
  const bool is_shared = b.taps.rows.taps.size() > b.taps.rows.cells.size();
  is_shared ? pool_by_rows<V>(b) : pool_by_bins<V>(b);
  const int64_t num_bins = b.pooled_height * b.pooled_width, width = V * kLanes<T>;
  if constexpr (std::is_same_v<T, O>) {
    transpose(b.tile, width, num_bins, b.num_valid, b.output, num_bins);
  } else {
    transpose(b.tile, width, num_bins, b.num_valid, b.row_sums, num_bins);
    for (int64_t i = 0; i < num_bins * b.num_valid; ++i) store(b.row_sums[i], b.output + i);
  }
}

}  // namespace centermask
