// Stands in for the toolkit's header: what the kernels of csrc/cuda use of CUDA, on a CPU.
//
// A block's threads are fibers.  Each runs until it meets a barrier or a shuffle and goes
// on when all have arrived; who goes first is drawn anew each time, so that a result which
// needs a barrier that is not there comes out wrong.  Shared memory has the size asked
// for at launch to the byte and holds NaN at the start of each block.
#pragma once

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
// Not by force: the compiler would take twice as long.
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

struct EmulatedIndex {
  unsigned x = 0;
};
extern EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads();
// A barrier that tells every thread whether any of them says so.
int __syncthreads_or(int mine);

namespace emulator {
// All threads of the warp give eight bytes and get those of lane `lane ^ distance`.
uint64_t exchange(uint64_t mine, int distance);
using Body = void (*)(const void* kernel);
void run(int64_t blocks, int threads, size_t shared_bytes, Body body, const void* kernel,
         const void* address);
}  // namespace emulator

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  static_assert(sizeof(T) <= 8);
  if (mask != 0xffffffffu) __builtin_trap();  // the kernels shuffle whole warps only
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = emulator::exchange(bits, distance);
  memcpy(&value, &bits, sizeof(T));
  return value;
}

// The threads of the warp that say so, a bit each.
inline unsigned __ballot_sync(unsigned mask, int mine) {
  unsigned bits = mine ? 1u << threadIdx.x % 32 : 0;
  for (int distance = 16; distance > 0; distance /= 2)
    bits |= __shfl_xor_sync(mask, bits, distance);
  return bits;
}
// Whether any thread of the warp says so.
inline int __any_sync(unsigned mask, int mine) { return __ballot_sync(mask, mine) != 0; }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
// All threads of the warp have arrived.
inline void __syncwarp() { emulator::exchange(0, 0); }

// Few, so that blocks work through several rows each.
template <class Kernel>
int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel, int, size_t) {
  *blocks = 2;
  return 0;
}

inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<uint64_t>(a) * b) >> 32);
}

namespace fk {
namespace cuda {

unsigned char* shared_memory();

template <class Kernel>
void emulate(const void* address, int64_t blocks, int threads, size_t shared_bytes,
             const Kernel& kernel) {
  emulator::run(
      blocks, threads, shared_bytes, [](const void* k) { (*static_cast<const Kernel*>(k))(); },
      &kernel, address);
}

}  // namespace cuda
}  // namespace fk
