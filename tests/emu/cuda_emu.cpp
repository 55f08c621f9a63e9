// What tests choose of the emulation and ask of cuda_launch.h, for ctypes.
#include "cuda_launch.h"

#define CM_EXPORT extern "C" __attribute__((visibility("default")))

CM_EXPORT void emu_control(int64_t order, uint64_t seed) { emu::settings = {order, seed}; }

CM_EXPORT int64_t emu_grid_begin(unsigned block, unsigned threads, unsigned thread) {
  emu::block_place = {block, 0, 0};
  emu::block_size = dim3(threads);
  emu::thread_place = {thread, 0, 0};
  return centermask::grid_begin();
}

CM_EXPORT int64_t emu_grid_stride(unsigned blocks, unsigned threads, unsigned) {
  emu::grid_size = dim3(blocks);
  emu::block_size = dim3(threads);
  return centermask::grid_stride();
}
