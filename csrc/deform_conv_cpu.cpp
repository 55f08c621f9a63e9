// Deformable convolution on the CPU: samples are weighted sums of four contiguous rows of channels.
// Backward, offsets need four dot products a sample; the input's gradient is added up by tasks that
// own channels, so that nothing is shared and the thread count changes no result.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "channel_blocks.h"
#include "deform_conv_host.h"

namespace centermask {
namespace {

constexpr int64_t kPlacesPerTask = 32;

// The cells around one sample, as rows of channels; cells outside the map read `zeros`.
template <typename T>
struct Rows {
  const T* row[4];
  T weight[4];
};

template <typename T>
CM_ALWAYS_INLINE Rows<T> rows_of(const DeformChunk<T>& chunk, const Neighbours<T>& around, T factor,
                                 const T* zeros) {
  Rows<T> rows;
  for (int k = 0; k < 4; ++k) {
    const int64_t cell = around.cell[k];
    rows.row[k] = cell < 0 ? zeros : chunk.image + cell * chunk.geometry.channels;
    rows.weight[k] = cell < 0 ? T(0) : around.weight(k) * factor;
  }
  return rows;
}

// V times 64 bytes, in registers of kBytes.
template <int kBytes, int V, typename T>
CM_ALWAYS_INLINE void blend_vectors(const Rows<T>& rows, T factor, int64_t channel, T* out) {
  constexpr int kCount = V * 64 / kBytes;
  typename VectorOf<T, kBytes>::type sums[kCount] = {};
  for (int k = 0; k < 4; ++k) add_scaled<T, kCount>(sums, rows.row[k] + channel, rows.weight[k]);
  for (int v = 0; v < kCount; ++v) sums[v] *= factor;
  store_vectors<T, kCount>(sums, out);
}

// out = weighted sum of the rows from `channel` on, times the factor.
template <int kBytes, typename T>
CM_ALWAYS_INLINE void blend(const Rows<T>& rows, T factor, int64_t channel, int64_t count, T* out) {
  constexpr int64_t kWide = kWideBlock * kLanes<T>;
  int64_t c = 0;
  for (; c + kWide <= count; c += kWide) {
    blend_vectors<kBytes, kWideBlock>(rows, factor, channel + c, out + c);
  }
  for (; c + kLanes<T> <= count; c += kLanes<T>) {
    blend_vectors<kBytes, 1>(rows, factor, channel + c, out + c);
  }
  for (; c < count; ++c) {
    T sum = T(0);
    for (int k = 0; k < 4; ++k) sum += rows.weight[k] * rows.row[k][channel + c];
    out[c] = sum * factor;
  }
}

// f(first channel, count) for the stretches of begin..end that stay in one group.
template <typename F>
CM_ALWAYS_INLINE void for_stretches(int64_t begin, int64_t end, int64_t group_channels,
                                    const F& f) {
  while (begin < end) {
    const int64_t next = std::min(end, (begin / group_channels + 1) * group_channels);
    f(begin, next - begin);
    begin = next;
  }
}

// f(part, tap, sample's neighbours, its factor) for all samples of one place.
template <typename T, typename F>
CM_ALWAYS_INLINE void for_samples(const DeformChunk<T>& chunk, int64_t place, const F& f) {
  const DeformGeometry& g = chunk.geometry;
  const int64_t location = chunk.first_location + place;
  for (int64_t part = 0; part < g.num_parts; ++part) {
    for (int64_t tap = 0; tap < g.num_taps(); ++tap) {
      f(part, tap, chunk.deformation.at(g, part, tap, location),
        chunk.deformation.factor(g, part, tap, location));
    }
  }
}

template <int kBytes, typename T>
CM_ALWAYS_INLINE void sample_places(const DeformChunk<T>& chunk, int64_t begin, int64_t end,
                                    const T* zeros, T* columns) {
  const DeformGeometry& g = chunk.geometry;
  const int64_t per_part = g.part_channels();
  for (int64_t place = begin; place < end; ++place) {
    for_samples(chunk, place, [&](int64_t part, int64_t tap, const auto& around, T factor) {
      const Rows<T> rows = rows_of(chunk, around, T(1), zeros);
      for_stretches(part * per_part, (part + 1) * per_part, g.group_channels(),
                    [&](int64_t channel, int64_t count) {
                      T* to = columns + chunk.column(channel, place, tap);
                      blend<kBytes>(rows, factor, channel, count, to);
                    });
    });
  }
}

// The taps of a place are computed one after the other in `scratch` (taps, channels) and turned
// round while they are in the nearest cache.
template <int kBytes, typename T>
CM_ALWAYS_INLINE void sample_places_taps_last(const DeformChunk<T>& chunk, int64_t begin,
                                              int64_t end, const T* zeros, T* scratch, T* columns) {
  const DeformGeometry& g = chunk.geometry;
  const int64_t per_part = g.part_channels(), taps = g.num_taps(), channels = g.channels;
  for (int64_t place = begin; place < end; ++place) {
    for_samples(chunk, place, [&](int64_t part, int64_t tap, const auto& around, T factor) {
      const Rows<T> rows = rows_of(chunk, around, T(1), zeros);
      const int64_t channel = part * per_part;
      blend<kBytes>(rows, factor, channel, per_part, scratch + tap * channels + channel);
    });
    for_stretches(0, channels, g.group_channels(), [&](int64_t channel, int64_t count) {
      T* to = columns + chunk.column(channel, place, 0);
      for (int64_t c = 0; c < count; ++c) {
        for (int64_t tap = 0; tap < taps; ++tap) *to++ = scratch[tap * channels + channel + c];
      }
    });
  }
}

// The sums of 64 bytes of lanes, in registers of kBytes: as many lanes on every processor.
template <typename T, int kBytes>
struct LaneSums {
  static constexpr int64_t kStep = kBytes / sizeof(T);
  typename VectorOf<T, kBytes>::type part[64 / kBytes] = {};

  CM_ALWAYS_INLINE void add_products(const T* values, const T* factors) {
    for (int v = 0; v < 64 / kBytes; ++v) {
      typename VectorOf<T, kBytes>::type value, factor;
      load_vector(values + v * kStep, value);
      load_vector(factors + v * kStep, factor);
      part[v] += value * factor;
    }
  }

  CM_ALWAYS_INLINE T total() const {
    T sum = T(0);
    for (int64_t lane = 0; lane < kLanes<T>; ++lane) sum += part[lane / kStep][lane % kStep];
    return sum;
  }
};

// sums[k] += row k . values, lane by lane; the rest of less than 64 bytes goes to lane 0.
template <typename T, int kBytes>
CM_ALWAYS_INLINE void add_products(LaneSums<T, kBytes> (&sums)[4], const Rows<T>& rows,
                                   int64_t channel, int64_t count, const T* values) {
  int64_t c = 0;
  for (; c + kLanes<T> <= count; c += kLanes<T>) {
    for (int k = 0; k < 4; ++k) sums[k].add_products(rows.row[k] + channel + c, values + c);
  }
  for (; c < count; ++c) {
    for (int k = 0; k < 4; ++k) sums[k].part[0][0] += rows.row[k][channel + c] * values[c];
  }
}

template <typename T>
struct SlopeTargets {
  T* offset;
  T* mask;
};

template <int kBytes, typename T>
CM_ALWAYS_INLINE void slope_of_sample(const DeformChunk<T>& chunk, int64_t part, int64_t tap,
                                      int64_t place, const T* zeros, const T* grad_columns,
                                      const SlopeTargets<T>& to) {
  const DeformGeometry& g = chunk.geometry;
  const int64_t location = chunk.first_location + place, total = g.num_locations();
  const auto around = chunk.deformation.at(g, part, tap, location);
  const Rows<T> rows = rows_of(chunk, around, T(1), zeros);
  LaneSums<T, kBytes> sums[4];
  for_stretches(part * g.part_channels(), (part + 1) * g.part_channels(), g.group_channels(),
                [&](int64_t channel, int64_t count) {
                  const T* from = grad_columns + chunk.column(channel, place, tap);
                  add_products(sums, rows, channel, count, from);
                });
  T value = T(0), down = T(0), right = T(0);
  for (int k = 0; k < 4; ++k) {
    const T product = sums[k].total();
    value += rows.weight[k] * product;
    down += around.slope_down(k) * product;
    right += around.slope_right(k) * product;
  }
  const int64_t map = part * g.num_taps() + tap;
  const T factor = chunk.deformation.factor(g, part, tap, location);
  to.offset[2 * map * total + location] = down * factor;
  to.offset[(2 * map + 1) * total + location] = right * factor;
  if (to.mask != nullptr) to.mask[map * total + location] = value;
}

template <int kBytes, typename T>
CM_ALWAYS_INLINE void slopes_of_places(const DeformChunk<T>& chunk, int64_t begin, int64_t end,
                                       const T* zeros, const T* grad_columns,
                                       const SlopeTargets<T>& to) {
  for (int64_t place = begin; place < end; ++place) {
    for (int64_t part = 0; part < chunk.geometry.num_parts; ++part) {
      for (int64_t tap = 0; tap < chunk.geometry.num_taps(); ++tap) {
        slope_of_sample<kBytes>(chunk, part, tap, place, zeros, grad_columns, to);
      }
    }
  }
}

// target += weight * values.
template <int kBytes, typename T>
CM_ALWAYS_INLINE void accumulate(T* target, const T* values, int64_t count, T weight) {
  int64_t c = 0;
  for (; c + kLanes<T> <= count; c += kLanes<T>) {
    add_scaled_to<T, kBytes, 64 / kBytes>(target + c, values + c, weight);
  }
  for (; c < count; ++c) target[c] += weight * values[c];
}

template <int kBytes, typename T>
CM_ALWAYS_INLINE void scatter_sample(const DeformChunk<T>& chunk, const Neighbours<T>& around,
                                     T factor, int64_t channel, int64_t count, const T* values,
                                     T* grad_image) {
  for (int k = 0; k < 4; ++k) {
    if (around.cell[k] < 0) continue;
    T* to = grad_image + around.cell[k] * chunk.geometry.channels + channel;
    accumulate<kBytes>(to, values, count, around.weight(k) * factor);
  }
}

// All samples, for channels begin..end only.
template <int kBytes, typename T>
CM_ALWAYS_INLINE void scatter_channels(const DeformChunk<T>& chunk, int64_t begin, int64_t end,
                                       const T* grad_columns, T* grad_image) {
  const DeformGeometry& g = chunk.geometry;
  const int64_t per_part = g.part_channels();
  for (int64_t place = 0; place < chunk.num_locations; ++place) {
    const int64_t location = chunk.first_location + place;
    for (int64_t part = begin / per_part; part * per_part < end; ++part) {
      const int64_t first = std::max(begin, part * per_part);
      const int64_t last = std::min(end, (part + 1) * per_part);
      for (int64_t tap = 0; tap < g.num_taps(); ++tap) {
        const T factor = chunk.deformation.factor(g, part, tap, location);
        const auto around = chunk.deformation.at(g, part, tap, location);
        for_stretches(first, last, g.group_channels(), [&](int64_t channel, int64_t count) {
          const T* from = grad_columns + chunk.column(channel, place, tap);
          scatter_sample<kBytes>(chunk, around, factor, channel, count, from, grad_image);
        });
      }
    }
  }
}

// The function for registers of 64 bytes where the processor has them, else of 32.
#define CM_DEFORM(name, function, parameters, ...)                                \
  CM_TARGET_WIDE void name##_wide parameters { function<64>(__VA_ARGS__); }       \
  CM_TARGET_CLONES void name##_narrow parameters { function<32>(__VA_ARGS__); }   \
  void name parameters {                                                          \
    has_wide_registers() ? name##_wide(__VA_ARGS__) : name##_narrow(__VA_ARGS__); \
  }
#define CM_DEFORM_ALL(T)                                                                           \
  CM_DEFORM(sample, sample_places,                                                                 \
            (const DeformChunk<T>& chunk, int64_t begin, int64_t end, const T* zeros, T* columns), \
            chunk, begin, end, zeros, columns)                                                     \
  CM_DEFORM(sample_taps_last, sample_places_taps_last,                                             \
            (const DeformChunk<T>& chunk, int64_t begin, int64_t end, const T* zeros, T* scratch,  \
             T* columns),                                                                          \
            chunk, begin, end, zeros, scratch, columns)                                            \
  CM_DEFORM(slopes, slopes_of_places,                                                              \
            (const DeformChunk<T>& chunk, int64_t begin, int64_t end, const T* zeros,              \
             const T* grad_columns, const SlopeTargets<T>& to),                                    \
            chunk, begin, end, zeros, grad_columns, to)                                            \
  CM_DEFORM(scatter, scatter_channels,                                                             \
            (const DeformChunk<T>& chunk, int64_t begin, int64_t end, const T* grad_columns,       \
             T* grad_image),                                                                       \
            chunk, begin, end, grad_columns, grad_image)
CM_DEFORM_ALL(float)
CM_DEFORM_ALL(double)
#undef CM_DEFORM_ALL
#undef CM_DEFORM

struct CpuKernels {
  // Columns are read again at once: they should still be in the cache.
  static constexpr int64_t kColumnBytes = 2 << 20;

  template <typename T>
  static void sample(const DeformChunk<T>& chunk, Tensor& columns) {
    T* to = columns.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, chunk.num_locations, kPlacesPerTask,
                                [&](int64_t begin, int64_t end) {
                                  const std::vector<T> zeros(chunk.geometry.channels);
                                  centermask::sample(chunk, begin, end, zeros.data(), to);
                                });
  }

  // Channel by channel like the weights: the product then adds in the order of im2col
  // implementations, whose results it equals to the last bit where the library of matrix products
  // is the same.
  static constexpr bool kForwardTapsLast = true;

  template <typename T>
  static void sample_forward(const DeformChunk<T>& chunk, Tensor& columns) {
    T* to = columns.mutable_data_ptr<T>();
    const int64_t channels = chunk.geometry.channels, taps = chunk.geometry.num_taps();
    torch::stable::parallel_for(
        0, chunk.num_locations, kPlacesPerTask, [&](int64_t begin, int64_t end) {
          const std::vector<T> zeros(channels);
          std::vector<T> scratch(taps * channels);
          centermask::sample_taps_last(chunk, begin, end, zeros.data(), scratch.data(), to);
        });
  }

  template <typename T>
  static void slopes(const DeformChunk<T>& chunk, const Tensor& grad_columns, T* grad_offset,
                     T* grad_mask) {
    const T* from = grad_columns.const_data_ptr<T>();
    torch::stable::parallel_for(
        0, chunk.num_locations, kPlacesPerTask, [&](int64_t begin, int64_t end) {
          const std::vector<T> zeros(chunk.geometry.channels);
          centermask::slopes(chunk, begin, end, zeros.data(), from, {grad_offset, grad_mask});
        });
  }

  template <typename T>
  static void scatter(const DeformChunk<T>& chunk, const Tensor& grad_columns, T* grad_image) {
    const T* from = grad_columns.const_data_ptr<T>();
    const int64_t channels = chunk.geometry.channels, width = kLanes<T>;
    torch::stable::parallel_for(
        0, (channels + width - 1) / width, 1, [&](int64_t begin, int64_t end) {
          centermask::scatter(chunk, begin * width, std::min(channels, end * width), from,
                              grad_image);
        });
  }
};

STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CPU, m) {
  m.impl("deform_conv", TORCH_BOX(&deform_conv<CpuKernels>));
  m.impl("deform_conv_backward", TORCH_BOX(&deform_conv_backward<CpuKernels>));
}

}  // namespace
}  // namespace centermask
