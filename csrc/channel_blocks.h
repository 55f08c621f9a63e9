// Channels in blocks of vectors, and transposition between channels-first and channels-last.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "platform.h"
#include "storage.h"

namespace centermask {

// Registers of 64 or 32 bytes. Compilers split wider vectors than the processor has, but GCC by way
// of memory.
template <typename T, int kBytes = 64>
struct VectorOf;
template <>
struct VectorOf<float, 64> {
  typedef float type __attribute__((vector_size(64)));
};
template <>
struct VectorOf<float, 32> {
  typedef float type __attribute__((vector_size(32)));
};
template <>
struct VectorOf<double, 64> {
  typedef double type __attribute__((vector_size(64)));
};
template <>
struct VectorOf<double, 32> {
  typedef double type __attribute__((vector_size(32)));
};
// Whole numbers that go with floats in registers: as wide as these, and half as wide.
template <int kBytes>
struct IntegersOf;
template <>
struct IntegersOf<64> {
  typedef uint32_t Words __attribute__((vector_size(64)));
  typedef uint16_t Halves __attribute__((vector_size(32)));
};
template <>
struct IntegersOf<32> {
  typedef uint32_t Words __attribute__((vector_size(32)));
  typedef uint16_t Halves __attribute__((vector_size(16)));
};

// Channels in 64 bytes, what blocks are multiples of.
template <typename T>
constexpr int64_t kLanes = 64 / sizeof(T);

// Vectors that one pass works on at a time: enough to hide the latency of the sums.
constexpr int64_t kWideBlock = 4;

// Channels are cut into wide blocks and, at the end, blocks of one vector.
template <typename T>
struct ChannelBlocks {
  int64_t channels, num_vectors, num_wide, num_blocks;

  ChannelBlocks(int64_t channels, bool narrow)
      : channels(channels),
        num_vectors((channels + kLanes<T> - 1) / kLanes<T>),
        num_wide(narrow ? 0 : num_vectors / kWideBlock),
        num_blocks(num_wide + num_vectors - num_wide * kWideBlock) {}

  int64_t padded_channels() const { return num_vectors * kLanes<T>; }
  bool is_wide(int64_t block) const { return block < num_wide; }
  int64_t first_channel(int64_t block) const {
    const int64_t single = block - num_wide;
    return kLanes<T> * (single < 0 ? block * kWideBlock : num_wide * kWideBlock + single);
  }
  int64_t width(int64_t block) const { return kLanes<T> * (is_wide(block) ? kWideBlock : 1); }
  int64_t num_valid(int64_t block) const {
    return std::min(width(block), channels - first_channel(block));
  }
};

// One vector of numbers as kernels compute with them, from memory that need not be aligned.
template <typename T, typename Vector>
CM_ALWAYS_INLINE void load_vector(const T* values, Vector& vector) {
  std::memcpy(&vector, values, sizeof(vector));
}

template <int kBytes>
CM_ALWAYS_INLINE void widen_vector(const BFloat16* values,
                                   typename VectorOf<float, kBytes>::type& vector) {
  typename IntegersOf<kBytes>::Halves halves;
  std::memcpy(&halves, values, sizeof(halves));
  const auto words = __builtin_convertvector(halves, typename IntegersOf<kBytes>::Words) << 16;
  std::memcpy(&vector, &words, sizeof(vector));
}

CM_ALWAYS_INLINE void load_vector(const BFloat16* values, VectorOf<float, 64>::type& vector) {
  widen_vector<64>(values, vector);
}

CM_ALWAYS_INLINE void load_vector(const BFloat16* values, VectorOf<float, 32>::type& vector) {
  widen_vector<32>(values, vector);
}

// V vectors of sums += weight * values, where `values` need not be aligned.
template <typename T, int V, typename E, typename Vector>
CM_ALWAYS_INLINE void add_scaled(Vector (&sums)[V], const E* values, T weight) {
  constexpr int64_t kStep = sizeof(Vector) / sizeof(T);
  for (int v = 0; v < V; ++v) {
    Vector part;
    load_vector(values + v * kStep, part);
    sums[v] += weight * part;
  }
}

// target[column][row] = source[row][column] for a square of the sides of one vector register.
template <typename T>
struct SmallTranspose {
  static constexpr int64_t kSide = 1;
  static CM_ALWAYS_INLINE void run(const T* source, int64_t, T* target, int64_t) {
    *target = *source;
  }
};

#if defined(__GNUC__) && (defined(__clang__) || __GNUC__ >= 12)
template <>
struct SmallTranspose<float> {
  static constexpr int64_t kSide = 4;
  static CM_ALWAYS_INLINE void run(const float* source, int64_t source_stride, float* target,
                                   int64_t target_stride) {
    typedef float Quad __attribute__((vector_size(16)));
    Quad rows[4];
    for (int i = 0; i < 4; ++i) std::memcpy(&rows[i], source + i * source_stride, sizeof(Quad));
    const Quad low01 = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
    const Quad low23 = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
    const Quad high01 = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
    const Quad high23 = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
    const Quad columns[4] = {__builtin_shufflevector(low01, low23, 0, 1, 4, 5),
                             __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
                             __builtin_shufflevector(high01, high23, 0, 1, 4, 5),
                             __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
    for (int i = 0; i < 4; ++i) std::memcpy(target + i * target_stride, &columns[i], sizeof(Quad));
  }
};
#endif

// target[column][row] = source[row][column], in tiles that stay in the first-level cache.
template <typename T>
CM_ALWAYS_INLINE void transpose(const T* CM_RESTRICT source, int64_t source_stride,
                                int64_t num_rows, int64_t num_columns, T* CM_RESTRICT target,
                                int64_t target_stride) {
  using Small = SmallTranspose<T>;
  constexpr int64_t kSide = Small::kSide;
  constexpr int64_t kTileRows = 64, kTileColumns = kLanes<T>;
  const int64_t full_rows = num_rows / kSide * kSide, full_columns = num_columns / kSide * kSide;
  const auto copy = [&](int64_t row, int64_t column) {
    target[column * target_stride + row] = source[row * source_stride + column];
  };
  for (int64_t top = 0; top < full_rows; top += kTileRows) {
    const int64_t bottom = std::min(top + kTileRows, full_rows);
    for (int64_t left = 0; left < full_columns; left += kTileColumns) {
      const int64_t right = std::min(left + kTileColumns, full_columns);
      for (int64_t row = top; row < bottom; row += kSide) {
        for (int64_t column = left; column < right; column += kSide) {
          Small::run(source + row * source_stride + column, source_stride,
                     target + column * target_stride + row, target_stride);
        }
      }
    }
  }
  for (int64_t row = 0; row < full_rows; ++row) {
    for (int64_t column = full_columns; column < num_columns; ++column) copy(row, column);
  }
  for (int64_t row = full_rows; row < num_rows; ++row) {
    for (int64_t column = 0; column < num_columns; ++column) copy(row, column);
  }
}

// packed[position][channel] = source[channel][position], zeros after the last channel.
template <typename T>
CM_ALWAYS_INLINE void pack_channels(const T* source, int64_t channel_stride, int64_t num_channels,
                                    int64_t num_positions, T* packed, int64_t padded_channels) {
  transpose(source, channel_stride, num_channels, num_positions, packed, padded_channels);
  for (int64_t p = 0; p < num_positions; ++p) {
    for (int64_t c = num_channels; c < padded_channels; ++c) packed[p * padded_channels + c] = T(0);
  }
}

}  // namespace centermask
