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
#include <cstring>

#include "channel_blocks.h"
#include "platform.h"
#include "storage.h"

namespace centermask {
namespace winograd {

// Channels that lie side by side in what is computed on the way.
constexpr int64_t kVector = 16;
constexpr int64_t kTileSide = 4;
constexpr int64_t kPatchSide = 6;
constexpr int64_t kPoints = kPatchSide * kPatchSide;
// Output channels whose weights lie side by side, in vectors.
constexpr int64_t kGroup = 4;
// Tiles that a kernel multiplies at a time: with kGroup vectors of channels each, 24 sums.
constexpr int64_t kRows = 6;
// Channels whose products are added up before they are added to those before.
constexpr int64_t kDepth = 64;

constexpr float kSmall = 0.70710678118654752440f;  // sqrt(1/2)
constexpr float kLarge = 1.41421356237309504880f;  // sqrt(2)

CM_ALWAYS_INLINE int64_t round_up(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// One convolution with stride 1; E is how maps are stored.
template <typename E>
struct Convolution {
  int64_t num_images, channels, height, width, out_channels, padding;
  bool relu;
  const E* input;
  // For each group of output channels: points x C x the group's channels; zeros after the last.
  const float* weight;
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
  int64_t group_weights() const { return kPoints * channels * kGroup * kVector; }
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

// Registers of so many bytes, full of floats; memory need not be aligned.
template <int kBytes>
struct Registers {
  static constexpr int64_t kLanes = kBytes / sizeof(float);
  using Vector = typename VectorOf<float, kBytes>::type;
  using Words = typename IntegersOf<kBytes>::Words;
  using Halves = typename IntegersOf<kBytes>::Halves;

  static CM_ALWAYS_INLINE void store(const Vector& vector, float* values) {
    std::memcpy(values, &vector, sizeof(vector));
  }
  // The nearest numbers, of two the even ones; NaN stays NaN.
  static CM_ALWAYS_INLINE void store(const Vector& vector, BFloat16* values) {
    Words words;
    std::memcpy(&words, &vector, sizeof(words));
    const Words rounded = words + 0x7fff + (words >> 16 & 1), nan = Words{} + 0x7fc00000;
    const Words chosen = (vector == vector ? rounded : nan) >> 16;
    const Halves halves = __builtin_convertvector(chosen, Halves);
    std::memcpy(values, &halves, sizeof(halves));
  }

  // The first `count` numbers, and zeros after them; zeros alone where there are none.
  template <typename E>
  static CM_ALWAYS_INLINE void load_first(const E* values, int64_t count, Vector& vector) {
    if (count >= kLanes) return load_vector(values, vector);
    E padded[kLanes] = {};
    if (count > 0) std::memcpy(padded, values, count * sizeof(E));
    load_vector(padded, vector);
  }
  template <typename E>
  static CM_ALWAYS_INLINE void store_first(const Vector& vector, int64_t count, E* values) {
    if (count >= kLanes) return store(vector, values);
    E padded[kLanes];
    store(vector, padded);
    if (count > 0) std::memcpy(values, padded, count * sizeof(E));
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
struct Block {
  int64_t first, count;
  // Tiles that there is room for, a multiple of kRows.
  int64_t room;
  float* coefficients;  // points x vectors of C x room x kVector
  float* products;      // points x room x channels of a group
};

// Where a patch lies on the map of an image.
template <typename E>
struct Patch {
  const E* pixels;  // of the first of the channels
  int64_t top, left, height, width, channels;

  CM_ALWAYS_INLINE bool is_inside() const {
    return top >= 0 && left >= 0 && top + kPatchSide <= height && left + kPatchSide <= width;
  }
  CM_ALWAYS_INLINE bool has(int64_t row, int64_t column) const {
    return top + row >= 0 && top + row < height && left + column >= 0 && left + column < width;
  }
  CM_ALWAYS_INLINE const E* at(int64_t row, int64_t column) const {
    return pixels + ((top + row) * width + left + column) * channels;
  }
};

// The coefficients of `valid` channels; kWhole: all pixels lie on the map, and all channels exist.
template <typename R, bool kWhole, typename E>
CM_ALWAYS_INLINE void transform_vector(const Patch<E>& patch, int64_t valid, float* target,
                                       int64_t point_stride) {
  using Vector = typename R::Vector;
  Vector half[kPatchSide][kPatchSide];
  for (int j = 0; j < kPatchSide; ++j) {
    Vector pixels[kPatchSide], column[kPatchSide];
    for (int i = 0; i < kPatchSide; ++i) {
      if (kWhole) {
        load_vector(patch.at(i, j), pixels[i]);
      } else if (patch.has(i, j)) {
        R::load_first(patch.at(i, j), valid, pixels[i]);
      } else {
        pixels[i] = Vector{};
      }
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
CM_ALWAYS_INLINE void transform_input(const Convolution<E>& conv, const Block& block, int64_t row) {
  const Place place(conv, block.first + row);
  Patch<E> patch{conv.input + place.image * conv.height * conv.width * conv.channels,
                 place.top - conv.padding,
                 place.left - conv.padding,
                 conv.height,
                 conv.width,
                 conv.channels};
  const bool inside = patch.is_inside();
  const int64_t point_stride = block.room * conv.padded_channels();
  for (int64_t c = 0; c < conv.padded_channels(); c += R::kLanes) {
    const int64_t valid = patch.channels - c;
    const int64_t vector = c / kVector * block.room + row;
    float* target = block.coefficients + vector * kVector + c % kVector;
    inside&& valid >= R::kLanes ? transform_vector<R, true>(patch, valid, target, point_stride)
                                : transform_vector<R, false>(patch, valid, target, point_stride);
    patch.pixels += R::kLanes;
  }
}

// sums += value * factors of one channel, for kRows tiles and V registers of output channels.
template <typename R, int V>
CM_ALWAYS_INLINE void add_channel(typename R::Vector (&sums)[kRows][V], const float* column,
                                  const float* weight) {
  typename R::Vector factors[V];
  for (int v = 0; v < V; ++v) load_vector(weight + v * R::kLanes, factors[v]);
  for (int row = 0; row < kRows; ++row) {
    const float value = column[row * kVector];
    for (int v = 0; v < V; ++v) sums[row][v] += value * factors[v];
  }
}

// products[row] = sum over channels of coefficients[row][channel] * weight[channel], kDepth of them
// at a time: shorter sums round less.
template <typename R, int V>
CM_ALWAYS_INLINE void multiply(const float* CM_RESTRICT coefficients, int64_t channels,
                               int64_t room, const float* CM_RESTRICT weight, int64_t weight_stride,
                               float* CM_RESTRICT products, int64_t product_stride) {
  using Vector = typename R::Vector;
  for (int64_t first = 0; first < channels; first += kDepth) {
    Vector sums[kRows][V] = {};
    const int64_t end = std::min(first + kDepth, channels), full = end / kVector * kVector;
    for (int64_t c = first; c < full; c += kVector) {
      const float* columns = coefficients + c * room;
      for (int lane = 0; lane < kVector; ++lane) {
        add_channel<R, V>(sums, columns + lane, weight);
        weight += weight_stride;
      }
    }
    for (int64_t c = full; c < end; ++c) {
      add_channel<R, V>(sums, coefficients + full * room + (c - full), weight);
      weight += weight_stride;
    }
    for (int row = 0; row < kRows; ++row) {
      for (int v = 0; v < V; ++v) {
        float* product = products + row * product_stride + v * R::kLanes;
        Vector before{};
        if (first > 0) load_vector(product, before);
        R::store(before + sums[row][v], product);
      }
    }
  }
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
      R::store_first(result, valid, conv.output + (cell + place.left + j) * conv.out_channels + k);
    }
  }
}

// Results of a group of S vectors of output channels, V registers of them at a time.
template <typename R, int S, int V, typename E>
CM_ALWAYS_INLINE void convolve_group(const Convolution<E>& conv, const Block& block,
                                     int64_t group) {
  constexpr int64_t kWidth = S * kVector;
  const float* weight = conv.weight + group * conv.group_weights();
  const int64_t coefficient_stride = block.room * conv.padded_channels();
  const int64_t product_stride = block.room * kWidth;
  for (int64_t point = 0; point < kPoints; ++point) {
    const float* coefficients = block.coefficients + point * coefficient_stride;
    float* products = block.products + point * product_stride;
    for (int64_t row = 0; row < block.count; row += kRows) {
      for (int64_t k = 0; k < kWidth; k += V * R::kLanes) {
        multiply<R, V>(coefficients + row * kVector, conv.channels, block.room,
                       weight + point * conv.channels * kWidth + k, kWidth,
                       products + row * kWidth + k, kWidth);
      }
    }
  }
  for (int64_t row = 0; row < block.count; ++row) {
    const Place place(conv, block.first + row);
    for (int64_t k = 0; k < kWidth; k += R::kLanes) {
      transform_output<R>(conv, place, block.products + row * kWidth + k, product_stride,
                          group * kGroup * kVector + k);
    }
  }
}

// Results of a block for the groups from `begin` up to `end`.
template <typename R, bool kWide, typename E>
CM_ALWAYS_INLINE void convolve_block(const Convolution<E>& conv, const Block& block, int64_t begin,
                                     int64_t end) {
  // Sixteen registers hold the sums of two for each row, thirty-two those of four.
  constexpr int kFew = 2;
  for (int64_t row = 0; row < block.count; ++row) transform_input<R>(conv, block, row);
  for (int64_t group = begin; group < end; ++group) {
    switch (conv.group_size(group)) {
      case 4:
        convolve_group<R, 4, kWide ? 4 : kFew>(conv, block, group);
        break;
      case 3:
        convolve_group<R, 3, kWide ? 3 : kFew>(conv, block, group);
        break;
      case 2:
        convolve_group<R, 2, kWide ? 2 : kFew>(conv, block, group);
        break;
      default:
        convolve_group<R, 1, kWide ? 1 : kFew>(conv, block, group);
    }
  }
}

}  // namespace winograd
}  // namespace centermask
