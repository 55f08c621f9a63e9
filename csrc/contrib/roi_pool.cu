// RoIPool, a thread a pooled value. The backward pass adds with atomics: sums of gradients that
// meet in a cell come in any order, so their last bits may change from run to run.
#include "roi_pool.h"

#include <cstdint>
#include <tuple>

#include "../cuda_launch.h"
#include "../pooling_checks.h"

namespace centermask {
namespace {

// Rois (R, 5) on maps (N, C, H, W) in any layout of memory; strides are in elements.
template <typename T>
struct Pooling {
  const T* rois;
  int64_t num_images, channels, height, width, pooled_height, pooled_width;
  int64_t image_stride, channel_stride, row_stride, column_stride;
  T spatial_scale;

  // Image of the roi that a pooled value belongs to, -1 if the roi names none.
  CM_DEVICE int64_t image_of(int64_t value) const {
    const T image = rois[5 * roi_of(value)];
    return image >= T(0) && image < static_cast<T>(num_images) ? static_cast<int64_t>(image) : -1;
  }
  CM_DEVICE int64_t roi_of(int64_t value) const {
    return value / (pooled_height * pooled_width) / channels;
  }
  CM_DEVICE int64_t channel_of(int64_t value) const {
    return value / (pooled_height * pooled_width) % channels;
  }
};

template <typename T>
__global__ void pool(Pooling<T> g, int64_t num_values, const T* input, T* output, int64_t* argmax) {
  for (int64_t i = grid_begin(); i < num_values; i += grid_stride()) {
    const T* roi = g.rois + 5 * g.roi_of(i);
    const int64_t image = g.image_of(i);
    const auto row_axis = pool_axis(roi[2], roi[4], g.spatial_scale, g.pooled_height);
    const auto column_axis = pool_axis(roi[1], roi[3], g.spatial_scale, g.pooled_width);
    const CellRange rows = bin_cells(row_axis, i / g.pooled_width % g.pooled_height, g.height);
    const CellRange columns = bin_cells(column_axis, i % g.pooled_width, g.width);
    // Nobody can raise an error here; NaN is what a training notices.
    T best = image < 0 ? T(NAN) : T(0);
    int64_t where = -1;
    if (image >= 0) {
      const T* plane = input + image * g.image_stride + g.channel_of(i) * g.channel_stride;
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        for (int64_t column = columns.begin; column < columns.end; ++column) {
          const T value = plane[row * g.row_stride + column * g.column_stride];
          if (where >= 0 && (value <= best || best != best)) continue;
          best = value;
          where = row * g.width + column;
        }
      }
    }
    output[i] = best;
    argmax[i] = where;
  }
}

// `output` is contiguous.
template <typename T>
__global__ void spread(Pooling<T> g, int64_t num_values, const T* grad, const int64_t* argmax,
                       T* output) {
  const int64_t num_cells = g.height * g.width;
  for (int64_t i = grid_begin(); i < num_values; i += grid_stride()) {
    const int64_t image = g.image_of(i);
    if (image < 0 || argmax[i] < 0 || argmax[i] >= num_cells) continue;
    atomicAdd(output + (image * g.channels + g.channel_of(i)) * num_cells + argmax[i], grad[i]);
  }
}

std::tuple<Tensor, Tensor> roi_pool(const Tensor& input, const Tensor& rois, double spatial_scale,
                                    int64_t pooled_height, int64_t pooled_width) {
  check_shape(input, "input", {-1, -1, -1, -1});
  check_shape(rois, "rois", {-1, 5});
  check_dtype(rois, "rois", input.scalar_type());
  check_device(rois, "rois", input, "input");
  check_pooled_size(rois.size(0), input.size(1), pooled_height, pooled_width);
  check_map(rois.size(0), input.size(2), input.size(3));
  const Tensor dense_rois = torch::stable::contiguous(rois);
  const int64_t num_rois = rois.size(0), channels = input.size(1);
  Tensor output =
      torch::stable::new_empty(input, {num_rois, channels, pooled_height, pooled_width});
  Tensor argmax = torch::stable::new_empty(input, {num_rois, channels, pooled_height, pooled_width},
                                           ScalarType::Long);
  for_floating(input, "input", [&](auto zero) {
    using T = decltype(zero);
    if (output.numel() == 0) return;
    const CudaScope scope(input);
    const Pooling<T> g{dense_rois.const_data_ptr<T>(),
                       input.size(0),
                       channels,
                       input.size(2),
                       input.size(3),
                       pooled_height,
                       pooled_width,
                       input.stride(0),
                       input.stride(1),
                       input.stride(2),
                       input.stride(3),
                       static_cast<T>(spatial_scale)};
    launch(pool<T>, grid_for(output.numel()), dim3(kThreadsPerBlock), scope.stream(), g,
           output.numel(), input.const_data_ptr<T>(), output.mutable_data_ptr<T>(),
           argmax.mutable_data_ptr<int64_t>());
  });
  return {output, argmax};
}

Tensor roi_pool_backward(const Tensor& grad, const Tensor& rois, const Tensor& argmax,
                         int64_t batch_size, int64_t height, int64_t width) {
  check_shape(rois, "rois", {-1, 5});
  check_shape(grad, "grad", {rois.size(0), -1, -1, -1});
  check_shape(argmax, "argmax", {rois.size(0), grad.size(1), grad.size(2), grad.size(3)});
  check_dtype(rois, "rois", grad.scalar_type());
  check_dtype(argmax, "argmax", ScalarType::Long);
  check_device(rois, "rois", grad, "grad");
  check_device(argmax, "argmax", grad, "grad");
  check_map_sizes(batch_size, grad.size(1), height, width);
  check_map(rois.size(0), height, width);
  const Tensor dense_rois = torch::stable::contiguous(rois);
  const Tensor dense_grad = torch::stable::contiguous(grad);
  const Tensor dense_argmax = torch::stable::contiguous(argmax);
  const int64_t channels = grad.size(1);
  Tensor output = torch::stable::new_zeros(grad, {batch_size, channels, height, width});
  for_floating(grad, "grad", [&](auto zero) {
    using T = decltype(zero);
    if (grad.numel() == 0 || output.numel() == 0) return;
    const CudaScope scope(grad);
    const Pooling<T> g{dense_rois.const_data_ptr<T>(),
                       batch_size,
                       channels,
                       height,
                       width,
                       grad.size(2),
                       grad.size(3),
                       0,
                       0,
                       0,
                       0,
                       T(0)};
    launch(spread<T>, grid_for(grad.numel()), dim3(kThreadsPerBlock), scope.stream(), g,
           grad.numel(), dense_grad.const_data_ptr<T>(), dense_argmax.const_data_ptr<int64_t>(),
           output.mutable_data_ptr<T>());
  });
  return output;
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CM_CUDA_KEY, m) {
  m.impl("roi_pool", TORCH_BOX(&roi_pool));
  m.impl("roi_pool_backward", TORCH_BOX(&roi_pool_backward));
}

}  // namespace
}  // namespace centermask
