// Pooling of one block of channels of one roi from rows of channels.
#pragma once

#include <algorithm>
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

// The registers that one pass over the taps sums in: `kCount` of them, channels from `first` on.
template <typename T, int kBytes, int kCount>
struct Pass {
  using Vector = typename VectorOf<T, kBytes>::type;
  static constexpr int64_t kChannels = kCount * kBytes / sizeof(T);
  int64_t first, width;  // of the block

  template <typename E>
  CM_ALWAYS_INLINE void add_taps(Vector (&sums)[kCount], const E* row, int64_t column_stride,
                                 const Tap<T>* begin, const Tap<T>* end) const {
    for (const Tap<T>* tap = begin; tap != end; ++tap) {
      add_scaled<T, kCount>(sums, row + tap->cell * column_stride + first, tap->weight);
    }
  }

  // Where a place of a list of rows of channels keeps those of this pass.
  CM_ALWAYS_INLINE T* at(T* rows, int64_t place) const { return rows + place * width + first; }
};

// Rows that several bins read are resampled to the roi's columns once.
template <typename P, int kCount, typename T, typename E, typename O>
CM_ALWAYS_INLINE void pool_by_rows(const PoolBlock<T, E, O>& b, const P& pass) {
  using Vector = typename P::Vector;
  const auto& rows = b.taps.rows;
  const auto& columns = b.taps.columns;
  for (int64_t slot = 0; slot < static_cast<int64_t>(rows.cells.size()); ++slot) {
    const E* row = b.features + rows.cells[slot] * b.row_stride;
    for (int64_t q = 0; q < b.pooled_width; ++q) {
      Vector sums[kCount] = {};
      pass.add_taps(sums, row, b.column_stride, columns.begin(q), columns.end(q));
      std::memcpy(pass.at(b.row_sums, slot * b.pooled_width + q), sums, sizeof(sums));
    }
  }
  for (int64_t p = 0; p < b.pooled_height; ++p) {
    for (int64_t q = 0; q < b.pooled_width; ++q) {
      Vector sums[kCount] = {};
      for (const Tap<T>* tap = rows.begin(p); tap != rows.end(p); ++tap) {
        const T* parts = pass.at(b.row_sums, tap->slot * b.pooled_width + q);
        add_scaled<T, kCount>(sums, parts, tap->weight);
      }
      std::memcpy(pass.at(b.tile, p * b.pooled_width + q), sums, sizeof(sums));
    }
  }
}

// The same sums without a detour through memory, where no two bins read a row.
template <typename P, int kCount, typename T, typename E, typename O>
CM_ALWAYS_INLINE void pool_by_bins(const PoolBlock<T, E, O>& b, const P& pass) {
  using Vector = typename P::Vector;
  const auto& rows = b.taps.rows;
  const auto& columns = b.taps.columns;
  for (int64_t p = 0; p < b.pooled_height; ++p) {
    for (int64_t q = 0; q < b.pooled_width; ++q) {
      Vector sums[kCount] = {};
      for (const Tap<T>* tap = rows.begin(p); tap != rows.end(p); ++tap) {
        const E* row = b.features + tap->cell * b.row_stride;
        Vector parts[kCount] = {};
        pass.add_taps(parts, row, b.column_stride, columns.begin(q), columns.end(q));
        for (int v = 0; v < kCount; ++v) sums[v] += tap->weight * parts[v];
      }
      std::memcpy(pass.at(b.tile, p * b.pooled_width + q), sums, sizeof(sums));
    }
  }
}

// Fetches the lines that results will be written to, while there is still work to do.
template <typename T, typename E, typename O>
CM_ALWAYS_INLINE void fetch_output(const PoolBlock<T, E, O>& b) {
  constexpr int64_t kLine = 64 / sizeof(O);
  const int64_t count = b.pooled_height * b.pooled_width * b.num_valid;
  for (int64_t i = 0; i < count; i += kLine) prefetch_to_write(b.output + i);
}

// A block of kVectors times 64 bytes, in registers of kBytes.
template <int kBytes, int kVectors, typename T, typename E, typename O>
CM_ALWAYS_INLINE void pool(const PoolBlock<T, E, O>& b) {
  // Twice as many are in use, and processors with registers of 32 bytes have 16.
  constexpr int kCount = std::min(kVectors * 64 / kBytes, 4);
  using P = Pass<T, kBytes, kCount>;
  constexpr int64_t kWidth = kVectors * kLanes<T>;
  fetch_output(b);
  const bool is_shared = b.taps.rows.taps.size() > b.taps.rows.cells.size();
  for (int64_t first = 0; first < kWidth; first += P::kChannels) {
    const P pass{first, kWidth};
    is_shared ? pool_by_rows<P, kCount>(b, pass) : pool_by_bins<P, kCount>(b, pass);
  }
  const int64_t num_bins = b.pooled_height * b.pooled_width;
  if constexpr (std::is_same_v<T, O>) {
    transpose(b.tile, kWidth, num_bins, b.num_valid, b.output, num_bins);
  } else {
    transpose(b.tile, kWidth, num_bins, b.num_valid, b.row_sums, num_bins);
    for (int64_t i = 0; i < num_bins * b.num_valid; ++i) store(b.row_sums[i], b.output + i);
  }
}

}  // namespace centermask
