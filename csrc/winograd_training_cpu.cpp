// Weights of 3 x 3 convolutions for winograd_conv3x3, and their gradient, by winograd_training.h.
// Every result is the same sum whatever the number of threads.
#include "contracted.h"

#include "winograd_training.h"

#include <algorithm>
#include <cstdint>

#include "channels_last.h"
#include "stable_util.h"
#include "storage.h"

namespace centermask {
namespace {

using namespace winograd;

// Products and sums, as in winograd_cpu.cpp.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#endif

// Sixteen registers hold the sums of two for each row, thirty-two those of four.
constexpr int kMany = 4, kFew = 2;

CM_TARGET_WIDE void pack_wide(const Packing& packing, int64_t vector) {
  pack_vector<Registers<64>>(packing, vector);
}
CM_TARGET_CLONES void pack_narrow(const Packing& packing, int64_t vector) {
  pack_vector<Registers<32>>(packing, vector);
}

#define CM_WEIGHT_GRADIENT(E)                                                                      \
  CM_TARGET_WIDE void transform_wide(const WeightGradient<E>& of, const Chunk& chunk,              \
                                     int64_t row) {                                                \
    transform_tile<Registers<64>>(of, chunk, row);                                                 \
  }                                                                                                \
  CM_TARGET_CLONES void transform_narrow(const WeightGradient<E>& of, const Chunk& chunk,          \
                                         int64_t row) {                                            \
    transform_tile<Registers<32>>(of, chunk, row);                                                 \
  }                                                                                                \
  CM_TARGET_WIDE void add_wide(const WeightGradient<E>& of, const Chunk& chunk, int64_t point,     \
                               int64_t group, float* sums) {                                       \
    add_group<Registers<64>, kMany>(of, chunk, point, group, sums);                                \
  }                                                                                                \
  CM_TARGET_CLONES void add_narrow(const WeightGradient<E>& of, const Chunk& chunk, int64_t point, \
                                   int64_t group, float* sums) {                                   \
    add_group<Registers<32>, kFew>(of, chunk, point, group, sums);                                 \
  }                                                                                                \
  CM_TARGET_WIDE void collect_wide(const WeightGradient<E>& of, const float* sums, int64_t k) {    \
    collect_output<Registers<64>>(of, sums, k);                                                    \
  }                                                                                                \
  CM_TARGET_CLONES void collect_narrow(const WeightGradient<E>& of, const float* sums,             \
                                       int64_t k) {                                                \
    collect_output<Registers<32>>(of, sums, k);                                                    \
  }
CM_WEIGHT_GRADIENT(float)
CM_WEIGHT_GRADIENT(BFloat16)
#undef CM_WEIGHT_GRADIENT

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

Tensor winograd_pack(const Tensor& weight, bool turned) {
  check_shape(weight, "weight", {-1, -1, kKernelSide, kKernelSide});
  check_dtype(weight, "weight", ScalarType::Float);
  const int64_t rows = weight.size(turned ? 0 : 1), outputs = weight.size(turned ? 1 : 0);
  check_sides({kPoints, rows, round_up(outputs, kVector)}, "packed weight");
  Tensor packed = torch::stable::new_empty(weight, {kPoints * rows * round_up(outputs, kVector)});
  if (packed.numel() == 0) return packed;
  Packing packing{rows,
                  outputs,
                  weight.const_data_ptr<float>(),
                  weight.stride(turned ? 0 : 1),
                  weight.stride(turned ? 1 : 0),
                  {},
                  packed.mutable_data_ptr<float>()};
  for (int64_t tap = 0; tap < kTaps; ++tap) {
    const int64_t taken = turned ? kTaps - 1 - tap : tap;
    packing.tap_offsets[tap] =
        taken / kKernelSide * weight.stride(2) + taken % kKernelSide * weight.stride(3);
  }
  const bool wide = has_wide_registers();
  torch::stable::parallel_for(0, packing.num_vectors(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t vector = begin; vector < end; ++vector) {
      wide ? pack_wide(packing, vector) : pack_narrow(packing, vector);
    }
  });
  return packed;
}

// Memory for `count` floats that vectors are read from without crossing lines of the cache.
class Scratch {
 public:
  Scratch(const Tensor& like, int64_t count)
      : memory_(torch::stable::new_empty(like, {count + kVector}, ScalarType::Float)) {}
  float* data() {
    float* memory = memory_.mutable_data_ptr<float>();
    return memory + (64 - reinterpret_cast<uintptr_t>(memory) % 64) % 64 / sizeof(float);
  }

 private:
  Tensor memory_;
};

template <typename E>
void compute(const WeightGradient<E>& of, Scratch coefficients, Scratch spread, Scratch sums) {
  const bool wide = has_wide_registers();
  float* total = sums.data();
  std::fill_n(total, kPoints * of.sum_stride(), 0.0f);
  for (int64_t first = 0; first < of.num_tiles(); first += of.room()) {
    const Chunk chunk{first, std::min(of.room(), of.num_tiles() - first), coefficients.data(),
                      spread.data()};
    torch::stable::parallel_for(0, chunk.count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        wide ? transform_wide(of, chunk, row) : transform_narrow(of, chunk, row);
      }
    });
    torch::stable::parallel_for(0, kPoints * of.num_groups(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t point = task / of.num_groups(), group = task % of.num_groups();
        wide ? add_wide(of, chunk, point, group, total)
             : add_narrow(of, chunk, point, group, total);
      }
    });
  }
  torch::stable::parallel_for(0, of.out_channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      wide ? collect_wide(of, total, k) : collect_narrow(of, total, k);
    }
  });
}

void check_maps(const Tensor& maps, const char* name) {
  check_shape(maps, name, {-1, -1, -1, -1});
  STD_TORCH_CHECK(
      maps.scalar_type() == ScalarType::Float || maps.scalar_type() == ScalarType::BFloat16, name,
      ": expected float32 or bfloat16, got ", toString(maps.scalar_type()));
}

Tensor winograd_conv3x3_weight_grad(const Tensor& grad, const Tensor& input, int64_t padding) {
  check_maps(input, "input");
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  STD_TORCH_CHECK(
      padding >= 0 && padding <= kMostElements && h + 2 * padding >= 3 && w + 2 * padding >= 3,
      "padding: expected at least 0, and with it at least 3 rows and columns, got ", padding,
      " for maps of ", h, " x ", w);
  check_shape(grad, "grad", {n, -1, h + 2 * padding - 2, w + 2 * padding - 2});
  check_dtype(grad, "grad", input.scalar_type());
  const int64_t k = grad.size(1);
  check_sides({kPoints, round_up(c, kVector), round_up(k, kVector)}, "weight");
  Tensor result =
      torch::stable::new_empty(input, {k, kKernelSide, kKernelSide, c}, ScalarType::Float);
  if (input.numel() == 0 || grad.numel() == 0) {
    torch::stable::zero_(result);
  } else {
    const Tensor pixels = channels_last(input), cells = channels_last(grad);
    const auto run = [&](auto element) {
      using E = decltype(element);
      const WeightGradient<E> of{n,
                                 c,
                                 h,
                                 w,
                                 k,
                                 padding,
                                 static_cast<const E*>(pixels.const_data_ptr()),
                                 static_cast<const E*>(cells.const_data_ptr()),
                                 result.mutable_data_ptr<float>()};
      compute(of, Scratch(input, kPoints * of.coefficient_stride()),
              Scratch(input, kPoints * of.spread_stride()),
              Scratch(input, kPoints * of.sum_stride()));
    };
    input.scalar_type() == ScalarType::Float ? run(float{}) : run(BFloat16{});
  }
  using torch::stable::transpose;
  return transpose(transpose(result, 2, 3), 1, 2);
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("winograd_pack", TORCH_BOX(&winograd_pack));
  m.impl("winograd_conv3x3_weight_grad", TORCH_BOX(&winograd_conv3x3_weight_grad));
}

}  // namespace
}  // namespace centermask
