// Products of 16-bit integers with scales, whose sums are exact.
//
// Numbers are rounded to 2^15 steps up to the greatest of those that share a scale; weights to as
// many as let no sum of kDepth products leave 32 bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "platform.h"
#include "registers.h"

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

// Whether operators have a kernel. Where it would be slow Python's twin serves as well, and those
// who ask learn that it is.
inline bool serves_integers() {
#if defined(CM_FOR_TESTS)
  return true;
#else
  return has_integer_products();
#endif
}

namespace centermask {
// Channels whose products are added up before they are added to those before: shorter sums round
// less, and those of integers do not overflow.
constexpr int64_t kDepth = 64;

// Of what weights are multiplied with.
constexpr float kMostSteps = 16383.0f;

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

// From numbers to integers, and back.
struct Steps {
  float steps, scale;
  bool finite;
};

// most = the greater of magnitudes, as bits; NaN and infinity are greater than all numbers.
template <typename R>
CM_ALWAYS_INLINE void keep_greatest(const typename R::Vector& values, typename R::Words& most) {
  const typename R::Words words = (typename R::Words)values & 0x7fffffff;
  most = words > most ? words : most;
}

// What has no nearest integer leaves its mark in the scale.
template <typename R>
CM_ALWAYS_INLINE Steps steps_to(const typename R::Words& most) {
  uint32_t bits = 0;
  for (int64_t lane = 0; lane < R::kLanes; ++lane) bits = std::max<uint32_t>(bits, most[lane]);
  float greatest;
  std::memcpy(&greatest, &bits, sizeof(greatest));
  if (!(greatest <= std::numeric_limits<float>::max())) {
    return {0.0f, std::numeric_limits<float>::quiet_NaN(), false};
  }
  if (greatest == 0.0f) return {0.0f, 0.0f, true};
  const float steps = std::min(kMostSteps / greatest, 1e38f);
  return {steps, 1.0f / steps, true};
}

template <typename R>
CM_ALWAYS_INLINE void store_integers(const typename R::Vector& values, const Steps& steps,
                                     int16_t* target) {
  typename R::Vector scaled{};
  if (steps.finite) scaled = values * steps.steps;
  // Of numbers between 2^23 and 2^24 the last bits are the integer.
  scaled += 12582912.0f;
  store_register(__builtin_convertvector((typename R::Words)scaled, typename R::Halves), target);
}

// sums += products of one pair of channels, for kRows rows and V registers of output channels.
template <template <typename> class Pairs, typename R, int V>
CM_ALWAYS_INLINE void add_pair(typename R::Words (&sums)[kRows][V], const int16_t* column,
                               const int16_t* weight) {
  using Words = typename R::Words;
  Words factors[V];
  for (int v = 0; v < V; ++v) {
    load_register(weight + v * 2 * R::kLanes, factors[v]);
  }
  for (int row = 0; row < kRows; ++row) {
    uint32_t pair;
    std::memcpy(&pair, column + row * kDepth, sizeof(pair));
    const Words pairs = Words{} + pair;
    for (int v = 0; v < V; ++v) Pairs<R>::add(sums[row][v], pairs, factors[v]);
  }
}

// products = sums over pairs of channels, for kRows rows and V registers of S vectors of output
// channels; integers: depths x room x kDepth; weight: pairs x S vectors x 2; its scales: depths x
// S vectors; scales of the rows: one after the other, those of the next depth a stride on.
template <template <typename> class Pairs, typename R, int S, int V>
CM_ALWAYS_INLINE void add_integer_products(const int16_t* CM_RESTRICT integers, int64_t pairs,
                                           int64_t room, const int16_t* CM_RESTRICT weight,
                                           const float* CM_RESTRICT weight_scales,
                                           const float* CM_RESTRICT scales, int64_t scale_stride,
                                           float* CM_RESTRICT products) {
  using Vector = typename R::Vector;
  typedef int32_t Signed __attribute__((vector_size(sizeof(Vector))));
  constexpr int64_t kWidth = S * kVector;
  for (int64_t first = 0; first < pairs; first += kDepth / 2) {
    typename R::Words sums[kRows][V] = {};
    const int64_t count = std::min(pairs - first, kDepth / 2);
    for (int64_t pair = 0; pair < count; ++pair) {
      add_pair<Pairs, R, V>(sums, integers + 2 * pair, weight);
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
    integers += kDepth * room;
    weight_scales += kWidth;
    scales += scale_stride;
  }
}

}  // namespace centermask
