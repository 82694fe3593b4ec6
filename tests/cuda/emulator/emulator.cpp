#include <cuda_runtime.h>
#include <dlfcn.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "context.h"

EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
namespace {

constexpr int warp = 32;
constexpr size_t stack_bytes = 128 * 1024;

[[noreturn]] void fail(const char* what) {
  fprintf(stderr, "emulator: %s (block %u, thread %u)\n", what, blockIdx.x, threadIdx.x);
  abort();
}

enum class Waits { no, barrier, shuffle, done };

struct Fiber {
  Context context;
  char* stack = nullptr;
  Waits waits = Waits::no;
};

struct WarpState {
  int arrived = 0;
  unsigned generation = 0;
  uint64_t values[2][warp];
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<WarpState> warps;
  Context scheduler;
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
  int threads = 0, current = 0, at_barrier = 0;
  int votes = 0;
  std::unique_ptr<unsigned char[]> shared;
  Body body = nullptr;
  const void* kernel = nullptr;
};
Block block;
std::mt19937 random_order(20240229);
std::set<uintptr_t> executed;
int64_t launches = 0;

// Back to the scheduler, until it resumes this fiber.
void pause(bool for_good) {
  Fiber& self = block.fibers[block.current];
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake, block.scheduler_stack,
                                 block.scheduler_stack_bytes);
  switch_context(self.context, block.scheduler);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}

void thread_main() {
  __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack, &block.scheduler_stack_bytes);
  block.body(block.kernel);
  block.fibers[block.current].waits = Waits::done;
  pause(/*for_good=*/true);
}

void resume(int thread) {
  block.current = thread;
  threadIdx.x = static_cast<unsigned>(thread);
  Fiber& fiber = block.fibers[thread];
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, fiber.stack, stack_bytes);
  switch_context(block.scheduler, fiber.context);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}

void start(int thread) {
  Fiber& fiber = block.fibers[thread];
  if (fiber.stack == nullptr) {
    void* p =
        mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) fail("no memory for a stack");
    fiber.stack = static_cast<char*>(p);
  }
  // What the stack's last thread has left: thread_main does not return.
  ASAN_UNPOISON_MEMORY_REGION(fiber.stack, stack_bytes);
  prepare_context(fiber.context, fiber.stack, stack_bytes, thread_main);
  fiber.waits = Waits::no;
}

void run_block() {
  std::vector<int> order(block.threads);
  for (int i = 0; i < block.threads; ++i) order[i] = i;
  for (int i = 0; i < block.threads; ++i) start(i);
  for (WarpState& w : block.warps) w = {};
  block.at_barrier = block.votes = 0;
  int done = 0;
  while (done < block.threads) {
    std::shuffle(order.begin(), order.end(), random_order);
    bool progress = false;
    for (const int thread : order) {
      if (block.fibers[thread].waits != Waits::no) continue;
      resume(thread);
      progress = true;
      done += block.fibers[thread].waits == Waits::done;
    }
    if (!progress)
      fail(done ? "threads have left while others wait" : "threads wait for each other");
  }
}

}  // namespace

uint64_t exchange(uint64_t mine, int distance) {
  const int lane = block.current % warp, first = block.current - lane;
  WarpState& w = block.warps[block.current / warp];
  const unsigned generation = w.generation;
  w.values[generation % 2][lane] = mine;
  if (++w.arrived == warp) {
    w.arrived = 0;
    ++w.generation;
    for (int i = 0; i < warp; ++i)
      if (i != lane) block.fibers[first + i].waits = Waits::no;
  } else {
    block.fibers[block.current].waits = Waits::shuffle;
    pause(false);
  }
  return w.values[generation % 2][lane ^ distance];
}

void run(int64_t blocks, int threads, size_t shared_bytes, Body body, const void* kernel,
         const void* address) {
  if (threads % warp != 0) fail("blocks are whole warps");
  if (shared_bytes > 48 * 1024) fail("more shared memory than a launch may ask for");
  if (blocks > INT32_MAX) fail("more blocks than a grid holds");
  ++launches;
  executed.insert(reinterpret_cast<uintptr_t>(address));
  if (block.fibers.size() < static_cast<size_t>(threads)) block.fibers.resize(threads);
  block.warps.resize(threads / warp);
  block.threads = threads;
  block.body = body;
  block.kernel = kernel;
  blockDim.x = static_cast<unsigned>(threads);
  gridDim.x = static_cast<unsigned>(blocks);
  for (int64_t b = 0; b < blocks; ++b) {
    blockIdx.x = static_cast<unsigned>(b);
    void* memory = nullptr;
    if (posix_memalign(&memory, 16, shared_bytes) != 0) fail("no shared memory");
    memset(memory, 0xff, shared_bytes);
    block.shared.reset(static_cast<unsigned char*>(memory));
    run_block();
    free(block.shared.release());
  }
}

}  // namespace emulator

void __syncthreads() {
  using namespace emulator;
  if (++block.at_barrier == block.threads) {
    block.at_barrier = 0;
    for (int i = 0; i < block.threads; ++i)
      if (i != block.current) block.fibers[i].waits = Waits::no;
  } else {
    block.fibers[block.current].waits = Waits::barrier;
    pause(false);
  }
}

int __syncthreads_or(int mine) {
  using namespace emulator;
  block.votes += mine != 0;
  __syncthreads();
  const int any = block.votes > 0;
  __syncthreads();  // everyone has read the votes
  block.votes = 0;
  __syncthreads();
  return any;
}

namespace fk {
namespace cuda {
unsigned char* shared_memory() { return emulator::block.shared.get(); }
}  // namespace cuda
}  // namespace fk

extern "C" {
int64_t emulator_launches() { return emulator::launches; }
// Where the kernels that have run lie in this library; returns how many there are.
int64_t emulator_executed(uintptr_t* offsets, int64_t capacity) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&emulator_launches), &info) == 0) abort();
  int64_t n = 0;
  for (const uintptr_t address : emulator::executed) {
    if (n < capacity) offsets[n] = address - reinterpret_cast<uintptr_t>(info.dli_fbase);
    ++n;
  }
  return n;
}
}
