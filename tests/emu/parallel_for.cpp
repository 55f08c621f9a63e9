// parallel_for of LibTorch's C interface on plain threads, for CPU kernels with sanitizers: a
// thread sanitizer cannot look into PyTorch's thread pool and would report races that are none.
#include <torch/csrc/stable/c/shim.h>

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

constexpr uint32_t kThreads = 3;

extern "C" AOTITorchError torch_parallel_for(int64_t begin, int64_t end, int64_t grain_size,
                                             void (*run)(int64_t, int64_t, void*), void* context) {
  const int64_t grains = (end - begin + grain_size - 1) / std::max<int64_t>(grain_size, 1);
  const int64_t parts = std::clamp<int64_t>(grains, 1, kThreads);
  std::vector<std::thread> threads;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t from = begin + (end - begin) * part / parts;
    const int64_t to = begin + (end - begin) * (part + 1) / parts;
    if (from < to) threads.emplace_back(run, from, to, context);
  }
  for (std::thread& thread : threads) thread.join();
  return AOTI_TORCH_SUCCESS;
}

extern "C" AOTITorchError torch_get_num_threads(uint32_t* count) {
  *count = kThreads;
  return AOTI_TORCH_SUCCESS;
}
