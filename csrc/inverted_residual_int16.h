// Inverted residual blocks whose products are of 16-bit integers, see inverted_residual.h.
//
// What is between is limited: it is counted in steps, kMostBetween of them up to the limit, and two
// columns of a map lie in one word, the left one in its lower half. Channels of a cell that come in
// are rounded to steps of a power of two.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "channel_blocks.h"
#include "integer_products.h"
#include "platform.h"
#include "registers.h"

namespace centermask {
namespace inverted_residual {

// Steps up to the limit, and bits of what comes in.
constexpr float kMostBetween = 32767.0f;
constexpr int kInputBits = 14;
// Pairs of weights that a row of a 3 x 3 kernel is multiplied as: its left one behind nothing and
// the others, for results in left columns of words; the first two, and its right one before
// nothing, for those in right columns.
constexpr int64_t kPairsOfRow = 4;

// From numbers to the bits of floats whose lower halves are the nearest integers.
template <typename R>
CM_ALWAYS_INLINE void to_integers(const typename R::Vector& values, typename R::Words& words) {
  words = (typename R::Words)(values + 12582912.0f);
}

// The same for sums of what is between, within its limits.
template <typename R>
CM_ALWAYS_INLINE void to_steps(const typename R::Words& sums, const typename R::Vector& scale,
                               const typename R::Vector& offset, typename R::Words& words) {
  using Vector = typename R::Vector;
  typedef int32_t Signed __attribute__((vector_size(sizeof(Vector))));
  Vector values = __builtin_convertvector((Signed)sums, Vector) * scale + offset;
  const Vector least{}, most = least + kMostBetween;
  values = values > least ? values : least;
  values = values < most ? values : most;
  to_integers<R>(values, words);
}

// Cells as they come in.
template <typename E>
struct Rounding {
  int64_t num_cells, channels, room;
  const E* values;
  int16_t* integers;  // cells x room
  float* scales;      // one for each cell
  uint8_t* spoiled;   // whether there is a value that is not finite
};

// Whether any cell is spoiled.
template <typename R, typename E>
CM_ALWAYS_INLINE bool round_cells(const Rounding<E>& rounding) {
  using Vector = typename R::Vector;
  constexpr uint32_t kBias = 127, kInfinite = 255;
  bool any = false;
  const int64_t channels = rounding.channels;
  for (int64_t i = 0; i < rounding.num_cells; ++i) {
    const E* cell = rounding.values + i * channels;
    typename R::Words most{}, words;
    Vector values;
    for (int64_t c = 0; c < channels; c += R::kLanes) {
      R::load_first(cell + c, channels - c, values);
      keep_greatest<R>(values, most);
    }
    uint32_t bits[R::kLanes], greatest = 0;
    std::memcpy(bits, &most, sizeof(bits));
    for (const uint32_t each : bits) greatest = std::max(greatest, each);
    const uint32_t exponent = greatest >> 23;
    const bool is_spoiled = exponent == kInfinite;
    any |= is_spoiled;
    rounding.spoiled[i] = is_spoiled;
    // Beyond every number of this exponent are 2^kInputBits steps.
    const uint32_t raised = 2 * kBias + kInputBits - 1 - std::min(exponent, kInfinite - 1);
    const uint32_t of_steps = std::min(raised, 2 * kBias - 1) << 23;
    const uint32_t of_scale = (2 * kBias << 23) - of_steps;
    float steps;
    std::memcpy(&steps, &of_steps, sizeof(steps));
    std::memcpy(rounding.scales + i, &of_scale, sizeof(float));
    for (int64_t c = 0; c < rounding.room; c += R::kLanes) {
      R::load_first(cell + c, channels - c, values);
      to_integers<R>(is_spoiled ? Vector{} : values * steps, words);
      store_register(__builtin_convertvector(words, typename R::Halves),
                     rounding.integers + i * rounding.room + c);
    }
  }
  return any;
}

// Products of cells with the weights of one group of channels.
struct IntegerProduct {
  int64_t num_cells, num_pairs, width;
  const int16_t* values;
  int64_t value_stride;
  const int16_t* weight;  // pairs x width x 2
  const float* scales;
  const float* offsets;
};

// sums = products of M cells from `cell` on, V registers of channels from k on of S vectors.
template <template <typename> class Pairs, typename R, int S, int V, int M>
CM_ALWAYS_INLINE void multiply_pairs(const IntegerProduct& product, int64_t cell, int64_t k,
                                     typename R::Words (&sums)[M][V]) {
  using Words = typename R::Words;
  const int16_t* values = product.values + cell * product.value_stride;
  const int16_t* weight = product.weight + 2 * k;
  CM_UNROLL
  for (int m = 0; m < M; ++m) {
    CM_UNROLL
    for (int v = 0; v < V; ++v) sums[m][v] = Words{};
  }
  for (int64_t pair = 0; pair < product.num_pairs; ++pair) {
    Words factors[V];
    for (int v = 0; v < V; ++v) {
      load_register(weight + v * 2 * R::kLanes, factors[v]);
    }
    CM_UNROLL
    for (int m = 0; m < M; ++m) {
      uint32_t both;
      std::memcpy(&both, values + m * product.value_stride, sizeof(both));
      const Words wide = Words{} + both;
      CM_UNROLL
      for (int v = 0; v < V; ++v) Pairs<R>::add(sums[m][v], wide, factors[v]);
    }
    values += 2;
    weight += 2 * S * kVector;
  }
}

// Cells of a row between, the first in a left column; zeros in the right one after the last.
struct Expansion {
  IntegerProduct product;
  const float* cell_scales;
  uint32_t* words;  // half the cells x width
};

struct ExpandCells {
  template <template <typename> class Pairs, typename R, int S, int V, int M>
  static CM_ALWAYS_INLINE void run(const Expansion& expansion, int64_t cell, int64_t k) {
    using Vector = typename R::Vector;
    using Words = typename R::Words;
    static_assert(M % 2 == 0);
    const IntegerProduct& product = expansion.product;
    Words sums[M][V];
    multiply_pairs<Pairs, R, S, V, M>(product, cell, k, sums);
    uint32_t* target = expansion.words + cell / 2 * S * kVector + k;
    CM_UNROLL
    for (int v = 0; v < V; ++v) {
      Vector scale, offset;
      load_vector(product.scales + k + v * R::kLanes, scale);
      load_vector(product.offsets + k + v * R::kLanes, offset);
      CM_UNROLL
      for (int m = 0; m < M; m += 2) {
        Words left, right;
        to_steps<R>(sums[m][v], scale * expansion.cell_scales[cell + m], offset, left);
        to_steps<R>(sums[m + 1][v], scale * expansion.cell_scales[cell + m + 1], offset, right);
        const uint32_t there = cell + m + 1 < product.num_cells ? 0xffff0000 : 0;
        const Words both = (left & 0xffff) | (right << 16 & there);
        store_register(both, target + m / 2 * S * kVector + v * R::kLanes);
      }
    }
  }
};

// Cells of results; their number is even.
struct Projection {
  IntegerProduct product;
  bool is_first;  // nothing was added up before
  float* sums;
  int64_t stride;
};

struct ProjectCells {
  template <template <typename> class Pairs, typename R, int S, int V, int M>
  static CM_ALWAYS_INLINE void run(const Projection& projection, int64_t cell, int64_t k) {
    using Vector = typename R::Vector;
    using Words = typename R::Words;
    typedef int32_t Signed __attribute__((vector_size(sizeof(Vector))));
    const IntegerProduct& product = projection.product;
    Words sums[M][V];
    multiply_pairs<Pairs, R, S, V, M>(product, cell, k, sums);
    CM_UNROLL
    for (int v = 0; v < V; ++v) {
      Vector scale, offset, before;
      load_vector(product.scales + k + v * R::kLanes, scale);
      load_vector(product.offsets + k + v * R::kLanes, offset);
      CM_UNROLL
      for (int m = 0; m < M; ++m) {
        float* target = projection.sums + (cell + m) * projection.stride + k + v * R::kLanes;
        before = offset;
        if (!projection.is_first) load_vector(target, before);
        R::store(before + scale * __builtin_convertvector((Signed)sums[m][v], Vector), target);
      }
    }
  }
};

// As many cells at a time as there are registers for their sums, at last two.
template <typename Task, template <typename> class Pairs, typename R, int S, int V, int kMost,
          typename Work>
CM_ALWAYS_INLINE void for_cells(const Work& work) {
  const int64_t num_cells = work.product.num_cells;
  for (int64_t k = 0; k < S * kVector; k += V * R::kLanes) {
    int64_t cell = 0;
    for (; cell + kMost <= num_cells; cell += kMost) {
      Task::template run<Pairs, R, S, V, kMost>(work, cell, k);
    }
    for (; kMost > 4 && cell + 4 <= num_cells; cell += 4) {
      Task::template run<Pairs, R, S, V, 4>(work, cell, k);
    }
    for (; cell < num_cells; cell += 2) Task::template run<Pairs, R, S, V, 2>(work, cell, k);
  }
}

template <typename Task, template <typename> class Pairs, typename R, bool kWide, typename Work>
CM_ALWAYS_INLINE void for_group(const Work& work) {
  switch (work.product.width / kVector) {
    case 4:
      return for_cells<Task, Pairs, R, 4, kWide ? 4 : 2, kWide ? 6 : 4>(work);
    case 3:
      return for_cells<Task, Pairs, R, 3, kWide ? 3 : 2, kWide ? 8 : 4>(work);
    case 2:
      return for_cells<Task, Pairs, R, 2, 2, kWide ? 12 : 4>(work);
    default:
      return for_cells<Task, Pairs, R, 1, kWide ? 1 : 2, kWide ? 12 : 4>(work);
  }
}

// 3 x 3 convolutions, each of one channel.
struct IntegerFilter {
  int64_t num_rows, num_cells, stride, width;  // an even number of cells of a row
  // From that above the first row of results on, from the word left of the first result on.
  const uint32_t* const* rows;
  const int16_t* weight;  // 3 x kPairsOfRow x width x 2
  const float* scales;
  const float* offsets;
  int16_t* targets;
};

// N cells of a row next to each other.
template <template <typename> class Pairs, typename R, int N, int kStride>
CM_ALWAYS_INLINE void filter_words(const IntegerFilter& filter, int64_t row, int64_t cell) {
  using Vector = typename R::Vector;
  using Words = typename R::Words;
  static_assert(N % 2 == 0);
  constexpr int kColumns = kStride == 1 ? N / 2 + 2 : N + 1;
  const int64_t width = filter.width, first = cell * kStride / 2 * width;
  const uint32_t* const* rows = filter.rows + row * kStride;
  int16_t* target = filter.targets + (row * filter.num_cells + cell) * width;
  for (int64_t k = 0; k < width; k += R::kLanes) {
    Words sums[N] = {};
    for (int i = 0; i < 3; ++i) {
      const uint32_t* values = rows[i] + first + k;
      const int16_t* weight = filter.weight + 2 * (kPairsOfRow * i * width + k);
      Words taps[kPairsOfRow], words[kColumns];
      for (int j = 0; j < (kStride == 1 ? kPairsOfRow : 2); ++j) {
        load_register(weight + 2 * j * width, taps[j]);
      }
      for (int j = 0; j < kColumns; ++j) {
        load_register(values + j * width, words[j]);
      }
      if constexpr (kStride == 1) {
        for (int n = 0; n < N; n += 2) {
          Pairs<R>::add(sums[n], words[n / 2], taps[0]);
          Pairs<R>::add(sums[n], words[n / 2 + 1], taps[1]);
          Pairs<R>::add(sums[n + 1], words[n / 2 + 1], taps[2]);
          Pairs<R>::add(sums[n + 1], words[n / 2 + 2], taps[3]);
        }
      } else {
        for (int n = 0; n < N; ++n) {
          Pairs<R>::add(sums[n], words[n], taps[0]);
          Pairs<R>::add(sums[n], words[n + 1], taps[1]);
        }
      }
    }
    Vector scale, offset;
    load_vector(filter.scales + k, scale);
    load_vector(filter.offsets + k, offset);
    for (int n = 0; n < N; ++n) {
      Words steps;
      to_steps<R>(sums[n], scale, offset, steps);
      store_register(__builtin_convertvector(steps, typename R::Halves), target + n * width + k);
    }
  }
}

// Column by column, as rows lie in the first-level cache then.
template <template <typename> class Pairs, typename R, bool kWide, int kStride>
CM_ALWAYS_INLINE void filter_all(const IntegerFilter& filter) {
  constexpr int kMost = kWide ? 8 : 4;
  int64_t cell = 0;
  for (; cell + kMost <= filter.num_cells; cell += kMost) {
    for (int64_t row = 0; row < filter.num_rows; ++row) {
      filter_words<Pairs, R, kMost, kStride>(filter, row, cell);
    }
  }
  for (; cell < filter.num_cells; cell += 2) {
    for (int64_t row = 0; row < filter.num_rows; ++row) {
      filter_words<Pairs, R, 2, kStride>(filter, row, cell);
    }
  }
}

template <template <typename> class Pairs, typename R, bool kWide>
CM_ALWAYS_INLINE void filter_integers(const IntegerFilter& filter) {
  filter.stride == 1 ? filter_all<Pairs, R, kWide, 1>(filter)
                     : filter_all<Pairs, R, kWide, 2>(filter);
}

}  // namespace inverted_residual
}  // namespace centermask
