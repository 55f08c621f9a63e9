// The minimal filtering algorithm F(4 x 4, 3 x 3) (Winograd; Lavin and Gray 2015, "Fast Algorithms
// for Convolutional Neural Networks", section 4.1): 4 x 4 results of a 3 x 3 convolution from 36
// products a channel instead of 144.
//
// The six points of evaluation are 0, +-sqrt(1/2), +-sqrt(2) and infinity: with these, and with
// sums over few channels at a time, results are about twice as far from the exact ones as those of
// the plain algorithm; with the usual 0, +-1, +-2 and one long sum seven times.
//
// Symbols: C channels in, K channels out; a tile is 4 x 4 results, its patch the 6 x 6 pixels they
// depend on; a point is one of the 36 coefficients of a patch after the transform. Maps lie in
// memory as NHWC.
#pragma once

#include <algorithm>
#include <cstdint>

#include "channel_blocks.h"
#include "platform.h"
#include "registers.h"

namespace centermask {
namespace winograd {

constexpr int64_t kTileSide = 4;
constexpr int64_t kPatchSide = 6;
constexpr int64_t kPoints = kPatchSide * kPatchSide;

constexpr float kSmall = 0.70710678118654752440f;  // sqrt(1/2)
constexpr float kLarge = 1.41421356237309504880f;  // sqrt(2)

// One convolution with stride 1; E is how maps are stored.
template <typename E>
struct Convolution {
  int64_t num_images, channels, height, width, out_channels, padding;
  bool relu;
  const E* input;
  const E* zeros;  // as many as channels
  const float* bias;
  E* output;

  int64_t out_height() const { return height + 2 * padding - 2; }
  int64_t out_width() const { return width + 2 * padding - 2; }
  int64_t tile_rows() const { return (out_height() + kTileSide - 1) / kTileSide; }
  int64_t tile_columns() const { return (out_width() + kTileSide - 1) / kTileSide; }
  int64_t num_tiles() const { return num_images * tile_rows() * tile_columns(); }
  int64_t padded_channels() const { return round_up(channels, kVector); }
  int64_t num_out_vectors() const { return (out_channels + kVector - 1) / kVector; }
  int64_t num_groups() const { return (num_out_vectors() + kGroup - 1) / kGroup; }
  // Vectors of output channels in a group.
  int64_t group_size(int64_t group) const {
    return std::min(kGroup, num_out_vectors() - group * kGroup);
  }
};

// Where a tile begins, in cells of the output.
struct Place {
  int64_t image, top, left;

  template <typename E>
  Place(const Convolution<E>& conv, int64_t tile)
      : image(tile / (conv.tile_rows() * conv.tile_columns())),
        top(tile / conv.tile_columns() % conv.tile_rows() * kTileSide),
        left(tile % conv.tile_columns() * kTileSide) {}
};

// Six coefficients of six values in a row.
template <typename Vector>
CM_ALWAYS_INLINE void transform_patch(const Vector (&x)[6], Vector (&y)[6]) {
  const Vector odd_small = kSmall * (x[3] - 2.0f * x[1]), even_small = x[4] - 2.0f * x[2];
  const Vector odd_large = kLarge * (x[3] - 0.5f * x[1]), even_large = x[4] - 0.5f * x[2];
  y[0] = x[0] - 2.5f * x[2] + x[4];
  y[1] = even_small + odd_small;
  y[2] = even_small - odd_small;
  y[3] = even_large + odd_large;
  y[4] = even_large - odd_large;
  y[5] = x[1] - 2.5f * x[3] + x[5];
}

// Four results of six products.
template <typename Vector>
CM_ALWAYS_INLINE void transform_products(const Vector (&x)[6], Vector (&y)[4]) {
  const Vector even_small = x[1] + x[2], odd_small = x[1] - x[2];
  const Vector even_large = x[3] + x[4], odd_large = x[3] - x[4];
  y[0] = x[0] + even_small + even_large;
  y[1] = kSmall * odd_small + kLarge * odd_large;
  y[2] = 0.5f * even_small + 2.0f * even_large;
  y[3] = (0.5f * kSmall) * odd_small + (2.0f * kLarge) * odd_large + x[5];
}

// Some tiles, and what is computed of them on the way.
template <typename Coefficient>
struct Block {
  int64_t first, count;
  // Tiles that there is room for, a multiple of kRows.
  int64_t room;
  Coefficient* coefficients;
  float* scales;    // of the coefficients, where they have any
  float* products;  // points x room x channels of a group
};

// The cells of the map that a tile depends on.
template <typename E>
struct Patch {
  // Their channels; zeros beside the map.
  const E* cells[kPatchSide][kPatchSide];
  int64_t channels;

  CM_ALWAYS_INLINE Patch(const Convolution<E>& conv, int64_t tile) : channels(conv.channels) {
    const Place place(conv, tile);
    const E* map = conv.input + place.image * conv.height * conv.width * channels;
    for (int64_t i = 0; i < kPatchSide; ++i) {
      const int64_t y = place.top - conv.padding + i;
      for (int64_t j = 0; j < kPatchSide; ++j) {
        const int64_t x = place.left - conv.padding + j;
        const bool exists = y >= 0 && y < conv.height && x >= 0 && x < conv.width;
        cells[i][j] = exists ? map + (y * conv.width + x) * channels : conv.zeros;
      }
    }
  }
};

// The coefficients of the channels from `first` on; kFull: there are as many as a register holds.
template <typename R, bool kFull, typename E>
CM_ALWAYS_INLINE void transform_channels(const Patch<E>& patch, int64_t first, float* target,
                                         int64_t point_stride) {
  using Vector = typename R::Vector;
  Vector half[kPatchSide][kPatchSide];
  for (int j = 0; j < kPatchSide; ++j) {
    Vector pixels[kPatchSide], column[kPatchSide];
    for (int i = 0; i < kPatchSide; ++i) {
      const E* pixel = patch.cells[i][j] + first;
      if (kFull) {
        load_vector(pixel, pixels[i]);
      } else {
        R::load_first(pixel, patch.channels - first, pixels[i]);
      }
      // What the tile to the right needs beyond this one.
      if (j >= kPatchSide - kTileSide) prefetch_to_read(pixel + kTileSide * patch.channels);
    }
    transform_patch(pixels, column);
    for (int i = 0; i < kPatchSide; ++i) half[i][j] = column[i];
  }
  for (int i = 0; i < kPatchSide; ++i) {
    Vector coefficients[kPatchSide];
    transform_patch(half[i], coefficients);
    for (int j = 0; j < kPatchSide; ++j) {
      R::store(coefficients[j], target + (i * kPatchSide + j) * point_stride);
    }
  }
}

template <typename R, typename E>
CM_ALWAYS_INLINE void transform_vector(const Patch<E>& patch, int64_t first, float* target,
                                       int64_t point_stride) {
  first + R::kLanes <= patch.channels
      ? transform_channels<R, true>(patch, first, target, point_stride)
      : transform_channels<R, false>(patch, first, target, point_stride);
}

// The results of one tile, for one register of output channels.
template <typename R, typename E>
CM_ALWAYS_INLINE void transform_output(const Convolution<E>& conv, const Place& place,
                                       const float* products, int64_t point_stride, int64_t k) {
  using Vector = typename R::Vector;
  const int64_t valid = conv.out_channels - k;
  Vector half[kTileSide][kPatchSide], bias;
  R::load_first(conv.bias + k, valid, bias);
  for (int j = 0; j < kPatchSide; ++j) {
    Vector points[kPatchSide], column[kTileSide];
    for (int i = 0; i < kPatchSide; ++i) {
      load_vector(products + (i * kPatchSide + j) * point_stride, points[i]);
    }
    transform_products(points, column);
    for (int i = 0; i < kTileSide; ++i) half[i][j] = column[i];
  }
  const int64_t num_rows = std::min(kTileSide, conv.out_height() - place.top);
  const int64_t num_columns = std::min(kTileSide, conv.out_width() - place.left);
  for (int64_t i = 0; i < num_rows; ++i) {
    Vector row[kTileSide];
    transform_products(half[i], row);
    const int64_t cell = (place.image * conv.out_height() + place.top + i) * conv.out_width();
    for (int64_t j = 0; j < num_columns; ++j) {
      Vector result = row[j] + bias;
      // Arranged so that NaN stays.
      if (conv.relu) result = result < 0.0f ? Vector{} : result;
      E* target = conv.output + (cell + place.left + j) * conv.out_channels + k;
      prefetch_to_write(target + kTileSide * conv.out_channels);
      R::store_first(result, valid, target);
    }
  }
}

// Results of a group of S vectors of output channels, whose products are there.
template <typename R, int S, typename E, typename Coefficient>
CM_ALWAYS_INLINE void transform_group(const Convolution<E>& conv, const Block<Coefficient>& block,
                                      int64_t group) {
  constexpr int64_t kWidth = S * kVector;
  for (int64_t row = 0; row < block.count; ++row) {
    const Place place(conv, block.first + row);
    for (int64_t k = 0; k < kWidth; k += R::kLanes) {
      transform_output<R>(conv, place, block.products + row * kWidth + k, block.room * kWidth,
                          group * kGroup * kVector + k);
    }
  }
}

// Results of a group of S vectors of output channels, V registers of them at a time.
template <typename R, int S, int V, typename E, typename Factors>
CM_ALWAYS_INLINE void convolve_group(const Convolution<E>& conv, const Factors& factors,
                                     const Block<typename Factors::Coefficient>& block,
                                     int64_t group) {
  for (int64_t point = 0; point < kPoints; ++point) {
    for (int64_t row = 0; row < block.count; row += kRows) {
      factors.template multiply<R, S, V>(conv, block, group, point, row);
    }
  }
  transform_group<R, S>(conv, block, group);
}

// Results of a block for the groups from `begin` up to `end`.
template <typename R, bool kWide, typename E, typename Factors>
CM_ALWAYS_INLINE void convolve_block(const Convolution<E>& conv, const Factors& factors,
                                     const Block<typename Factors::Coefficient>& block,
                                     int64_t begin, int64_t end) {
  // Sixteen registers hold the sums of two for each row, thirty-two those of four.
  constexpr int kFew = 2;
  for (int64_t row = 0; row < block.count; ++row) factors.template transform<R>(conv, block, row);
  for (int64_t group = begin; group < end; ++group) {
    switch (conv.group_size(group)) {
      case 4:
        convolve_group<R, 4, kWide ? 4 : kFew>(conv, factors, block, group);
        break;
      case 3:
        convolve_group<R, 3, kWide ? 3 : kFew>(conv, factors, block, group);
        break;
      case 2:
        convolve_group<R, 2, kWide ? 2 : kFew>(conv, factors, block, group);
        break;
      default:
        convolve_group<R, 1, kWide ? 1 : kFew>(conv, factors, block, group);
    }
  }
}

}  // namespace winograd
}  // namespace centermask
