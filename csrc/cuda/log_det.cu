// sum log|d| row by row: d log|d| = grad / d.
#include "log_det.h"

#include "../math/elementary.h"
#include "rows.h"
#include "sum_parts.h"
#include "tile_rows.h"

namespace fk {
namespace cuda {
namespace {

// ---- a row ------------------------------------------------------------------------

template <class A, class T, class D>
FK_DEVICE T forward_row(const Nest<typename A::Index>& nest, typename A::Index begin,
                        typename A::Index end, const Team& team, const D& diag) {
  T total = 0;
  // Where there is no element, 1 is loaded: its logarithm adds nothing.
  const auto add = [&](const typename D::Loaded& d) {
    constexpr int G = D::Loaded::G;
#pragma unroll
    for (int group = 0; group < A::N / G; ++group) {
      T v[G], sum = 0;
      d.get(group, v);
#pragma unroll
      for (int m = 0; m < G; ++m) sum += log(abs(v[m]));
      total += sum;
    }
  };
  A::walk_by_four(nest, begin, end, team, [&](const auto&... places) {
    const typename D::Loaded loaded[] = {diag.load(places)...};
#pragma unroll
    for (size_t i = 0; i < sizeof...(places); ++i) add(loaded[i]);
  });
  return total;
}

template <class A, class T, class D>
FK_DEVICE void backward_row(T grad, const Nest<typename A::Index>& nest, typename A::Index begin,
                            typename A::Index end, const Team& team, const D& diag,
                            const D& grad_diag) {
  const auto divide = [&](typename D::Loaded d) {
    constexpr int G = D::Loaded::G;
#pragma unroll
    for (int group = 0; group < A::N / G; ++group) {
      T v[G];
      d.get(group, v);
#pragma unroll
      for (int m = 0; m < G; ++m) v[m] = grad / v[m];
      d.put(group, v);
    }
    return d;
  };
  A::walk_by_four(nest, begin, end, team, [&](const auto&... places) {
    const typename D::Loaded loaded[] = {diag.load(places)...};
    int i = 0;
    (grad_diag.store(places, divide(loaded[i++])), ...);
  });
}

// ---- rows in global memory -----------------------------------------------------------

template <class I>
struct StreamArgs {
  int64_t rows, parts;
  Nest<I> nest;
  I part;  // units a part
  int team;
  RowOperand diag, grad_diag;
  void* log_det;
  const void* grad_log_det;
  int64_t grad_stride;
};

template <class A, class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    log_det_forward_stream(const __grid_constant__ StreamArgs<typename A::Index> s) {
  using T = compute_t<S>;
  const Team team = team_of(s.team);
  for_items(s.rows, s.parts, team, [&](bool mine, int64_t item, int64_t row, int64_t part) {
    T sum = 0;
    if (mine) {
      const Range range(s.nest.size(), s.part, part);
      sum = forward_row<A, T>(s.nest, range.begin, range.end, team,
                              A::template operand<S>(s.diag, row));
    }
    sum = team_sum(sum, team);
    if (mine && team.lane == 0) static_cast<T*>(s.log_det)[item] = sum;
  });
}

template <class A, class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    log_det_backward_stream(const __grid_constant__ StreamArgs<typename A::Index> s) {
  using T = compute_t<S>;
  const Team team = team_of(s.team);
  for_items(s.rows, s.parts, team, [&](bool mine, int64_t, int64_t row, int64_t part) {
    if (!mine) return;
    const Range range(s.nest.size(), s.part, part);
    backward_row<A>(static_cast<const T*>(s.grad_log_det)[row * s.grad_stride], s.nest, range.begin,
                    range.end, team, A::template operand<S>(s.diag, row),
                    A::template operand<S>(s.grad_diag, row));
  });
}

// ---- rows in tiles -------------------------------------------------------------------

struct TileArgs {
  int64_t rows, tiles;
  int tile_rows, team;
  Nest<int32_t> nest;
  TileRows diag, grad_diag;
  TileElements at;
  void* log_det;
  const void* grad_log_det;
  int64_t grad_stride;
};

template <class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    log_det_forward_tiles(const __grid_constant__ TileArgs t) {
  using T = compute_t<S>;
  const Team team = team_of(t.team);
  for_tiles(t.tiles, t.tile_rows, t.rows, [&](int64_t first, int rows) {
    S* diag = load_rows<S>(t.diag, first, rows);
    wait_for_copies();
    __syncthreads();
    for_tile_rows(rows, team, [&](int row, bool mine) {
      T sum = 0;
      if (mine)
        sum = forward_row<TileAccess, T>(t.nest, 0, t.nest.size(), team,
                                         in_row(diag, t.diag, t.at, row));
      sum = team_sum(sum, team);
      if (mine && team.lane == 0) static_cast<T*>(t.log_det)[first + row] = sum;
    });
    __syncthreads();
  });
}

template <class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    log_det_backward_tiles(const __grid_constant__ TileArgs t) {
  using T = compute_t<S>;
  const Team team = team_of(t.team);
  for_tiles(t.tiles, t.tile_rows, t.rows, [&](int64_t first, int rows) {
    S* diag = load_rows<S>(t.diag, first, rows);
    wait_for_copies();
    __syncthreads();
    for_tile_rows(rows, team, [&](int row, bool mine) {
      if (!mine) return;
      const auto elements = in_row(diag, t.diag, t.at, row);
      backward_row<TileAccess>(static_cast<const T*>(t.grad_log_det)[(first + row) * t.grad_stride],
                               t.nest, 0, t.nest.size(), team, elements, elements);
    });
    __syncthreads();
    store_rows(t.grad_diag, first, rows, diag);
    __syncthreads();
  });
}

// ---- on the host -------------------------------------------------------------------

struct Rows {
  RowShape shape;
  RowOperand diag, grad_diag;
};

Rows rows_of(const LogDetArgs& a) {
  Rows r;
  r.shape.rows = a.rows;
  r.shape.n[2] = a.n;
  r.diag = {const_cast<void*>(a.diag), a.dtype, {a.row_stride, 0, 0, a.stride}};
  r.grad_diag = {a.grad_diag, a.dtype, {a.n, 0, 0, 1}};
  return r;
}

template <class A, class S, bool Backward>
void launch_stream(const LogDetArgs& a, const Rows& r, int64_t parts, void* sums,
                   const Queue& queue, int64_t unit) {
  using I = typename A::Index;
  StreamArgs<I> s{a.rows,
                  parts,
                  nest_of<I>(r.shape, unit),
                  units_a_part<I>(r.shape, unit, parts),
                  1,
                  r.diag,
                  r.grad_diag,
                  parts == 1 ? a.log_det : sums,
                  a.grad_log_det,
                  a.grad_stride};
  s.team = stream_team(queue, s.part, a.rows * parts);
  launch(Backward ? log_det_backward_stream<A, S> : log_det_forward_stream<A, S>, queue,
         grid_of_teams(queue, s.team, a.rows * parts), s);
}

template <class S, bool Backward>
bool launch_tiles(const LogDetArgs& a, const Rows& r, const Queue& queue) {
  RowLayout layout;
  layout.add(r.diag, r.shape);
  if (!layout.packed()) return false;
  const TilePlan plan = plan_tiles(queue, a.rows, layout.row_bytes(), 1, a.n);
  if (plan.rows == 0) return false;
  TileArgs t{a.rows,
             plan.tiles,
             plan.rows,
             plan.team,
             nest_of<int32_t>(r.shape, 1),
             layout.rows(),
             {},
             layout.elements(r.diag),
             a.log_det,
             a.grad_log_det,
             a.grad_stride};
  size_t shared_bytes = scratch_bytes;
  t.diag.region = tile_region(plan.rows, layout.row_bytes(), shared_bytes);
  t.grad_diag = {a.grad_diag, t.diag.width, 0};
  launch(Backward ? log_det_backward_tiles<S> : log_det_forward_tiles<S>, queue,
         {persistent_blocks(queue, plan.tiles), shared_bytes}, t);
  return true;
}

template <bool Backward>
void run(const LogDetArgs& a, int64_t parts, void* sums, const Queue& queue) {
  if (a.rows == 0) return;
  const Rows r = rows_of(a);
  with_storage(a.dtype, [&](auto stored) {
    using S = typename decltype(stored)::type;
    using T = compute_t<S>;
    constexpr int n = pack_elements<S>;
    const bool packs = a.n > 0 && a.n / n < FK_SHORT_INDEX && packs_fit(r.diag, r.shape, n) &&
                       (!Backward || packs_fit(r.grad_diag, r.shape, n));
    const bool long_rows = packs && a.n * sizeof(S) >= 128;
    if (!long_rows && parts == 1 && launch_tiles<S, Backward>(a, r, queue)) return;
    if (packs) {
      launch_stream<PackAccess<n>, S, Backward>(a, r, parts, sums, queue, n);
    } else if (a.n < FK_SHORT_INDEX) {
      launch_stream<StridedAccess<int32_t, T>, T, Backward>(a, r, parts, sums, queue, 1);
    } else {
      launch_stream<StridedAccess<int64_t, T>, T, Backward>(a, r, parts, sums, queue, 1);
    }
  });
  if (Backward || parts == 1) return;
  if (a.wide == DType::f64) {
    launch_sum_parts<double>(queue, sums, a.rows, parts, a.log_det);
  } else {
    launch_sum_parts<float>(queue, sums, a.rows, parts, a.log_det);
  }
}

}  // namespace

int64_t log_det_parts(const LogDetArgs& a, const Queue& queue) {
  return parts_for(queue, a.rows, a.n);
}

void log_det_forward(const LogDetArgs& a, int64_t parts, void* sums, const Queue& queue) {
  run<false>(a, parts, sums, queue);
}

void log_det_backward(const LogDetArgs& a, int64_t parts, const Queue& queue) {
  run<true>(a, parts, nullptr, queue);
}

}  // namespace cuda
}  // namespace fk
