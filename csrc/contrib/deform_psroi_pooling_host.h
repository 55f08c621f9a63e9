// Checks and results of deformable position-sensitive RoI pooling, for any device. `Kernels` of the
// device:
//   pool(g, operands, output)                        writes all of `output`
//   spread(g, operands, grad, grad_input)            adds
//   slopes(g, operands, grad, grad_offset)           adds
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>

#include "../pooling_checks.h"
#include "../stable_util.h"
#include "deform_psroi_pooling.h"

namespace centermask {

// Contiguous operands of one call; `offset` may be null.
template <typename T>
struct PartOperands {
  const T* input;
  const T* rois;
  const T* offset;
  Tensor any;  // for the device
};

// Bounded so that no product of two of them leaves 64 bits.
inline void check_positive(int64_t value, const char* name) {
  STD_TORCH_CHECK(value > 0 && value <= (1 << 20), name,
                  ": expected a positive number, at most 2^20, got ", value);
}

struct PartSettings {
  double spatial_scale, offset_scale;
  int64_t output_channels, pooled_size, group_size, part_size, samples_per_part;
};

inline void check_parts(const Tensor& input, const Tensor& rois,
                        const std::optional<Tensor>& offset, const PartSettings& s) {
  check_positive(s.output_channels, "output_channels");
  check_positive(s.pooled_size, "pooled_size");
  check_positive(s.group_size, "group_size");
  check_positive(s.part_size, "part_size");
  check_positive(s.samples_per_part, "samples_per_part");
  check_sides({s.output_channels, s.group_size, s.group_size}, "output_channels and group_size");
  STD_TORCH_CHECK(s.samples_per_part <= kMostSamplesPerBin, "samples_per_part: expected at most ",
                  kMostSamplesPerBin, ", got ", s.samples_per_part);
  check_shape(rois, "rois", {-1, 5});
  check_shape(input, "input", {-1, s.output_channels * s.group_size * s.group_size, -1, -1});
  check_dtype(rois, "rois", input.scalar_type());
  check_device(rois, "rois", input, "input");
  check_map(rois.size(0), input.size(2), input.size(3));
  check_sides({rois.size(0), s.output_channels, s.pooled_size, s.pooled_size}, "pooled_size");
  if (!offset.has_value()) return;
  check_shape(*offset, "offset", {rois.size(0), -1, s.part_size, s.part_size});
  const int64_t classes = offset->size(1) / 2;
  STD_TORCH_CHECK(classes > 0 && offset->size(1) == 2 * classes && s.output_channels % classes == 0,
                  "offset: expected two maps for each of some classes that divide ",
                  s.output_channels, " channels, got ", shape_of(*offset));
  check_dtype(*offset, "offset", input.scalar_type());
  check_device(*offset, "offset", input, "input");
}

template <typename T>
PartGeometry<T> part_geometry(const Tensor& input, const Tensor& rois,
                              const std::optional<Tensor>& offset, const PartSettings& s) {
  return {rois.size(0),
          input.size(0),
          input.size(2),
          input.size(3),
          s.output_channels,
          s.pooled_size,
          s.group_size,
          s.part_size,
          s.samples_per_part,
          offset.has_value() ? offset->size(1) / 2 : 1,
          static_cast<T>(s.spatial_scale),
          static_cast<T>(s.offset_scale)};
}

// f(geometry, operands) with contiguous operands in the type of the input.
template <typename F>
void with_operands(const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
                   const PartSettings& s, const F& f) {
  const Tensor dense_input = torch::stable::contiguous(input);
  const Tensor dense_rois = torch::stable::contiguous(rois);
  std::optional<Tensor> dense_offset;
  if (offset.has_value()) dense_offset = torch::stable::contiguous(*offset);
  for_floating(input, "input", [&](auto zero) {
    using T = decltype(zero);
    const T* shifts = dense_offset ? dense_offset->template const_data_ptr<T>() : nullptr;
    f(part_geometry<T>(input, rois, offset, s),
      PartOperands<T>{dense_input.template const_data_ptr<T>(),
                      dense_rois.template const_data_ptr<T>(), shifts, input});
  });
}

template <typename Kernels>
Tensor deform_psroi_pooling(const Tensor& input, const Tensor& rois,
                            const std::optional<Tensor>& offset, double spatial_scale,
                            int64_t output_channels, int64_t pooled_size, int64_t group_size,
                            int64_t part_size, int64_t samples_per_part, double offset_scale) {
  const PartSettings settings{spatial_scale, offset_scale, output_channels, pooled_size,
                              group_size,    part_size,    samples_per_part};
  check_parts(input, rois, offset, settings);
  Tensor output =
      torch::stable::new_empty(input, {rois.size(0), output_channels, pooled_size, pooled_size});
  with_operands(input, rois, offset, settings,
                [&](const auto& g, const auto& operands) { Kernels::pool(g, operands, output); });
  return output;
}

// Gradients of input and offset (empty without one).
template <typename Kernels>
std::tuple<Tensor, Tensor> deform_psroi_pooling_backward(
    const Tensor& grad, const Tensor& input, const Tensor& rois,
    const std::optional<Tensor>& offset, double spatial_scale, int64_t output_channels,
    int64_t pooled_size, int64_t group_size, int64_t part_size, int64_t samples_per_part,
    double offset_scale) {
  const PartSettings settings{spatial_scale, offset_scale, output_channels, pooled_size,
                              group_size,    part_size,    samples_per_part};
  check_parts(input, rois, offset, settings);
  check_shape(grad, "grad", {rois.size(0), output_channels, pooled_size, pooled_size});
  check_dtype(grad, "grad", input.scalar_type());
  check_device(grad, "grad", input, "input");
  const Tensor dense_grad = torch::stable::contiguous(grad);
  Tensor grad_input =
      torch::stable::new_zeros(input, {input.size(0), input.size(1), input.size(2), input.size(3)});
  Tensor grad_offset = torch::stable::new_zeros(input, {0});
  if (offset.has_value()) {
    grad_offset =
        torch::stable::new_zeros(input, {rois.size(0), offset->size(1), part_size, part_size});
  }
  with_operands(input, rois, offset, settings, [&](const auto& g, const auto& operands) {
    if (dense_grad.numel() == 0) return;
    Kernels::spread(g, operands, dense_grad, grad_input);
    if (offset.has_value()) Kernels::slopes(g, operands, dense_grad, grad_offset);
  });
  return {grad_input, grad_offset};
}

}  // namespace centermask
