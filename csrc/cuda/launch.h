// Launching kernels: where, how many blocks, teams of what size.
#pragma once

#include "device.h"
#include "queue.h"

namespace fk {
namespace cuda {

struct Grid {
  int64_t blocks = 1;
  size_t shared_bytes = 0;
};

// Blocks that stay on the device while they work through `blocks_wanted` blocks' worth.
inline int64_t persistent_blocks(const Queue& queue, int64_t blocks_wanted) {
  const int64_t resident = int64_t(queue.multiprocessors) * 8;
  return blocks_wanted < resident ? blocks_wanted : resident;
}

// The smallest power of two from which on `n` pieces fit one each, at most a block.
inline int team_for(int64_t n) {
  int team = 1;
  while (team < block_threads && team < n) team *= 2;
  return team;
}

// Errors are left to cudaGetLastError.  Launching nothing is not an error.
template <class... P, class... A>
void launch(void (*kernel)(P...), const Queue& queue, const Grid& grid, const A&... args) {
  if (grid.blocks == 0) return;
#if defined(__CUDACC__)
  kernel<<<static_cast<unsigned>(grid.blocks), block_threads, grid.shared_bytes, queue.stream>>>(
      args...);
#else
  // tests/cuda runs the kernels on a CPU.
  emulate(reinterpret_cast<const void*>(kernel), grid.blocks, block_threads, grid.shared_bytes,
          [&] { kernel(args...); });
#endif
}

}  // namespace cuda
}  // namespace fk
