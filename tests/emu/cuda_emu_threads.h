// Thread engine of cuda_emu.h, for the thread sanitizer: every CUDA thread is a thread.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace emu {

// A barrier that threads may leave for good; it then reports the divergence instead of hanging.
class ThreadBarrier {
 public:
  explicit ThreadBarrier(uint64_t count) : count_(count) {}

  void wait() {
    std::unique_lock lock(mutex_);
    const uint64_t round = round_;
    if (++num_waiting_ + num_gone_ == count_) {
      release();
    } else {
      changed_.wait(lock, [&] { return round_ != round; });
    }
  }

  void leave() {
    const std::lock_guard lock(mutex_);
    ++num_gone_;
    if (num_waiting_ > 0 && num_waiting_ + num_gone_ == count_) release();
  }

  bool diverged() const { return diverged_; }

 private:
  void release() {
    diverged_ = diverged_ || num_gone_ > 0;
    num_waiting_ = 0;
    ++round_;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t count_, num_waiting_ = 0, num_gone_ = 0, round_ = 0;
  bool diverged_ = false;
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
