// Thread groups: the threads of a block that share a row, and their sums.
#pragma once

#include "device.h"

namespace fk {
namespace cuda {

// A power of two of neighbouring threads.
struct ThreadGroup {
  int size, lane;
  int index, count;  // among the block's groups
};

FK_DEVICE ThreadGroup thread_group(int size) {
  const int thread = static_cast<int>(threadIdx.x);
  return {size, thread % size, thread / size, static_cast<int>(blockDim.x) / size};
}

#if defined(__CUDACC__)
// The block's shared memory, 16-byte aligned; its size is given at launch.
FK_DEVICE unsigned char* shared_memory() {
  extern __shared__ __align__(16) unsigned char fk_shared[];
  return fk_shared;
}
#endif

// Shared memory begins with the scratch of groups of several warps: a value a warp and sum, at
// most four.
constexpr size_t scratch_bytes = sizeof(double) * 4 * block_warps;

struct Add {
  template <class T>
  FK_DEVICE T operator()(T a, T b) const {
    return a + b;
  }
};
struct Largest {
  template <class T>
  FK_DEVICE T operator()(T a, T b) const {
    return max(a, b);
  }
};

// Combines the values of each group in an order that its size alone fixes.  Every thread of the
// block calls it and gets the result of its own group.
template <class T, int N, class Combine>
FK_DEVICE void group_reduce(T (&v)[N], const ThreadGroup& group, Combine combine) {
  static_assert(N <= 4);
#pragma unroll
  for (int distance = warp_threads / 2; distance > 0; distance /= 2) {
    if (distance >= group.size) continue;
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = combine(v[i], __shfl_xor_sync(0xffffffffu, v[i], distance));
  }
  if (group.size <= warp_threads) return;
  const int warp = static_cast<int>(threadIdx.x) / warp_threads;
  const int warps = group.size / warp_threads;
  T* scratch = reinterpret_cast<T*>(shared_memory());
  __syncthreads();  // the scratch may still be read for the previous sum
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (threadIdx.x % warp_threads == 0) scratch[warp * N + i] = v[i];
  __syncthreads();
  const T* own = scratch + group.index * warps * N;
#pragma unroll
  for (int i = 0; i < N; ++i) v[i] = own[i];
#pragma unroll 1
  for (int w = 1; w < warps; ++w) {
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = combine(v[i], own[w * N + i]);
  }
}

template <class T, int N>
FK_DEVICE void group_sum(T (&v)[N], const ThreadGroup& group) {
  group_reduce(v, group, Add());
}
template <class T>
FK_DEVICE T group_sum(T v, const ThreadGroup& group) {
  T values[1] = {v};
  group_reduce(values, group, Add());
  return values[0];
}
template <class T>
FK_DEVICE T group_max(T v, const ThreadGroup& group) {
  T values[1] = {v};
  group_reduce(values, group, Largest());
  return values[0];
}

// Whether any row of a warp, or of the block where its groups are of several warps, says so.
FK_DEVICE bool any_group(bool mine, const ThreadGroup& group) {
  if (group.size <= warp_threads) return __any_sync(0xffffffffu, mine) != 0;
  return __syncthreads_or(mine) != 0;
}

}  // namespace cuda
}  // namespace fk
