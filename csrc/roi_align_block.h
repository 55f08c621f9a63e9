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
// of type E are pooled in T to an output of type O, past the caches if it `streams`.
template <typename T, typename E, typename O>
struct PoolBlock {
  const RoiTaps<T>& taps;
  int64_t pooled_height, pooled_width, row_stride, column_stride, num_valid;
  const E* features;
  T* row_sums;
  T* tile;
  O* output;
  bool streams;
};

// The registers that one pass over the taps sums in: `kCount` of them, channels from `first` on.
template <typename T, int kBytes, int kCount>
struct Pass {
  using Vector = typename VectorOf<T, kBytes>::type;
  static constexpr int64_t kChannels = kCount * kBytes / sizeof(T);
  int64_t first, width;  // of the block

  // Where a place of a list of rows of channels keeps those of this pass.
  CM_ALWAYS_INLINE T* at(T* rows, int64_t place) const { return rows + place * width + first; }
};

// The taps of one bin. So few as kTaps stay in registers, whatever is summed with them.
template <typename T, int kTaps>
struct BinTaps {
  T weights[kTaps];
  int64_t offsets[kTaps];

  CM_ALWAYS_INLINE BinTaps(const Tap<T>* taps, int64_t Tap<T>::* place, int64_t stride) {
    for (int i = 0; i < kTaps; ++i) {
      weights[i] = taps[i].weight;
      offsets[i] = taps[i].*place * stride;
    }
  }

  template <int kCount, typename Vector, typename E>
  CM_ALWAYS_INLINE void sum(const E* values, Vector (&sums)[kCount]) const {
    for (int i = 0; i < kTaps; ++i) add_scaled<T, kCount>(sums, values + offsets[i], weights[i]);
  }
};

// Any number of taps.
template <typename T>
struct ManyTaps {
  const Tap<T>* begin;
  const Tap<T>* end;
  int64_t Tap<T>::* place;
  int64_t stride;

  template <int kCount, typename Vector, typename E>
  CM_ALWAYS_INLINE void sum(const E* values, Vector (&sums)[kCount]) const {
    for (const Tap<T>* tap = begin; tap != end; ++tap) {
      add_scaled<T, kCount>(sums, values + tap->*place * stride, tap->weight);
    }
  }
};

// f(taps of a bin), where the values of a cell or slot follow those of the one before by `stride`.
template <typename T, typename F>
CM_ALWAYS_INLINE void with_taps(const AxisTaps<T>& axis, int64_t bin, int64_t Tap<T>::* place,
                                int64_t stride, const F& f) {
  const Tap<T>* begin = axis.begin(bin);
  const Tap<T>* end = axis.end(bin);
  switch (end - begin) {
    case 2:
      return f(BinTaps<T, 2>(begin, place, stride));
    case 3:
      return f(BinTaps<T, 3>(begin, place, stride));
    case 4:
      return f(BinTaps<T, 4>(begin, place, stride));
    default:
      return f(ManyTaps<T>{begin, end, place, stride});
  }
}

// Rows that several bins read are resampled to the roi's columns once.
template <typename P, int kCount, typename T, typename E, typename O>
CM_ALWAYS_INLINE void pool_by_rows(const PoolBlock<T, E, O>& b, const P& pass) {
  using Vector = typename P::Vector;
  const auto& rows = b.taps.rows;
  const int64_t num_rows = static_cast<int64_t>(rows.cells.size());
  for (int64_t q = 0; q < b.pooled_width; ++q) {
    with_taps(b.taps.columns, q, &Tap<T>::cell, b.column_stride, [&](const auto& columns) {
      for (int64_t slot = 0; slot < num_rows; ++slot) {
        Vector sums[kCount] = {};
        columns.sum(b.features + rows.cells[slot] * b.row_stride + pass.first, sums);
        store_vectors<T, kCount>(sums, pass.at(b.row_sums, slot * b.pooled_width + q));
      }
    });
  }
  for (int64_t p = 0; p < b.pooled_height; ++p) {
    with_taps(rows, p, &Tap<T>::slot, b.pooled_width * pass.width, [&](const auto& taps) {
      for (int64_t q = 0; q < b.pooled_width; ++q) {
        Vector sums[kCount] = {};
        taps.sum(static_cast<const T*>(pass.at(b.row_sums, q)), sums);
        store_vectors<T, kCount>(sums, pass.at(b.tile, p * b.pooled_width + q));
      }
    });
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
        const ManyTaps<T> in_row{columns.begin(q), columns.end(q), &Tap<T>::cell, b.column_stride};
        in_row.sum(row + pass.first, parts);
        for (int v = 0; v < kCount; ++v) sums[v] += tap->weight * parts[v];
      }
      store_vectors<T, kCount>(sums, pass.at(b.tile, p * b.pooled_width + q));
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
  if (!b.streams) fetch_output(b);
  const bool is_shared = b.taps.rows.taps.size() > b.taps.rows.cells.size();
  for (int64_t first = 0; first < kWidth; first += P::kChannels) {
    const P pass{first, kWidth};
    is_shared ? pool_by_rows<P, kCount>(b, pass) : pool_by_bins<P, kCount>(b, pass);
  }
  const int64_t num_bins = b.pooled_height * b.pooled_width;
  const int64_t count = num_bins * b.num_valid;
  if constexpr (std::is_same_v<T, O>) {
    T* to = b.streams ? b.row_sums : b.output;
    transpose<kBytes>(b.tile, kWidth, num_bins, b.num_valid, to, num_bins);
    if (b.streams) stream(to, count, b.output);
  } else {
    transpose<kBytes>(b.tile, kWidth, num_bins, b.num_valid, b.row_sums, num_bins);
    for (int64_t i = 0; i < count; ++i) store(b.row_sums[i], b.output + i);
  }
}

}  // namespace centermask
