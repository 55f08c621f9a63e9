// How kernels are launched. A .cu file includes this and no CUDA header, launches with launch()
// instead of <<<>>>, has only static __shared__ arrays, and registers with
//   STABLE_TORCH_LIBRARY_IMPL(CM_NAMESPACE, CM_CUDA_KEY, m)
// so that a plain C++ compiler can build it too: with -DCM_EMU the header of the same name as
// below, in tests/emu/, runs the kernels on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "platform.h"
#include "stable_util.h"

#if defined(CM_EMU)
#include "cuda_emu.h"
#define CM_CUDA_KEY CPU
#else
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>
#define CM_CUDA_KEY CUDA
#endif

namespace centermask {

#if defined(CM_EMU_THREADS)
constexpr int64_t kThreadsPerBlock = 64;  // real threads, which are slow
#else
constexpr int64_t kThreadsPerBlock = 256;
#endif

#if defined(CM_EMU)

// So few that loops over a grid come round even in small tests.
constexpr int64_t kMostBlocks = 3;

class CudaScope {
 public:
  explicit CudaScope(const Tensor&) {}
  cudaStream_t stream() const { return nullptr; }
};

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, cudaStream_t,
            Arguments... arguments) {
  emu::run(grid, block, [=] { kernel(arguments...); });
}

#else

// Enough for every device; loops over the grid do the rest.
constexpr int64_t kMostBlocks = 1 << 16;

// An error says where it came from, once: no symbol of libtorch_cuda is needed for this, so that
// the library loads in a PyTorch without CUDA.
inline void check_cuda(cudaError_t status, const char* what) {
  STD_TORCH_CHECK(status == cudaSuccess, "CUDA: ", what, ": ", cudaGetErrorString(status));
}

// PyTorch's current stream on a device. The function is looked up by its name: it is part of the
// stable ABI, but lies in libtorch_cuda, which a PyTorch without CUDA has not.
inline cudaStream_t current_stream(int32_t device) {
  using Ask = AOTITorchError (*)(int32_t, void**);
  static const Ask ask = [] {
    // Loaded already, as there is a tensor on CUDA; dlsym alone would not see it.
    void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    void* found = library ? dlsym(library, "aoti_torch_get_current_cuda_stream") : nullptr;
    return reinterpret_cast<Ask>(found);
  }();
  STD_TORCH_CHECK(ask != nullptr, "CUDA: this PyTorch does not tell its current stream");
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(ask(device, &stream));
  return static_cast<cudaStream_t>(stream);
}

// While it lives, the device of a tensor is the current one; kernels go to PyTorch's stream there.
class CudaScope {
 public:
  explicit CudaScope(const Tensor& tensor)
      : guard_(tensor.get_device_index()), stream_(current_stream(tensor.get_device_index())) {
    // This library carries a CUDA runtime of its own, which must agree with PyTorch's.
    check_cuda(cudaSetDevice(tensor.get_device_index()), "choosing the device");
  }
  cudaStream_t stream() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
};

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, cudaStream_t stream,
            Arguments... arguments) {
  kernel<<<grid, block, 0, stream>>>(arguments...);
  check_cuda(cudaGetLastError(), "launching a kernel");
}

#endif

// Blocks for `count` items, at least one: kernels loop over the grid, see grid_begin().
inline dim3 grid_for(int64_t count, int64_t per_block = kThreadsPerBlock) {
  const int64_t blocks = count / per_block + (count % per_block != 0);
  return dim3(static_cast<unsigned>(std::clamp<int64_t>(blocks, 1, kMostBlocks)));
}

// A kernel's loop over items, one a thread, in 64 bits:
//   for (int64_t i = grid_begin(); i < count; i += grid_stride()) ...
CM_DEVICE int64_t grid_begin() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
CM_DEVICE int64_t grid_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

}  // namespace centermask
