#include <algorithm>
#include <cstdint>

#include "focal_loss.h"
#include "stable_util.h"

namespace centermask {
namespace {

constexpr int64_t kLogitsPerThread = 16384;

template <typename T>
struct Settings {
  T gamma, alpha;
};

// Nearly all entries are negatives: every entry is computed as one, in one vector loop over all
// rows, and the few others are set right afterwards.
template <bool kSquare, typename T>
CM_ALWAYS_INLINE void all_losses(const T* CM_RESTRICT logits, int64_t count, T weight, T gamma,
                                 T* CM_RESTRICT losses) {
  for (int64_t i = 0; i < count; ++i) {
    losses[i] = focal_loss<kSquare>(-logits[i], weight, gamma);
  }
}

template <bool kSquare, typename T>
CM_ALWAYS_INLINE void all_slopes(const T* CM_RESTRICT logits, int64_t count, T weight, T gamma,
                                 T* CM_RESTRICT slopes) {
  for (int64_t i = 0; i < count; ++i) {
    slopes[i] = -focal_loss_slope<kSquare>(-logits[i], weight, gamma);
  }
}

CM_TARGET_CLONES void negative_losses(const float* logits, int64_t count, float weight, float gamma,
                                      float* losses) {
  gamma == 2.0f ? all_losses<true>(logits, count, weight, gamma, losses)
                : all_losses<false>(logits, count, weight, gamma, losses);
}

CM_TARGET_CLONES void negative_slopes(const float* logits, int64_t count, float weight, float gamma,
                                      float* slopes) {
  gamma == 2.0f ? all_slopes<true>(logits, count, weight, gamma, slopes)
                : all_slopes<false>(logits, count, weight, gamma, slopes);
}

void negative_losses(const double* logits, int64_t count, double weight, double gamma,
                     double* losses) {
  all_losses<false>(logits, count, weight, gamma, losses);
}

void negative_slopes(const double* logits, int64_t count, double weight, double gamma,
                     double* slopes) {
  all_slopes<false>(logits, count, weight, gamma, slopes);
}

// Rows begin..end of one result; `negatives` and `positive` compute a run and a single entry.
template <typename T, typename Negatives, typename Positive>
void fill_rows(const T* logits, const int64_t* targets, int64_t num_classes, int64_t begin,
               int64_t end, T* result, const Negatives& negatives, const Positive& positive) {
  const int64_t first = begin * num_classes;
  negatives(logits + first, (end - begin) * num_classes, result + first);
  for (int64_t row = begin; row < end; ++row) {
    T* values = result + row * num_classes;
    const int64_t column = targets[row] - 1;
    if (targets[row] < 0) {
      std::fill(values, values + num_classes, T(0));
    } else if (column >= 0) {
      values[column] = positive(logits[row * num_classes + column]);
    }
  }
}

int64_t rows_per_thread(int64_t num_classes) {
  return kLogitsPerThread / std::max<int64_t>(num_classes, 1) + 1;
}

void check_inputs(const Tensor& logits, const Tensor& targets) {
  check_shape(logits, "logits", {-1, -1});
  check_shape(targets, "targets", {logits.size(0)});
  check_dtype(targets, "targets", ScalarType::Long);
}

// Targets in one block of memory, each in [-1, num_classes].
Tensor checked_targets(const Tensor& targets, int64_t num_classes) {
  const Tensor dense = torch::stable::contiguous(targets);
  const int64_t* values = dense.const_data_ptr<int64_t>();
  for (int64_t row = 0; row < dense.size(0); ++row) {
    STD_TORCH_CHECK(values[row] >= -1 && values[row] <= num_classes,
                    "targets: expected classes in [-1, ", num_classes, "], got ", values[row]);
  }
  return dense;
}

Tensor sigmoid_focal_loss(const Tensor& logits, const Tensor& targets, double gamma, double alpha) {
  check_inputs(logits, targets);
  const int64_t num_rows = logits.size(0), num_classes = logits.size(1);
  const Tensor dense_targets = checked_targets(targets, num_classes);
  const Tensor dense_logits = torch::stable::contiguous(logits);
  Tensor losses = torch::stable::new_empty(logits, {num_rows, num_classes});
  for_floating(logits, "logits", [&](auto zero) {
    using T = decltype(zero);
    const Settings<T> s{static_cast<T>(gamma), static_cast<T>(alpha)};
    const T* from = dense_logits.const_data_ptr<T>();
    const int64_t* classes = dense_targets.const_data_ptr<int64_t>();
    T* to = losses.mutable_data_ptr<T>();
    const auto negatives = [s](const T* x, int64_t count, T* out) {
      negative_losses(x, count, T(1) - s.alpha, s.gamma, out);
    };
    const auto positive = [s](T x) { return focal_loss(x, s.alpha, s.gamma); };
    torch::stable::parallel_for(
        0, num_rows, rows_per_thread(num_classes), [&](int64_t begin, int64_t end) {
          fill_rows(from, classes, num_classes, begin, end, to, negatives, positive);
        });
  });
  return losses;
}

Tensor sigmoid_focal_loss_backward(const Tensor& grad, const Tensor& logits, const Tensor& targets,
                                   double gamma, double alpha) {
  check_inputs(logits, targets);
  const int64_t num_rows = logits.size(0), num_classes = logits.size(1);
  check_shape(grad, "grad", {num_rows, num_classes});
  check_dtype(grad, "grad", logits.scalar_type());
  const Tensor dense_targets = checked_targets(targets, num_classes);
  const Tensor dense_logits = torch::stable::contiguous(logits);
  // The gradient of a sum is one number seen from everywhere: no need to write it out.
  const bool uniform = grad.numel() > 0 && grad.stride(0) == 0 && grad.stride(1) == 0;
  const Tensor dense_grad = uniform ? grad : torch::stable::contiguous(grad);
  Tensor slopes = torch::stable::new_empty(logits, {num_rows, num_classes});
  for_floating(logits, "logits", [&](auto zero) {
    using T = decltype(zero);
    const Settings<T> s{static_cast<T>(gamma), static_cast<T>(alpha)};
    const T* from = dense_logits.const_data_ptr<T>();
    const T* factors = dense_grad.const_data_ptr<T>();
    const int64_t* classes = dense_targets.const_data_ptr<int64_t>();
    T* to = slopes.mutable_data_ptr<T>();
    const T common = uniform ? factors[0] : T(1);
    const auto negatives = [s, common](const T* x, int64_t count, T* out) {
      negative_slopes(x, count, common * (T(1) - s.alpha), s.gamma, out);
    };
    const auto positive = [s, common](T x) {
      return focal_loss_slope(x, common * s.alpha, s.gamma);
    };
    torch::stable::parallel_for(
        0, num_rows, rows_per_thread(num_classes), [&](int64_t begin, int64_t end) {
          fill_rows(from, classes, num_classes, begin, end, to, negatives, positive);
          if (uniform) return;
          for (int64_t i = begin * num_classes; i < end * num_classes; ++i) to[i] *= factors[i];
        });
  });
  return slopes;
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("sigmoid_focal_loss", TORCH_BOX(&sigmoid_focal_loss));
  m.impl("sigmoid_focal_loss_backward", TORCH_BOX(&sigmoid_focal_loss_backward));
}

}  // namespace
}  // namespace centermask
