// tangent_normal: points at given angles from an axis, in random directions across it.
//
// Every random number is made twice from its counter, or, where a row fits into shared
// memory, once: then a point is written 16 bytes at a time and nothing else is.
#include "tangent_normal.h"

#include "columns.h"
#include "rows.h"
#include "tangent_normal_row.h"
#include "tile_rows.h"

namespace fk {
namespace cuda {
namespace {

struct TileArgs {
  TangentNormalArgs a;
  int64_t blocks;  // of block_rows rows
  int block_rows, tile_rows, group_size;
  int normals, state, loc, columns;  // where in shared memory; loc is 0 where it is not staged
  TileRows points;                   // x or its gradient
};

template <class T>
FK_DEVICE LocLine<T> loc_of(const TangentNormalArgs& a, const T* staged, int64_t row) {
  return {staged, line_of<T>(a.loc, a.loc_rows == 1 ? 0 : row % a.loc_rows)};
}

template <class T>
FK_DEVICE T number(const RowView& o, int64_t row) {
  return load_element<T>(o.base, o.dtype, row * o.row_stride);
}

// ---- tiles -------------------------------------------------------------------------

template <class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    tangent_normal_forward_tiles(const __grid_constant__ TileArgs t) {
  using T = compute_t<S>;
  const TangentNormalArgs& a = t.a;
  const ThreadGroup threads = thread_group(t.group_size);
  const int n = t.points.width - 1;
  T* normals = reinterpret_cast<T*>(shared_memory() + t.normals);
  const T* staged = stage_loc<T>(a.loc, a.dim, t.loc);
  __syncthreads();
  for_tiles(t.blocks, t.tile_rows, a.rows, [&](int64_t first, int rows) {
    S* x = place_rows<S>(t.points, first);
    for_tile_rows(rows, threads, [&](int row, bool mine) {
      const int64_t at = mine ? first + row : first;
      const KeptNormals<T> kept{key_of(a.random, at), normals + row * n};
      forward_row<T>(mine ? n : 0, threads, kept, loc_of(a, staged, at), number<T>(a.cosine, at),
                     number<T>(a.sine, at), TileLine<S>{x + row * t.points.width});
    });
    __syncthreads();
    store_rows(t.points, first, rows, x);
    __syncthreads();
  });
}

template <class T>
FK_DEVICE void write_numbers(const TangentNormalArgs& a, int64_t row,
                             const TangentGradients<T>& grads) {
  static_cast<T*>(a.grad_cosine)[row] = grads.cosine;
  static_cast<T*>(a.grad_sine)[row] = grads.sine;
}

template <class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    tangent_normal_backward_tiles(const __grid_constant__ TileArgs t) {
  using T = compute_t<S>;
  const TangentNormalArgs& a = t.a;
  const ThreadGroup threads = thread_group(t.group_size);
  const int n = t.points.width - 1, dim = t.points.width;
  T* normals = reinterpret_cast<T*>(shared_memory() + t.normals);
  auto* states = reinterpret_cast<TangentGradients<T>*>(shared_memory() + t.state);
  const T* staged = stage_loc<T>(a.loc, a.dim, t.loc);
  const auto tile = [&](int64_t block, int64_t first, int rows) {
    S* grad = load_rows<S>(t.points, first, rows);
    wait_for_copies();
    __syncthreads();
    for_tile_rows(rows, threads, [&](int row, bool mine) {
      const int64_t at = mine ? first + row : first;
      const KeptNormals<T> kept{key_of(a.random, at), normals + row * n};
      const TileLine<S> line{grad + row * dim};
      const TangentGradients<T> grads =
          backward_row<T>(mine ? n : 0, threads, kept, loc_of(a, staged, at),
                          number<T>(a.cosine, at), number<T>(a.sine, at), line);
      if (!mine) return;
      if (threads.lane == 0) {
        write_numbers(a, at, grads);
        states[row] = grads;
      }
      if (a.sum_grad_loc || a.grad_loc == nullptr) return;
      T* to = static_cast<T*>(a.grad_loc) + at * dim;
      write_grad_loc(n, threads, grads, kept, line, [&](int i, T v) { to[i] = v; });
    });
    __syncthreads();
    if (!a.sum_grad_loc || a.grad_loc == nullptr) return;
    sum_columns(dim, rows, reinterpret_cast<T*>(shared_memory() + t.columns),
                static_cast<T*>(a.grad_loc) + block * dim, first == block * t.block_rows,
                [&](int row, int i) {
                  const TangentGradients<T>& s = states[row];
                  if (i == 0) return s.head;
                  return fma(s.of_normal, normals[row * n + i - 1],
                             s.of_grad * widen(grad[row * dim + i]));
                });
    __syncthreads();
  };
  for_blocks(t.blocks, t.block_rows, t.tile_rows, a.rows, tile);
}

// ---- rows in global memory -----------------------------------------------------------

template <class T>
__global__ void __launch_bounds__(block_threads, resident_blocks<T>)
    tangent_normal_forward_strided(const __grid_constant__ TangentNormalArgs a, int group_size) {
  const ThreadGroup threads = thread_group(group_size);
  for_items(a.rows, 1, threads, [&](bool mine, int64_t, int64_t row, int64_t) {
    const int64_t at = mine ? row : 0;
    forward_row<T>(mine ? a.dim - 1 : 0, threads, MadeNormals<T>{key_of(a.random, at)},
                   loc_of<T>(a, nullptr, at), number<T>(a.cosine, at), number<T>(a.sine, at),
                   line_of<T>(a.out, at));
  });
}

// A threads works through the rows of a block; each thread adds to elements of its own.
template <class T>
__global__ void __launch_bounds__(block_threads, resident_blocks<T>)
    tangent_normal_backward_strided(const __grid_constant__ TangentNormalArgs a, int group_size,
                                    int64_t blocks, int64_t block_rows) {
  const ThreadGroup threads = thread_group(group_size);
  for_items(blocks, 1, threads, [&](bool there, int64_t, int64_t block, int64_t) {
    for (int64_t i = 0; i < block_rows; ++i) {
      const int64_t row = block * block_rows + i;
      const bool mine = there && row < a.rows;
      const int64_t at = mine ? row : 0, n = mine ? a.dim - 1 : 0;
      const MadeNormals<T> made{key_of(a.random, at)};
      const GlobalLine<T> grad = line_of<T>(a.grad, at);
      const TangentGradients<T> grads =
          backward_row<T>(n, threads, made, loc_of<T>(a, nullptr, at), number<T>(a.cosine, at),
                          number<T>(a.sine, at), grad);
      if (!mine) continue;
      if (threads.lane == 0) write_numbers(a, at, grads);
      if (a.grad_loc == nullptr) continue;
      T* to = static_cast<T*>(a.grad_loc) + (a.sum_grad_loc ? block : row) * a.dim;
      const bool adds = a.sum_grad_loc && i > 0;
      write_grad_loc(n, threads, grads, made, grad,
                     [&](int64_t k, T v) { to[k] = adds ? to[k] + v : v; });
    }
  });
}

// ---- on the host -------------------------------------------------------------------

// Tiles of whole rows, of which the backward reads those of the gradient.
template <bool Backward, class S>
TilePlan plan_of(const TangentNormalArgs& a, const LaunchContext& context) {
  using T = compute_t<S>;
  const RowView& o = Backward ? a.grad : a.out;
  if (o.stride != 1 || !(o.row_stride == a.dim || a.rows == 1)) return {};
  const int64_t bytes = a.dim * sizeof(S) + (a.dim - 1) * sizeof(T) + sizeof(TangentGradients<T>);
  if (bytes + columns_bytes > static_cast<int64_t>(tile_bytes_limit)) return {};
  return plan_tiles(context, a.rows, bytes, 3, a.dim);
}

template <bool Backward, class S>
bool launch_tiles(const TangentNormalArgs& a, const LaunchContext& context) {
  using T = compute_t<S>;
  const TilePlan plan = plan_of<Backward, S>(a, context);
  if (plan.rows == 0) return false;
  const RowView& o = Backward ? a.grad : a.out;
  TileArgs t{a, plan.tiles, plan.rows, plan.rows, plan.group_size,
             0, 0,          0,         0,         {o.base, int(a.dim), 0}};
  size_t shared_bytes = scratch_bytes;
  t.state = tile_region(plan.rows, sizeof(TangentGradients<T>), shared_bytes);
  t.normals = tile_region(plan.rows, (a.dim - 1) * sizeof(T), shared_bytes);
  t.points.region = tile_region(plan.rows, a.dim * sizeof(S), shared_bytes);
  if (Backward && a.sum_grad_loc) {
    t.block_rows = static_cast<int>(a.block_rows);
    t.blocks = (a.rows + a.block_rows - 1) / a.block_rows;
    t.columns = tile_region(block_threads, sizeof(T), shared_bytes);
  }
  if (a.loc_rows == 1) {
    RowView shared = a.loc;
    shared.row_stride = 0;
    t.loc = loc_region(shared, a.dim * sizeof(T), shared_bytes);
  }
  launch<Backward ? tangent_normal_backward_tiles<S> : tangent_normal_forward_tiles<S>>(
      context, t.blocks, shared_bytes, t);
  return true;
}

template <bool Backward, class T>
void launch_strided(const TangentNormalArgs& a, const LaunchContext& context) {
  const int64_t block_rows = Backward && a.sum_grad_loc ? a.block_rows : 1;
  const int64_t blocks = (a.rows + block_rows - 1) / block_rows;
  const int group_size = stream_group(context, (a.dim + 3) / 4, blocks);
  const int64_t grid = blocks_of_groups(group_size, blocks);
  if constexpr (Backward) {
    launch<tangent_normal_backward_strided<T>>(context, grid, scratch_bytes, a, group_size, blocks,
                                               block_rows);
  } else {
    launch<tangent_normal_forward_strided<T>>(context, grid, scratch_bytes, a, group_size);
  }
}

template <bool Backward>
void run(const TangentNormalArgs& a, const LaunchContext& context) {
  if (a.rows == 0) return;
  bool done = false;
  with_storage((Backward ? a.grad : a.out).dtype, [&](auto s) {
    done = launch_tiles<Backward, typename decltype(s)::type>(a, context);
  });
  if (done) return;
  a.wide == DType::f64 ? launch_strided<Backward, double>(a, context)
                       : launch_strided<Backward, float>(a, context);
}

}  // namespace

int64_t tangent_normal_block(const TangentNormalArgs& a, const LaunchContext& context) {
  int64_t rows = 0;
  with_storage(a.grad.dtype,
               [&](auto s) { rows = plan_of<true, typename decltype(s)::type>(a, context).rows; });
  return rows_to_sum(context, a.rows, rows);
}

void tangent_normal_forward(const TangentNormalArgs& a, const LaunchContext& context) {
  run<false>(a, context);
}
void tangent_normal_backward(const TangentNormalArgs& a, const LaunchContext& context) {
  run<true>(a, context);
}

}  // namespace cuda
}  // namespace fk
