// What winograd.h multiplies coefficients of patches with: numbers of 32 bits, or integers of 16.
//
// Symbols as there.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "platform.h"
#include "winograd.h"

// Sums of products of pairs of 16-bit integers in one instruction.
#if defined(CM_HAS_TARGET_CLONES) || defined(__AVX512VNNI__)
#define CM_HAS_INTEGER_PRODUCTS
#endif
#if defined(CM_HAS_TARGET_CLONES)
#define CM_TARGET_INTEGER_PRODUCTS __attribute__((target("arch=x86-64-v4,avx512vnni")))
inline bool has_integer_products() {
  return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512vnni");
}
#else
#define CM_TARGET_INTEGER_PRODUCTS
#if defined(CM_HAS_INTEGER_PRODUCTS)
inline bool has_integer_products() { return true; }
#else
inline bool has_integer_products() { return false; }
#endif
#endif

namespace centermask {
namespace winograd {

// Channels whose products are added up before they are added to those before: shorter sums round
// less, and those of integers do not overflow.
constexpr int64_t kDepth = 64;

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
    Patch<E> patch = patch_of(conv, block.first + row);
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

// Pairs of 16-bit integers in the words of registers: sums += products of both, modulo 2^32.
template <typename R>
struct PlainPairs {
  using Words = typename R::Words;
  typedef int32_t Signed __attribute__((vector_size(sizeof(Words))));

  static CM_ALWAYS_INLINE void add(Words& sums, const Words& x, const Words& y) {
    const Words first = (Words)((Signed)(x << 16) >> 16) * (Words)((Signed)(y << 16) >> 16);
    sums += first + (Words)((Signed)x >> 16) * (Words)((Signed)y >> 16);
  }
};

#if defined(CM_HAS_INTEGER_PRODUCTS)
template <typename R>
struct PairsInOneStep {
  using Words = typename R::Words;
  static CM_ALWAYS_INLINE void add(Words& sums, const Words& x, const Words& y) {
    // Of its own, so that the compiler keeps arrays of sums in registers.
    Words sum = sums;
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y));
    sums = sum;
  }
};
#endif

// Integers of 16 bits with scales: sums of products are exact, and their rounding is that of
// coefficients to 2^15 steps up to the greatest of a patch, and of weights to about as many.
template <template <typename> class Pairs>
struct IntegerFactors {
  using Coefficient = int16_t;
  // Of coefficients. Weights see to it that sums of kDepth products stay below 2^31.
  static constexpr float kMost = 16383.0f;

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
    Patch<E> patch = patch_of(conv, block.first + row);
    const bool inside = patch.is_inside();
    alignas(64) float exact[kPoints * kDepth];
    for (int64_t depth = 0; depth < num_depths(conv); ++depth) {
      const int64_t count = std::min(kDepth, conv.padded_channels() - depth * kDepth);
      for (int64_t c = 0; c < count; c += R::kLanes) {
        const int64_t valid = patch.channels - depth * kDepth - c;
        inside&& valid >= R::kLanes ? transform_vector<R, true>(patch, valid, exact + c, kDepth)
                                    : transform_vector<R, false>(patch, valid, exact + c, kDepth);
        patch.pixels += R::kLanes;
      }
      const int64_t place = depth * block.room + row;
      round_coefficients<R>(exact, count, block.coefficients + place * kDepth,
                            point_stride(conv, block.room), block.scales[place]);
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
      add_products<R, S, V>(coefficients, num_pairs(conv), block.room, factors + 2 * k,
                            factor_scales + k, block.scales + row, products + k);
    }
  }

 private:
  // target = exact / scale as integers, for `count` channels of each point.
  template <typename R>
  static CM_ALWAYS_INLINE void round_coefficients(const float* exact, int64_t count,
                                                  int16_t* target, int64_t point_stride,
                                                  float& scale) {
    using Vector = typename R::Vector;
    const float most = greatest<R>(exact, count);
    // What has no nearest integer leaves its mark in the scale.
    const bool finite = most <= std::numeric_limits<float>::max();
    const float steps = most > 0.0f && finite ? std::min(kMost / most, 1e38f) : 0.0f;
    scale = !finite ? std::numeric_limits<float>::quiet_NaN() : steps > 0.0f ? 1.0f / steps : 0.0f;
    for (int64_t point = 0; point < kPoints; ++point) {
      for (int64_t c = 0; c < count; c += R::kLanes) {
        Vector values{};
        if (finite) load_vector(exact + point * kDepth + c, values);
        // Of numbers between 2^23 and 2^24 the last bits are the integer.
        values = values * steps + 12582912.0f;
        typename R::Words words;
        std::memcpy(&words, &values, sizeof(words));
        const auto integers = __builtin_convertvector(words, typename R::Halves);
        std::memcpy(target + point * point_stride + c, &integers, sizeof(integers));
      }
    }
  }

  // The greatest magnitude; NaN and infinity are greater than all others.
  template <typename R>
  static CM_ALWAYS_INLINE float greatest(const float* exact, int64_t count) {
    using Words = typename R::Words;
    Words most{};
    for (int64_t point = 0; point < kPoints; ++point) {
      for (int64_t c = 0; c < count; c += R::kLanes) {
        Words words;
        std::memcpy(&words, exact + point * kDepth + c, sizeof(words));
        words &= 0x7fffffff;
        most = words > most ? words : most;
      }
    }
    uint32_t bits = 0;
    for (int64_t lane = 0; lane < R::kLanes; ++lane) bits = std::max<uint32_t>(bits, most[lane]);
    float result;
    std::memcpy(&result, &bits, sizeof(result));
    return result;
  }

  // sums += products of one pair of channels.
  template <typename R, int V>
  static CM_ALWAYS_INLINE void add_pair(typename R::Words (&sums)[kRows][V], const int16_t* column,
                                        const int16_t* weight) {
    using Words = typename R::Words;
    Words factors[V];
    for (int v = 0; v < V; ++v) {
      std::memcpy(&factors[v], weight + v * 2 * R::kLanes, sizeof(Words));
    }
    for (int row = 0; row < kRows; ++row) {
      uint32_t pair;
      std::memcpy(&pair, column + row * kDepth, sizeof(pair));
      const Words pairs = Words{} + pair;
      for (int v = 0; v < V; ++v) Pairs<R>::add(sums[row][v], pairs, factors[v]);
    }
  }

  template <typename R, int S, int V>
  static CM_ALWAYS_INLINE void add_products(const int16_t* CM_RESTRICT coefficients, int64_t pairs,
                                            int64_t room, const int16_t* CM_RESTRICT weight,
                                            const float* CM_RESTRICT weight_scales,
                                            const float* CM_RESTRICT scales,
                                            float* CM_RESTRICT products) {
    using Vector = typename R::Vector;
    typedef int32_t Signed __attribute__((vector_size(sizeof(Vector))));
    constexpr int64_t kWidth = S * kVector;
    for (int64_t first = 0; first < pairs; first += kDepth / 2) {
      typename R::Words sums[kRows][V] = {};
      const int64_t count = std::min(pairs - first, kDepth / 2);
      for (int64_t pair = 0; pair < count; ++pair) {
        add_pair<R, V>(sums, coefficients + 2 * pair, weight);
        weight += 2 * kWidth;
      }
      for (int row = 0; row < kRows; ++row) {
        for (int v = 0; v < V; ++v) {
          float* product = products + row * kWidth + v * R::kLanes;
          Vector scale, before{};
          load_vector(weight_scales + v * R::kLanes, scale);
          if (first > 0) load_vector(product, before);
          const Vector sum = __builtin_convertvector((Signed)sums[row][v], Vector);
          R::store(before + scale * scales[row] * sum, product);
        }
      }
      coefficients += kDepth * room;
      weight_scales += kWidth;
      scales += room;
    }
  }
};

}  // namespace winograd
}  // namespace centermask
