// RoIPool on channels-last features: the largest of many rows of channels and where it was.
// Backward, a task owns planes of the result.
#include "roi_pool.h"

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <vector>

#include "../channel_blocks.h"
#include "../channels_last.h"
#include "../pooling_checks.h"
#include "../stable_util.h"

namespace centermask {
namespace {

// Channels that one pass works on: their values and cells stay in the first-level cache.
constexpr int64_t kPoolChannels = 64;

// Whole numbers as wide as the channels beside them, so that loops over both become vector code.
template <typename T>
using CellOf = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

// Some channels of one roi; `image` points at the first of them in cell 0.
template <typename T>
struct PoolBlock {
  PoolAxis<T> rows, columns;
  int64_t height, width, channels, pooled_height, pooled_width, num_valid;
  const T* image;
  T* values;
  CellOf<T>* cells;
};

// The largest values so far and their cells.
template <typename T>
struct Largest {
  T value[kPoolChannels];
  CellOf<T> cell[kPoolChannels];

  // NaN is larger than any number, and the first of equals stays. One condition a statement: GCC
  // makes no vector code of a condition that two arrays of different types share.
  CM_ALWAYS_INLINE void meet(const T* seen, CellOf<T> where) {
    for (int64_t c = 0; c < kPoolChannels; ++c) {
      cell[c] = !(seen[c] <= value[c]) && value[c] == value[c] ? where : cell[c];
    }
    for (int64_t c = 0; c < kPoolChannels; ++c) {
      value[c] = !(seen[c] <= value[c]) && value[c] == value[c] ? seen[c] : value[c];
    }
  }
};

template <typename T>
CM_ALWAYS_INLINE void pool_bin(const PoolBlock<T>& b, CellRange rows, CellRange columns, T* values,
                               CellOf<T>* cells) {
  const bool empty = rows.end <= rows.begin || columns.end <= columns.begin;
  const int64_t first = empty ? -1 : rows.begin * b.width + columns.begin;
  Largest<T> largest = {};
  std::fill_n(largest.cell, kPoolChannels, static_cast<CellOf<T>>(first));
  if (!empty) std::copy_n(b.image + first * b.channels, b.num_valid, largest.value);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t column = columns.begin; column < columns.end; ++column) {
      const auto cell = static_cast<CellOf<T>>(row * b.width + column);
      const T* seen = b.image + cell * b.channels;
      if (b.num_valid == kPoolChannels) {
        largest.meet(seen, cell);
      } else {
        T padded[kPoolChannels] = {};
        std::copy_n(seen, b.num_valid, padded);
        largest.meet(padded, cell);
      }
    }
  }
  std::copy_n(largest.value, kPoolChannels, values);
  std::copy_n(largest.cell, kPoolChannels, cells);
}

template <typename T>
CM_ALWAYS_INLINE void pool(const PoolBlock<T>& b) {
  for (int64_t p = 0; p < b.pooled_height; ++p) {
    const CellRange rows = bin_cells(b.rows, p, b.height);
    for (int64_t q = 0; q < b.pooled_width; ++q) {
      const int64_t at = (p * b.pooled_width + q) * kPoolChannels;
      pool_bin(b, rows, bin_cells(b.columns, q, b.width), b.values + at, b.cells + at);
    }
  }
}

CM_TARGET_CLONES void pool_block(const PoolBlock<float>& b) { pool(b); }
CM_TARGET_CLONES void pool_block(const PoolBlock<double>& b) { pool(b); }

// Rois (R, 5) and the geometry of one call.
template <typename T>
struct Rois {
  const T* rois;
  int64_t num_rois, num_images, channels, height, width;

  int64_t image_of(int64_t roi) const { return static_cast<int64_t>(rois[5 * roi]); }

  void check() const {
    check_map(num_rois, height, width);
    for (int64_t roi = 0; roi < num_rois; ++roi) {
      const T image = rois[5 * roi];
      STD_TORCH_CHECK(image >= T(0) && image < static_cast<T>(num_images),
                      "rois: expected image indices in [0, ", num_images, "), got ", image,
                      " in row ", roi);
    }
  }
};

template <typename T>
void pool_all(const Rois<T>& g, const T* features, T scale, int64_t pooled_height,
              int64_t pooled_width, T* output, int64_t* argmax) {
  constexpr int64_t kWidth = kPoolChannels;
  const int64_t num_bins = pooled_height * pooled_width;
  const int64_t num_blocks = (g.channels + kWidth - 1) / kWidth;
  torch::stable::parallel_for(0, g.num_rois * num_blocks, 4, [&](int64_t begin, int64_t end) {
    std::vector<T> values(num_bins * kWidth);
    std::vector<CellOf<T>> cells(num_bins * kWidth);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t roi = task / num_blocks, channel = task % num_blocks * kWidth;
      const int64_t num_valid = std::min(kWidth, g.channels - channel);
      const T* r = g.rois + 5 * roi;
      const T* image = features + g.image_of(roi) * g.height * g.width * g.channels + channel;
      pool_block({pool_axis(r[2], r[4], scale, pooled_height),
                  pool_axis(r[1], r[3], scale, pooled_width), g.height, g.width, g.channels,
                  pooled_height, pooled_width, num_valid, image, values.data(), cells.data()});
      const int64_t to = (roi * g.channels + channel) * num_bins;
      transpose<16>(values.data(), kWidth, num_bins, num_valid, output + to, num_bins);
      for (int64_t c = 0; c < num_valid; ++c) {
        for (int64_t bin = 0; bin < num_bins; ++bin) {
          argmax[to + c * num_bins + bin] = cells[bin * kWidth + c];
        }
      }
    }
  });
}

std::tuple<Tensor, Tensor> roi_pool(const Tensor& input, const Tensor& rois, double spatial_scale,
                                    int64_t pooled_height, int64_t pooled_width) {
  check_shape(input, "input", {-1, -1, -1, -1});
  check_shape(rois, "rois", {-1, 5});
  check_dtype(rois, "rois", input.scalar_type());
  check_pooled_size(rois.size(0), input.size(1), pooled_height, pooled_width);
  STD_TORCH_CHECK(input.size(2) * input.size(3) < (int64_t{1} << 31),
                  "input: expected less than 2^31 cells, got ", shape_of(input));
  const Tensor dense_rois = torch::stable::contiguous(rois);
  const int64_t num_rois = rois.size(0), channels = input.size(1);
  Tensor output =
      torch::stable::new_empty(input, {num_rois, channels, pooled_height, pooled_width});
  Tensor argmax = torch::stable::new_empty(input, {num_rois, channels, pooled_height, pooled_width},
                                           ScalarType::Long);
  for_floating(input, "input", [&](auto zero) {
    using T = decltype(zero);
    const Rois<T> g{dense_rois.const_data_ptr<T>(),
                    num_rois,
                    input.size(0),
                    channels,
                    input.size(2),
                    input.size(3)};
    g.check();
    if (output.numel() == 0) return;
    const Tensor features = channels_last(input);
    pool_all(g, features.const_data_ptr<T>(), static_cast<T>(spatial_scale), pooled_height,
             pooled_width, output.mutable_data_ptr<T>(), argmax.mutable_data_ptr<int64_t>());
  });
  return {output, argmax};
}

template <typename T>
void spread_all(const Rois<T>& g, const T* grad, const int64_t* argmax, int64_t num_bins,
                T* output) {
  const int64_t num_cells = g.height * g.width;
  torch::stable::parallel_for(0, g.num_images * g.channels, 4, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      const int64_t image = plane / g.channels, channel = plane % g.channels;
      T* to = output + plane * num_cells;
      for (int64_t roi = 0; roi < g.num_rois; ++roi) {
        if (g.image_of(roi) != image) continue;
        const int64_t from = (roi * g.channels + channel) * num_bins;
        for (int64_t bin = from; bin < from + num_bins; ++bin) {
          if (argmax[bin] >= 0) to[argmax[bin]] += grad[bin];
        }
      }
    }
  });
}

void check_cells(const int64_t* argmax, int64_t count, int64_t num_cells) {
  int64_t lowest = -1, highest = -1;
  for (int64_t i = 0; i < count; ++i) {
    lowest = std::min(lowest, argmax[i]);
    highest = std::max(highest, argmax[i]);
  }
  STD_TORCH_CHECK(lowest >= -1 && highest < num_cells, "argmax: expected cells in [-1, ", num_cells,
                  "), got ", lowest < -1 ? lowest : highest);
}

Tensor roi_pool_backward(const Tensor& grad, const Tensor& rois, const Tensor& argmax,
                         int64_t batch_size, int64_t height, int64_t width) {
  check_shape(rois, "rois", {-1, 5});
  check_shape(grad, "grad", {rois.size(0), -1, -1, -1});
  check_shape(argmax, "argmax", {rois.size(0), grad.size(1), grad.size(2), grad.size(3)});
  check_dtype(rois, "rois", grad.scalar_type());
  check_dtype(argmax, "argmax", ScalarType::Long);
  check_map_sizes(batch_size, grad.size(1), height, width);
  const Tensor dense_rois = torch::stable::contiguous(rois);
  const Tensor dense_grad = torch::stable::contiguous(grad);
  const Tensor dense_argmax = torch::stable::contiguous(argmax);
  const int64_t channels = grad.size(1);
  Tensor output = torch::stable::new_zeros(grad, {batch_size, channels, height, width});
  for_floating(grad, "grad", [&](auto zero) {
    using T = decltype(zero);
    const Rois<T> g{
        dense_rois.const_data_ptr<T>(), rois.size(0), batch_size, channels, height, width};
    g.check();
    const int64_t* cells = dense_argmax.const_data_ptr<int64_t>();
    check_cells(cells, argmax.numel(), height * width);
    if (output.numel() == 0) return;
    spread_all(g, dense_grad.const_data_ptr<T>(), cells, grad.size(2) * grad.size(3),
               output.mutable_data_ptr<T>());
  });
  return output;
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("roi_pool", TORCH_BOX(&roi_pool));
  m.impl("roi_pool_backward", TORCH_BOX(&roi_pool_backward));
}

}  // namespace
}  // namespace centermask
