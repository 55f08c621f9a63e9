// Sigmoid focal loss of one logit, in logarithms so that no finite logit overflows.
//
// z is the logit, negated unless its class is the target; p_t = sigmoid(z), s = softplus:
//   loss  =  weight * exp(-gamma s(z)) * s(-z)
//   dloss/dz = -weight * exp(-gamma s(z)) * (gamma sigmoid(z) s(-z) + sigmoid(-z))
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "platform.h"

namespace centermask {

// exp(x) for x <= 0, and 0 below the smallest normal number. NaN is not propagated.
CM_HOST_DEVICE double exp_of_negative(double x) { return exp(x); }

// log(1 + u) and 1 / (1 + u) for u in [0, 1].
template <typename T>
struct OnePlus {
  T logarithm, inverse;
};

CM_HOST_DEVICE OnePlus<double> one_plus(double u) { return {log1p(u), 1.0 / (1.0 + u)}; }

#if defined(__CUDACC__) || defined(CM_EMU)
CM_HOST_DEVICE float exp_of_negative(float x) { return expf(x); }
CM_HOST_DEVICE OnePlus<float> one_plus(float u) { return {log1pf(u), 1.0f / (1.0f + u)}; }
#else
// Branch-free, so that loops over logits become vector code (library calls would not). Sums of
// polynomials are paired up: a long chain of dependent steps would leave the processor waiting.
// Coefficients are Chebyshev fits whose relative error is below 2e-8.
CM_HOST_DEVICE float exp_of_negative(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;
  constexpr float kSmallest = -87.0f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x > kSmallest ? x : kSmallest;
  const float shifted = clamped * kLog2E + kRound;
  const float power = shifted - kRound;
  const float r = (clamped - power * kLn2High) - power * kLn2Low;  // |r| <= ln(2) / 2
  const float square = r * r;
  const float low = 0.5f + r * 0.16666577f;
  const float high = (0.041666465f + r * 0.0083631756f) + square * 0.0013933643f;
  const float series = (1.0f + r) + square * (low + square * high);
  // The last bits of `shifted` are the power of two: added to the exponent they multiply by it.
  uint32_t bits, exponent;
  memcpy(&bits, &series, sizeof(bits));
  memcpy(&exponent, &shifted, sizeof(exponent));
  bits += exponent << 23;
  float result;
  memcpy(&result, &bits, sizeof(result));
  return x > kSmallest ? result : 0.0f;
}

// log(1 + u) = 2 artanh(t) with t = u / (2 + u), at most 1/3 here; both quotients of one division.
CM_HOST_DEVICE OnePlus<float> one_plus(float u) {
  const float one = 1.0f + u, two = 2.0f + u;
  const float inverse_product = 1.0f / (one * two);
  const float t = u * (inverse_product * one);
  const float square = t * t;
  const float low = 0.3333332f + square * 0.20003836f;
  const float high = 0.14116977f + square * 0.1343378f;
  const float series = low + (square * square) * high;
  return {2.0f * t + (2.0f * t) * (square * series), inverse_product * two};
}
#endif

// Softplus and sigmoid of z and of -z, from one exponential and one logarithm.
template <typename T>
struct LogisticTerms {
  T softplus, softplus_negated, sigmoid, sigmoid_negated;
};

template <typename T>
CM_HOST_DEVICE LogisticTerms<T> logistic_terms(T z) {
  const T magnitude = z < T(0) ? -z : z;
  const T u = exp_of_negative(-magnitude);
  const OnePlus<T> terms_of_u = one_plus(u);
  const T logarithm = terms_of_u.logarithm, inverse = terms_of_u.inverse;
  LogisticTerms<T> terms;
  // Written so that NaN reaches the loss.
  terms.softplus = (z < T(0) ? T(0) : z) + logarithm;
  terms.softplus_negated = (z > T(0) ? T(0) : -z) + logarithm;
  terms.sigmoid = (z < T(0) ? u : T(1)) * inverse;
  terms.sigmoid_negated = (z < T(0) ? T(1) : u) * inverse;
  return terms;
}

// (1 - p_t)^gamma; the usual gamma of 2 needs no exponential.
template <bool kSquare, typename T>
CM_HOST_DEVICE T focal_factor(const LogisticTerms<T>& terms, T gamma) {
  if (kSquare) return terms.sigmoid_negated * terms.sigmoid_negated;
  return exp_of_negative(-gamma * terms.softplus);
}

template <typename T>
struct LossAndSlope {
  T loss, slope;
};

// kSquare says that gamma is 2.
template <bool kSquare = false, typename T>
CM_HOST_DEVICE LossAndSlope<T> focal_loss_and_slope(T z, T weight, T gamma) {
  const LogisticTerms<T> terms = logistic_terms(z);
  const T factor = weight * focal_factor<kSquare>(terms, gamma);
  const T slope = gamma * terms.sigmoid * terms.softplus_negated + terms.sigmoid_negated;
  return {factor * terms.softplus_negated, -factor * slope};
}

template <bool kSquare = false, typename T>
CM_HOST_DEVICE T focal_loss(T z, T weight, T gamma) {
  return focal_loss_and_slope<kSquare>(z, weight, gamma).loss;
}

template <bool kSquare = false, typename T>
CM_HOST_DEVICE T focal_loss_slope(T z, T weight, T gamma) {
  return focal_loss_and_slope<kSquare>(z, weight, gamma).slope;
}

}  // namespace centermask
