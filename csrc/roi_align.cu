// RoIAlign, a thread a pooled value. The backward pass adds with atomics: sums of gradients that
// meet in a cell come in any order, so their last bits may change from run to run.
#include "roi_align.h"

#include <cstdint>

#include "cuda_launch.h"
#include "pooling_checks.h"

namespace centermask {
namespace {

// Rois (R, 5) on maps (N, C, H, W) in any layout of memory; strides are in elements.
template <typename T>
struct Pooling {
  const T* rois;
  int64_t num_rois, num_images, channels, height, width, pooled_height, pooled_width;
  int64_t sampling_ratio, image_stride, channel_stride, row_stride, column_stride;
  T spatial_scale;
  bool aligned;

  int64_t num_values() const { return num_rois * channels * pooled_height * pooled_width; }
};

// One pooled value: which roi and channel, and where its samples are.
template <typename T>
struct Bin {
  RoiAxis<T> rows, columns;
  int64_t row, column, channel_offset;
  bool has_image;
};

template <typename T>
CM_DEVICE Bin<T> bin_of(const Pooling<T>& g, int64_t value) {
  const int64_t column = value % g.pooled_width;
  const int64_t row = value / g.pooled_width % g.pooled_height;
  const int64_t plane = value / g.pooled_width / g.pooled_height;
  const T* roi = g.rois + 5 * (plane / g.channels);
  const bool has_image = roi[0] >= T(0) && roi[0] < static_cast<T>(g.num_images);
  const int64_t image = has_image ? static_cast<int64_t>(roi[0]) : 0;
  const int64_t offset = image * g.image_stride + plane % g.channels * g.channel_stride;
  return {roi_axis(roi[2], roi[4], g.spatial_scale, g.pooled_height, g.sampling_ratio, g.aligned),
          roi_axis(roi[1], roi[3], g.spatial_scale, g.pooled_width, g.sampling_ratio, g.aligned),
          row,
          column,
          offset,
          has_image};
}

// Calls visit(offset, weight) for every cell that counts in a bin; a cell may come several times.
template <typename T, typename Visit>
CM_DEVICE void for_each_tap(const Pooling<T>& g, const Bin<T>& bin, const Visit& visit) {
  const auto visit_row = [&](int64_t row, T row_weight) {
    if (row_weight == T(0)) return;
    const int64_t offset = bin.channel_offset + row * g.row_stride;
    for (int64_t j = 0; j < bin.columns.samples_per_bin; ++j) {
      const AxisSample<T> s = axis_sample(bin.columns, bin.column, j, g.width);
      if (s.low_weight != T(0)) visit(offset + s.low * g.column_stride, row_weight * s.low_weight);
      if (s.high_weight != T(0)) {
        visit(offset + s.high * g.column_stride, row_weight * s.high_weight);
      }
    }
  };
  for (int64_t i = 0; i < bin.rows.samples_per_bin; ++i) {
    const AxisSample<T> s = axis_sample(bin.rows, bin.row, i, g.height);
    visit_row(s.low, s.low_weight);
    visit_row(s.high, s.high_weight);
  }
}

template <typename T>
CM_DEVICE T samples_of(const Bin<T>& bin) {
  const T samples =
      static_cast<T>(bin.rows.samples_per_bin) * static_cast<T>(bin.columns.samples_per_bin);
  // The sum of no samples is 0 and stays so.
  return samples > T(0) ? samples : T(1);
}

template <typename T>
__global__ void pool(Pooling<T> g, int64_t num_values, const T* input, T* output) {
  for (int64_t i = grid_begin(); i < num_values; i += grid_stride()) {
    const Bin<T> bin = bin_of(g, i);
    T sum = T(0);
    for_each_tap(g, bin, [&](int64_t offset, T weight) { sum += weight * input[offset]; });
    // Nobody can raise an error here; NaN is what a training notices.
    output[i] = bin.has_image ? sum / samples_of(bin) : T(NAN);
  }
}

template <typename T>
__global__ void spread(Pooling<T> g, int64_t num_values, const T* grad, T* output) {
  for (int64_t i = grid_begin(); i < num_values; i += grid_stride()) {
    const Bin<T> bin = bin_of(g, i);
    if (!bin.has_image) continue;
    const T share = grad[i] / samples_of(bin);
    for_each_tap(g, bin,
                 [&](int64_t offset, T weight) { atomicAdd(output + offset, weight * share); });
  }
}

Tensor roi_align(const Tensor& input, const Tensor& rois, double spatial_scale,
                 int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio,
                 bool aligned) {
  check_shape(input, "input", {-1, -1, -1, -1});
  check_shape(rois, "rois", {-1, 5});
  check_dtype(rois, "rois", input.scalar_type());
  check_device(rois, "rois", input, "input");
  check_pooled_size(rois.size(0), input.size(1), pooled_height, pooled_width);
  check_map(rois.size(0), input.size(2), input.size(3));
  check_sampling_ratio(sampling_ratio);
  const Tensor dense_rois = torch::stable::contiguous(rois);
  Tensor output =
      torch::stable::new_empty(input, {rois.size(0), input.size(1), pooled_height, pooled_width});
  for_floating(input, "input", [&](auto zero) {
    using T = decltype(zero);
    if (output.numel() == 0) return;
    const CudaScope scope(input);
    const Pooling<T> g{dense_rois.const_data_ptr<T>(),
                       rois.size(0),
                       input.size(0),
                       input.size(1),
                       input.size(2),
                       input.size(3),
                       pooled_height,
                       pooled_width,
                       sampling_ratio,
                       input.stride(0),
                       input.stride(1),
                       input.stride(2),
                       input.stride(3),
                       static_cast<T>(spatial_scale),
                       aligned};
    launch(pool<T>, grid_for(g.num_values()), dim3(kThreadsPerBlock), scope.stream(), g,
           g.num_values(), input.const_data_ptr<T>(), output.mutable_data_ptr<T>());
  });
  return output;
}

Tensor roi_align_backward(const Tensor& grad, const Tensor& rois, double spatial_scale,
                          int64_t batch_size, int64_t channels, int64_t height, int64_t width,
                          int64_t sampling_ratio, bool aligned) {
  check_shape(rois, "rois", {-1, 5});
  check_shape(grad, "grad", {rois.size(0), channels, -1, -1});
  check_dtype(rois, "rois", grad.scalar_type());
  check_device(rois, "rois", grad, "grad");
  check_pooled_grad(grad);
  check_map_sizes(batch_size, channels, height, width);
  check_map(rois.size(0), height, width);
  check_sampling_ratio(sampling_ratio);
  const Tensor dense_rois = torch::stable::contiguous(rois);
  const Tensor dense_grad = torch::stable::contiguous(grad);
  Tensor output = torch::stable::new_zeros(grad, {batch_size, channels, height, width});
  for_floating(grad, "grad", [&](auto zero) {
    using T = decltype(zero);
    if (grad.numel() == 0 || output.numel() == 0) return;
    const CudaScope scope(grad);
    const Pooling<T> g{dense_rois.const_data_ptr<T>(),
                       rois.size(0),
                       batch_size,
                       channels,
                       height,
                       width,
                       grad.size(2),
                       grad.size(3),
                       sampling_ratio,
                       output.stride(0),
                       output.stride(1),
                       output.stride(2),
                       output.stride(3),
                       static_cast<T>(spatial_scale),
                       aligned};
    launch(spread<T>, grid_for(g.num_values()), dim3(kThreadsPerBlock), scope.stream(), g,
           g.num_values(), dense_grad.const_data_ptr<T>(), output.mutable_data_ptr<T>());
  });
  return output;
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CM_CUDA_KEY, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&roi_align_backward));
}

}  // namespace
}  // namespace centermask
