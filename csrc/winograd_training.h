// What training needs around winograd.h: weights transformed at each step, and their gradient.
//
// A convolution by minimal filtering is linear in its weights. Its transpose takes the gradient of
// a tile to 36 points, multiplies each with the coefficient of the patch that the tile depends on,
// adds up over all tiles, and takes the sums back to 3 x 3 weights. Sums are kept over few tiles at
// a time.
//
// Symbols as in winograd.h; a chunk is a number of tiles whose coefficients are kept, a panel one
// whose coefficients stay in the first-level cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include "channel_blocks.h"
#include "platform.h"
#include "storage.h"
#include "winograd.h"

namespace centermask {
namespace winograd {

constexpr int64_t kKernelSide = 3;
constexpr int64_t kTaps = kKernelSide * kKernelSide;
constexpr int64_t kTilesPerChunk = 192;
constexpr int64_t kTilesPerPanel = 96;
// Output channels whose products with kGroup vectors of input channels are added up at a time.
constexpr int64_t kSumRows = 4;

// Six coefficients of three weights in a row.
template <typename Vector>
CM_ALWAYS_INLINE void transform_weights(const Vector (&x)[3], Vector (&y)[6]) {
  const Vector even_small = -(2.0f / 3) * x[0] - (1.0f / 3) * x[2];
  const Vector odd_small = -(2.0f / 3) * kSmall * x[1];
  const Vector even_large = (1.0f / 6) * x[0] + (1.0f / 3) * x[2];
  const Vector odd_large = (1.0f / 6) * kLarge * x[1];
  y[0] = x[0];
  y[1] = even_small + odd_small;
  y[2] = even_small - odd_small;
  y[3] = even_large + odd_large;
  y[4] = even_large - odd_large;
  y[5] = x[2];
}

// The transpose of transform_weights.
template <typename Vector>
CM_ALWAYS_INLINE void collect_weights(const Vector (&x)[6], Vector (&y)[3]) {
  const Vector even_small = x[1] + x[2], odd_small = x[1] - x[2];
  const Vector even_large = x[3] + x[4], odd_large = x[3] - x[4];
  y[0] = x[0] - (2.0f / 3) * even_small + (1.0f / 6) * even_large;
  y[1] = (1.0f / 6) * kLarge * odd_large - (2.0f / 3) * kSmall * odd_small;
  y[2] = (1.0f / 3) * (even_large - even_small) + x[5];
}

// How coefficients are made of a patch, and points of the gradient of a tile, from a row of values.
struct OfPatch {
  static constexpr int64_t kSide = kPatchSide;
  template <typename Vector>
  static CM_ALWAYS_INLINE void transform(const Vector (&x)[6], Vector (&y)[6]) {
    transform_patch(x, y);
  }
};
// The transpose of transform_products.
struct OfGradient {
  static constexpr int64_t kSide = kTileSide;
  template <typename Vector>
  static CM_ALWAYS_INLINE void transform(const Vector (&x)[4], Vector (&y)[6]) {
    const Vector even_small = x[0] + 0.5f * x[2], even_large = x[0] + 2.0f * x[2];
    const Vector odd_small = kSmall * (x[1] + 0.5f * x[3]);
    const Vector odd_large = kLarge * (x[1] + 2.0f * x[3]);
    y[0] = x[0];
    y[1] = even_small + odd_small;
    y[2] = even_small - odd_small;
    y[3] = even_large + odd_large;
    y[4] = even_large - odd_large;
    y[5] = x[3];
  }
};

// The weights of a convolution as winograd_conv3x3 reads them.
struct Packing {
  // Channels that are summed over, and those of the result.
  int64_t rows, outputs;
  const float* weight;
  int64_t row_stride, output_stride;
  // Of the 9 taps, in the order that they are taken in.
  int64_t tap_offsets[kTaps];
  float* packed;

  int64_t num_vectors() const { return (outputs + kVector - 1) / kVector; }
};

// Coefficients of kVector output channels, for all rows.
template <typename R>
CM_ALWAYS_INLINE void pack_vector(const Packing& packing, int64_t vector) {
  using Vector = typename R::Vector;
  const int64_t group = vector / kGroup;
  const int64_t width = std::min(kGroup, packing.num_vectors() - group * kGroup) * kVector;
  float* target = packing.packed + group * kGroup * kVector * kPoints * packing.rows +
                  vector % kGroup * kVector;
  const int64_t valid = std::min(kVector, packing.outputs - vector * kVector);
  const float* source = packing.weight + vector * kVector * packing.output_stride;
  float taps[kTaps][kVector] = {};
  for (int64_t row = 0; row < packing.rows; ++row) {
    for (int64_t lane = 0; lane < valid; ++lane) {
      const float* weight = source + lane * packing.output_stride + row * packing.row_stride;
      for (int tap = 0; tap < kTaps; ++tap) taps[tap][lane] = weight[packing.tap_offsets[tap]];
    }
    for (int64_t lane = 0; lane < kVector; lane += R::kLanes) {
      Vector half[kPatchSide][kKernelSide];
      for (int j = 0; j < kKernelSide; ++j) {
        Vector column[kKernelSide], transformed[kPatchSide];
        for (int i = 0; i < kKernelSide; ++i) {
          load_vector(taps[i * kKernelSide + j] + lane, column[i]);
        }
        transform_weights(column, transformed);
        for (int i = 0; i < kPatchSide; ++i) half[i][j] = transformed[i];
      }
      for (int i = 0; i < kPatchSide; ++i) {
        Vector coefficients[kPatchSide];
        transform_weights(half[i], coefficients);
        for (int j = 0; j < kPatchSide; ++j) {
          const int64_t point = i * kPatchSide + j;
          R::store(coefficients[j], target + (point * packing.rows + row) * width + lane);
        }
      }
    }
  }
}

// A convolution with stride 1 whose weights have a gradient; E is how maps are stored.
template <typename E>
struct WeightGradient {
  int64_t num_images, channels, height, width, out_channels, padding;
  const E* input;
  const E* grad;
  // out_channels x 3 x 3 x channels.
  float* result;

  int64_t out_height() const { return height + 2 * padding - 2; }
  int64_t out_width() const { return width + 2 * padding - 2; }
  int64_t tile_rows() const { return (out_height() + kTileSide - 1) / kTileSide; }
  int64_t tile_columns() const { return (out_width() + kTileSide - 1) / kTileSide; }
  int64_t num_tiles() const { return num_images * tile_rows() * tile_columns(); }
  int64_t room() const { return std::min(kTilesPerChunk, num_tiles()); }
  int64_t padded_channels() const { return round_up(channels, kVector); }
  int64_t padded_outputs() const { return round_up(out_channels, kVector); }
  // From a point to the next one: a line of the cache further than a power of two.
  int64_t coefficient_stride() const { return room() * padded_channels() + kVector; }
  int64_t spread_stride() const { return room() * padded_outputs() + kVector; }
  int64_t sum_stride() const { return padded_outputs() * padded_channels() + kVector; }
  int64_t num_groups() const {
    return (padded_channels() + kGroup * kVector - 1) / (kGroup * kVector);
  }
};

// What is computed of a chunk of tiles. Of each point: vectors of channels x room x kVector.
struct Chunk {
  int64_t first, count;
  float* coefficients;  // of patches
  float* spread;        // of gradients
};

// A square of cells on the map of an image.
template <typename E>
struct Window {
  const E* map;
  int64_t top, left, height, width, channels;

  template <int64_t kSide>
  CM_ALWAYS_INLINE bool is_inside() const {
    return top >= 0 && left >= 0 && top + kSide <= height && left + kSide <= width;
  }
  CM_ALWAYS_INLINE bool has(int64_t row, int64_t column) const {
    return top + row >= 0 && top + row < height && left + column >= 0 && left + column < width;
  }
  CM_ALWAYS_INLINE const E* at(int64_t row, int64_t column) const {
    return map + ((top + row) * width + left + column) * channels;
  }
};

// Points of the channels from c on; kWhole: all cells lie on the map, and all channels exist.
template <typename R, typename Of, bool kWhole, typename E>
CM_ALWAYS_INLINE void transform_channels(const Window<E>& window, int64_t c, float* target,
                                         int64_t point_stride) {
  using Vector = typename R::Vector;
  constexpr int64_t kSide = Of::kSide;
  Vector half[kPatchSide][kSide];
  for (int j = 0; j < kSide; ++j) {
    Vector cells[kSide], column[kPatchSide];
    for (int i = 0; i < kSide; ++i) {
      if (kWhole) {
        load_vector(window.at(i, j) + c, cells[i]);
      } else if (window.has(i, j)) {
        R::load_first(window.at(i, j) + c, window.channels - c, cells[i]);
      } else {
        cells[i] = Vector{};
      }
    }
    Of::transform(cells, column);
    for (int i = 0; i < kPatchSide; ++i) half[i][j] = column[i];
  }
  for (int i = 0; i < kPatchSide; ++i) {
    Vector points[kPatchSide];
    Of::transform(half[i], points);
    for (int j = 0; j < kPatchSide; ++j) {
      R::store(points[j], target + (i * kPatchSide + j) * point_stride);
    }
  }
}

// Points of all channels, for the `row`-th of `room` tiles.
template <typename R, typename Of, typename E>
CM_ALWAYS_INLINE void transform_window(const Window<E>& window, int64_t row, int64_t room,
                                       float* points, int64_t point_stride) {
  const bool inside = window.template is_inside<Of::kSide>();
  for (int64_t c = 0; c < round_up(window.channels, kVector); c += R::kLanes) {
    float* target = points + (c / kVector * room + row) * kVector + c % kVector;
    inside&& c + R::kLanes <= window.channels
        ? transform_channels<R, Of, true>(window, c, target, point_stride)
        : transform_channels<R, Of, false>(window, c, target, point_stride);
  }
}

// Both transforms of a tile, the `row`-th of its chunk.
template <typename R, typename E>
CM_ALWAYS_INLINE void transform_tile(const WeightGradient<E>& of, const Chunk& chunk, int64_t row) {
  const int64_t tile = chunk.first + row;
  const int64_t image = tile / (of.tile_rows() * of.tile_columns());
  const int64_t top = tile / of.tile_columns() % of.tile_rows() * kTileSide;
  const int64_t left = tile % of.tile_columns() * kTileSide;
  const Window<E> patch{of.input + image * of.height * of.width * of.channels,
                        top - of.padding,
                        left - of.padding,
                        of.height,
                        of.width,
                        of.channels};
  transform_window<R, OfPatch>(patch, row, of.room(), chunk.coefficients, of.coefficient_stride());
  const Window<E> gradient{of.grad + image * of.out_height() * of.out_width() * of.out_channels,
                           top,
                           left,
                           of.out_height(),
                           of.out_width(),
                           of.out_channels};
  transform_window<R, OfGradient>(gradient, row, of.room(), chunk.spread, of.spread_stride());
}

// sums[row][v] += over tiles, spread[tile][row] * register v of the coefficients of that tile.
template <typename R, int V>
CM_ALWAYS_INLINE void add_tiles(const float* CM_RESTRICT spread,
                                const float* CM_RESTRICT coefficients, int64_t count,
                                int64_t vector_stride, float* CM_RESTRICT sums,
                                int64_t sum_stride) {
  using Vector = typename R::Vector;
  constexpr int64_t kPerVector = kVector / R::kLanes;
  Vector added[kSumRows][V] = {};
  for (int64_t tile = 0; tile < count; ++tile) {
    Vector factors[V];
    for (int v = 0; v < V; ++v) {
      load_vector(coefficients + v / kPerVector * vector_stride + v % kPerVector * R::kLanes,
                  factors[v]);
    }
    for (int row = 0; row < kSumRows; ++row) {
      const float value = spread[row];
      for (int v = 0; v < V; ++v) added[row][v] += value * factors[v];
    }
    spread += kVector;
    coefficients += kVector;
  }
  for (int row = 0; row < kSumRows; ++row) {
    for (int v = 0; v < V; ++v) {
      float* sum = sums + row * sum_stride + v * R::kLanes;
      Vector before;
      load_vector(sum, before);
      R::store(before + added[row][v], sum);
    }
  }
}

// Adds the products of a chunk to the sums of a point, for V registers of channels from c on.
template <typename R, int V, typename E>
CM_ALWAYS_INLINE void add_products(const WeightGradient<E>& of, const Chunk& chunk, int64_t point,
                                   int64_t c, float* sums) {
  const int64_t stride = of.room() * kVector;
  const float* spread = chunk.spread + point * of.spread_stride();
  const float* coefficients =
      chunk.coefficients + point * of.coefficient_stride() + c / kVector * stride + c % kVector;
  float* target = sums + point * of.sum_stride() + c;
  for (int64_t first = 0; first < chunk.count; first += kTilesPerPanel) {
    const int64_t count = std::min(kTilesPerPanel, chunk.count - first), offset = first * kVector;
    for (int64_t k = 0; k < of.padded_outputs(); k += kSumRows) {
      add_tiles<R, V>(spread + k / kVector * stride + offset + k % kVector, coefficients + offset,
                      count, stride, target + k * of.padded_channels(), of.padded_channels());
    }
  }
}

// The same for a whole group of channels.
template <typename R, int V, typename E>
CM_ALWAYS_INLINE void add_group(const WeightGradient<E>& of, const Chunk& chunk, int64_t point,
                                int64_t group, float* sums) {
  constexpr int64_t kWidth = V * R::kLanes;
  int64_t c = group * kGroup * kVector;
  const int64_t end = std::min(of.padded_channels(), c + kGroup * kVector);
  for (; c + kWidth <= end; c += kWidth) add_products<R, V>(of, chunk, point, c, sums);
  for (; c < end; c += R::kLanes) add_products<R, 1>(of, chunk, point, c, sums);
}

// The gradients of the weights of one output channel.
template <typename R, typename E>
CM_ALWAYS_INLINE void collect_output(const WeightGradient<E>& of, const float* sums, int64_t k) {
  using Vector = typename R::Vector;
  float* result = of.result + k * kTaps * of.channels;
  for (int64_t c = 0; c < of.channels; c += R::kLanes) {
    const float* source = sums + k * of.padded_channels() + c;
    Vector half[kKernelSide][kPatchSide];
    for (int j = 0; j < kPatchSide; ++j) {
      Vector points[kPatchSide], column[kKernelSide];
      for (int i = 0; i < kPatchSide; ++i) {
        load_vector(source + (i * kPatchSide + j) * of.sum_stride(), points[i]);
      }
      collect_weights(points, column);
      for (int i = 0; i < kKernelSide; ++i) half[i][j] = column[i];
    }
    for (int i = 0; i < kKernelSide; ++i) {
      Vector row[kKernelSide];
      collect_weights(half[i], row);
      for (int j = 0; j < kKernelSide; ++j) {
        R::store_first(row[j], of.channels - c, result + (i * kKernelSide + j) * of.channels + c);
      }
    }
  }
}

}  // namespace winograd
}  // namespace centermask
