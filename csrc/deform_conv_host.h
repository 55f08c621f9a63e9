// Deformable convolution as products of matrices, for any device. `Kernels` of the device fill the
// columns and take their gradients back:
//   kColumnBytes                                         most memory of the columns
//   sample(chunk, columns)                               columns = samples x modulation
//   kForwardTapsLast                                     layout that the forward pass takes:
//   sample_forward(chunk, columns)                       taps fastest, or channels as `sample`
//   slopes(chunk, grad_columns, grad_offset, grad_mask)  writes; grad_mask may be null
//   scatter(chunk, grad_columns, grad_image)             adds
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "channels_last.h"
#include "deform_conv.h"
#include "stable_util.h"

namespace centermask {

using Pair = std::vector<int64_t>;

// Columns hold at least so many locations, whatever their size.
constexpr int64_t kFewestLocations = 16;

// out = a x b for batches of matrices.
inline void multiply(Tensor& out, const Tensor& a, const Tensor& b) {
  using torch::stable::detail::from;
  std::array<StableIValue, 3> stack{from(a), from(b), from(out)};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::bmm", "out", stack.data(), TORCH_ABI_VERSION));
  (void)torch::stable::detail::to<Tensor>(stack[0]);
}

inline void check_pair(const Pair& pair, const char* name, int64_t least) {
  STD_TORCH_CHECK(pair.size() == 2 && pair[0] >= least && pair[1] >= least, name,
                  ": expected two numbers of at least ", least);
}

inline int64_t output_side(int64_t side, int64_t padding, int64_t dilation, int64_t taps,
                           int64_t stride) {
  const int64_t room = side + 2 * padding - dilation * (taps - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

inline DeformGeometry checked_geometry(const Tensor& input, const Tensor& offset,
                                       const std::optional<Tensor>& mask, const Tensor& weight,
                                       const Pair& stride, const Pair& padding,
                                       const Pair& dilation) {
  check_pair(stride, "stride", 1);
  check_pair(padding, "padding", 0);
  check_pair(dilation, "dilation", 1);
  check_shape(input, "input", {-1, -1, -1, -1});
  check_shape(weight, "weight", {-1, -1, -1, -1});
  const int64_t channels = input.size(1), taps = weight.size(2) * weight.size(3);
  STD_TORCH_CHECK(taps > 0, "weight: expected at least one tap, got ", shape_of(weight));
  const int64_t per_group = weight.size(1);
  STD_TORCH_CHECK(per_group > 0 && channels > 0 && channels % per_group == 0 &&
                      weight.size(0) % (channels / per_group) == 0,
                  "weight: expected groups that divide ", channels, " input channels, got ",
                  shape_of(weight));
  const int64_t height =
      output_side(input.size(2), padding[0], dilation[0], weight.size(2), stride[0]);
  const int64_t width =
      output_side(input.size(3), padding[1], dilation[1], weight.size(3), stride[1]);
  STD_TORCH_CHECK(input.size(2) > 0 && input.size(3) > 0 && height > 0 && width > 0,
                  "input: expected a map that gives at least one output, got ", shape_of(input));
  check_shape(offset, "offset", {input.size(0), -1, height, width});
  const int64_t parts = offset.size(1) / (2 * taps);
  STD_TORCH_CHECK(parts > 0 && offset.size(1) == 2 * taps * parts && channels % parts == 0,
                  "offset: expected ", 2 * taps, " maps for each part of the channels, got ",
                  shape_of(offset));
  if (mask.has_value()) check_shape(*mask, "mask", {input.size(0), taps * parts, height, width});
  for (const auto& [tensor, name] : {std::pair{&offset, "offset"}, std::pair{&weight, "weight"},
                                     std::pair{mask.has_value() ? &*mask : &offset, "mask"}}) {
    check_dtype(*tensor, name, input.scalar_type());
    check_device(*tensor, name, input, "input");
  }
  return {channels,    input.size(2),        input.size(3),  height,
          width,       weight.size(2),       weight.size(3), stride[0],
          stride[1],   padding[0],           padding[1],     dilation[0],
          dilation[1], channels / per_group, parts};
}

// Weights (O, C / G, kernel) as matrices (G, O / G, kernel x C / G).
inline Tensor filters_of(const Tensor& weight, const DeformGeometry& g) {
  const int64_t per_group = g.group_channels(), outputs = weight.size(0);
  const Tensor planes = torch::stable::reshape(weight, {outputs, per_group, g.num_taps()});
  const Tensor taps_first = torch::stable::contiguous(torch::stable::transpose(planes, 1, 2));
  return torch::stable::reshape(taps_first,
                                {g.num_groups, outputs / g.num_groups, g.num_taps() * per_group});
}

// The same with taps fastest, as they lie in memory: (G, O / G, C / G x kernel).
inline Tensor taps_last_filters_of(const Tensor& weight, const DeformGeometry& g) {
  return torch::stable::reshape(
      torch::stable::contiguous(weight),
      {g.num_groups, weight.size(0) / g.num_groups, g.num_taps() * g.group_channels()});
}

// Everything that forward and backward pass share: operands in the order that kernels read.
template <typename T, typename Kernels>
class DeformCall {
 public:
  DeformCall(const DeformGeometry& geometry, const Tensor& input, const Tensor& offset,
             const std::optional<Tensor>& mask, const Tensor& filters)
      : geometry(geometry),
        num_images(input.size(0)),
        filters(filters),
        image_(channels_last(input)),
        offset_(torch::stable::contiguous(offset)) {
    if (mask.has_value()) mask_ = torch::stable::contiguous(*mask);
    const int64_t bytes = geometry.num_taps() * geometry.channels * static_cast<int64_t>(sizeof(T));
    chunk_ = std::max<int64_t>(Kernels::kColumnBytes / bytes, kFewestLocations);
  }

  // f(image, chunk) for all chunks of all images.
  template <typename F>
  void for_chunks(const F& f) const {
    const int64_t total = geometry.num_locations(), maps = geometry.num_parts * geometry.num_taps();
    const int64_t cells = geometry.height * geometry.width * geometry.channels;
    for (int64_t image = 0; image < num_images; ++image) {
      const T* offset = offset_.template const_data_ptr<T>() + image * 2 * maps * total;
      const T* mask = mask_ ? mask_->template const_data_ptr<T>() + image * maps * total : nullptr;
      const T* map = image_.template const_data_ptr<T>() + image * cells;
      for (int64_t first = 0; first < total; first += chunk_) {
        const int64_t count = std::min(chunk_, total - first);
        f(image, DeformChunk<T>{geometry, {offset, mask}, first, count, map});
      }
    }
  }

  // Columns of one chunk.
  Tensor columns_of(const DeformChunk<T>& chunk) const {
    return torch::stable::new_empty(filters,
                                    {geometry.num_groups, chunk.num_locations, filters.size(2)});
  }

  // (G, O / G, locations of a chunk) of a tensor (N, O, P, Q).
  Tensor outputs_of(const Tensor& outputs, int64_t image, const DeformChunk<T>& chunk) const {
    Tensor one = torch::stable::select(outputs, 0, image);
    one =
        torch::stable::view(one, {geometry.num_groups, filters.size(1), geometry.num_locations()});
    return torch::stable::narrow(one, 2, chunk.first_location, chunk.num_locations);
  }

  const DeformGeometry geometry;
  const int64_t num_images;
  const Tensor filters;

 private:
  const Tensor image_, offset_;
  std::optional<Tensor> mask_;
  int64_t chunk_;
};

template <typename Kernels>
Tensor deform_conv(const Tensor& input, const Tensor& offset, const std::optional<Tensor>& mask,
                   const Tensor& weight, const Pair& stride, const Pair& padding,
                   const Pair& dilation) {
  const auto g = checked_geometry(input, offset, mask, weight, stride, padding, dilation);
  Tensor output =
      torch::stable::new_empty(input, {input.size(0), weight.size(0), g.out_height, g.out_width});
  for_floating(input, "input", [&](auto zero) {
    using T = decltype(zero);
    if (output.numel() == 0) return;
    const Tensor filters =
        Kernels::kForwardTapsLast ? taps_last_filters_of(weight, g) : filters_of(weight, g);
    const DeformCall<T, Kernels> call(g, input, offset, mask, filters);
    call.for_chunks([&](int64_t image, const DeformChunk<T>& chunk) {
      Tensor columns = call.columns_of(chunk);
      Kernels::sample_forward(chunk, columns);
      Tensor to = call.outputs_of(output, image, chunk);
      multiply(to, call.filters, torch::stable::transpose(columns, 1, 2));
    });
  });
  return output;
}

// Gradients of input, offset, mask (empty without one) and weight.
template <typename Kernels>
std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv_backward(
    const Tensor& grad, const Tensor& input, const Tensor& offset,
    const std::optional<Tensor>& mask, const Tensor& weight, const Pair& stride,
    const Pair& padding, const Pair& dilation) {
  const auto g = checked_geometry(input, offset, mask, weight, stride, padding, dilation);
  check_shape(grad, "grad", {input.size(0), weight.size(0), g.out_height, g.out_width});
  check_dtype(grad, "grad", input.scalar_type());
  check_device(grad, "grad", input, "input");
  const Tensor dense_grad = torch::stable::contiguous(grad);
  const int64_t cells = g.height * g.width;
  Tensor grad_image = torch::stable::new_zeros(input, {input.size(0), cells, g.channels});
  Tensor grad_offset =
      torch::stable::new_empty(input, {input.size(0), offset.size(1), g.out_height, g.out_width});
  Tensor grad_mask = torch::stable::new_empty(input, {0});
  if (mask.has_value()) {
    grad_mask =
        torch::stable::new_empty(input, {input.size(0), mask->size(1), g.out_height, g.out_width});
  }
  const int64_t outputs = weight.size(0), fan_in = g.num_taps() * g.group_channels();
  Tensor grad_filters =
      torch::stable::new_zeros(input, {g.num_groups, outputs / g.num_groups, fan_in});
  for_floating(input, "input", [&](auto zero) {
    using T = decltype(zero);
    if (grad_offset.numel() == 0) return;
    const DeformCall<T, Kernels> call(g, input, offset, mask, filters_of(weight, g));
    Tensor part_of_grad = torch::stable::empty_like(grad_filters);
    call.for_chunks([&](int64_t image, const DeformChunk<T>& chunk) {
      Tensor columns = call.columns_of(chunk);
      const Tensor from = call.outputs_of(dense_grad, image, chunk);
      Kernels::sample(chunk, columns);
      multiply(part_of_grad, from, columns);
      // The stable ABI has no sum of two tensors, but this.
      grad_filters = torch::stable::subtract(grad_filters, part_of_grad, -1.0);
      multiply(columns, torch::stable::transpose(from, 1, 2), call.filters);
      T* offsets = grad_offset.mutable_data_ptr<T>() + image * offset.size(1) * g.num_locations();
      T* factors = nullptr;
      if (mask.has_value()) {
        factors = grad_mask.mutable_data_ptr<T>() + image * mask->size(1) * g.num_locations();
      }
      Kernels::slopes(chunk, columns, offsets, factors);
      T* map = grad_image.mutable_data_ptr<T>() + image * cells * g.channels;
      Kernels::scatter(chunk, columns, map);
    });
  });
  const Tensor planes = torch::stable::contiguous(torch::stable::transpose(grad_image, 1, 2));
  Tensor taps_last =
      torch::stable::reshape(grad_filters, {outputs, g.num_taps(), g.group_channels()});
  taps_last = torch::stable::contiguous(torch::stable::transpose(taps_last, 1, 2));
  return {torch::stable::reshape(planes, {input.size(0), g.channels, g.height, g.width}),
          grad_offset, grad_mask,
          torch::stable::reshape(taps_last,
                                 {outputs, g.group_channels(), g.kernel_height, g.kernel_width})};
}

}  // namespace centermask
