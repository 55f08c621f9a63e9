// Convolutions of one cell: each row of channels times a matrix, by products of 16-bit integers.
//
// Symbols: C channels in, K channels out; a row is one cell of a map that lies in memory as NHWC; a
// depth is kDepth channels. Every result is the same sum whatever the number of threads.
#include <algorithm>
#include <cstdint>
#include <optional>

#include "blocks.h"
#include "channels_last.h"
#include "integer_products.h"
#include "registers.h"
#include "stable_util.h"
#include "storage.h"

namespace centermask {
namespace {

// Integers of a block that stay in the second-level cache beside the weights of a group; rows of a
// block at most; and how many weights there are that do not stay in the third-level cache, and have
// to serve as many rows as can be each time they come.
constexpr int64_t kIntegersOfBlock = int64_t{1} << 16;
constexpr int64_t kMostRows = 192;
constexpr int64_t kManyWeights = int64_t{4} << 20;

template <typename E>
struct Pointwise {
  int64_t num_images, channels, height, width, out_channels, stride;
  float least, most;
  const E* input;
  // For each group of output channels: pairs of C x the group's channels x 2; zeros after the last.
  const int16_t* weight;
  // Depths x the group's channels.
  const float* weight_scales;
  const float* bias;
  const E* addend;  // or none
  E* output;

  int64_t out_height() const { return (height + stride - 1) / stride; }
  int64_t out_width() const { return (width + stride - 1) / stride; }
  int64_t num_rows() const { return num_images * out_height() * out_width(); }
  int64_t num_depths() const { return (channels + kDepth - 1) / kDepth; }
  int64_t num_pairs() const { return (channels + 1) / 2; }
  int64_t num_vectors() const { return (out_channels + kVector - 1) / kVector; }
  int64_t num_groups() const { return (num_vectors() + kGroup - 1) / kGroup; }
  CM_ALWAYS_INLINE const E* cell(int64_t row) const {
    if (stride == 1) return input + row * channels;
    const int64_t x = row % out_width(), y = row / out_width() % out_height();
    const int64_t image = row / out_width() / out_height();
    return input + ((image * height + y * stride) * width + x * stride) * channels;
  }
};

struct Rows {
  int64_t first, count, room;
  int16_t* integers;  // depths x room x kDepth
  float* scales;      // one for each row
};

template <typename R, typename E>
CM_ALWAYS_INLINE void round_row(const Pointwise<E>& conv, const Rows& rows, int64_t row) {
  using Vector = typename R::Vector;
  const E* cell = conv.cell(rows.first + row);
  const int64_t channels = conv.channels, full = channels / R::kLanes * R::kLanes;
  Vector values;
  typename R::Words most{};
  for (int64_t c = 0; c < full; c += R::kLanes) {
    load_vector(cell + c, values);
    keep_greatest<R>(values, most);
  }
  R::load_first(cell + full, channels - full, values);
  keep_greatest<R>(values, most);
  const Steps steps = steps_to<R>(most);
  rows.scales[row] = steps.scale;
  int16_t* target = rows.integers + row * kDepth;
  const int64_t to_next_depth = (rows.room - 1) * kDepth;
  for (int64_t c = 0; c < full; c += R::kLanes) {
    load_vector(cell + c, values);
    store_integers<R>(values, steps, target);
    target += (c + R::kLanes) % kDepth == 0 ? R::kLanes + to_next_depth : R::kLanes;
  }
  if (full < channels) {
    R::load_first(cell + full, channels - full, values);
    store_integers<R>(values, steps, target);
  }
}

// Results of one register of output channels.
template <typename R, typename E>
CM_ALWAYS_INLINE void finish(const Pointwise<E>& conv, const float* product, int64_t row,
                             int64_t k) {
  using Vector = typename R::Vector;
  const int64_t valid = conv.out_channels - k;
  Vector result, bias;
  load_vector(product, result);
  R::load_first(conv.bias + k, valid, bias);
  result += bias;
  if (conv.addend != nullptr) {
    Vector addend;
    R::load_first(conv.addend + row * conv.out_channels + k, valid, addend);
    result += addend;
  }
  // Arranged so that NaN stays.
  const Vector least = Vector{} + conv.least, most = Vector{} + conv.most;
  result = result < least ? least : result;
  result = result > most ? most : result;
  R::store_first(result, valid, conv.output + row * conv.out_channels + k);
}

// Results of a group of S vectors of output channels, V registers of them at a time.
template <template <typename> class Pairs, typename R, int S, int V, typename E>
CM_ALWAYS_INLINE void multiply_group(const Pointwise<E>& conv, const Rows& rows, int64_t group) {
  constexpr int64_t kWidth = S * kVector;
  const int64_t first = group * kGroup * kVector;
  const int16_t* weight = conv.weight + first * conv.num_pairs() * 2;
  const float* weight_scales = conv.weight_scales + first * conv.num_depths();
  alignas(64) float products[kRows * kWidth] = {};
  for (int64_t row = 0; row < rows.count; row += kRows) {
    for (int64_t k = 0; k < kWidth; k += V * R::kLanes) {
      add_integer_products<Pairs, R, S, V>(rows.integers + row * kDepth, conv.num_pairs(),
                                           rows.room, weight + 2 * k, weight_scales + k,
                                           rows.scales + row, 0, products + k);
    }
    const int64_t end = std::min(kRows, rows.count - row);
    for (int64_t i = 0; i < end; ++i) {
      for (int64_t k = 0; k < kWidth; k += R::kLanes) {
        finish<R>(conv, products + i * kWidth + k, rows.first + row + i, first + k);
      }
    }
  }
}

template <template <typename> class Pairs, typename R, bool kWide, typename E>
CM_ALWAYS_INLINE void multiply_rows(const Pointwise<E>& conv, const Rows& rows, int64_t begin,
                                    int64_t end) {
  constexpr int kFew = 2;
  for (int64_t row = 0; row < rows.count; ++row) round_row<R>(conv, rows, row);
  for (int64_t group = begin; group < end; ++group) {
    switch (std::min(kGroup, conv.num_vectors() - group * kGroup)) {
      case 4:
        multiply_group<Pairs, R, 4, kWide ? 4 : kFew>(conv, rows, group);
        break;
      case 3:
        multiply_group<Pairs, R, 3, kWide ? 3 : kFew>(conv, rows, group);
        break;
      case 2:
        multiply_group<Pairs, R, 2, kWide ? 2 : kFew>(conv, rows, group);
        break;
      default:
        multiply_group<Pairs, R, 1, kWide ? 1 : kFew>(conv, rows, group);
    }
  }
}

#define CM_MULTIPLY(NAME, TARGET, BYTES, PAIRS, E)                                           \
  TARGET void NAME(const Pointwise<E>& conv, const Rows& rows, int64_t begin, int64_t end) { \
    multiply_rows<PAIRS, Registers<BYTES>, BYTES == 64>(conv, rows, begin, end);             \
  }
CM_MULTIPLY(multiply_narrow, CM_TARGET_CLONES, 32, PlainPairs, float)
CM_MULTIPLY(multiply_narrow, CM_TARGET_CLONES, 32, PlainPairs, BFloat16)
#if defined(CM_HAS_INTEGER_PRODUCTS)
CM_MULTIPLY(multiply_wide, CM_TARGET_INTEGER_PRODUCTS, 64, PairsInOneStep, float)
CM_MULTIPLY(multiply_wide, CM_TARGET_INTEGER_PRODUCTS, 64, PairsInOneStep, BFloat16)
#endif
#undef CM_MULTIPLY

template <typename E>
void multiply(const Pointwise<E>& conv, const Rows& rows, int64_t begin, int64_t end) {
#if defined(CM_HAS_INTEGER_PRODUCTS)
  if (has_integer_products()) return multiply_wide(conv, rows, begin, end);
#endif
  multiply_narrow(conv, rows, begin, end);
}

template <typename E>
void convolve(const Pointwise<E>& conv) {
  const bool many = conv.channels * conv.out_channels > kManyWeights;
  const int64_t in_cache = kIntegersOfBlock / std::max(conv.channels, kDepth);
  const int64_t most = many ? kMostRows : std::min(kMostRows, in_cache);
  const Cut cut = Cut::of(conv.num_rows(), std::max(most, kRows), kRows, conv.num_groups());
  torch::stable::parallel_for(
      0, cut.num_blocks * cut.num_parts, 1, [&](int64_t begin, int64_t end) {
        Scratch<int16_t> integers(conv.num_depths() * cut.room * kDepth);
        Scratch<float> scales(cut.room);
        for (int64_t task = begin; task < end; ++task) {
          const int64_t first = task / cut.num_parts * cut.room, part = task % cut.num_parts;
          const Rows rows{first, std::min(cut.room, conv.num_rows() - first), cut.room,
                          integers.data(), scales.data()};
          multiply(conv, rows, conv.num_groups() * part / cut.num_parts,
                   conv.num_groups() * (part + 1) / cut.num_parts);
        }
      });
}

Tensor pointwise_conv_int16(const Tensor& input, const Tensor& weight, const Tensor& scale,
                            const Tensor& bias, const std::optional<Tensor>& addend, int64_t stride,
                            double least, double most) {
  check_shape(input, "input", {-1, -1, -1, -1});
  STD_TORCH_CHECK(
      input.scalar_type() == ScalarType::Float || input.scalar_type() == ScalarType::BFloat16,
      "input: expected float32 or bfloat16, got ", toString(input.scalar_type()));
  check_shape(bias, "bias", {-1});
  check_dtype(bias, "bias", ScalarType::Float);
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  const int64_t k = bias.size(0), padded = round_up(k, kVector);
  check_shape(weight, "weight", {round_up(c, 2) * padded});
  check_dtype(weight, "weight", ScalarType::Short);
  check_shape(scale, "scale", {(c + kDepth - 1) / kDepth * padded});
  check_dtype(scale, "scale", ScalarType::Float);
  STD_TORCH_CHECK(stride >= 1, "stride: expected at least 1, got ", stride);
  STD_TORCH_CHECK(least <= most, "least: expected at most ", most, ", got ", least);
  const int64_t out_h = h > 0 ? (h - 1) / stride + 1 : 0, out_w = w > 0 ? (w - 1) / stride + 1 : 0;
  check_sides({n, out_h, out_w, k}, "output");
  if (addend.has_value()) {
    check_shape(*addend, "addend", {n, k, out_h, out_w});
    check_dtype(*addend, "addend", input.scalar_type());
  }
  const Tensor pixels = channels_last(input);
  const Tensor factors = torch::stable::contiguous(weight);
  const Tensor scales = torch::stable::contiguous(scale), offsets = torch::stable::contiguous(bias);
  const Tensor terms = addend.has_value() ? channels_last(*addend) : offsets;
  Tensor output = torch::stable::new_empty(input, {n, out_h, out_w, k});
  const auto run = [&](auto element) {
    using E = decltype(element);
    convolve(Pointwise<E>{
        n, c, h, w, k, std::min(stride, std::max({h, w, int64_t{1}})), static_cast<float>(least),
        static_cast<float>(most), static_cast<const E*>(pixels.const_data_ptr()),
        factors.const_data_ptr<int16_t>(), scales.const_data_ptr<float>(),
        offsets.const_data_ptr<float>(),
        addend.has_value() ? static_cast<const E*>(terms.const_data_ptr()) : nullptr,
        static_cast<E*>(output.mutable_data_ptr())});
  };
  if (output.numel() > 0) {
    input.scalar_type() == ScalarType::Float ? run(float{}) : run(BFloat16{});
  }
  return torch::stable::transpose(torch::stable::transpose(output, 2, 3), 1, 2);
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  if (serves_integers()) m.impl("pointwise_conv_int16", TORCH_BOX(&pointwise_conv_int16));
}

}  // namespace
}  // namespace centermask
