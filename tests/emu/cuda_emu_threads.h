// Thread engine of cuda_emu.h, for the thread sanitizer: every CUDA thread is a thread.
#pragma once

#include <thread>

namespace emu {

// A barrier that threads may leave for good; it then notes the divergence instead of hanging. Made
// of two atomics, as a mutex would order more than a barrier does and so hide races.
class ThreadBarrier {
 public:
  explicit ThreadBarrier(uint64_t count) : count_(count) {}

  void wait() {
    const uint64_t round = round_.load(std::memory_order_acquire);
    if (!arrive(1)) round_.wait(round, std::memory_order_acquire);
  }

  void leave() { arrive(kGone + 1); }

  bool diverged() const { return diverged_.load(); }

 private:
  // How many threads came or left this round, and how many left ever, in one number.
  static constexpr uint64_t kGone = uint64_t{1} << 32;

  // Whether this was the last thread of the round, which sets the others free.
  bool arrive(uint64_t what) {
    const uint64_t state = state_.fetch_add(what, std::memory_order_acq_rel) + what;
    if (state % kGone != count_) return false;
    const uint64_t gone = state / kGone;
    if (gone > 0 && gone < count_) diverged_.store(true);
    state_.store(gone * kGone + gone, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    return true;
  }

  const uint64_t count_;
  std::atomic<uint64_t> state_ = 0, round_ = 0;
  std::atomic<bool> diverged_ = false;
};

inline thread_local ThreadBarrier* block_barrier = nullptr;
inline std::atomic<bool> used_barrier = false;

inline void barrier(int) {
  used_barrier.store(true, std::memory_order_relaxed);
  block_barrier->wait();
}

// One CUDA thread through all blocks. Blocks of a kernel with barriers wait for each other, as they
// share the memory that `__shared__` names; those of other kernels do not, so that races between
// blocks show as well.
inline void run_thread(uint64_t thread, dim3 grid, dim3 block, const Kernel& kernel,
                       const std::vector<uint64_t>& blocks,
                       const std::vector<std::unique_ptr<ThreadBarrier>>& barriers,
                       ThreadBarrier& between) {
  grid_size = grid;
  block_size = block;
  thread_place = place_of(thread, block);
  for (size_t i = 0; i < blocks.size(); ++i) {
    block_place = place_of(blocks[i], grid);
    block_barrier = barriers[i].get();
    kernel();
    block_barrier->leave();
    if (used_barrier.load(std::memory_order_relaxed)) between.wait();
  }
  between.leave();
}

inline void run(dim3 grid, dim3 block, const Kernel& kernel) {
  check_launch(grid, block);
  const uint64_t num_threads = uint64_t{block.x} * block.y * block.z;
  const std::vector<uint64_t> blocks = ordered_blocks(grid);
  std::vector<std::unique_ptr<ThreadBarrier>> barriers;
  for (size_t i = 0; i < blocks.size(); ++i) {
    barriers.push_back(std::make_unique<ThreadBarrier>(num_threads));
  }
  ThreadBarrier between(num_threads);
  used_barrier.store(false);
  std::vector<std::thread> threads;
  for (const uint64_t thread : ordered(num_threads, 0)) {
    threads.emplace_back(
        [&, thread] { run_thread(thread, grid, block, kernel, blocks, barriers, between); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& barrier : barriers) {
    if (barrier->diverged()) throw std::runtime_error("emulation: divergent __syncthreads");
  }
}

}  // namespace emu
