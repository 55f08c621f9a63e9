// Features as RoIAlign reads them: rows of channels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "channel_blocks.h"
#include "roi_align_taps.h"
#include "stable_util.h"

namespace centermask {

constexpr int64_t kRowsPerThread = 16;

// Positions of some channels as rows of channels.
template <typename T>
struct PackRow {
  const T* source;
  int64_t channel_stride, num_channels, num_positions;
  T* packed;
  int64_t padded_channels;
};

// Internal: a resolver that other libraries may see runs too early for sanitizers.
#define CM_PACK(T)                                                                           \
  CM_TARGET_WIDE static void pack_wide(const PackRow<T>& r) {                                \
    pack_channels<64>(r.source, r.channel_stride, r.num_channels, r.num_positions, r.packed, \
                      r.padded_channels);                                                    \
  }                                                                                          \
  CM_TARGET_CLONES static void pack_narrow(const PackRow<T>& r) {                            \
    pack_channels<32>(r.source, r.channel_stride, r.num_channels, r.num_positions, r.packed, \
                      r.padded_channels);                                                    \
  }
CM_PACK(float)
CM_PACK(double)
CM_PACK(BFloat16)
#undef CM_PACK

template <typename T>
void pack_row(const T* source, int64_t channel_stride, int64_t num_channels, int64_t num_positions,
              T* packed, int64_t padded_channels) {
  const PackRow<T> row{source,        channel_stride, num_channels,
                       num_positions, packed,         padded_channels};
  has_wide_registers() ? pack_wide(row) : pack_narrow(row);
}

// The columns of a row of the map that rois read.
struct Span {
  int64_t begin = 0, end = 0;

  void cover(int64_t first, int64_t last) {
    begin = end > begin ? std::min(begin, first) : first;
    end = std::max(end, last);
  }
};

// Cells that an axis may read, with a margin for rounding; it never is an empty span.
template <typename T>
Span reach(const RoiAxis<T>& axis, int64_t num_bins, int64_t length) {
  const T limit = static_cast<T>(length);
  // An aligned roi may end before it starts. Comparisons arranged so that NaN covers everything.
  const T stop = axis.start + axis.bin_size * static_cast<T>(num_bins);
  const T low = std::min(stop, axis.start) - T(1);
  const T high = std::max(stop, axis.start) + T(3);
  const int64_t begin = low > T(0) ? static_cast<int64_t>(std::min(low, limit - 1)) : 0;
  const int64_t end = high < limit ? static_cast<int64_t>(std::max(high, T(1))) : length;
  return {begin, end};
}

// Whether kernels can read the channels of cells as they lie in memory.
template <typename T>
bool can_read(const Tensor& input) {
  return input.stride(1) == 1 && input.size(1) % kLanes<T> == 0;
}

// Features with contiguous channels: the input itself, or a copy of one block of channels at a time
// of what rois read, padded with zeros: small enough to stay in the cache.
template <typename T, typename E>
class ChannelsLast {
 public:
  const E* data = nullptr;
  int64_t image_stride = 0, row_stride = 0, column_stride = 0;

  ChannelsLast(const Tensor& input, const Geometry<T>& g)
      : g_(g), blocks_(input.size(1), false), input_(input) {
    if (can_read<T>(input)) {
      data = static_cast<const E*>(input.const_data_ptr());
      image_stride = input.stride(0);
      row_stride = input.stride(2);
      column_stride = input.stride(3);
      return;
    }
    if (input.stride(3) != 1) input_ = torch::stable::contiguous(input);
    spans_ = spans_of_rows(g);
    copy_.reserve(g.num_images * g.height * g.width * blocks_.width(0));
  }

  const ChannelBlocks<T>& blocks() const { return blocks_; }
  // How many blocks of channels `data` holds at a time.
  int64_t blocks_held() const { return copy_.data() ? 1 : blocks_.num_blocks; }

  // Makes `data` hold the blocks from this one on.
  void hold(int64_t block) {
    if (!copy_.data()) return;
    column_stride = blocks_.width(block);
    row_stride = g_.width * column_stride;
    image_stride = g_.height * row_stride;
    data = copy_.data();
    pack(block);
  }

 private:
  static std::vector<Span> spans_of_rows(const Geometry<T>& g) {
    std::vector<Span> spans(g.num_images * g.height);
    for (int64_t roi = 0; roi < g.num_rois; ++roi) {
      const Span rows = reach(g.rows_of(roi), g.pooled_height, g.height);
      const Span columns = reach(g.columns_of(roi), g.pooled_width, g.width);
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        spans[g.image_of(roi) * g.height + row].cover(columns.begin, columns.end);
      }
    }
    return spans;
  }

  void pack(int64_t block) {
    const int64_t channel_stride = input_.stride(1), num_valid = blocks_.num_valid(block);
    const E* source = static_cast<const E*>(input_.const_data_ptr()) +
                      blocks_.first_channel(block) * channel_stride;
    const int64_t from_image = input_.stride(0), from_row = input_.stride(2);
    const int64_t num_rows = static_cast<int64_t>(spans_.size());
    torch::stable::parallel_for(0, num_rows, kRowsPerThread, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Span span = spans_[i];
        const E* from = source + i / g_.height * from_image + i % g_.height * from_row + span.begin;
        E* to = copy_.data() + i * row_stride + span.begin * column_stride;
        pack_row(from, channel_stride, num_valid, span.end - span.begin, to, column_stride);
      }
    });
  }

  const Geometry<T>& g_;
  ChannelBlocks<T> blocks_;
  Tensor input_;
  std::vector<Span> spans_;
  LineBuffer<E> copy_;
};

}  // namespace centermask
