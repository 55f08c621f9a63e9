// What a test chooses of the emulation, for ctypes.
#include "cuda_emu.h"

extern "C" __attribute__((visibility("default"))) void emu_control(int64_t order, uint64_t seed,
                                                                   int64_t last_blocks) {
  emu::settings = {order, seed, last_blocks};
}
