// Launching kernels: how many blocks stay on the device at once.
#pragma once

#include <atomic>

#include "context.h"
#include "group.h"

namespace fk {
namespace cuda {

// Blocks of a kernel that a multiprocessor holds at once: asked once a kernel and amount of
// shared memory.  Threads may ask at the same time; they get the same answer.
template <auto Kernel>
int resident_blocks_of(size_t shared_bytes) {
  static std::atomic<uint64_t> known{0};  // the amount of shared memory, and the blocks
  const uint64_t last = known.load(std::memory_order_relaxed);
  if (last != 0 && last >> 16 == shared_bytes) return static_cast<int>(last & 0xffff);
  int blocks = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, Kernel, block_threads, shared_bytes);
  if (blocks < 1) blocks = 1;  // the launch says what is wrong
  known.store(uint64_t(shared_bytes) << 16 | static_cast<unsigned>(blocks),
              std::memory_order_relaxed);
  return blocks;
}

// Launches as many blocks as the device holds at once, at most `blocks_wanted`; each works
// through its share.  Errors are left to cudaGetLastError.  Launching nothing is not an error.
template <auto Kernel, class... A>
void launch(const LaunchContext& context, int64_t blocks_wanted, size_t shared_bytes,
            const A&... args) {
  if (blocks_wanted == 0) return;
  const int64_t resident =
      int64_t(context.multiprocessors) * resident_blocks_of<Kernel>(shared_bytes);
  const int64_t blocks = blocks_wanted < resident ? blocks_wanted : resident;
#if defined(__CUDACC__)
  Kernel<<<static_cast<unsigned>(blocks), block_threads, shared_bytes, context.stream>>>(args...);
#else
  // tests/cuda runs the kernels on a CPU.
  emulate(reinterpret_cast<const void*>(Kernel), blocks, block_threads, shared_bytes,
          [&] { Kernel(args...); });
#endif
}

}  // namespace cuda
}  // namespace fk
