// Deformable position-sensitive RoI pooling on the CPU. Samples of a bin are found once for all
// channels of its class. Tasks own rois, or for the input's gradient channels: nothing is shared.
#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "deform_psroi_pooling_host.h"

namespace centermask {
namespace {

template <typename T>
struct SampleOfBin {
  PartSample<T> y, x;
};

// One bin of one class of a roi, and the samples of it that count.
template <typename T>
struct PartBin {
  int64_t roi, image, label, row, column;
  const std::vector<SampleOfBin<T>>& samples;

  int64_t index(int64_t channel, const PartGeometry<T>& g) const {
    return ((roi * g.output_channels + channel) * g.pooled_size + row) * g.pooled_size + column;
  }
  int64_t plane(int64_t channel, const PartGeometry<T>& g) const {
    const int64_t from = g.input_channel(channel, row, column);
    return (image * g.channels() + from) * g.height * g.width;
  }
};

template <typename T>
void find_samples(const PartGeometry<T>& g, const PartAxis<T>& rows, const PartAxis<T>& columns,
                  T top, T left, std::vector<SampleOfBin<T>>& samples) {
  samples.clear();
  for (int64_t i = 0; i < g.samples_per_part; ++i) {
    const PartSample<T> y = part_sample(top + static_cast<T>(i) * rows.step, g.height);
    if (!y.counts) continue;
    for (int64_t j = 0; j < g.samples_per_part; ++j) {
      const PartSample<T> x = part_sample(left + static_cast<T>(j) * columns.step, g.width);
      if (x.counts) samples.push_back({y, x});
    }
  }
}

// f(bin, axes) for the bins of rois begin..end, class by class.
template <typename T, typename F>
void for_bins(const PartGeometry<T>& g, const PartOperands<T>& operands, int64_t begin, int64_t end,
              const F& f) {
  std::vector<SampleOfBin<T>> samples;
  const int64_t plane = g.part_size * g.part_size;
  for (int64_t roi = begin; roi < end; ++roi) {
    const T* r = operands.rois + 5 * roi;
    const PartAxis<T> rows = part_axis(r[2], r[4], g), columns = part_axis(r[1], r[3], g);
    for (int64_t label = 0; label < g.num_classes; ++label) {
      for (int64_t bin = 0; bin < g.num_bins(); ++bin) {
        const int64_t row = bin / g.pooled_size, column = bin % g.pooled_size;
        T right = T(0), down = T(0);
        if (operands.offset != nullptr) {
          const T* shift = operands.offset + g.offset_index(roi, label, row, column);
          right = shift[0] * g.offset_scale;
          down = shift[plane] * g.offset_scale;
        }
        find_samples(g, rows, columns, first_sample(rows, row, down),
                     first_sample(columns, column, right), samples);
        f(PartBin<T>{roi, static_cast<int64_t>(r[0]), label, row, column, samples}, rows, columns);
      }
    }
  }
}

template <typename T>
void check_images(const PartGeometry<T>& g, const PartOperands<T>& operands) {
  for (int64_t roi = 0; roi < g.num_rois; ++roi) {
    const T image = operands.rois[5 * roi];
    STD_TORCH_CHECK(image >= T(0) && image < static_cast<T>(g.num_images),
                    "rois: expected image indices in [0, ", g.num_images, "), got ", image,
                    " in row ", roi);
  }
}

struct CpuKernels {
  template <typename T>
  static void pool(const PartGeometry<T>& g, const PartOperands<T>& operands, Tensor& output) {
    check_images(g, operands);
    T* to = output.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, g.num_rois, 1, [&](int64_t begin, int64_t end) {
      for_bins(g, operands, begin, end, [&](const PartBin<T>& bin, const auto&, const auto&) {
        const int64_t first = bin.label * g.class_channels(), count = bin.samples.size();
        for (int64_t channel = first; channel < first + g.class_channels(); ++channel) {
          const T* plane = operands.input + bin.plane(channel, g);
          T sum = T(0);
          for (const auto& s : bin.samples) sum += corners_of(plane, g.width, s.y, s.x).value();
          to[bin.index(channel, g)] = count == 0 ? T(0) : sum / static_cast<T>(count);
        }
      });
    });
  }

  template <typename T>
  static void spread(const PartGeometry<T>& g, const PartOperands<T>& operands, const Tensor& grad,
                     Tensor& grad_input) {
    check_images(g, operands);
    const T* from = grad.const_data_ptr<T>();
    T* to = grad_input.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, g.output_channels, 1, [&](int64_t begin, int64_t end) {
      for_bins(g, operands, 0, g.num_rois, [&](const PartBin<T>& bin, const auto&, const auto&) {
        const int64_t first = bin.label * g.class_channels();
        const int64_t last = std::min(end, first + g.class_channels());
        for (int64_t channel = std::max(begin, first); channel < last; ++channel) {
          T* plane = to + bin.plane(channel, g);
          const T share = from[bin.index(channel, g)] / static_cast<T>(bin.samples.size());
          for (const auto& s : bin.samples) {
            T* top = plane + s.y.low * g.width;
            T* bottom = plane + s.y.high * g.width;
            const T down = s.y.fraction * share, up = share - down;
            top[s.x.low] += up * (T(1) - s.x.fraction);
            top[s.x.high] += up * s.x.fraction;
            bottom[s.x.low] += down * (T(1) - s.x.fraction);
            bottom[s.x.high] += down * s.x.fraction;
          }
        }
      });
    });
  }

  template <typename T>
  static void slopes(const PartGeometry<T>& g, const PartOperands<T>& operands, const Tensor& grad,
                     Tensor& grad_offset) {
    const T* from = grad.const_data_ptr<T>();
    T* to = grad_offset.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, g.num_rois, 1, [&](int64_t begin, int64_t end) {
      for_bins(g, operands, begin, end,
               [&](const PartBin<T>& bin, const PartAxis<T>& rows, const PartAxis<T>& columns) {
                 const int64_t first = bin.label * g.class_channels();
                 if (bin.samples.empty()) return;
                 T right = T(0), down = T(0);
                 for (int64_t channel = first; channel < first + g.class_channels(); ++channel) {
                   const T* plane = operands.input + bin.plane(channel, g);
                   const T share = from[bin.index(channel, g)] / static_cast<T>(bin.samples.size());
                   for (const auto& s : bin.samples) {
                     const PartCorners<T> corners = corners_of(plane, g.width, s.y, s.x);
                     right += share * corners.slope_right();
                     down += share * corners.slope_down();
                   }
                 }
                 T* slot = to + g.offset_index(bin.roi, bin.label, bin.row, bin.column);
                 slot[0] += right * columns.extent * g.offset_scale;
                 slot[g.part_size * g.part_size] += down * rows.extent * g.offset_scale;
               });
    });
  }
};

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("deform_psroi_pooling", TORCH_BOX(&deform_psroi_pooling<CpuKernels>));
  m.impl("deform_psroi_pooling_backward", TORCH_BOX(&deform_psroi_pooling_backward<CpuKernels>));
}

}  // namespace
}  // namespace centermask
