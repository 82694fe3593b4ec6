// The second step of sums over few long rows: the parts' sums, in their order.
#pragma once

#include "launch.h"

namespace fk {
namespace cuda {

// How many parts make work for the whole device out of `rows` rows of `n` elements,
// each part with enough of them.
inline int64_t parts_for(const LaunchContext& context, int64_t rows, int64_t n) {
  constexpr int64_t least = 16 * block_threads, most = 1024;
  const int64_t blocks = int64_t(context.multiprocessors) * 4;
  if (rows >= blocks / 2 || n < 2 * least || rows == 0) return 1;
  const int64_t wanted = (blocks + rows - 1) / rows;
  const int64_t possible = n / least < most ? n / least : most;
  return wanted < possible ? wanted : possible;
}

template <class T>
__global__ void __launch_bounds__(block_threads)
    sum_parts(const T* parts, int64_t rows, int count, T* out) {
  const int64_t step = int64_t(gridDim.x) * block_threads;
  for (int64_t row = int64_t(blockIdx.x) * block_threads + threadIdx.x; row < rows; row += step) {
    T sum = 0;
    for (int i = 0; i < count; ++i) sum += parts[row * count + i];
    out[row] = sum;
  }
}

inline void launch_sum_parts(const LaunchContext& context, DType wide, const void* parts,
                             int64_t rows, int64_t count, void* out) {
  const int64_t blocks = (rows + block_threads - 1) / block_threads;
  if (wide == DType::f64) {
    launch<sum_parts<double>>(context, blocks, 0, static_cast<const double*>(parts), rows,
                              static_cast<int>(count), static_cast<double*>(out));
  } else {
    launch<sum_parts<float>>(context, blocks, 0, static_cast<const float*>(parts), rows,
                             static_cast<int>(count), static_cast<float*>(out));
  }
}

}  // namespace cuda
}  // namespace fk
