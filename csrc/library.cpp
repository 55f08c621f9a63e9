// Schemas of the operators. Kernels register themselves beside their code; shape functions,
// derivatives and autocast rules are in maskrcnn_benchmark/layers/_ops/, which also repeats these
// schemas for installations without this library (a test compares the two).
#include <torch/csrc/stable/library.h>

#include "platform.h"

STABLE_TORCH_LIBRARY(CM_NAMESPACE, m) {
  m.def(
      "deform_conv(Tensor input, Tensor offset, Tensor? mask, Tensor weight, int[2] stride, "
      "int[2] padding, int[2] dilation) -> Tensor");
  m.def(
      "deform_conv_backward(Tensor grad, Tensor input, Tensor offset, Tensor? mask, "
      "Tensor weight, int[2] stride, int[2] padding, int[2] dilation) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "paste_masks_rle(Tensor masks, Tensor boxes, SymInt height, SymInt width, float threshold, "
      "int padding) -> (Tensor, Tensor)");
  m.def(
      "rasterize_polygons(Tensor points, Tensor polygon_begins, Tensor instance_begins, "
      "Tensor instances, Tensor boxes, SymInt side) -> Tensor");
  m.def(
      "polygon_areas(Tensor points, Tensor polygon_begins, Tensor instance_begins, "
      "Tensor instances, Tensor origins, Tensor sizes) -> Tensor");
  m.def(
      "deform_psroi_pooling(Tensor input, Tensor rois, Tensor? offset, float spatial_scale, "
      "SymInt output_channels, SymInt pooled_size, int group_size, SymInt part_size, "
      "int samples_per_part, float offset_scale) -> Tensor");
  m.def(
      "deform_psroi_pooling_backward(Tensor grad, Tensor input, Tensor rois, Tensor? offset, "
      "float spatial_scale, SymInt output_channels, SymInt pooled_size, int group_size, "
      "SymInt part_size, int samples_per_part, float offset_scale) -> (Tensor, Tensor)");
  m.def(
      "group_norm_relu(Tensor input, int num_groups, Tensor weight, Tensor bias, float eps, "
      "bool relu=True) -> Tensor");
  m.def(
      "pointwise_conv_int16(Tensor input, Tensor weight, Tensor scale, Tensor bias, Tensor? "
      "addend, "
      "int stride, float least, float most) -> Tensor");
  m.def("nms_keep(Tensor boxes, Tensor? labels, float threshold) -> Tensor");
  m.def(
      "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio, bool aligned=False) -> Tensor");
  m.def(
      "roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt batch_size, "
      "SymInt channels, SymInt height, SymInt width, int sampling_ratio, bool aligned=False) "
      "-> Tensor");
  m.def(
      "roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width) -> (Tensor, Tensor)");
  m.def(
      "roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, SymInt batch_size, "
      "SymInt height, SymInt width) -> Tensor");
  m.def("scores_above(Tensor logits, int width, float threshold) -> (Tensor, Tensor)");
  m.def("sigmoid_focal_loss(Tensor logits, Tensor targets, float gamma, float alpha) -> Tensor");
  m.def(
      "sigmoid_focal_loss_sum(Tensor logits, Tensor targets, float gamma, float alpha) "
      "-> (Tensor, Tensor)");
  m.def(
      "sigmoid_focal_loss_backward(Tensor grad, Tensor logits, Tensor targets, float gamma, "
      "float alpha) -> Tensor");
  m.def(
      "inverted_residual(Tensor input, Tensor? expansion, Tensor depthwise, Tensor projection, "
      "int out_channels, int stride, bool adds_input, float limit) -> Tensor");
  m.def(
      "conv_tower(Tensor[] maps, Tensor weight, Tensor? scale, Tensor bias, Tensor? norm, "
      "int num_convs, int num_groups, float eps, int[] widths) -> Tensor[]");
  m.def(
      "inverted_residual_int16(Tensor input, Tensor expansion, Tensor depthwise, "
      "Tensor projection, Tensor factors, int out_channels, int stride, bool adds_input) "
      "-> Tensor");
  m.def(
      "winograd_conv3x3(Tensor input, Tensor weight, Tensor bias, int padding, bool relu=False) "
      "-> Tensor");
  m.def(
      "winograd_conv3x3_int16(Tensor input, Tensor weight, Tensor scale, Tensor bias, int padding, "
      "bool relu=False) -> Tensor");
  m.def("winograd_pack(Tensor weight, bool turned) -> Tensor");
  m.def("winograd_conv3x3_weight_grad(Tensor grad, Tensor input, int padding) -> Tensor");
}

// Bytes of the widest registers that CPU kernels were compiled for and this processor has: 64, 32,
// or 0 for narrower ones. Not an operator, as Python asks before it chooses among these.
extern "C" __attribute__((visibility("default"))) int centermask_register_bytes() {
  return has_wide_registers() ? 64 : has_registers() ? 32 : 0;
}
