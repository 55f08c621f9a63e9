// Channels in blocks of vectors, and transposition between channels-first and channels-last.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "platform.h"
#include "storage.h"

namespace centermask {

// Registers of 64, 32 or 16 bytes. Compilers split wider vectors than the processor has, but GCC by
// way of memory.
template <typename T, int kBytes = 64>
struct VectorOf;
template <>
struct VectorOf<float, 16> {
  typedef float type __attribute__((vector_size(16)));
};
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

// Numbers not set yet, from the start of a line of the cache on: no register crosses two lines.
template <typename T>
class LineBuffer {
 public:
  explicit LineBuffer(int64_t count = 0) { reserve(count); }

  // Room for so many; what was there is lost if there was less.
  void reserve(int64_t count) {
    if (count <= count_) return;
    memory_.reset(new T[count + kLanes<T>]);
    void* begin = memory_.get();
    size_t space = (count + kLanes<T>)*sizeof(T);
    data_ = static_cast<T*>(std::align(64, count * sizeof(T), begin, space));
    count_ = count;
  }

  T* data() const { return data_; }

 private:
  std::unique_ptr<T[]> memory_;
  T* data_ = nullptr;
  int64_t count_ = 0;
};

// A register wherever it lies in memory. Of a copy of its bytes GCC 11 makes four, by way of the
// stack; this is one instruction.
template <typename Vector>
struct __attribute__((packed, may_alias)) Anywhere {
  Vector vector;
};
template <typename Vector>
CM_ALWAYS_INLINE void load_register(const void* address, Vector& vector) {
  vector = static_cast<const Anywhere<Vector>*>(address)->vector;
}
template <typename Vector>
CM_ALWAYS_INLINE void store_register(const Vector& vector, void* address) {
  static_cast<Anywhere<Vector>*>(address)->vector = vector;
}

// One vector of numbers as kernels compute with them, from memory that need not be aligned.
template <typename T, typename Vector>
CM_ALWAYS_INLINE void load_vector(const T* values, Vector& vector) {
  load_register(values, vector);
}

template <int kBytes>
CM_ALWAYS_INLINE void widen_vector(const BFloat16* values,
                                   typename VectorOf<float, kBytes>::type& vector) {
  typename IntegersOf<kBytes>::Halves halves;
  load_register(values, halves);
  const auto words = __builtin_convertvector(halves, typename IntegersOf<kBytes>::Words) << 16;
  vector = (typename VectorOf<float, kBytes>::type)words;
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

// Register by register: GCC copies arrays of them in other pieces, which then wait for each other.
template <typename T, int V, typename Vector>
CM_ALWAYS_INLINE void store_vectors(const Vector (&vectors)[V], T* target) {
  for (int v = 0; v < V; ++v) {
    store_register(vectors[v], target + v * (sizeof(Vector) / sizeof(T)));
  }
}

// target += weight * values, kCount registers of kBytes of each.
template <typename T, int kBytes, int kCount>
CM_ALWAYS_INLINE void add_scaled_to(T* target, const T* values, T weight) {
  constexpr int64_t kStep = kBytes / sizeof(T);
  for (int64_t i = 0; i < kCount * kStep; i += kStep) {
    typename VectorOf<T, kBytes>::type sums[1];
    load_vector(target + i, sums[0]);
    add_scaled<T, 1>(sums, values + i, weight);
    store_vectors<T, 1>(sums, target + i);
  }
}

// target[column][row] = source[row][column] for as many rows as a register of kBytes has lanes.
template <typename T, int kBytes>
struct SmallTranspose {
  static constexpr int64_t kRows = 1, kColumns = 1;
  static CM_ALWAYS_INLINE void run(const T* source, int64_t, T* target, int64_t) {
    *target = *source;
  }
};

#if defined(__GNUC__) && (defined(__clang__) || __GNUC__ >= 12)
template <int kCount>
using LanesUpTo = std::make_integer_sequence<int, kCount>;

// Both operands, one after the other.
template <typename Half, typename Vector, int... kLane>
CM_ALWAYS_INLINE void join(const Half& first, const Half& second, Vector& both,
                           std::integer_sequence<int, kLane...>) {
  both = __builtin_shufflevector(first, second, kLane...);
}

// In each 16 bytes the lanes kPlaces of these 16 bytes of both operands.
template <int... kPlaces, typename Vector, int... kLane>
CM_ALWAYS_INLINE void pick(const Vector& first, const Vector& second, Vector& out,
                           std::integer_sequence<int, kLane...>) {
  constexpr int kPlace[] = {kPlaces...}, kCount = sizeof...(kLane);
  out = __builtin_shufflevector(
      first, second,
      (kLane / 4 * 4 + kPlace[kLane % 4] % 4 + (kPlace[kLane % 4] < 4 ? 0 : kCount))...);
}

// Squares of four by four, one in each 16 bytes of a register.
template <int kBytes>
struct SmallTranspose<float, kBytes> {
  static constexpr int64_t kRows = kBytes / sizeof(float), kColumns = 4;
  using Vector = typename VectorOf<float, kBytes>::type;

  // Four columns of rows 0, 4, 8 ...
  template <int kSize>
  static CM_ALWAYS_INLINE void load(const float* source, int64_t stride,
                                    typename VectorOf<float, kSize>::type& vector) {
    if constexpr (kSize == 16) {
      load_register(source, vector);
    } else {
      typename VectorOf<float, kSize / 2>::type first, second;
      load<kSize / 2>(source, stride, first);
      load<kSize / 2>(source + kSize / 8 * stride, stride, second);
      join(first, second, vector, LanesUpTo<kSize / 4>{});
    }
  }

  static CM_ALWAYS_INLINE void run(const float* source, int64_t source_stride, float* target,
                                   int64_t target_stride) {
    constexpr LanesUpTo<kRows> kLanes;
    Vector rows[4], low[2], high[2], columns[4];
    for (int i = 0; i < 4; ++i) load<kBytes>(source + i * source_stride, source_stride, rows[i]);
    for (int i = 0; i < 2; ++i) {
      pick<0, 4, 1, 5>(rows[2 * i], rows[2 * i + 1], low[i], kLanes);
      pick<2, 6, 3, 7>(rows[2 * i], rows[2 * i + 1], high[i], kLanes);
    }
    pick<0, 1, 4, 5>(low[0], low[1], columns[0], kLanes);
    pick<2, 3, 6, 7>(low[0], low[1], columns[1], kLanes);
    pick<0, 1, 4, 5>(high[0], high[1], columns[2], kLanes);
    pick<2, 3, 6, 7>(high[0], high[1], columns[3], kLanes);
    for (int i = 0; i < 4; ++i) {
      store_register(columns[i], target + i * target_stride);
    }
  }
};
#endif

// target[column][row] = source[row][column], in tiles that stay in the first-level cache and
// registers of kBytes.
template <int kBytes, typename T>
CM_ALWAYS_INLINE void transpose(const T* CM_RESTRICT source, int64_t source_stride,
                                int64_t num_rows, int64_t num_columns, T* CM_RESTRICT target,
                                int64_t target_stride) {
  using Small = SmallTranspose<T, kBytes>;
  constexpr int64_t kRows = Small::kRows, kColumns = Small::kColumns;
  constexpr int64_t kTileRows = 64, kTileColumns = kLanes<T>;
  const int64_t full_rows = num_rows / kRows * kRows;
  const int64_t full_columns = num_columns / kColumns * kColumns;
  for (int64_t top = 0; top < full_rows; top += kTileRows) {
    const int64_t bottom = std::min(top + kTileRows, full_rows);
    for (int64_t left = 0; left < full_columns; left += kTileColumns) {
      const int64_t right = std::min(left + kTileColumns, full_columns);
      // Rows that lie far apart are no stream that the processor sees coming.
      for (int64_t row = top; row < bottom; ++row) {
        prefetch_to_read(source + row * source_stride + left + 2 * kTileColumns);
      }
      for (int64_t row = top; row < bottom; row += kRows) {
        for (int64_t column = left; column < right; column += kColumns) {
          Small::run(source + row * source_stride + column, source_stride,
                     target + column * target_stride + row, target_stride);
        }
      }
    }
  }
  for (int64_t row = 0; row < full_rows; ++row) {
    for (int64_t column = full_columns; column < num_columns; ++column) {
      target[column * target_stride + row] = source[row * source_stride + column];
    }
  }
  if (full_rows == num_rows) return;
  const T* rest = source + full_rows * source_stride;
  if constexpr (kRows > 4) {
    transpose<16>(rest, source_stride, num_rows - full_rows, num_columns, target + full_rows,
                  target_stride);
  } else {
    for (int64_t row = full_rows; row < num_rows; ++row, rest += source_stride) {
      for (int64_t column = 0; column < num_columns; ++column) {
        target[column * target_stride + row] = rest[column];
      }
    }
  }
}

// target = values, for both in whole lines from the start of one on. On x86-64 past the caches:
// lines that are written whole need not be read before. Other threads see them after end_streams.
template <typename T>
CM_ALWAYS_INLINE void stream(const T* values, int64_t count, T* target) {
#if defined(CM_HAS_STREAMS)
  for (int64_t i = 0; i < count; i += 16 / sizeof(T)) {
    __m128i quad;
    std::memcpy(&quad, values + i, sizeof(quad));
    _mm_stream_si128(reinterpret_cast<__m128i*>(target + i), quad);
  }
#else
  std::memcpy(target, values, count * sizeof(T));
#endif
}

CM_ALWAYS_INLINE void end_streams() {
#if defined(CM_HAS_STREAMS)
  _mm_sfence();
#endif
}

// packed[position][channel] = source[channel][position], zeros after the last channel.
template <int kBytes, typename T>
CM_ALWAYS_INLINE void pack_channels(const T* source, int64_t channel_stride, int64_t num_channels,
                                    int64_t num_positions, T* packed, int64_t padded_channels) {
  transpose<kBytes>(source, channel_stride, num_channels, num_positions, packed, padded_channels);
  for (int64_t p = 0; p < num_positions; ++p) {
    for (int64_t c = num_channels; c < padded_channels; ++c) packed[p * padded_channels + c] = T{};
  }
}

}  // namespace centermask
