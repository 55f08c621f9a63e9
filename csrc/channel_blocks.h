// Channels in blocks of vectors, and transposition between channels-first and channels-last.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "platform.h"

namespace centermask {

// 64 bytes of channels. GCC and clang split these into whatever the processor has.
template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(64)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(64)));
};
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

// V vectors of sums += weight * values, where `values` need not be aligned.
template <typename T, int V>
CM_ALWAYS_INLINE void add_scaled(typename VectorOf<T>::type (&sums)[V], const T* values, T weight) {
  for (int v = 0; v < V; ++v) {
    typename VectorOf<T>::type part;
    std::memcpy(&part, values + v * kLanes<T>, sizeof(part));
    sums[v] += weight * part;
  }
}

// tile[position][channel] = source[channel][position], zeros after the last channel.
template <typename T>
CM_ALWAYS_INLINE void channels_to_last(const T* CM_RESTRICT source, int64_t channel_stride,
                                       int64_t position_stride, int64_t num_channels,
                                       int64_t num_positions, T* CM_RESTRICT tile,
                                       int64_t tile_stride, int64_t tile_width) {
  for (int64_t first = 0; first < tile_width; first += kLanes<T>) {
    const int64_t valid = std::clamp<int64_t>(num_channels - first, 0, kLanes<T>);
    for (int64_t p = 0; p < num_positions; ++p) {
      const T* from = source + first * channel_stride + p * position_stride;
      T* to = tile + p * tile_stride + first;
      for (int64_t c = 0; c < valid; ++c) to[c] = from[c * channel_stride];
      for (int64_t c = valid; c < kLanes<T>; ++c) to[c] = T(0);
    }
  }
}

// target[channel][position] = tile[position][channel].
template <typename T>
CM_ALWAYS_INLINE void channels_to_first(const T* CM_RESTRICT tile, int64_t tile_stride,
                                        int64_t num_channels, int64_t num_positions,
                                        T* CM_RESTRICT target, int64_t channel_stride) {
  for (int64_t first = 0; first < num_positions; first += kLanes<T>) {
    const int64_t last = std::min(first + kLanes<T>, num_positions);
    for (int64_t c = 0; c < num_channels; ++c) {
      for (int64_t p = first; p < last; ++p) {
        target[c * channel_stride + p] = tile[p * tile_stride + c];
      }
    }
  }
}

}  // namespace centermask
