#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <tuple>
#include <vector>

#include "channel_blocks.h"
#include "focal_loss.h"
#include "stable_util.h"

namespace centermask {
namespace {

constexpr int64_t kLogitsPerThread = 16384;
constexpr int64_t kLogitsPerPiece = 2048;
constexpr int64_t kPiecesPerThread = kLogitsPerThread / kLogitsPerPiece;

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

template <bool kSquare, typename T>
CM_ALWAYS_INLINE void all_losses_and_slopes(const T* CM_RESTRICT logits, int64_t count, T weight,
                                            T gamma, T* CM_RESTRICT losses, T* CM_RESTRICT slopes) {
  for (int64_t i = 0; i < count; ++i) {
    const LossAndSlope<T> both = focal_loss_and_slope<kSquare>(-logits[i], weight, gamma);
    losses[i] = both.loss;
    slopes[i] = -both.slope;
  }
}

CM_TARGET_CLONES void negative_losses_and_slopes(const float* logits, int64_t count, float weight,
                                                 float gamma, float* losses, float* slopes) {
  gamma == 2.0f ? all_losses_and_slopes<true>(logits, count, weight, gamma, losses, slopes)
                : all_losses_and_slopes<false>(logits, count, weight, gamma, losses, slopes);
}

void negative_losses_and_slopes(const double* logits, int64_t count, double weight, double gamma,
                                double* losses, double* slopes) {
  all_losses_and_slopes<false>(logits, count, weight, gamma, losses, slopes);
}

// Sums in 64 bytes of lanes, so that the order is the same on every processor.
template <int kBytes, typename T>
CM_ALWAYS_INLINE double sum_in_lanes(const T* values, int64_t count) {
  constexpr int64_t kStep = kBytes / sizeof(T);
  typename VectorOf<T, kBytes>::type lanes[64 / kBytes] = {};
  int64_t i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) {
    add_scaled<T, 64 / kBytes>(lanes, values + i, T(1));
  }
  double sum = 0;
  for (int64_t lane = 0; lane < kLanes<T>; ++lane) sum += lanes[lane / kStep][lane % kStep];
  for (; i < count; ++i) sum += values[i];
  return sum;
}

#define CM_SUM(T)                                                      \
  CM_TARGET_WIDE double sum_wide(const T* values, int64_t count) {     \
    return sum_in_lanes<64>(values, count);                            \
  }                                                                    \
  CM_TARGET_CLONES double sum_narrow(const T* values, int64_t count) { \
    return sum_in_lanes<32>(values, count);                            \
  }
CM_SUM(float)
CM_SUM(double)
#undef CM_SUM

template <typename T>
double sum_of(const T* values, int64_t count) {
  return has_wide_registers() ? sum_wide(values, count) : sum_narrow(values, count);
}

// Some rows of the fused pass; `losses` is scratch memory. Returns their sum.
template <typename T>
double losses_and_slopes(const T* logits, const int64_t* targets, int64_t num_rows,
                         int64_t num_classes, const Settings<T>& s, T* losses, T* slopes) {
  const int64_t count = num_rows * num_classes;
  negative_losses_and_slopes(logits, count, T(1) - s.alpha, s.gamma, losses, slopes);
  for (int64_t row = 0; row < num_rows; ++row) {
    const int64_t first = row * num_classes, entry = first + targets[row] - 1;
    if (targets[row] < 0) {
      std::fill_n(losses + first, num_classes, T(0));
      std::fill_n(slopes + first, num_classes, T(0));
    } else if (targets[row] > 0) {
      const LossAndSlope<T> both = focal_loss_and_slope(logits[entry], s.alpha, s.gamma);
      losses[entry] = both.loss;
      slopes[entry] = both.slope;
    }
  }
  return sum_of(losses, count);
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

// Sum of the losses, and the derivative by every logit. Rows are summed in pieces of a fixed
// length, whatever the number of threads.
std::tuple<Tensor, Tensor> sigmoid_focal_loss_sum(const Tensor& logits, const Tensor& targets,
                                                  double gamma, double alpha) {
  check_inputs(logits, targets);
  const int64_t num_rows = logits.size(0), num_classes = logits.size(1);
  const Tensor dense_targets = checked_targets(targets, num_classes);
  const Tensor dense_logits = torch::stable::contiguous(logits);
  Tensor total = torch::stable::new_empty(logits, {});
  Tensor slopes = torch::stable::new_empty(logits, {num_rows, num_classes});
  const int64_t rows = kLogitsPerPiece / std::max<int64_t>(num_classes, 1) + 1;
  const int64_t num_pieces = (num_rows + rows - 1) / rows;
  for_floating(logits, "logits", [&](auto zero) {
    using T = decltype(zero);
    const Settings<T> s{static_cast<T>(gamma), static_cast<T>(alpha)};
    const T* from = dense_logits.const_data_ptr<T>();
    const int64_t* classes = dense_targets.const_data_ptr<int64_t>();
    T* to = slopes.mutable_data_ptr<T>();
    std::vector<double> sums(num_pieces);
    torch::stable::parallel_for(0, num_pieces, kPiecesPerThread, [&](int64_t begin, int64_t end) {
      std::vector<T> losses(rows * num_classes);
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t row = piece * rows, count = std::min(rows, num_rows - row);
        sums[piece] = losses_and_slopes(from + row * num_classes, classes + row, count, num_classes,
                                        s, losses.data(), to + row * num_classes);
      }
    });
    *total.mutable_data_ptr<T>() = static_cast<T>(std::accumulate(sums.begin(), sums.end(), 0.0));
  });
  return {total, slopes};
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
  m.impl("sigmoid_focal_loss_sum", TORCH_BOX(&sigmoid_focal_loss_sum));
  m.impl("sigmoid_focal_loss_backward", TORCH_BOX(&sigmoid_focal_loss_backward));
}

}  // namespace
}  // namespace centermask
