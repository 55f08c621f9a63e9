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

// log(1 + u) for u in [0, 1].
CM_HOST_DEVICE double log1p_of_fraction(double u) { return log1p(u); }

#if defined(__CUDACC__)
CM_HOST_DEVICE float exp_of_negative(float x) { return expf(x); }
CM_HOST_DEVICE float log1p_of_fraction(float u) { return log1pf(u); }
#else
// Branch-free, so that loops over logits become vector code (library calls would not).
CM_HOST_DEVICE float exp_of_negative(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;
  constexpr float kSmallest = -87.0f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x > kSmallest ? x : kSmallest;
  const float shifted = clamped * kLog2E + kRound;
  const float power = shifted - kRound;
  const float r = (clamped - power * kLn2High) - power * kLn2Low;
  // Taylor polynomial on |r| <= ln(2) / 2; its first left-out term is below 1e-8.
  float series = 1.0f / 5040.0f;
  series = series * r + 1.0f / 720.0f;
  series = series * r + 1.0f / 120.0f;
  series = series * r + 1.0f / 24.0f;
  series = series * r + 1.0f / 6.0f;
  series = series * r + 0.5f;
  series = series * r * r + r + 1.0f;
  const int32_t exponent = (static_cast<int32_t>(power) + 127) << 23;
  float scale;
  memcpy(&scale, &exponent, sizeof(scale));
  return x > kSmallest ? series * scale : 0.0f;
}

// log(1 + u) = 2 artanh(u / (2 + u)), whose argument is at most 1/3 here.
CM_HOST_DEVICE float log1p_of_fraction(float u) {
  const float t = u / (2.0f + u);
  const float square = t * t;
  float series = 1.0f / 15.0f;
  series = series * square + 1.0f / 13.0f;
  series = series * square + 1.0f / 11.0f;
  series = series * square + 1.0f / 9.0f;
  series = series * square + 1.0f / 7.0f;
  series = series * square + 1.0f / 5.0f;
  series = series * square + 1.0f / 3.0f;
  return 2.0f * t * (1.0f + series * square);
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
  const T logarithm = log1p_of_fraction(u);
  const T inverse = T(1) / (T(1) + u);
  LogisticTerms<T> terms;
  // Written so that NaN reaches the loss.
  terms.softplus = (z < T(0) ? T(0) : z) + logarithm;
  terms.softplus_negated = (z > T(0) ? T(0) : -z) + logarithm;
  terms.sigmoid = (z < T(0) ? u : T(1)) * inverse;
  terms.sigmoid_negated = (z < T(0) ? T(1) : u) * inverse;
  return terms;
}

template <typename T>
CM_HOST_DEVICE T focal_loss(T z, T weight, T gamma) {
  const LogisticTerms<T> terms = logistic_terms(z);
  return weight * exp_of_negative(-gamma * terms.softplus) * terms.softplus_negated;
}

template <typename T>
CM_HOST_DEVICE T focal_loss_slope(T z, T weight, T gamma) {
  const LogisticTerms<T> terms = logistic_terms(z);
  const T slope = gamma * terms.sigmoid * terms.softplus_negated + terms.sigmoid_negated;
  return -weight * exp_of_negative(-gamma * terms.softplus) * slope;
}

}  // namespace centermask
