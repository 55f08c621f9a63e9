// GroupNorm in two passes over the map: sums of pieces of it, and then every value scaled and
// shifted, in the opposite order, so that what was read last is still in the cache. Pieces have one
// length whatever the number of threads, and their sums are added in order.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "group_norm.h"
#include "stable_util.h"
#include "storage.h"

namespace centermask {
namespace {

constexpr int64_t kValuesPerPiece = 32768;
// A run of values is taken for rows of so many columns.
constexpr int64_t kRun = 256;

// What a few values are summed in. Squares of 32-bit numbers are exact in 64 bits, so that
// variances are right however far from zero the mean is; squares of 16-bit numbers are exact in 32.
template <typename E>
struct PartialOf {
  using type = double;
};
template <>
struct PartialOf<BFloat16> {
  using type = float;
};

// Sums and sums of squares of columns, added to what is there.
template <typename E>
CM_ALWAYS_INLINE void add_columns(const E* rows, int64_t num_rows, int64_t width,
                                  double* CM_RESTRICT sums, double* CM_RESTRICT squares) {
  using P = typename PartialOf<E>::type;
  int64_t row = 0;
  // Four rows at a time, as the sums lie in memory.
  for (; row + 4 <= num_rows; row += 4) {
    const E* from = rows + row * width;
    for (int64_t c = 0; c < width; ++c) {
      const P x0 = widened(from[c]), x1 = widened(from[width + c]);
      const P x2 = widened(from[2 * width + c]), x3 = widened(from[3 * width + c]);
      sums[c] += (x0 + x1) + (x2 + x3);
      squares[c] += (x0 * x0 + x1 * x1) + (x2 * x2 + x3 * x3);
    }
  }
  for (; row < num_rows; ++row) {
    const E* from = rows + row * width;
    for (int64_t c = 0; c < width; ++c) {
      const P x = widened(from[c]);
      sums[c] += x;
      squares[c] += x * x;
    }
  }
}

CM_TARGET_CLONES void sum_rows(const float* rows, int64_t num_rows, int64_t width, double* sums,
                               double* squares) {
  add_columns(rows, num_rows, width, sums, squares);
}

CM_TARGET_CLONES void sum_rows(const double* rows, int64_t num_rows, int64_t width, double* sums,
                               double* squares) {
  add_columns(rows, num_rows, width, sums, squares);
}

CM_TARGET_CLONES void sum_rows(const BFloat16* rows, int64_t num_rows, int64_t width, double* sums,
                               double* squares) {
  add_columns(rows, num_rows, width, sums, squares);
}

// target = source * scale + shift of its column, negative ones 0 where `kRelu`; NaN stays.
template <bool kRelu, typename E, typename T>
CM_ALWAYS_INLINE void scale_columns(const E* source, int64_t num_rows, int64_t width,
                                    const T* scales, const T* shifts, E* target) {
  for (int64_t row = 0; row < num_rows; ++row) {
    const E* CM_RESTRICT from = source + row * width;
    E* CM_RESTRICT to = target + row * width;
    for (int64_t c = 0; c < width; ++c) {
      const T y = widened(from[c]) * scales[c] + shifts[c];
      store(kRelu && y < T(0) ? T(0) : y, to + c);
    }
  }
}

CM_TARGET_CLONES void scale_rows(const float* source, int64_t num_rows, int64_t width,
                                 const float* scales, const float* shifts, bool relu,
                                 float* target) {
  relu ? scale_columns<true>(source, num_rows, width, scales, shifts, target)
       : scale_columns<false>(source, num_rows, width, scales, shifts, target);
}

CM_TARGET_CLONES void scale_rows(const double* source, int64_t num_rows, int64_t width,
                                 const double* scales, const double* shifts, bool relu,
                                 double* target) {
  relu ? scale_columns<true>(source, num_rows, width, scales, shifts, target)
       : scale_columns<false>(source, num_rows, width, scales, shifts, target);
}

CM_TARGET_CLONES void scale_rows(const BFloat16* source, int64_t num_rows, int64_t width,
                                 const float* scales, const float* shifts, bool relu,
                                 BFloat16* target) {
  relu ? scale_columns<true>(source, num_rows, width, scales, shifts, target)
       : scale_columns<false>(source, num_rows, width, scales, shifts, target);
}

template <typename E>
Sums sum_run(const E* values, int64_t count) {
  std::array<double, kRun> sums{}, squares{};
  const int64_t num_rows = count / kRun, rest = count % kRun;
  sum_rows(values, num_rows, kRun, sums.data(), squares.data());
  sum_rows(values + num_rows * kRun, 1, rest, sums.data(), squares.data());
  Sums total;
  for (int64_t i = 0; i < std::min(count, kRun); ++i) total.add({sums[i], squares[i]});
  return total;
}

template <typename E, typename T>
void scale_run(const E* source, int64_t count, T scale, T shift, bool relu, E* target) {
  std::array<T, kRun> scales, shifts;
  std::fill_n(scales.begin(), std::min(count, kRun), scale);
  std::fill_n(shifts.begin(), std::min(count, kRun), shift);
  const int64_t num_rows = count / kRun, done = num_rows * kRun;
  scale_rows(source, num_rows, kRun, scales.data(), shifts.data(), relu, target);
  scale_rows(source + done, 1, count - done, scales.data(), shifts.data(), relu, target + done);
}

// Maps of which each pixel is a row of channels; a piece is some pixels of an image.
template <typename E, typename T>
struct ByPixel {
  Sizes s;
  const E* source;
  E* target;

  int64_t pixels_per_piece() const { return std::max<int64_t>(kValuesPerPiece / s.channels, 1); }
  int64_t num_pieces() const {
    return (s.num_pixels + pixels_per_piece() - 1) / pixels_per_piece();
  }
  int64_t num_tasks() const { return s.num_images * num_pieces(); }
  int64_t num_scale_tasks() const { return num_tasks(); }
  int64_t first_value(int64_t task) const {
    const int64_t image = task / num_pieces(), piece = task % num_pieces();
    return (image * s.num_pixels + piece * pixels_per_piece()) * s.channels;
  }
  int64_t pixels_of(int64_t task) const {
    return std::min(pixels_per_piece(), s.num_pixels - task % num_pieces() * pixels_per_piece());
  }

  void sum(int64_t task, Sums* sums) const {
    const int64_t image = task / num_pieces(), piece = task % num_pieces();
    std::vector<double> columns(2 * s.channels);
    double* squares = columns.data() + s.channels;
    sum_rows(source + first_value(task), pixels_of(task), s.channels, columns.data(), squares);
    for (int64_t group = 0; group < s.num_groups; ++group) {
      Sums& total = sums[(image * s.num_groups + group) * num_pieces() + piece];
      for (int64_t c = group * s.group_width(); c < (group + 1) * s.group_width(); ++c) {
        total.add({columns[c], squares[c]});
      }
    }
  }

  void scale(int64_t task, const T* scales, const T* shifts, bool relu) const {
    const int64_t first = first_value(task), row = task / num_pieces() * s.channels;
    scale_rows(source + first, pixels_of(task), s.channels, scales + row, shifts + row, relu,
               target + first);
  }
};

// Maps of which each channel is a plane; a piece is some values of a group of planes.
template <typename E, typename T>
struct ByPlane {
  Sizes s;
  const E* source;
  E* target;

  int64_t num_pieces() const { return (s.group_size() + kValuesPerPiece - 1) / kValuesPerPiece; }
  int64_t num_tasks() const { return s.num_images * s.num_groups * num_pieces(); }
  int64_t num_scale_tasks() const { return s.num_images * s.channels; }

  void sum(int64_t task, Sums* sums) const {
    const int64_t group = task / num_pieces(), first = task % num_pieces() * kValuesPerPiece;
    const int64_t count = std::min(kValuesPerPiece, s.group_size() - first);
    sums[task] = sum_run(source + group * s.group_size() + first, count);
  }

  void scale(int64_t plane, const T* scales, const T* shifts, bool relu) const {
    const int64_t first = plane * s.num_pixels;
    scale_run(source + first, s.num_pixels, scales[plane], shifts[plane], relu, target + first);
  }
};

template <typename T, typename Layout>
void normalize(const Layout& map, const T* weight, const T* bias, double eps, bool relu) {
  std::vector<Sums> sums(map.s.num_images * map.s.num_groups * map.num_pieces());
  torch::stable::parallel_for(0, map.num_tasks(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) map.sum(task, sums.data());
  });
  const Affine<T> affine(map.s, sums, weight, bias, eps);
  const int64_t num_values = map.s.num_images * map.s.channels * map.s.num_pixels;
  const int64_t per_task = std::max<int64_t>(num_values / map.num_scale_tasks(), 1);
  const int64_t per_thread = std::max<int64_t>(kValuesPerPiece / per_task, 1);
  torch::stable::parallel_for(0, map.num_scale_tasks(), per_thread,
                              [&](int64_t begin, int64_t end) {
                                for (int64_t task = end; task-- > begin;) {
                                  map.scale(task, affine.scales.data(), affine.shifts.data(), relu);
                                }
                              });
}

void check_parameter(const Tensor& parameter, const char* name, const Tensor& input) {
  check_shape(parameter, name, {input.size(1)});
  check_dtype(parameter, name, precise_type(input));
}

Tensor group_norm_relu(const Tensor& input, int64_t num_groups, const Tensor& weight,
                       const Tensor& bias, double eps, bool relu) {
  check_shape(input, "input", {-1, -1, -1, -1});
  check_element(input, "input");
  check_parameter(weight, "weight", input);
  check_parameter(bias, "bias", input);
  STD_TORCH_CHECK(num_groups > 0 && input.size(1) % num_groups == 0,
                  "num_groups: expected a divisor of ", input.size(1), ", got ", num_groups);
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  const bool by_pixel =
      input.numel() > 0 && !is_dense(input, {0, 1, 2, 3}) && is_dense(input, {0, 2, 3, 1});
  const Tensor dense = by_pixel ? input : torch::stable::contiguous(input);
  const Tensor scales = torch::stable::contiguous(weight), shifts = torch::stable::contiguous(bias);
  Tensor output = by_pixel ? torch::stable::new_empty(input, {n, h, w, c})
                           : torch::stable::new_empty(input, {n, c, h, w});
  for_element(input, "input", [&](auto element, auto zero) {
    using E = decltype(element);
    using T = decltype(zero);
    if (output.numel() == 0) return;
    const Sizes sizes{n, c, h * w, num_groups};
    const E* from = static_cast<const E*>(dense.const_data_ptr());
    E* to = static_cast<E*>(output.mutable_data_ptr());
    const T *factors = scales.const_data_ptr<T>(), *offsets = shifts.const_data_ptr<T>();
    by_pixel ? normalize<T>(ByPixel<E, T>{sizes, from, to}, factors, offsets, eps, relu)
             : normalize<T>(ByPlane<E, T>{sizes, from, to}, factors, offsets, eps, relu);
  });
  if (!by_pixel) return output;
  return torch::stable::transpose(torch::stable::transpose(output, 2, 3), 1, 2);
}

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("group_norm_relu", TORCH_BOX(&group_norm_relu));
}

}  // namespace
}  // namespace centermask
