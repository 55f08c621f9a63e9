// What winograd.h multiplies coefficients of patches with: numbers of 32 bits, or integers of 16.
//
// Symbols as there.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "integer_products.h"
#include "platform.h"
#include "winograd.h"

namespace centermask {
namespace winograd {

// Floats as they are.
struct FloatFactors {
  using Coefficient = float;

  // For each group of output channels: points x C x the group's channels; zeros after the last.
  const float* weight;

  // Coefficients: points x vectors of C x room x kVector.
  template <typename E>
  static int64_t num_coefficients(const Convolution<E>& conv, int64_t room) {
    return kPoints * room * conv.padded_channels();
  }
  template <typename E>
  static int64_t num_scales(const Convolution<E>&, int64_t) {
    return 0;
  }
  template <typename E>
  static int64_t num_bytes(const Convolution<E>& conv) {
    return kPoints * conv.channels * conv.num_out_vectors() * kVector * sizeof(float);
  }

  template <typename R, typename E>
  CM_ALWAYS_INLINE void transform(const Convolution<E>& conv, const Block<float>& block,
                                  int64_t row) const {
    const Patch<E> patch(conv, block.first + row);
    const int64_t point_stride = block.room * conv.padded_channels();
    for (int64_t c = 0; c < conv.padded_channels(); c += R::kLanes) {
      const int64_t vector = c / kVector * block.room + row;
      float* target = block.coefficients + vector * kVector + c % kVector;
      transform_vector<R>(patch, c, target, point_stride);
    }
  }

  // Products of kRows tiles for one point and S vectors of output channels, V registers at a time.
  template <typename R, int S, int V, typename E>
  CM_ALWAYS_INLINE void multiply(const Convolution<E>& conv, const Block<float>& block,
                                 int64_t group, int64_t point, int64_t row) const {
    constexpr int64_t kWidth = S * kVector;
    const float* coefficients =
        block.coefficients + (point * conv.padded_channels()) * block.room + row * kVector;
    const float* factors =
        weight + (group * kPoints * kGroup + point * S) * kVector * conv.channels;
    float* products = block.products + (point * block.room + row) * kWidth;
    for (int64_t k = 0; k < kWidth; k += V * R::kLanes) {
      add_products<R, V>(coefficients, conv.channels, block.room, factors + k, kWidth, products + k,
                         kWidth);
    }
  }

 private:
  // sums += value * factors of one channel, for kRows tiles and V registers of output channels.
  template <typename R, int V>
  static CM_ALWAYS_INLINE void add_channel(typename R::Vector (&sums)[kRows][V],
                                           const float* column, const float* weight) {
    typename R::Vector factors[V];
    for (int v = 0; v < V; ++v) load_vector(weight + v * R::kLanes, factors[v]);
    for (int row = 0; row < kRows; ++row) {
      const float value = column[row * kVector];
      for (int v = 0; v < V; ++v) sums[row][v] += value * factors[v];
    }
  }

  // products[row] = sum over channels of coefficients[row][channel] * weight[channel], kDepth of
  // them at a time.
  template <typename R, int V>
  static CM_ALWAYS_INLINE void add_products(const float* CM_RESTRICT coefficients, int64_t channels,
                                            int64_t room, const float* CM_RESTRICT weight,
                                            int64_t weight_stride, float* CM_RESTRICT products,
                                            int64_t product_stride) {
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
};

// Integers of 16 bits with scales: sums of products are exact, and their rounding is that of
// coefficients to 2^15 steps up to the greatest of a patch, and of weights to about as many.
template <template <typename> class Pairs>
struct IntegerFactors {
  using Coefficient = int16_t;
  // For each group of output channels: points x pairs of C x the group's channels x 2.
  const int16_t* weight;
  // points x depths x the group's channels.
  const float* weight_scales;

  // Coefficients: points x depths x room x kDepth; scales: depths x room.
  template <typename E>
  static int64_t num_depths(const Convolution<E>& conv) {
    return (conv.channels + kDepth - 1) / kDepth;
  }
  template <typename E>
  static int64_t num_pairs(const Convolution<E>& conv) {
    return (conv.channels + 1) / 2;
  }
  // Points do not lie whole pages apart, which share few lines of the first-level cache.
  template <typename E>
  static int64_t point_stride(const Convolution<E>& conv, int64_t room) {
    return num_depths(conv) * room * kDepth + 5 * kDepth;
  }
  template <typename E>
  static int64_t num_coefficients(const Convolution<E>& conv, int64_t room) {
    return kPoints * point_stride(conv, room);
  }
  template <typename E>
  static int64_t num_scales(const Convolution<E>& conv, int64_t room) {
    return num_depths(conv) * room;
  }
  template <typename E>
  static int64_t num_bytes(const Convolution<E>& conv) {
    return kPoints * num_pairs(conv) * 2 * conv.num_out_vectors() * kVector * sizeof(int16_t);
  }

  template <typename R, typename E>
  CM_ALWAYS_INLINE void transform(const Convolution<E>& conv, const Block<int16_t>& block,
                                  int64_t row) const {
    using Vector = typename R::Vector;
    using Words = typename R::Words;
    const Patch<E> patch(conv, block.first + row);
    alignas(64) float exact[kPoints * kDepth];
    for (int64_t depth = 0; depth < num_depths(conv); ++depth) {
      const int64_t count = std::min(kDepth, conv.padded_channels() - depth * kDepth);
      for (int64_t c = 0; c < count; c += R::kLanes) {
        transform_vector<R>(patch, depth * kDepth + c, exact + c, kDepth);
      }
      Words most{};
      for (int64_t point = 0; point < kPoints; ++point) {
        for (int64_t c = 0; c < count; c += R::kLanes) {
          Vector values;
          load_vector(exact + point * kDepth + c, values);
          keep_greatest<R>(values, most);
        }
      }
      const int64_t place = depth * block.room + row;
      const Steps steps = steps_to<R>(most);
      block.scales[place] = steps.scale;
      for (int64_t point = 0; point < kPoints; ++point) {
        int16_t* target =
            block.coefficients + point * point_stride(conv, block.room) + place * kDepth;
        for (int64_t c = 0; c < count; c += R::kLanes) {
          Vector values;
          load_vector(exact + point * kDepth + c, values);
          store_integers<R>(values, steps, target + c);
        }
      }
    }
  }

  template <typename R, int S, int V, typename E>
  CM_ALWAYS_INLINE void multiply(const Convolution<E>& conv, const Block<int16_t>& block,
                                 int64_t group, int64_t point, int64_t row) const {
    constexpr int64_t kWidth = S * kVector;
    const int16_t* coefficients =
        block.coefficients + point * point_stride(conv, block.room) + row * kDepth;
    const int64_t first = (group * kPoints * kGroup + point * S) * kVector;
    const int16_t* factors = weight + first * num_pairs(conv) * 2;
    const float* factor_scales = weight_scales + first * num_depths(conv);
    float* products = block.products + (point * block.room + row) * kWidth;
    for (int64_t k = 0; k < kWidth; k += V * R::kLanes) {
      add_integer_products<Pairs, R, S, V>(coefficients, num_pairs(conv), block.room,
                                           factors + 2 * k, factor_scales + k, block.scales + row,
                                           block.room, products + k);
    }
  }
};

}  // namespace winograd
}  // namespace centermask
