// 3 x 3 convolutions by winograd.h. Every result is the same sum whatever the number of threads and
// wherever blocks of tiles begin.
#include "winograd.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "stable_util.h"
#include "storage.h"

namespace centermask {
namespace {

using namespace winograd;

// Tiles of a block whose coefficients stay in the second-level cache, and of one whose weights do
// not stay in the third and have to serve more tiles each time they come.
constexpr int64_t kTilesPerBlock = 24;
constexpr int64_t kTilesOfManyWeights = 96;
constexpr int64_t kManyWeights = int64_t{4} << 20;

// Other kernels round products before they are added. These are all products and sums, and twice
// as fast without.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#endif

#define CM_CONVOLVE(E)                                                                             \
  CM_TARGET_WIDE void convolve_wide(const Convolution<E>& conv, const Block& block, int64_t begin, \
                                    int64_t end) {                                                 \
    convolve_block<Registers<64>, true>(conv, block, begin, end);                                  \
  }                                                                                                \
  CM_TARGET_CLONES void convolve_narrow(const Convolution<E>& conv, const Block& block,            \
                                        int64_t begin, int64_t end) {                              \
    convolve_block<Registers<32>, false>(conv, block, begin, end);                                 \
  }
CM_CONVOLVE(float)
CM_CONVOLVE(BFloat16)
#undef CM_CONVOLVE

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

// How the work is cut: blocks of tiles, and where these are few, parts of the groups of each.
struct Cut {
  int64_t room, num_blocks, num_parts;

  template <typename E>
  explicit Cut(const Convolution<E>& conv) {
    const int64_t threads = torch::stable::get_num_threads(), tiles = conv.num_tiles();
    const bool many = conv.num_groups() * conv.group_weights() > kManyWeights;
    const int64_t most = threads * (many ? kTilesOfManyWeights : kTilesPerBlock);
    const int64_t rounds = (tiles + most - 1) / most;
    room = round_up((tiles + threads * rounds - 1) / (threads * rounds), kRows);
    num_blocks = (tiles + room - 1) / room;
    num_parts = num_blocks >= threads ? 1 : std::min(conv.num_groups(), threads);
  }
};

// Memory that vectors are read from without crossing lines of the cache.
class Scratch {
 public:
  explicit Scratch(int64_t count) : memory_(count + kVector) {}
  float* data() {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return memory_.data() + (64 - address % 64) % 64 / sizeof(float);
  }

 private:
  std::vector<float> memory_;
};

template <typename E>
void convolve(const Convolution<E>& conv) {
  const Cut cut(conv);
  const bool wide = has_wide_registers();
  torch::stable::parallel_for(
      0, cut.num_blocks * cut.num_parts, 1, [&](int64_t begin, int64_t end) {
        Scratch coefficients(kPoints * cut.room * conv.padded_channels());
        Scratch products(kPoints * cut.room * kGroup * kVector);
        for (int64_t task = begin; task < end; ++task) {
          const int64_t first = task / cut.num_parts * cut.room, part = task % cut.num_parts;
          const Block block{first, std::min(cut.room, conv.num_tiles() - first), cut.room,
                            coefficients.data(), products.data()};
          const int64_t from = conv.num_groups() * part / cut.num_parts;
          const int64_t to = conv.num_groups() * (part + 1) / cut.num_parts;
          wide ? convolve_wide(conv, block, from, to) : convolve_narrow(conv, block, from, to);
        }
      });
}

Tensor winograd_conv3x3(const Tensor& input, const Tensor& weight, const Tensor& bias,
                        int64_t padding, bool relu) {
  check_shape(input, "input", {-1, -1, -1, -1});
  STD_TORCH_CHECK(
      input.scalar_type() == ScalarType::Float || input.scalar_type() == ScalarType::BFloat16,
      "input: expected float32 or bfloat16, got ", toString(input.scalar_type()));
  check_shape(bias, "bias", {-1});
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  const int64_t k = bias.size(0);
  check_shape(weight, "weight", {kPoints * c * round_up(k, kVector)});
  check_dtype(weight, "weight", ScalarType::Float);
  check_dtype(bias, "bias", ScalarType::Float);
  STD_TORCH_CHECK(
      padding >= 0 && padding <= kMostElements && h + 2 * padding >= 3 && w + 2 * padding >= 3,
      "padding: expected at least 0, and with it at least 3 rows and columns, got ", padding,
      " for maps of ", h, " x ", w);
  const int64_t out_h = h + 2 * padding - 2, out_w = w + 2 * padding - 2;
  check_sides({n, out_h, out_w, k}, "output");
  const bool is_last = input.numel() > 0 && is_dense(input, {0, 2, 3, 1});
  const Tensor pixels = is_last ? input
                                : torch::stable::contiguous(torch::stable::transpose(
                                      torch::stable::transpose(input, 1, 2), 2, 3));
  const Tensor factors = torch::stable::contiguous(weight);
  const Tensor offsets = torch::stable::contiguous(bias);
  Tensor output = torch::stable::new_empty(input, {n, out_h, out_w, k});
  const auto run = [&](auto element) {
    using E = decltype(element);
    convolve(Convolution<E>{n, c, h, w, k, padding, relu,
                            static_cast<const E*>(pixels.const_data_ptr()),
                            factors.const_data_ptr<float>(), offsets.const_data_ptr<float>(),
                            static_cast<E*>(output.mutable_data_ptr())});
  };
  if (output.numel() > 0) {
    input.scalar_type() == ScalarType::Float ? run(float{}) : run(BFloat16{});
  }
  return torch::stable::transpose(torch::stable::transpose(output, 2, 3), 1, 2);
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("winograd_conv3x3", TORCH_BOX(&winograd_conv3x3));
}

}  // namespace
}  // namespace centermask
