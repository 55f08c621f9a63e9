// Deformable convolution on CUDA. Neighbouring threads work on neighbouring channels, which lie
// together in memory. The input's gradient is added up with atomics: its last bits may change from
// run to run.
#include "deform_conv.h"

#include <cstdint>

#include "cuda_launch.h"
#include "deform_conv_host.h"

namespace centermask {
namespace {

// Which sample of a chunk item number `item` is; channels change fastest.
struct SamplePlace {
  int64_t channel, tap, place;
};

template <typename T>
CM_DEVICE SamplePlace sample_place(const DeformChunk<T>& chunk, int64_t item) {
  const int64_t channels = chunk.geometry.channels, taps = chunk.geometry.num_taps();
  return {item % channels, item / channels % taps, item / channels / taps};
}

template <typename T>
__global__ void sample(DeformChunk<T> chunk, int64_t num_samples, T* columns) {
  const DeformGeometry& g = chunk.geometry;
  for (int64_t i = grid_begin(); i < num_samples; i += grid_stride()) {
    const SamplePlace s = sample_place(chunk, i);
    const int64_t part = s.channel / g.part_channels(), at = chunk.first_location + s.place;
    const Neighbours<T> around = chunk.deformation.at(g, part, s.tap, at);
    T sum = T(0);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (around.cell[k] < 0) continue;
      sum += around.weight(k) * chunk.image[around.cell[k] * g.channels + s.channel];
    }
    columns[chunk.column(s.channel, s.place, s.tap)] =
        sum * chunk.deformation.factor(g, part, s.tap, at);
  }
}

template <typename T>
__global__ void scatter(DeformChunk<T> chunk, int64_t num_samples, const T* grad_columns,
                        T* grad_image) {
  const DeformGeometry& g = chunk.geometry;
  for (int64_t i = grid_begin(); i < num_samples; i += grid_stride()) {
    const SamplePlace s = sample_place(chunk, i);
    const int64_t part = s.channel / g.part_channels(), at = chunk.first_location + s.place;
    const Neighbours<T> around = chunk.deformation.at(g, part, s.tap, at);
    const T share = grad_columns[chunk.column(s.channel, s.place, s.tap)] *
                    chunk.deformation.factor(g, part, s.tap, at);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (around.cell[k] < 0) continue;
      atomicAdd(grad_image + around.cell[k] * g.channels + s.channel, around.weight(k) * share);
    }
  }
}

constexpr int kSumThreads = 64;

// A block works on one tap of one part at one location; its threads share the channels.
template <typename T>
__global__ void slopes(DeformChunk<T> chunk, int64_t num_items, const T* grad_columns,
                       T* grad_offset, T* grad_mask) {
  __shared__ T sums[4][kSumThreads];
  __shared__ T products[4];
  const DeformGeometry& g = chunk.geometry;
  const int64_t taps = g.num_taps(), total = g.num_locations();
  for (int64_t item = blockIdx.x; item < num_items; item += gridDim.x) {
    const int64_t tap = item % taps, part = item / taps % g.num_parts;
    const int64_t place = item / taps / g.num_parts, at = chunk.first_location + place;
    const Neighbours<T> around = chunk.deformation.at(g, part, tap, at);
    T sum[4] = {T(0), T(0), T(0), T(0)};
    for (int64_t c = threadIdx.x; c < g.part_channels(); c += kSumThreads) {
      const int64_t channel = part * g.part_channels() + c;
      const T grad = grad_columns[chunk.column(channel, place, tap)];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (around.cell[k] < 0) continue;
        sum[k] += grad * chunk.image[around.cell[k] * g.channels + channel];
      }
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) sums[k][threadIdx.x] = sum[k];
    __syncthreads();
    if (threadIdx.x < 4) {
      T product = T(0);
      for (int thread = 0; thread < kSumThreads; ++thread) product += sums[threadIdx.x][thread];
      products[threadIdx.x] = product;
    }
    __syncthreads();
    if (threadIdx.x != 0) continue;
    T value = T(0), down = T(0), right = T(0);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      value += around.weight(k) * products[k];
      down += around.slope_down(k) * products[k];
      right += around.slope_right(k) * products[k];
    }
    const int64_t map = part * taps + tap;
    const T factor = chunk.deformation.factor(g, part, tap, at);
    grad_offset[2 * map * total + at] = down * factor;
    grad_offset[(2 * map + 1) * total + at] = right * factor;
    if (grad_mask != nullptr) grad_mask[map * total + at] = value;
  }
}

struct CudaKernels {
#if defined(CM_EMU)
  static constexpr int64_t kColumnBytes = 1 << 10;
#else
  static constexpr int64_t kColumnBytes = 64 << 20;
#endif

  template <typename T>
  static void sample(const DeformChunk<T>& chunk, Tensor& columns) {
    const CudaScope scope(columns);
    launch(centermask::sample<T>, grid_for(columns.numel()), dim3(kThreadsPerBlock), scope.stream(),
           chunk, columns.numel(), columns.mutable_data_ptr<T>());
  }

  static constexpr bool kForwardTapsLast = false;

  template <typename T>
  static void sample_forward(const DeformChunk<T>& chunk, Tensor& columns) {
    sample(chunk, columns);
  }

  template <typename T>
  static void slopes(const DeformChunk<T>& chunk, const Tensor& grad_columns, T* grad_offset,
                     T* grad_mask) {
    const CudaScope scope(grad_columns);
    const DeformGeometry& g = chunk.geometry;
    const int64_t items = chunk.num_locations * g.num_parts * g.num_taps();
    launch(centermask::slopes<T>, grid_for(items, 1), dim3(kSumThreads), scope.stream(), chunk,
           items, grad_columns.const_data_ptr<T>(), grad_offset, grad_mask);
  }

  template <typename T>
  static void scatter(const DeformChunk<T>& chunk, const Tensor& grad_columns, T* grad_image) {
    const CudaScope scope(grad_columns);
    launch(centermask::scatter<T>, grid_for(grad_columns.numel()), dim3(kThreadsPerBlock),
           scope.stream(), chunk, grad_columns.numel(), grad_columns.const_data_ptr<T>(),
           grad_image);
  }
};

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CM_CUDA_KEY, m) {
  m.impl("deform_conv", TORCH_BOX(&deform_conv<CudaKernels>));
  m.impl("deform_conv_backward", TORCH_BOX(&deform_conv_backward<CudaKernels>));
}

}  // namespace
}  // namespace centermask
