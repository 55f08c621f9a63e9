// 3 x 3 convolutions by winograd.h. Every result is the same sum whatever the number of threads and
// wherever blocks of tiles begin.
#include "contracted.h"

#include "winograd.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "blocks.h"
#include "channels_last.h"
#include "stable_util.h"
#include "storage.h"
#include "winograd_convolve.h"
#include "winograd_factors.h"

namespace centermask {
namespace {

using namespace winograd;

// Bytes that the coefficients of a point may have for those of a block of tiles to stay in the
// second-level cache; tiles of a block whose weights do not stay in the third and have to serve
// more of them each time they come; and how many bytes of weights these are.
constexpr int64_t kBytesOfTiles = 96;
constexpr int64_t kTilesOfManyWeights = 96;
constexpr int64_t kManyWeights = int64_t{16} << 20;

// Other kernels round products before they are added. These are all products and sums, and twice
// as fast without.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#endif

#define CM_CONVOLVE(NAME, TARGET, BYTES, FACTORS, E)                                       \
  TARGET void NAME(const Convolution<E>& conv, const FACTORS& factors,                     \
                   const Block<FACTORS::Coefficient>& block, int64_t begin, int64_t end) { \
    convolve_block<Registers<BYTES>, BYTES == 64>(conv, factors, block, begin, end);       \
  }
#define CM_CONVOLVE_ALL(E)                                            \
  CM_CONVOLVE(convolve_wide, CM_TARGET_WIDE, 64, FloatFactors, E)     \
  CM_CONVOLVE(convolve_narrow, CM_TARGET_CLONES, 32, FloatFactors, E) \
  CM_CONVOLVE(convolve_narrow, CM_TARGET_CLONES, 32, IntegerFactors<PlainPairs>, E)
CM_CONVOLVE_ALL(float)
CM_CONVOLVE_ALL(BFloat16)
#if defined(CM_HAS_INTEGER_PRODUCTS)
CM_CONVOLVE(convolve_pairs, CM_TARGET_INTEGER_PRODUCTS, 64, IntegerFactors<PairsInOneStep>, float)
CM_CONVOLVE(convolve_pairs, CM_TARGET_INTEGER_PRODUCTS, 64, IntegerFactors<PairsInOneStep>,
            BFloat16)
#endif
#undef CM_CONVOLVE_ALL
#undef CM_CONVOLVE

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

template <typename Factors, typename E, typename Function>
void convolve_blocks(const Convolution<E>& conv, const Factors& factors, Function convolve_groups) {
  using Coefficient = typename Factors::Coefficient;
  const bool many = Factors::num_bytes(conv) > kManyWeights;
  const int64_t in_cache = kBytesOfTiles / sizeof(Coefficient);
  const Cut cut =
      Cut::of(conv.num_tiles(), many ? kTilesOfManyWeights : in_cache, kRows, conv.num_groups());
  torch::stable::parallel_for(
      0, cut.num_blocks * cut.num_parts, 1, [&](int64_t begin, int64_t end) {
        Scratch<Coefficient> coefficients(Factors::num_coefficients(conv, cut.room));
        Scratch<float> scales(Factors::num_scales(conv, cut.room));
        const int64_t num_products = kPoints * cut.room * kGroup * kVector;
        Scratch<float> products(num_products);
        // Where there are no channels nothing else is written there.
        std::fill_n(products.data(), num_products, 0.0f);
        for (int64_t task = begin; task < end; ++task) {
          const int64_t first = task / cut.num_parts * cut.room, part = task % cut.num_parts;
          const Block<Coefficient> block{
              first,         std::min(cut.room, conv.num_tiles() - first),
              cut.room,      coefficients.data(),
              scales.data(), products.data()};
          convolve_groups(conv, factors, block, conv.num_groups() * part / cut.num_parts,
                          conv.num_groups() * (part + 1) / cut.num_parts);
        }
      });
}

}  // namespace

namespace winograd {

template <typename E>
void convolve(const Convolution<E>& conv, const float* weight) {
  const bool wide = has_wide_registers();
  convolve_blocks(conv, FloatFactors{weight}, [&](auto&&... arguments) {
    wide ? convolve_wide(arguments...) : convolve_narrow(arguments...);
  });
}

template <typename E>
void convolve(const Convolution<E>& conv, const int16_t* weight, const float* scales) {
#if defined(CM_HAS_INTEGER_PRODUCTS)
  if (has_integer_products()) {
    return convolve_blocks(conv, IntegerFactors<PairsInOneStep>{weight, scales},
                           [](auto&&... arguments) { convolve_pairs(arguments...); });
  }
#endif
  convolve_blocks(conv, IntegerFactors<PlainPairs>{weight, scales},
                  [](auto&&... arguments) { convolve_narrow(arguments...); });
}

template void convolve(const Convolution<float>&, const float*);
template void convolve(const Convolution<BFloat16>&, const float*);
template void convolve(const Convolution<float>&, const int16_t*, const float*);
template void convolve(const Convolution<BFloat16>&, const int16_t*, const float*);

}  // namespace winograd

namespace {

template <typename E>
void convolve_packed(const Convolution<E>& conv, const Tensor& weight) {
  winograd::convolve(conv, weight.const_data_ptr<float>());
}

template <typename E>
void convolve_packed(const Convolution<E>& conv, const Tensor& weight, const Tensor& scale) {
  winograd::convolve(conv, weight.const_data_ptr<int16_t>(), scale.const_data_ptr<float>());
}

// Results of maps; `factors` are what the weights were packed to.
template <typename... Factors>
Tensor convolve_maps(const Tensor& input, const Tensor& bias, int64_t padding, bool relu,
                     const Factors&... factors) {
  check_dtype(bias, "bias", ScalarType::Float);
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  const int64_t k = bias.size(0);
  STD_TORCH_CHECK(
      padding >= 0 && padding <= kMostElements && h + 2 * padding >= 3 && w + 2 * padding >= 3,
      "padding: expected at least 0, and with it at least 3 rows and columns, got ", padding,
      " for maps of ", h, " x ", w);
  const int64_t out_h = h + 2 * padding - 2, out_w = w + 2 * padding - 2;
  check_sides({n, out_h, out_w, k}, "output");
  const Tensor pixels = channels_last(input);
  const Tensor offsets = torch::stable::contiguous(bias);
  Tensor output = torch::stable::new_empty(input, {n, out_h, out_w, k});
  const auto run_stored = [&](auto element) {
    using E = decltype(element);
    const std::vector<E> zeros(c);
    std::vector<float> biases(round_up(k, kVector));
    std::copy_n(offsets.const_data_ptr<float>(), k, biases.data());
    const Level<E> level{n,
                         h,
                         w,
                         padding,
                         static_cast<const E*>(pixels.const_data_ptr()),
                         nullptr,
                         nullptr,
                         {static_cast<E*>(output.mutable_data_ptr())}};
    convolve_packed(
        Convolution<E>{c, relu, {level}, {{0, k}}, zeros.data(), biases.data(), nullptr},
        torch::stable::contiguous(factors)...);
  };
  if (output.numel() > 0) {
    input.scalar_type() == ScalarType::Float ? run_stored(float{}) : run_stored(BFloat16{});
  }
  return torch::stable::transpose(torch::stable::transpose(output, 2, 3), 1, 2);
}

void check_maps(const Tensor& input, const Tensor& bias) {
  check_shape(input, "input", {-1, -1, -1, -1});
  STD_TORCH_CHECK(
      input.scalar_type() == ScalarType::Float || input.scalar_type() == ScalarType::BFloat16,
      "input: expected float32 or bfloat16, got ", toString(input.scalar_type()));
  check_shape(bias, "bias", {-1});
}

Tensor winograd_conv3x3(const Tensor& input, const Tensor& weight, const Tensor& bias,
                        int64_t padding, bool relu) {
  check_maps(input, bias);
  check_shape(weight, "weight", {num_weights(input.size(1), bias.size(0))});
  check_dtype(weight, "weight", ScalarType::Float);
  return convolve_maps(input, bias, padding, relu, weight);
}

Tensor winograd_conv3x3_int16(const Tensor& input, const Tensor& weight, const Tensor& scale,
                              const Tensor& bias, int64_t padding, bool relu) {
  check_maps(input, bias);
  const int64_t c = input.size(1), k = bias.size(0);
  check_shape(weight, "weight", {num_weights(round_up(c, 2), k)});
  check_dtype(weight, "weight", ScalarType::Short);
  check_shape(scale, "scale", {num_weights((c + kDepth - 1) / kDepth, k)});
  check_dtype(scale, "scale", ScalarType::Float);
  return convolve_maps(input, bias, padding, relu, weight, scale);
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("winograd_conv3x3", TORCH_BOX(&winograd_conv3x3));
  if (serves_integers()) m.impl("winograd_conv3x3_int16", TORCH_BOX(&winograd_conv3x3_int16));
}

}  // namespace
}  // namespace centermask
