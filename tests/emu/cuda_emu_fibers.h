// Fiber engine of cuda_emu.h. One fiber runs thread after thread; only when a thread waits at a
// barrier is its fiber set aside and another one continues with the threads that are left.
#pragma once

#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define CM_EMU_LEAVE(save, stack, size) __sanitizer_start_switch_fiber(save, stack, size)
#define CM_EMU_ARRIVE(save, stack, size) __sanitizer_finish_switch_fiber(save, stack, size)
#else
#define CM_EMU_LEAVE(save, stack, size) (void)(save)
#define CM_EMU_ARRIVE(save, stack, size) (void)(save)
#endif

namespace emu {

constexpr size_t kStackBytes = size_t{1} << 18;

class BlockRun;

struct Fiber {
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  ucontext_t context;
  Place place;             // of the thread that waits
  int line = 0;            // of the barrier where it waits
  void* shadow = nullptr;  // the address sanitizer's
};

// Fibers of one launch; they go from block to block.
class BlockRun {
 public:
  BlockRun(dim3 block, const Kernel& kernel) : size_(block), kernel_(kernel) {
    num_threads_ = uint64_t{block.x} * block.y * block.z;
  }

  void run(uint64_t salt) {
    order_ = ordered(num_threads_, salt);
    next_ = 0;
    waiting_.clear();
    while (next_ < num_threads_) {
      if (idle_.empty()) idle_.push_back(std::make_unique<Fiber>());
      start(take_idle());
    }
    while (!waiting_.empty()) {
      check_barrier();
      std::vector<std::unique_ptr<Fiber>> released;
      released.swap(waiting_);
      if (settings.order == kReverse) std::reverse(released.begin(), released.end());
      for (auto& fiber : released) resume(std::move(fiber));
    }
  }

  void wait(int line) {
    Fiber& self = *running_;
    self.place = thread_place;
    self.line = line;
    is_parked_ = true;
    CM_EMU_LEAVE(&self.shadow, outer_stack_, outer_size_);
    swapcontext(&self.context, &outer_);
    CM_EMU_ARRIVE(self.shadow, &outer_stack_, &outer_size_);
    thread_place = self.place;
  }

  static inline thread_local BlockRun* current = nullptr;

 private:
  static void enter() {
    BlockRun& run = *current;
    CM_EMU_ARRIVE(nullptr, &run.outer_stack_, &run.outer_size_);
    while (run.next_ < run.num_threads_) {
      thread_place = place_of(run.order_[run.next_++], run.size_);
      run.kernel_();
    }
    CM_EMU_LEAVE(nullptr, run.outer_stack_, run.outer_size_);
    // The context ends here and the outer one goes on.
  }

  std::unique_ptr<Fiber> take_idle() {
    auto fiber = std::move(idle_.back());
    idle_.pop_back();
    return fiber;
  }

  void start(std::unique_ptr<Fiber> fiber) {
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.get();
    fiber->context.uc_stack.ss_size = kStackBytes;
    fiber->context.uc_link = &outer_;
    makecontext(&fiber->context, &BlockRun::enter, 0);
    resume(std::move(fiber));
  }

  void resume(std::unique_ptr<Fiber> fiber) {
    running_ = fiber.get();
    is_parked_ = false;
    void* shadow = nullptr;
    CM_EMU_LEAVE(&shadow, fiber->stack.get(), kStackBytes);
    swapcontext(&outer_, &fiber->context);
    CM_EMU_ARRIVE(shadow, nullptr, nullptr);
    (is_parked_ ? waiting_ : idle_).push_back(std::move(fiber));
  }

  // All threads of a block must wait at one and the same barrier.
  void check_barrier() const {
    std::ostringstream what;
    const uint64_t num_waiting = waiting_.size();
    for (const auto& fiber : waiting_) {
      if (fiber->line == waiting_[0]->line) continue;
      what << "emulation: divergent __syncthreads (lines " << waiting_[0]->line << " and "
           << fiber->line << ")";
      throw std::runtime_error(what.str());
    }
    if (num_waiting == num_threads_) return;
    what << "emulation: divergent __syncthreads (" << num_waiting << " wait in line "
         << waiting_[0]->line << ", " << num_threads_ - num_waiting << " exited)";
    throw std::runtime_error(what.str());
  }

  dim3 size_;
  const Kernel& kernel_;
  uint64_t num_threads_ = 0, next_ = 0;
  std::vector<uint64_t> order_;
  std::vector<std::unique_ptr<Fiber>> idle_, waiting_;
  Fiber* running_ = nullptr;
  bool is_parked_ = false;
  ucontext_t outer_;
  const void* outer_stack_ = nullptr;
  size_t outer_size_ = 0;
};

inline void barrier(int line) { BlockRun::current->wait(line); }

inline void run(dim3 grid, dim3 block, const Kernel& kernel) {
  check_launch(grid, block);
  BlockRun fibers(block, kernel);
  BlockRun::current = &fibers;
  grid_size = grid;
  block_size = block;
  for (const uint64_t index : ordered_blocks(grid)) {
    block_place = place_of(index, grid);
    fibers.run(index);
  }
}

}  // namespace emu
