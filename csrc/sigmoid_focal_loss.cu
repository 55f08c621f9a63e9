// Sigmoid focal loss, a thread a logit.
#include <cstdint>
#include <tuple>

#include "cuda_launch.h"
#include "focal_loss.h"

namespace centermask {
namespace {

// What a logit counts as. Nobody can raise an error here: a target beyond the classes gives NaN,
// which a training notices.
template <typename T>
struct Role {
  T sign, weight;
};

template <typename T>
CM_DEVICE Role<T> role_of(int64_t target, int64_t column, int64_t num_classes, T alpha) {
  if (target < -1 || target > num_classes) return {T(1), T(NAN)};
  if (target == -1) return {T(1), T(0)};
  return target == column + 1 ? Role<T>{T(1), alpha} : Role<T>{T(-1), T(1) - alpha};
}

template <typename T>
__global__ void losses(const T* logits, const int64_t* targets, int64_t count, int64_t num_classes,
                       T gamma, T alpha, T* output) {
  for (int64_t i = grid_begin(); i < count; i += grid_stride()) {
    const int64_t target = targets[i / num_classes];
    const Role<T> role = role_of(target, i % num_classes, num_classes, alpha);
    output[i] = target == -1 ? T(0) : focal_loss(role.sign * logits[i], role.weight, gamma);
  }
}

// Strides of `grad` may be 0: the gradient of a sum is one number seen from everywhere.
template <typename T>
__global__ void slopes(const T* grad, int64_t row_stride, int64_t column_stride, const T* logits,
                       const int64_t* targets, int64_t count, int64_t num_classes, T gamma, T alpha,
                       T* output) {
  for (int64_t i = grid_begin(); i < count; i += grid_stride()) {
    const int64_t row = i / num_classes, column = i % num_classes, target = targets[row];
    const Role<T> role = role_of(target, column, num_classes, alpha);
    const T slope = role.sign * focal_loss_slope(role.sign * logits[i], role.weight, gamma);
    output[i] = target == -1 ? T(0) : grad[row * row_stride + column * column_stride] * slope;
  }
}

// Sum over the threads of a block, for its first thread; always in the same order.
CM_DEVICE double block_sum(double value, double* sums) {
  sums[threadIdx.x] = value;
  for (unsigned half = kThreadsPerBlock / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  return sums[0];
}

template <typename T>
__global__ void losses_and_slopes(const T* logits, const int64_t* targets, int64_t count,
                                  int64_t num_classes, T gamma, T alpha, double* block_sums,
                                  T* output) {
  __shared__ double sums[kThreadsPerBlock];
  double sum = 0;
  for (int64_t i = grid_begin(); i < count; i += grid_stride()) {
    const int64_t target = targets[i / num_classes];
    const Role<T> role = role_of(target, i % num_classes, num_classes, alpha);
    const LossAndSlope<T> both = focal_loss_and_slope(role.sign * logits[i], role.weight, gamma);
    output[i] = target == -1 ? T(0) : role.sign * both.slope;
    if (target != -1) sum += both.loss;
  }
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) block_sums[blockIdx.x] = sum;
}

// One block.
template <typename T>
__global__ void add_up(const double* block_sums, int64_t count, T* total) {
  __shared__ double sums[kThreadsPerBlock];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreadsPerBlock) sum += block_sums[i];
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) *total = static_cast<T>(sum);
}

void check_inputs(const Tensor& logits, const Tensor& targets) {
  check_shape(logits, "logits", {-1, -1});
  check_shape(targets, "targets", {logits.size(0)});
  check_dtype(targets, "targets", ScalarType::Long);
  check_device(targets, "targets", logits, "logits");
}

Tensor sigmoid_focal_loss(const Tensor& logits, const Tensor& targets, double gamma, double alpha) {
  check_inputs(logits, targets);
  const Tensor dense_logits = torch::stable::contiguous(logits);
  const Tensor dense_targets = torch::stable::contiguous(targets);
  Tensor output = torch::stable::new_empty(logits, {logits.size(0), logits.size(1)});
  for_floating(logits, "logits", [&](auto zero) {
    using T = decltype(zero);
    if (output.numel() == 0) return;
    const CudaScope scope(logits);
    launch(losses<T>, grid_for(output.numel()), dim3(kThreadsPerBlock), scope.stream(),
           dense_logits.const_data_ptr<T>(), dense_targets.const_data_ptr<int64_t>(),
           output.numel(), logits.size(1), static_cast<T>(gamma), static_cast<T>(alpha),
           output.mutable_data_ptr<T>());
  });
  return output;
}

std::tuple<Tensor, Tensor> sigmoid_focal_loss_sum(const Tensor& logits, const Tensor& targets,
                                                  double gamma, double alpha) {
  check_inputs(logits, targets);
  const Tensor dense_logits = torch::stable::contiguous(logits);
  const Tensor dense_targets = torch::stable::contiguous(targets);
  Tensor total = torch::stable::new_zeros(logits, {});
  Tensor output = torch::stable::new_empty(logits, {logits.size(0), logits.size(1)});
  const dim3 grid = grid_for(output.numel());
  Tensor block_sums = torch::stable::new_empty(logits, {grid.x}, ScalarType::Double);
  for_floating(logits, "logits", [&](auto zero) {
    using T = decltype(zero);
    if (output.numel() == 0) return;
    const CudaScope scope(logits);
    double* partial = block_sums.mutable_data_ptr<double>();
    launch(losses_and_slopes<T>, grid, dim3(kThreadsPerBlock), scope.stream(),
           dense_logits.const_data_ptr<T>(), dense_targets.const_data_ptr<int64_t>(),
           output.numel(), logits.size(1), static_cast<T>(gamma), static_cast<T>(alpha), partial,
           output.mutable_data_ptr<T>());
    launch(add_up<T>, dim3(1), dim3(kThreadsPerBlock), scope.stream(), partial,
           static_cast<int64_t>(grid.x), total.mutable_data_ptr<T>());
  });
  return {total, output};
}

Tensor sigmoid_focal_loss_backward(const Tensor& grad, const Tensor& logits, const Tensor& targets,
                                   double gamma, double alpha) {
  check_inputs(logits, targets);
  check_shape(grad, "grad", {logits.size(0), logits.size(1)});
  check_dtype(grad, "grad", logits.scalar_type());
  check_device(grad, "grad", logits, "logits");
  const Tensor dense_logits = torch::stable::contiguous(logits);
  const Tensor dense_targets = torch::stable::contiguous(targets);
  Tensor output = torch::stable::new_empty(logits, {logits.size(0), logits.size(1)});
  for_floating(logits, "logits", [&](auto zero) {
    using T = decltype(zero);
    if (output.numel() == 0) return;
    const CudaScope scope(logits);
    launch(slopes<T>, grid_for(output.numel()), dim3(kThreadsPerBlock), scope.stream(),
           grad.const_data_ptr<T>(), grad.stride(0), grad.stride(1),
           dense_logits.const_data_ptr<T>(), dense_targets.const_data_ptr<int64_t>(),
           output.numel(), logits.size(1), static_cast<T>(gamma), static_cast<T>(alpha),
           output.mutable_data_ptr<T>());
  });
  return output;
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CM_CUDA_KEY, m) {
  m.impl("sigmoid_focal_loss", TORCH_BOX(&sigmoid_focal_loss));
  m.impl("sigmoid_focal_loss_sum", TORCH_BOX(&sigmoid_focal_loss_sum));
  m.impl("sigmoid_focal_loss_backward", TORCH_BOX(&sigmoid_focal_loss_backward));
}

}  // namespace
}  // namespace centermask
