// Runs CUDA kernels on the CPU: what csrc/cuda_launch.h includes in place of cuda_runtime.h when a
// plain C++ compiler builds a .cu file with -DCM_EMU.
//
// Two engines. Fibers (default): one thread after the other in an order that the test chooses; a
// barrier parks it. With -DCM_EMU_THREADS every CUDA thread is a thread of the system, so that a
// thread sanitizer sees races. Errors of the kernel (divergent barrier, impossible launch) are
// exceptions, and so RuntimeError in Python. Blocks run one after the other.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __syncthreads() ::emu::barrier(__LINE__)

using cudaStream_t = void*;

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emu {

struct Place {
  unsigned x = 0, y = 0, z = 0;
};

// Where the running CUDA thread is.
inline thread_local Place thread_place, block_place;
inline thread_local dim3 block_size, grid_size;

enum Order { kForward, kReverse, kShuffled };

// What a test chooses; see emu_control() in cuda_emu.cpp.
struct Settings {
  int64_t order = kForward;
  uint64_t seed = 0;
};
inline Settings settings;

inline void check_launch(dim3 grid, dim3 block) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  std::ostringstream what;
  what << "launch of " << grid.x << " x " << grid.y << " x " << grid.z << " blocks of " << block.x
       << " x " << block.y << " x " << block.z << " threads";
  const bool fits = threads >= 1 && threads <= 1024 && block.x <= 1024 && block.y <= 1024 &&
                    block.z <= 64 && grid.x >= 1 && grid.x <= 2147483647u && grid.y >= 1 &&
                    grid.y <= 65535 && grid.z >= 1 && grid.z <= 65535;
  if (!fits) throw std::runtime_error("emulation: impossible " + what.str());
}

inline Place place_of(uint64_t index, dim3 size) {
  const uint64_t plane = uint64_t{size.x} * size.y;
  return {static_cast<unsigned>(index % size.x), static_cast<unsigned>(index / size.x % size.y),
          static_cast<unsigned>(index / plane)};
}

// Numbers 0..count in the order of the settings.
inline std::vector<uint64_t> ordered(uint64_t count, uint64_t salt) {
  std::vector<uint64_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), uint64_t{0});
  if (settings.order == kReverse) std::reverse(numbers.begin(), numbers.end());
  if (settings.order == kShuffled) {
    std::mt19937_64 random(settings.seed * 1000003 + salt);
    std::shuffle(numbers.begin(), numbers.end(), random);
  }
  return numbers;
}

inline std::vector<uint64_t> ordered_blocks(dim3 grid) {
  const uint64_t count = uint64_t{grid.x} * grid.y * grid.z;
  return ordered(count, count);
}

using Kernel = std::function<void()>;

}  // namespace emu

#define threadIdx (::emu::thread_place)
#define blockIdx (::emu::block_place)
#define blockDim (::emu::block_size)
#define gridDim (::emu::grid_size)

#if defined(CM_EMU_THREADS)
#include "cuda_emu_threads.h"
#else
#include "cuda_emu_fibers.h"
#endif

template <typename T>
T atomicAdd(T* address, T value) {
  return std::atomic_ref<T>(*address).fetch_add(value, std::memory_order_relaxed);
}

template <typename T>
T atomicMax(T* address, T value) {
  std::atomic_ref<T> target(*address);
  T seen = target.load(std::memory_order_relaxed);
  while (seen < value && !target.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
  return seen;
}
