// Tiles: runs of whole rows, moved between global and shared memory 16 bytes at a time.
//
// Rows of any width that follow each other without gaps are one run, so the accesses are
// full ones even where single rows are short or start at odd addresses.  A run lies in
// shared memory at the same distance from a 16-byte boundary as in global memory; its two
// ends are moved by elements.
#pragma once

#include "../engine/cuda/device.h"
#include "../engine/cuda/launch.h"

namespace fk {
namespace cuda {

FK_DEVICE int misalignment(const void* p) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(p) & 15);
}

// Of n elements at p: those before the first 16-byte boundary.
template <class S>
FK_DEVICE int elements_to_boundary(const S* p, int n) {
  const int head = ((16 - misalignment(p)) & 15) / static_cast<int>(sizeof(S));
  return head < n ? head : n;
}

FK_DEVICE void copy16_async(void* shared, const void* global) {
#if defined(__CUDA_ARCH__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(global)
               : "memory");
#else
  *static_cast<Pack<uint32_t, 4>*>(shared) = *static_cast<const Pack<uint32_t, 4>*>(global);
#endif
}
// The copies of this thread have arrived; a __syncthreads makes them visible to all.
FK_DEVICE void wait_for_copies() {
#if defined(__CUDA_ARCH__)
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Starts bringing n elements into `region`; returns where the first will be.
template <class S>
FK_DEVICE S* tile_in(unsigned char* region, const S* from, int n) {
  S* to = reinterpret_cast<S*>(region + misalignment(from));
  const int head = elements_to_boundary(from, n);
  const int packs = (n - head) / pack_elements<S>;
  for (int i = threadIdx.x; i < packs; i += block_threads)
    copy16_async(to + head + i * pack_elements<S>, from + head + i * pack_elements<S>);
  const int tail = head + packs * pack_elements<S>;
#pragma unroll 1  // a turn at most, as a rule
  for (int i = threadIdx.x; i < head + n - tail; i += block_threads) {
    const int at = i < head ? i : tail + i - head;
    to[at] = from[at];
  }
  return to;
}

// Where a tile for n elements at `to` is best prepared: as far from a boundary as they.
template <class S>
FK_DEVICE S* tile_for(unsigned char* region, const S* to) {
  return reinterpret_cast<S*>(region + misalignment(to));
}

template <class S>
FK_DEVICE void tile_out(S* to, const S* tile, int n) {
  int head = elements_to_boundary(to, n);
  int packs = (n - head) / pack_elements<S>;
  if (misalignment(tile) != misalignment(to)) head = packs = 0;
  using Word = Pack<uint32_t, 4>;
  for (int i = threadIdx.x; i < packs; i += block_threads)
    *reinterpret_cast<Word*>(to + head + i * pack_elements<S>) =
        *reinterpret_cast<const Word*>(tile + head + i * pack_elements<S>);
  const int tail = head + packs * pack_elements<S>;
#pragma unroll 1  // a turn at most, as a rule
  for (int i = threadIdx.x; i < head + n - tail; i += block_threads) {
    const int at = i < head ? i : tail + i - head;
    to[at] = tile[at];
  }
}

// ---- planning, on the host -------------------------------------------------------

// Shared memory that leaves room for several blocks at once, and the most a block may ask for.
constexpr size_t tile_bytes_wanted = 12 * 1024;
constexpr size_t tile_bytes_limit = 48 * 1024 - scratch_bytes;

struct TilePlan {
  int rows = 0;  // a tile; 0 where not even one row fits
  int group_size = 0;
  int64_t tiles = 0;
};

// Tiles of rows that take `row_bytes` in `regions` regions; `n` elements of work a row.
inline TilePlan plan_tiles(const LaunchContext& context, int64_t rows, int64_t row_bytes,
                           int regions, int64_t n) {
  const int64_t overhead = 32 * regions;
  if (row_bytes + overhead > static_cast<int64_t>(tile_bytes_limit)) return {};
  const auto clamped = [](int64_t v, int64_t low, int64_t high) {
    return v < low ? low : v > high ? high : v;
  };
  int64_t fitting =
      clamped((static_cast<int64_t>(tile_bytes_wanted) - overhead) / (row_bytes + 1), 1, 1024);
  // Tiles for every multiprocessor, before tiles of many rows.
  fitting = clamped(rows / (4 * context.multiprocessors), 1, fitting);
  TilePlan plan;
  plan.group_size = 1;
  while (plan.group_size < warp_threads && plan.group_size * 4 < n) plan.group_size *= 2;
  while (plan.group_size < block_threads && plan.group_size < n &&
         block_threads / plan.group_size > fitting)
    plan.group_size *= 2;
  const int64_t groups = block_threads / plan.group_size;
  if (fitting > groups) fitting -= fitting % groups;
  plan.rows = static_cast<int>(clamped(rows, 1, fitting));
  plan.tiles = (rows + plan.rows - 1) / plan.rows;
  return plan;
}

// A region of shared memory for `rows` rows, at `offset`, which moves on.
inline int tile_region(int rows, int64_t row_bytes, size_t& offset) {
  const size_t at = offset;
  offset += (static_cast<size_t>(rows) * row_bytes + 15 + 15) / 16 * 16;
  return static_cast<int>(at);
}

}  // namespace cuda
}  // namespace fk
