// RoIAlign on channels-last features, in two passes over blocks of channels: first every needed row
// of the map is resampled to the roi's columns, then rows are combined. Both passes are weighted
// sums of contiguous vectors. The backward pass is the transpose; each of its tasks owns a block of
// channels of an image, so nothing is shared and the thread count changes no result.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "channel_blocks.h"
#include "pooling_checks.h"
#include "roi_align_block.h"
#include "roi_align_features.h"
#include "roi_align_taps.h"
#include "stable_util.h"

namespace centermask {
namespace {

constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kRoisPerThread = 64;

// For registers of 64 bytes where the processor has them, else of 32.
#define CM_POOL(T, E, O)                                                      \
  CM_TARGET_WIDE void pool_wide(const PoolBlock<T, E, O>& b, bool wide) {     \
    wide ? pool<64, kWideBlock>(b) : pool<64, 1>(b);                          \
  }                                                                           \
  CM_TARGET_CLONES void pool_narrow(const PoolBlock<T, E, O>& b, bool wide) { \
    wide ? pool<32, kWideBlock>(b) : pool<32, 1>(b);                          \
  }
CM_POOL(float, float, float)
CM_POOL(double, double, double)
CM_POOL(float, BFloat16, BFloat16)
CM_POOL(float, float, BFloat16)
#undef CM_POOL

template <typename T, typename E, typename O>
void pool_block(const PoolBlock<T, E, O>& b, bool wide) {
  has_wide_registers() ? pool_wide(b, wide) : pool_narrow(b, wide);
}

// The transpose of PoolBlock: `grad` is read, `map` (cells x channels of this block) is added to.
template <typename T>
struct SpreadBlock {
  const RoiTaps<T>& taps;
  int64_t pooled_height, pooled_width, width, num_valid;
  const T* grad;
  T* row_sums;
  T* tile;
  T* map;
  uint8_t* row_in_use;
};

// A block of kVectors times 64 bytes, in registers of kBytes.
template <typename T, int kBytes, int kVectors>
CM_ALWAYS_INLINE void spread(const SpreadBlock<T>& b) {
  constexpr int64_t kWidth = kVectors * kLanes<T>;
  constexpr int kCount = kVectors * 64 / kBytes;
  const auto& rows = b.taps.rows;
  const auto& columns = b.taps.columns;
  const int64_t num_bins = b.pooled_height * b.pooled_width;
  const int64_t num_slots = static_cast<int64_t>(rows.cells.size());
  pack_channels<kBytes>(b.grad, num_bins, b.num_valid, num_bins, b.tile, kWidth);
  std::fill(b.row_sums, b.row_sums + num_slots * b.pooled_width * kWidth, T(0));
  for (int64_t p = 0; p < b.pooled_height; ++p) {
    for (const Tap<T>* tap = rows.begin(p); tap != rows.end(p); ++tap) {
      for (int64_t q = 0; q < b.pooled_width; ++q) {
        add_scaled_to<T, kBytes, kCount>(b.row_sums + (tap->slot * b.pooled_width + q) * kWidth,
                                         b.tile + (p * b.pooled_width + q) * kWidth, tap->weight);
      }
    }
  }
  for (int64_t slot = 0; slot < num_slots; ++slot) {
    const int64_t cell_row = rows.cells[slot];
    T* row = b.map + cell_row * b.width * kWidth;
    if (!b.row_in_use[cell_row]) std::fill(row, row + b.width * kWidth, T(0));
    b.row_in_use[cell_row] = 1;
    for (int64_t q = 0; q < b.pooled_width; ++q) {
      const T* sums = b.row_sums + (slot * b.pooled_width + q) * kWidth;
      for (const Tap<T>* tap = columns.begin(q); tap != columns.end(q); ++tap) {
        add_scaled_to<T, kBytes, kCount>(row + tap->cell * kWidth, sums, tap->weight);
      }
    }
  }
}

#define CM_SPREAD(T)                                                        \
  CM_TARGET_WIDE void spread_wide(const SpreadBlock<T>& b, bool wide) {     \
    wide ? spread<T, 64, kWideBlock>(b) : spread<T, 64, 1>(b);              \
  }                                                                         \
  CM_TARGET_CLONES void spread_narrow(const SpreadBlock<T>& b, bool wide) { \
    wide ? spread<T, 32, kWideBlock>(b) : spread<T, 32, 1>(b);              \
  }
CM_SPREAD(float)
CM_SPREAD(double)
#undef CM_SPREAD

template <typename T>
void spread_block(const SpreadBlock<T>& b, bool wide) {
  has_wide_registers() ? spread_wide(b, wide) : spread_narrow(b, wide);
}

// The taps of all rois, if they are needed again and again.
template <typename T>
std::vector<RoiTaps<T>> taps_of(const Geometry<T>& g) {
  std::vector<RoiTaps<T>> taps(g.num_rois);
  torch::stable::parallel_for(0, g.num_rois, kRoisPerThread, [&](int64_t begin, int64_t end) {
    for (int64_t roi = begin; roi < end; ++roi) taps[roi].move_to(g, roi);
  });
  return taps;
}

template <typename T, typename E, typename O>
struct Forward {
  const ChannelsLast<T, E>& features;
  const Geometry<T>& geometry;
  const std::vector<int64_t> order;
  const std::vector<RoiTaps<T>> taps;  // of all rois or of none
  O* output;
  bool streams;

  // The blocks of channels that `features` holds, from this one on.
  void pool_held(int64_t first_block) const {
    const Geometry<T>& g = geometry;
    const ChannelBlocks<T>& blocks = features.blocks();
    const int64_t held = features.blocks_held(), first = blocks.first_channel(first_block);
    torch::stable::parallel_for(
        0, g.num_rois * held, kTasksPerThread, [&](int64_t begin, int64_t end) {
          RoiTaps<T> own;
          LineBuffer<T> row_sums, tile(g.num_bins() * kWideBlock * kLanes<T>);
          for (int64_t task = begin; task < end; ++task) {
            const int64_t roi = order[task / held], block = first_block + task % held;
            if (taps.empty()) own.move_to(g, roi);
            const RoiTaps<T>& used = taps.empty() ? own : taps[roi];
            const int64_t num_sums = std::max<int64_t>(used.rows.cells.size(), g.pooled_height);
            row_sums.reserve(num_sums * g.pooled_width * blocks.width(block));
            const int64_t channel = blocks.first_channel(block);
            const E* image = features.data + g.image_of(roi) * features.image_stride;
            O* to = output + (roi * blocks.channels + channel) * g.num_bins();
            pool_block(PoolBlock<T, E, O>{used, g.pooled_height, g.pooled_width,
                                          features.row_stride, features.column_stride,
                                          blocks.num_valid(block), image + (channel - first),
                                          row_sums.data(), tile.data(), to, streams},
                       blocks.is_wide(block));
          }
          if (streams) end_streams();
        });
  }
};

// Whether results would drive features out of the nearer caches, and are written in whole lines.
template <typename T, typename O>
bool can_stream(const Geometry<T>& g, int64_t channels, const O* output) {
  constexpr int64_t kFewestBytes = 1 << 20;
  return channels % kLanes<O> == 0 && reinterpret_cast<uintptr_t>(output) % 64 == 0 &&
         g.num_rois * channels * g.num_bins() * static_cast<int64_t>(sizeof(O)) >= kFewestBytes;
}

template <typename T, typename E, typename O>
void forward_kernel(ChannelsLast<T, E> features, const Geometry<T>& g, O* output) {
  const int64_t num_blocks = features.blocks().num_blocks, held = features.blocks_held();
  const Forward<T, E, O> forward{features,
                                 g,
                                 neighbours_together(g),
                                 held < num_blocks ? taps_of(g) : std::vector<RoiTaps<T>>(),
                                 output,
                                 can_stream(g, features.blocks().channels, output)};
  for (int64_t block = 0; block < num_blocks; block += held) {
    features.hold(block);
    forward.pool_held(block);
  }
}

// Gradient of one block of channels of one image.
template <typename T>
void backward_task(const Geometry<T>& g, const ChannelBlocks<T>& blocks, int64_t image,
                   int64_t block, const T* grad, T* map, T* output) {
  RoiTaps<T> taps;
  LineBuffer<T> row_sums, tile(g.num_bins() * blocks.width(block));
  std::vector<uint8_t> row_in_use(g.height, 0);
  const int64_t channel = blocks.first_channel(block), num_valid = blocks.num_valid(block);
  for (int64_t roi = 0; roi < g.num_rois; ++roi) {
    if (g.image_of(roi) != image) continue;
    taps.move_to(g, roi);
    row_sums.reserve(taps.rows.cells.size() * g.pooled_width * blocks.width(block));
    const T* from = grad + (roi * blocks.channels + channel) * g.num_bins();
    spread_block(SpreadBlock<T>{taps, g.pooled_height, g.pooled_width, g.width, num_valid, from,
                                row_sums.data(), tile.data(), map, row_in_use.data()},
                 blocks.is_wide(block));
  }
  const int64_t plane = g.height * g.width, cell = blocks.width(block);
  T* to = output + (image * blocks.channels + channel) * plane;
  for (int64_t row = 0; row < g.height; ++row) {
    T* target = to + row * g.width;
    if (row_in_use[row]) {
      transpose<16>(map + row * g.width * cell, cell, g.width, num_valid, target, plane);
    } else {
      for (int64_t c = 0; c < num_valid; ++c) std::fill_n(target + c * plane, g.width, T(0));
    }
  }
}

template <typename T>
void backward_kernel(const T* grad, const Geometry<T>& g, int64_t channels, T* output) {
  // Narrow blocks only where wide ones would leave threads idle: every channel is summed in the
  // same order either way.
  const ChannelBlocks<T> wide(channels, false);
  const bool narrow = g.num_images * wide.num_blocks < torch::stable::get_num_threads();
  const ChannelBlocks<T> blocks(channels, narrow);
  const int64_t num_tasks = g.num_images * blocks.num_blocks;
  torch::stable::parallel_for(0, num_tasks, 1, [&](int64_t begin, int64_t end) {
    const int64_t widest = blocks.width(0);
    const LineBuffer<T> map(g.height * g.width * widest);
    for (int64_t task = begin; task < end; ++task) {
      backward_task(g, blocks, task / blocks.num_blocks, task % blocks.num_blocks, grad, map.data(),
                    output);
    }
  });
}

template <typename T>
Geometry<T> checked_geometry(const Tensor& rois, double spatial_scale, int64_t num_images,
                             int64_t height, int64_t width, int64_t pooled_height,
                             int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
  check_map(rois.size(0), height, width);
  check_sampling_ratio(sampling_ratio);
  const Geometry<T> g{rois.const_data_ptr<T>(),
                      rois.size(0),
                      num_images,
                      height,
                      width,
                      pooled_height,
                      pooled_width,
                      sampling_ratio,
                      static_cast<T>(spatial_scale),
                      aligned};
  for (int64_t roi = 0; roi < g.num_rois; ++roi) {
    const T image = g.rois[5 * roi];
    STD_TORCH_CHECK(image >= T(0) && image < static_cast<T>(num_images),
                    "rois: expected image indices in [0, ", num_images, "), got ", image,
                    " in row ", roi);
  }
  return g;
}

// Features of 16 bits are read as they are, or in a copy of 32 bits if they lie otherwise.
template <typename T, typename E>
void pool_all(const Tensor& input, const Geometry<T>& g, Tensor& output) {
  E* to = static_cast<E*>(output.mutable_data_ptr());
  if (std::is_same_v<T, E> || can_read<T>(input)) {
    forward_kernel(ChannelsLast<T, E>(input, g), g, to);
  } else {
    forward_kernel(ChannelsLast<T, T>(torch::stable::to(input, ScalarType::Float), g), g, to);
  }
}

Tensor roi_align(const Tensor& input, const Tensor& rois, double spatial_scale,
                 int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio,
                 bool aligned) {
  check_shape(input, "input", {-1, -1, -1, -1});
  check_shape(rois, "rois", {-1, 5});
  check_dtype(rois, "rois", precise_type(input));
  check_pooled_size(rois.size(0), input.size(1), pooled_height, pooled_width);
  const Tensor dense_rois = torch::stable::contiguous(rois);
  Tensor output;
  for_element(input, "input", [&](auto element, auto zero) {
    using E = decltype(element);
    using T = decltype(zero);
    const auto g =
        checked_geometry<T>(dense_rois, spatial_scale, input.size(0), input.size(2), input.size(3),
                            pooled_height, pooled_width, sampling_ratio, aligned);
    output =
        torch::stable::new_empty(input, {g.num_rois, input.size(1), pooled_height, pooled_width});
    if (output.numel() > 0) pool_all<T, E>(input, g, output);
  });
  return output;
}

Tensor roi_align_backward(const Tensor& grad, const Tensor& rois, double spatial_scale,
                          int64_t batch_size, int64_t channels, int64_t height, int64_t width,
                          int64_t sampling_ratio, bool aligned) {
  check_shape(rois, "rois", {-1, 5});
  check_shape(grad, "grad", {rois.size(0), channels, -1, -1});
  check_dtype(rois, "rois", grad.scalar_type());
  const Tensor dense_rois = torch::stable::contiguous(rois);
  const Tensor dense_grad = torch::stable::contiguous(grad);
  check_pooled_grad(grad);
  check_map_sizes(batch_size, channels, height, width);
  Tensor output = torch::stable::new_empty(grad, {batch_size, channels, height, width});
  for_floating(grad, "grad", [&](auto zero) {
    using T = decltype(zero);
    const auto g = checked_geometry<T>(dense_rois, spatial_scale, batch_size, height, width,
                                       grad.size(2), grad.size(3), sampling_ratio, aligned);
    if (output.numel() == 0) return;
    backward_kernel(dense_grad.const_data_ptr<T>(), g, channels, output.mutable_data_ptr<T>());
  });
  return output;
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&roi_align_backward));
}

}  // namespace
}  // namespace centermask
