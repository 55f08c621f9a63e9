// Inverted residual blocks (Sandler et al. 2018, "MobileNetV2", section 3.3): a convolution of
// single cells to several times as many channels, a 3 x 3 convolution of each of these, and one of
// single cells back to few. What lies between is computed for a few rows and a group of channels at
// a time, so that it stays in the cache.
//
// Symbols: C channels in, E channels between, K channels out; a cell is a place on a map, a group
// at most 64 of the channels that a product makes. Maps lie in memory as NHWC.
#pragma once

#include <algorithm>
#include <cstdint>

#include "blocks.h"
#include "channel_blocks.h"
#include "platform.h"
#include "registers.h"
#include "stable_util.h"

namespace centermask {
namespace inverted_residual {

constexpr int64_t kTaps = 9;

// Channels, a multiple of kVector, cut into as few groups as can be, of about the same size.
struct Groups {
  int64_t num_vectors;

  explicit Groups(int64_t channels) : num_vectors(channels / kVector) {}
  int64_t count() const { return (num_vectors + kGroup - 1) / kGroup; }
  // The first channel of a group.
  int64_t first(int64_t group) const { return num_vectors * group / count() * kVector; }
  int64_t width(int64_t group) const { return first(group + 1) - first(group); }
};

// Rows or columns that so many rows or columns of results depend on.
inline int64_t extent(int64_t results, int64_t stride) { return (results - 1) * stride + 3; }

// Results that are worth reading all weights for, and that a row is cut into at least.
constexpr int64_t kLeastCells = 96;
constexpr int64_t kLeastColumns = 48;

// How many results are computed at a time, so that at most about `most` numbers are between.
struct Step {
  struct Sizes {
    int64_t stride, hidden, columns, band_rows, most;
  };

  int64_t rows, columns;
  // All rows of a band: what is between serves one group of channels after the other.
  bool is_band;

  explicit Step(const Sizes& sizes) : rows(sizes.band_rows), columns(sizes.columns), is_band(true) {
    const int64_t stride = sizes.stride, all_columns = columns;
    if (extent(rows, stride) * extent(columns, stride) * kGroup * kVector <= sizes.most) return;
    is_band = false;
    const int64_t enough = (kLeastCells + columns - 1) / columns;
    for (rows = std::min(sizes.band_rows, std::max<int64_t>(enough, 2));; --rows) {
      const int64_t room = sizes.most / (extent(rows, stride) * sizes.hidden);
      const int64_t most = std::max<int64_t>((room - 3) / stride + 1, 1);
      const int64_t num_parts = (all_columns + most - 1) / most;
      columns = (all_columns + num_parts - 1) / num_parts;
      if (rows == 1 || columns >= std::min(all_columns, kLeastColumns)) return;
    }
  }
};

// Neighbouring rows of results for each thread: `Band` computes those of one image at a time.
template <typename Band, typename Block>
void compute_bands(const Block& block) {
  const int64_t rows = block.num_images * block.out_height();
  const int64_t num_bands = std::min<int64_t>(torch::stable::get_num_threads(), rows);
  torch::stable::parallel_for(0, num_bands, 1, [&](int64_t begin, int64_t end) {
    int64_t row = rows * begin / num_bands;
    const int64_t last = rows * end / num_bands;
    Band band(block, std::min(last - row, block.out_height()));
    while (row < last) {
      const int64_t image = row / block.out_height(), top = row % block.out_height();
      const int64_t bottom = std::min(block.out_height(), top + last - row);
      band.run(image, top, bottom);
      row += bottom - top;
    }
  });
}

inline void check_maps(const Tensor& input, int64_t out_channels, int64_t stride, bool adds_input) {
  check_shape(input, "input", {-1, -1, -1, -1});
  STD_TORCH_CHECK(
      input.scalar_type() == ScalarType::Float || input.scalar_type() == ScalarType::BFloat16,
      "input: expected float32 or bfloat16, got ", toString(input.scalar_type()));
  const int64_t height = input.size(2), width = input.size(3);
  STD_TORCH_CHECK(height >= 1 && width >= 1, "input: expected at least one cell, got ",
                  shape_of(input));
  STD_TORCH_CHECK(stride == 1 || stride == 2, "stride: expected 1 or 2, got ", stride);
  STD_TORCH_CHECK(!adds_input || (stride == 1 && out_channels == input.size(1)),
                  "adds_input: expected stride 1 and as many channels as come in, ", input.size(1),
                  ", got stride ", stride, " and ", out_channels, " channels");
  check_sides({input.size(0), out_channels, (height - 1) / stride + 1, (width - 1) / stride + 1},
              "out_channels");
}

// targets[cell][k] = starts[cell][k] + sum over c of values[cell][c] * weight[c][k], for the
// channels k of one group.
struct Product {
  int64_t num_cells, depth, width;
  const float* values;
  int64_t value_stride;
  const float* weight;  // depth x width
  const float* starts;
  int64_t start_stride;  // 0: all cells start alike
  float* targets;
  int64_t target_stride;
  // What results do not exceed if they may not be below 0 either.
  float limit;
};

// Where x is NaN it stays.
template <typename Vector>
CM_ALWAYS_INLINE void clamp(float limit, Vector& x) {
  const Vector least{}, most = least + limit;
  x = x < least ? least : x;
  x = x > most ? most : x;
}

// V registers of channels from k on, of M cells; the group has S vectors.
template <typename R, int S, int V, int M, bool kExpands>
CM_ALWAYS_INLINE void multiply_cells(const Product& product, int64_t cell, int64_t k) {
  using Vector = typename R::Vector;
  constexpr int kTriples = (M + 2) / 3;
  Vector sums[M][V];
  const float* start = product.starts + k;
  if (!kExpands) start += cell * product.start_stride;
  CM_UNROLL
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) load_vector(start + v * R::kLanes, sums[m][v]);
    if (!kExpands) start += product.start_stride;
  }
  // Processors add one register, or twice what is in it, to another as they read.
  const int64_t stride = product.value_stride;
  const float* values[kTriples];
  values[0] = product.values + cell * stride;
  for (int i = 1; i < kTriples; ++i) values[i] = values[i - 1] + 3 * stride;
  const float* weight = product.weight + k;
  for (const float* end = values[0] + product.depth; values[0] < end;) {
    Vector factors[V];
    for (int v = 0; v < V; ++v) load_vector(weight + v * R::kLanes, factors[v]);
    CM_UNROLL
    for (int m = 0; m < M; ++m) {
      const float value = values[m / 3][m % 3 * stride];
      for (int v = 0; v < V; ++v) sums[m][v] += value * factors[v];
    }
    for (int i = 0; i < kTriples; ++i) ++values[i];
    weight += S * kVector;
  }
  float* target = product.targets + cell * product.target_stride + k;
  CM_UNROLL
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) {
      if (kExpands) clamp(product.limit, sums[m][v]);
      R::store(sums[m][v], target + v * R::kLanes);
    }
    target += product.target_stride;
  }
}

// As many cells at a time as there are registers for their sums.
template <typename R, int S, int V, int kMost, bool kExpands>
CM_ALWAYS_INLINE void multiply_group(const Product& product) {
  for (int64_t k = 0; k < S * kVector; k += V * R::kLanes) {
    int64_t cell = 0;
    for (; cell + kMost <= product.num_cells; cell += kMost) {
      multiply_cells<R, S, V, kMost, kExpands>(product, cell, k);
    }
    for (; kMost > 4 && cell + 4 <= product.num_cells; cell += 4) {
      multiply_cells<R, S, V, 4, kExpands>(product, cell, k);
    }
    if (cell + 2 <= product.num_cells) {
      multiply_cells<R, S, V, 2, kExpands>(product, cell, k);
      cell += 2;
    }
    if (cell < product.num_cells) multiply_cells<R, S, V, 1, kExpands>(product, cell, k);
  }
}

template <typename R, bool kWide, bool kExpands>
CM_ALWAYS_INLINE void multiply(const Product& product) {
  switch (product.width / kVector) {
    case 4:
      return multiply_group<R, 4, kWide ? 4 : 2, 6, kExpands>(product);
    case 3:
      return multiply_group<R, 3, kWide ? 3 : 2, kWide ? 8 : 6, kExpands>(product);
    case 2:
      return multiply_group<R, 2, 2, kWide ? 12 : 6, kExpands>(product);
    default:
      return multiply_group<R, 1, kWide ? 1 : 2, kWide ? 12 : 6, kExpands>(product);
  }
}

// 3 x 3 convolutions, each of one channel.
struct Filter {
  int64_t num_rows, num_cells, stride, width;
  // From that above the first row of results on, from the cell left of the first result on.
  const float* const* rows;
  const float* weight;  // (1 + kTaps) x width, the first what is added
  float limit;
  float* targets;
};

// N cells of a row next to each other, of a group of S vectors.
template <typename R, int S, int N, int kStride>
CM_ALWAYS_INLINE void filter_cells(const Filter& filter, int64_t row, int64_t cell) {
  using Vector = typename R::Vector;
  constexpr int kColumns = (N - 1) * kStride + 3, kWidth = S * kVector;
  const float* const* rows = filter.rows + row * kStride;
  const int64_t first = cell * kStride * kWidth;
  const float* above = rows[0] + first;
  const float* beside = rows[1] + first;
  const float* below = rows[2] + first;
  const float* weight = filter.weight;
  float* target = filter.targets + (row * filter.num_cells + cell) * kWidth;
  for (int64_t k = 0; k < kWidth; k += R::kLanes) {
    Vector sums[N];
    for (int n = 0; n < N; ++n) load_vector(weight + k, sums[n]);
    for (int i = 0; i < 3; ++i) {
      const float* values = (i == 0 ? above : i == 1 ? beside : below) + k;
      Vector taps[3];
      for (int j = 0; j < 3; ++j) load_vector(weight + (1 + 3 * i + j) * kWidth + k, taps[j]);
      for (int column = 0; column < kColumns; ++column) {
        Vector value;
        load_vector(values + column * kWidth, value);
        for (int n = 0; n < N; ++n) {
          const int j = column - n * kStride;
          if (j >= 0 && j < 3) sums[n] += value * taps[j];
        }
      }
    }
    for (int n = 0; n < N; ++n) {
      clamp(filter.limit, sums[n]);
      R::store(sums[n], target + n * kWidth + k);
    }
  }
}

// Column by column, as rows lie in the first-level cache then.
template <typename R, int S, int kStride>
CM_ALWAYS_INLINE void filter_group(const Filter& filter) {
  constexpr int kCells = 4;
  int64_t cell = 0;
  for (; cell + kCells <= filter.num_cells; cell += kCells) {
    for (int64_t row = 0; row < filter.num_rows; ++row) {
      filter_cells<R, S, kCells, kStride>(filter, row, cell);
    }
  }
  for (; cell < filter.num_cells; ++cell) {
    for (int64_t row = 0; row < filter.num_rows; ++row) {
      filter_cells<R, S, 1, kStride>(filter, row, cell);
    }
  }
}

template <typename R, int S>
CM_ALWAYS_INLINE void filter_vectors(const Filter& filter) {
  filter.stride == 1 ? filter_group<R, S, 1>(filter) : filter_group<R, S, 2>(filter);
}

template <typename R>
CM_ALWAYS_INLINE void filter_rows(const Filter& filter) {
  switch (filter.width / kVector) {
    case 4:
      return filter_vectors<R, 4>(filter);
    case 3:
      return filter_vectors<R, 3>(filter);
    case 2:
      return filter_vectors<R, 2>(filter);
    default:
      return filter_vectors<R, 1>(filter);
  }
}

// Channels of maps that are between others: those from `first` on, and zeros after the last.
struct Copy {
  int64_t num_cells, channels, first, width;
  const float* values;
  float* targets;
};

template <typename R>
CM_ALWAYS_INLINE void copy_cells(const Copy& copy) {
  using Vector = typename R::Vector;
  for (int64_t cell = 0; cell < copy.num_cells; ++cell) {
    for (int64_t k = 0; k < copy.width; k += R::kLanes) {
      Vector values;
      R::load_first(copy.values + cell * copy.channels + copy.first + k,
                    copy.channels - copy.first - k, values);
      R::store(values, copy.targets + cell * copy.width + k);
    }
  }
}

// Sums of cells next to each other as they leave.
template <typename E>
struct Results {
  int64_t num_cells, channels, stride;
  const float* sums;
  const E* addends;  // none: nothing is added
  E* targets;
};

template <typename R, typename E>
CM_ALWAYS_INLINE void finish_cells(const Results<E>& results) {
  using Vector = typename R::Vector;
  for (int64_t cell = 0; cell < results.num_cells; ++cell) {
    const int64_t place = cell * results.channels;
    for (int64_t k = 0; k < results.channels; k += R::kLanes) {
      const int64_t valid = results.channels - k;
      Vector sums, addends{};
      load_vector(results.sums + cell * results.stride + k, sums);
      if (results.addends) {
        R::load_first(results.addends + place + k, valid, addends);
        sums += addends;
      }
      R::store_first(sums, valid, results.targets + place + k);
    }
  }
}

}  // namespace inverted_residual
}  // namespace centermask
