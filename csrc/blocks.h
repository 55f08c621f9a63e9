// How kernels cut rows of work into blocks, and the memory that they have for each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "stable_util.h"

namespace centermask {

// Blocks of rows, and where these are few, parts of the groups of output channels of each.
struct Cut {
  int64_t room, num_blocks, num_parts;

  // Blocks of at most about `most` rows, a multiple of `unit`, as many for each thread.
  static Cut of(int64_t rows, int64_t most, int64_t unit, int64_t num_groups) {
    const int64_t threads = torch::stable::get_num_threads();
    const int64_t rounds = (rows + threads * most - 1) / (threads * most);
    const int64_t even = (rows + threads * rounds - 1) / (threads * rounds);
    const int64_t room = (even + unit - 1) / unit * unit;
    const int64_t num_blocks = (rows + room - 1) / room;
    return {room, num_blocks, num_blocks >= threads ? 1 : std::min(num_groups, threads)};
  }
};

// Memory that vectors are read from without crossing lines of the cache, with anything in it.
template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : memory_(new T[count + 64 / sizeof(T)]) {}
  T* data() {
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    return memory_.get() + (64 - address % 64) % 64 / sizeof(T);
  }

 private:
  std::unique_ptr<T[]> memory_;
};

}  // namespace centermask
