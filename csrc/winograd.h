// The minimal filtering algorithm F(4 x 4, 3 x 3) (Winograd; Lavin and Gray 2015, "Fast Algorithms
// for Convolutional Neural Networks", section 4.1): 4 x 4 results of a 3 x 3 convolution from 36
// products a channel instead of 144.
//
// The six points of evaluation are 0, +-sqrt(1/2), +-sqrt(2) and infinity: with these, and with
// sums over few channels at a time, results are about twice as far from the exact ones as those of
// the plain algorithm; with the usual 0, +-1, +-2 and one long sum seven times.
//
// Symbols: N images, C channels in, K channels out, H x W cells; a tile is 4 x 4 results, its patch
// the 6 x 6 pixels they depend on; a point is one of the 36 coefficients of a patch after the
// transform. Maps lie in memory as NHWC.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

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

// Maps of one size, N x H x W x C, and where the results for them go.
template <typename E>
struct Level {
  int64_t num_images, height, width, padding;
  const E* input;
  // For each image and channel: what the map is multiplied with, and what is added then, before
  // negative numbers become 0. The map is read as it is where there is none.
  const float* factors;
  const float* offsets;
  // A map for each slice of the output channels.
  std::vector<E*> outputs;

  int64_t out_height() const { return height + 2 * padding - 2; }
  int64_t out_width() const { return width + 2 * padding - 2; }
  int64_t tile_rows() const { return (out_height() + kTileSide - 1) / kTileSide; }
  int64_t tile_columns() const { return (out_width() + kTileSide - 1) / kTileSide; }
  int64_t tiles_of_image() const { return tile_rows() * tile_columns(); }
  int64_t num_tiles() const { return num_images * tiles_of_image(); }
};

// Output channels that lie in a map of their own. They begin with a vector.
struct Slice {
  int64_t begin, channels;

  int64_t num_vectors() const { return (channels + kVector - 1) / kVector; }
};

// One convolution with stride 1 of maps of several sizes; E is how maps are stored.
template <typename E>
struct Convolution {
  int64_t channels;
  bool relu;
  std::vector<Level<E>> levels;
  std::vector<Slice> slices;
  const E* zeros;     // as many as channels
  const float* bias;  // of whole vectors of output channels
  // Sums of the results of each tile, and of the squares of what they differ from their mean: tiles
  // x 2 x vectors of output channels; or null.
  float* sums;

  int64_t num_tiles() const {
    int64_t count = 0;
    for (const Level<E>& level : levels) count += level.num_tiles();
    return count;
  }
  int64_t padded_channels() const { return round_up(channels, kVector); }
  int64_t num_out_vectors() const {
    return slices.empty() ? 0 : slices.back().begin / kVector + slices.back().num_vectors();
  }
  int64_t num_groups() const { return (num_out_vectors() + kGroup - 1) / kGroup; }
  // Vectors of output channels in a group.
  int64_t group_size(int64_t group) const {
    return std::min(kGroup, num_out_vectors() - group * kGroup);
  }
};

// Where a tile begins, in cells of the output, and how many of its results there are.
template <typename E>
struct Place {
  const Level<E>* level;
  int64_t image, top, left, num_rows, num_columns;

  Place(const Convolution<E>& conv, int64_t tile) : level(conv.levels.data()) {
    while (tile >= level->num_tiles()) tile -= level++->num_tiles();
    image = tile / level->tiles_of_image();
    top = tile / level->tile_columns() % level->tile_rows() * kTileSide;
    left = tile % level->tile_columns() * kTileSide;
    num_rows = std::min(kTileSide, level->out_height() - top);
    num_columns = std::min(kTileSide, level->out_width() - left);
  }
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
  const E* zeros;
  int64_t channels;
  // Of the level, for the channels of the image; or null.
  const float* factors;
  const float* offsets;

  CM_ALWAYS_INLINE Patch(const Convolution<E>& conv, int64_t tile)
      : zeros(conv.zeros), channels(conv.channels) {
    const Place<E> place(conv, tile);
    const Level<E>& level = *place.level;
    const E* map = level.input + place.image * level.height * level.width * channels;
    for (int64_t i = 0; i < kPatchSide; ++i) {
      const int64_t y = place.top - level.padding + i;
      for (int64_t j = 0; j < kPatchSide; ++j) {
        const int64_t x = place.left - level.padding + j;
        const bool exists = y >= 0 && y < level.height && x >= 0 && x < level.width;
        cells[i][j] = exists ? map + (y * level.width + x) * channels : zeros;
      }
    }
    const int64_t first = place.image * channels;
    factors = level.factors == nullptr ? nullptr : level.factors + first;
    offsets = level.factors == nullptr ? nullptr : level.offsets + first;
  }
};

// The coefficients of the channels from `first` on; kFull: there are as many as a register holds;
// kScaled: the patch has factors and offsets.
template <typename R, bool kFull, bool kScaled, typename E>
CM_ALWAYS_INLINE void transform_channels(const Patch<E>& patch, int64_t first, float* target,
                                         int64_t point_stride) {
  using Vector = typename R::Vector;
  Vector half[kPatchSide][kPatchSide], factor{}, offset{};
  if (kScaled) {
    R::load_first(patch.factors + first, patch.channels - first, factor);
    R::load_first(patch.offsets + first, patch.channels - first, offset);
  }
  for (int j = 0; j < kPatchSide; ++j) {
    Vector pixels[kPatchSide], column[kPatchSide];
    for (int i = 0; i < kPatchSide; ++i) {
      const E* pixel = patch.cells[i][j] + first;
      if (kFull) {
        load_vector(pixel, pixels[i]);
      } else {
        R::load_first(pixel, patch.channels - first, pixels[i]);
      }
      if (kScaled && patch.cells[i][j] != patch.zeros) {
        const Vector scaled = pixels[i] * factor + offset;
        // Arranged so that NaN stays.
        pixels[i] = scaled < 0.0f ? Vector{} : scaled;
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

template <typename R, bool kScaled, typename E>
CM_ALWAYS_INLINE void transform_some(const Patch<E>& patch, int64_t first, float* target,
                                     int64_t point_stride) {
  first + R::kLanes <= patch.channels
      ? transform_channels<R, true, kScaled>(patch, first, target, point_stride)
      : transform_channels<R, false, kScaled>(patch, first, target, point_stride);
}

template <typename R, typename E>
CM_ALWAYS_INLINE void transform_vector(const Patch<E>& patch, int64_t first, float* target,
                                       int64_t point_stride) {
  patch.factors == nullptr ? transform_some<R, false>(patch, first, target, point_stride)
                           : transform_some<R, true>(patch, first, target, point_stride);
}

// What the results of a tile add up to, by what they differ from the first of them: so few digits
// are lost, however far from zero they are.
template <typename R>
struct TileSums {
  using Vector = typename R::Vector;
  Vector first{}, sum{}, squares{};

  CM_ALWAYS_INLINE void add(const Vector& result, bool is_first) {
    if (is_first) first = result;
    const Vector difference = result - first;
    sum += difference;
    squares += difference * difference;
  }

  CM_ALWAYS_INLINE void store(float count, float* sums, float* variations) const {
    R::store(sum + count * first, sums);
    R::store(squares - sum * sum / count, variations);
  }
};

// The results of one tile, for one register of output channels; kSums: with their sums.
template <typename R, bool kSums, typename E>
CM_ALWAYS_INLINE void transform_output(const Convolution<E>& conv, const Place<E>& place,
                                       int64_t tile, const float* products, int64_t point_stride,
                                       int64_t k) {
  using Vector = typename R::Vector;
  int64_t index = 0;
  while (conv.slices[index].begin + conv.slices[index].num_vectors() * kVector <= k) ++index;
  const Slice slice = conv.slices[index];
  const int64_t valid = slice.channels - (k - slice.begin);
  Vector half[kTileSide][kPatchSide], bias;
  load_vector(conv.bias + k, bias);
  for (int j = 0; j < kPatchSide; ++j) {
    Vector points[kPatchSide], column[kTileSide];
    for (int i = 0; i < kPatchSide; ++i) {
      load_vector(products + (i * kPatchSide + j) * point_stride, points[i]);
    }
    transform_products(points, column);
    for (int i = 0; i < kTileSide; ++i) half[i][j] = column[i];
  }
  TileSums<R> sums;
  for (int64_t i = 0; i < place.num_rows; ++i) {
    Vector row[kTileSide];
    transform_products(half[i], row);
    const Level<E>& level = *place.level;
    const int64_t cell = (place.image * level.out_height() + place.top + i) * level.out_width();
    for (int64_t j = 0; j < place.num_columns; ++j) {
      Vector result = row[j] + bias;
      if (kSums) sums.add(result, i == 0 && j == 0);
      // Arranged so that NaN stays.
      if (conv.relu) result = result < 0.0f ? Vector{} : result;
      E* target = level.outputs[index] + (cell + place.left + j) * slice.channels + k - slice.begin;
      prefetch_to_write(target + kTileSide * slice.channels);
      R::store_first(result, valid, target);
    }
  }
  if (kSums) {
    const int64_t width = conv.num_out_vectors() * kVector;
    float* target = conv.sums + 2 * tile * width + k;
    sums.store(static_cast<float>(place.num_rows * place.num_columns), target, target + width);
  }
}

// Results of a group of S vectors of output channels, whose products are there.
template <typename R, int S, bool kSums, typename E, typename Coefficient>
CM_ALWAYS_INLINE void transform_group(const Convolution<E>& conv, const Block<Coefficient>& block,
                                      int64_t group) {
  constexpr int64_t kWidth = S * kVector;
  for (int64_t row = 0; row < block.count; ++row) {
    const Place<E> place(conv, block.first + row);
    for (int64_t k = 0; k < kWidth; k += R::kLanes) {
      transform_output<R, kSums>(conv, place, block.first + row, block.products + row * kWidth + k,
                                 block.room * kWidth, group * kGroup * kVector + k);
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
  conv.sums == nullptr ? transform_group<R, S, false>(conv, block, group)
                       : transform_group<R, S, true>(conv, block, group);
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
