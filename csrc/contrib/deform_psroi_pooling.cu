// Deformable position-sensitive RoI pooling on CUDA, a thread a pooled value. Gradients are added
// up with atomics: their last bits may change from run to run.
#include "deform_psroi_pooling.h"

#include <cstdint>

#include "../cuda_launch.h"
#include "deform_psroi_pooling_host.h"

namespace centermask {
namespace {

// One pooled value: where its samples begin and what they read.
template <typename T>
struct Bin {
  PartAxis<T> rows, columns;
  T top, left;
  int64_t plane, offset_index;
  bool has_image;
};

template <typename T>
CM_DEVICE Bin<T> bin_of(const PartGeometry<T>& g, const T* rois, const T* offset, int64_t value) {
  const int64_t column = value % g.pooled_size, row = value / g.pooled_size % g.pooled_size;
  const int64_t channel = value / g.num_bins() % g.output_channels;
  const int64_t roi = value / g.num_bins() / g.output_channels;
  const T* r = rois + 5 * roi;
  const bool has_image = r[0] >= T(0) && r[0] < static_cast<T>(g.num_images);
  const int64_t image = has_image ? static_cast<int64_t>(r[0]) : 0;
  const int64_t index = g.offset_index(roi, channel / g.class_channels(), row, column);
  T right = T(0), down = T(0);
  if (offset != nullptr) {
    right = offset[index] * g.offset_scale;
    down = offset[index + g.part_size * g.part_size] * g.offset_scale;
  }
  const PartAxis<T> rows = part_axis(r[2], r[4], g), columns = part_axis(r[1], r[3], g);
  const int64_t plane = image * g.channels() + g.input_channel(channel, row, column);
  return {rows,
          columns,
          first_sample(rows, row, down),
          first_sample(columns, column, right),
          plane * g.height * g.width,
          index,
          has_image};
}

// visit(y, x) for the samples that count.
template <typename T, typename Visit>
CM_DEVICE void for_samples(const PartGeometry<T>& g, const Bin<T>& bin, const Visit& visit) {
  for (int64_t i = 0; i < g.samples_per_part; ++i) {
    const PartSample<T> y = part_sample(bin.top + static_cast<T>(i) * bin.rows.step, g.height);
    if (!y.counts) continue;
    for (int64_t j = 0; j < g.samples_per_part; ++j) {
      const PartSample<T> x = part_sample(bin.left + static_cast<T>(j) * bin.columns.step, g.width);
      if (x.counts) visit(y, x);
    }
  }
}

template <typename T>
__global__ void pool(PartGeometry<T> g, int64_t num_values, const T* input, const T* rois,
                     const T* offset, T* output) {
  for (int64_t i = grid_begin(); i < num_values; i += grid_stride()) {
    const Bin<T> bin = bin_of(g, rois, offset, i);
    T sum = T(0), count = T(0);
    for_samples(g, bin, [&](const PartSample<T>& y, const PartSample<T>& x) {
      sum += corners_of(input + bin.plane, g.width, y, x).value();
      count += T(1);
    });
    // Nobody can raise an error here; NaN is what a training notices.
    output[i] = !bin.has_image ? T(NAN) : (count == T(0) ? T(0) : sum / count);
  }
}

template <typename T>
CM_DEVICE T share_of(const PartGeometry<T>& g, const Bin<T>& bin, T grad) {
  T count = T(0);
  for_samples(g, bin, [&](const PartSample<T>&, const PartSample<T>&) { count += T(1); });
  return grad / count;
}

template <typename T>
__global__ void spread(PartGeometry<T> g, int64_t num_values, const T* grad, const T* rois,
                       const T* offset, T* grad_input) {
  for (int64_t i = grid_begin(); i < num_values; i += grid_stride()) {
    const Bin<T> bin = bin_of(g, rois, offset, i);
    if (!bin.has_image) continue;
    const T share = share_of(g, bin, grad[i]);
    for_samples(g, bin, [&](const PartSample<T>& y, const PartSample<T>& x) {
      T* top = grad_input + bin.plane + y.low * g.width;
      T* bottom = grad_input + bin.plane + y.high * g.width;
      const T down = y.fraction * share, up = share - down;
      atomicAdd(top + x.low, up * (T(1) - x.fraction));
      atomicAdd(top + x.high, up * x.fraction);
      atomicAdd(bottom + x.low, down * (T(1) - x.fraction));
      atomicAdd(bottom + x.high, down * x.fraction);
    });
  }
}

template <typename T>
__global__ void slopes(PartGeometry<T> g, int64_t num_values, const T* input, const T* grad,
                       const T* rois, const T* offset, T* grad_offset) {
  for (int64_t i = grid_begin(); i < num_values; i += grid_stride()) {
    const Bin<T> bin = bin_of(g, rois, offset, i);
    if (!bin.has_image) continue;
    T right = T(0), down = T(0), count = T(0);
    for_samples(g, bin, [&](const PartSample<T>& y, const PartSample<T>& x) {
      const PartCorners<T> corners = corners_of(input + bin.plane, g.width, y, x);
      right += corners.slope_right();
      down += corners.slope_down();
      count += T(1);
    });
    if (count == T(0)) continue;
    const T share = grad[i] / count * g.offset_scale;
    atomicAdd(grad_offset + bin.offset_index, right * share * bin.columns.extent);
    atomicAdd(grad_offset + bin.offset_index + g.part_size * g.part_size,
              down * share * bin.rows.extent);
  }
}

struct CudaKernels {
  template <typename T>
  static void pool(const PartGeometry<T>& g, const PartOperands<T>& operands, Tensor& output) {
    if (output.numel() == 0) return;
    const CudaScope scope(operands.any);
    launch(centermask::pool<T>, grid_for(output.numel()), dim3(kThreadsPerBlock), scope.stream(), g,
           output.numel(), operands.input, operands.rois, operands.offset,
           output.mutable_data_ptr<T>());
  }

  template <typename T>
  static void spread(const PartGeometry<T>& g, const PartOperands<T>& operands, const Tensor& grad,
                     Tensor& grad_input) {
    const CudaScope scope(operands.any);
    launch(centermask::spread<T>, grid_for(grad.numel()), dim3(kThreadsPerBlock), scope.stream(), g,
           grad.numel(), grad.const_data_ptr<T>(), operands.rois, operands.offset,
           grad_input.mutable_data_ptr<T>());
  }

  template <typename T>
  static void slopes(const PartGeometry<T>& g, const PartOperands<T>& operands, const Tensor& grad,
                     Tensor& grad_offset) {
    const CudaScope scope(operands.any);
    launch(centermask::slopes<T>, grid_for(grad.numel()), dim3(kThreadsPerBlock), scope.stream(), g,
           grad.numel(), operands.input, grad.const_data_ptr<T>(), operands.rois, operands.offset,
           grad_offset.mutable_data_ptr<T>());
  }
};

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CM_CUDA_KEY, m) {
  m.impl("deform_psroi_pooling", TORCH_BOX(&deform_psroi_pooling<CudaKernels>));
  m.impl("deform_psroi_pooling_backward", TORCH_BOX(&deform_psroi_pooling_backward<CudaKernels>));
}

}  // namespace
}  // namespace centermask
