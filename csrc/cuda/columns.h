// What rows share: loc in shared memory, and the sums of its gradients over the rows of a tile.
#pragma once

#include "../args/vmf.h"
#include "line.h"
#include "tile.h"

namespace fk {
namespace cuda {

// loc in shared memory where all rows share it and it fits, else where it is.
template <class T>
struct LocLine {
  const T* staged;
  GlobalLine<T> global;
  FK_DEVICE T get(int64_t i) const { return staged != nullptr ? staged[i] : global.get(i); }
};

template <class T>
FK_DEVICE GlobalLine<T> line_of(const RowView& o, int64_t row) {
  return {o.base, o.dtype, row * o.row_stride, o.stride};
}

// Brings a shared loc to where it is staged; null where `region` is 0.  It may be read after
// the block's next barrier.
template <class T>
FK_DEVICE const T* stage_loc(const RowView& loc, int64_t dim, int region) {
  if (region == 0) return nullptr;
  T* staged = reinterpret_cast<T*>(shared_memory() + region);
  const GlobalLine<T> line = line_of<T>(loc, 0);
  for (int i = threadIdx.x; i < dim; i += block_threads) staged[i] = line.get(i);
  return staged;
}

// out_i (+)= sum over rows of value(row, i), for `dim` columns, in an order that their number
// fixes; short sums of columns are divided among several threads.  Every thread of the block
// calls it; `scratch` has room for a value a thread.
template <class T, class Value>
FK_DEVICE void sum_columns(int dim, int rows, T* scratch, T* out, bool begins, Value value) {
  const int groups = dim < block_threads ? block_threads / dim : 1;
  const int thread = static_cast<int>(threadIdx.x);
  const int group = groups == 1 ? 0 : thread / dim;
  const auto add = [&](int i, T sum) { out[i] = begins ? sum : out[i] + sum; };
  for (int i = thread - group * dim; i < dim && group < groups; i += block_threads) {
    T sum = 0;
    for (int row = group; row < rows; row += groups) sum += value(row, i);
    if (groups == 1) {
      add(i, sum);
    } else {
      scratch[thread] = sum;
    }
  }
  if (groups == 1) return;
  __syncthreads();
  if (thread < dim) {
    T sum = 0;
    for (int g = 0; g < groups; ++g) sum += scratch[g * dim + thread];
    add(thread, sum);
  }
}

// ---- on the host -------------------------------------------------------------------

// Shared memory that sum_columns may need beside a tile.
constexpr int64_t columns_bytes = block_threads * sizeof(double) + 128;

// Where to stage a loc that all rows share, at `offset`, which moves on; 0 where it does not fit.
inline int loc_region(const RowView& loc, int64_t loc_bytes, size_t& offset) {
  if (loc.row_stride != 0 || offset + loc_bytes + 32 > 48 * 1024) return 0;
  return tile_region(1, loc_bytes, offset);
}

// How many rows' gradients to add up in one piece: pieces for every multiprocessor, before
// pieces of many rows, and whole tiles of `tile_rows` rows, where there are tiles.
inline int64_t rows_to_sum(const LaunchContext& context, int64_t rows, int64_t tile_rows) {
  int64_t wanted = rows / (4 * context.multiprocessors);
  wanted = wanted < 1 ? 1 : wanted > vmf_block_rows ? vmf_block_rows : wanted;
  return tile_rows == 0 ? wanted : (wanted + tile_rows - 1) / tile_rows * tile_rows;
}

}  // namespace cuda
}  // namespace fk
