// Affine coupling of short rows: whole rows without gaps go through shared memory, so that
// all traffic is in full 16-byte accesses whatever the rows' width and layout.
#pragma once

#include "affine_coupling_row.h"
#include "tile_rows.h"

namespace fk {
namespace cuda {
namespace {

struct TileArgs {
  int64_t rows, tiles;
  int tile_rows, group_size;
  bool in_place;  // results take the place of what they are computed from
  CouplingOptions options;
  Nest<int32_t> coupled, kept;
  TileRows x, params, grad_y, out, out_params;
  TileElements at_x, at_shift, at_raw, at_grad_y, at_out, at_out_shift, at_out_raw;
  TileElements at_kept_x, at_kept_out;
  void* log_det;
  const void* grad_log_det;
  int64_t grad_log_det_stride;
};

template <class X, class P>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<X>>)
    affine_coupling_forward_tiles(const __grid_constant__ TileArgs t) {
  using T = compute_t<X>;
  const ThreadGroup threads = thread_group(t.group_size);
  const Coupling<T> c = coupling_of<T>(t.options);
  const int32_t n = t.coupled.size(), kept = t.kept.size();
  for_tiles(t.tiles, t.tile_rows, t.rows, [&](int64_t first, int rows) {
    X* x = load_rows<X>(t.x, first, rows);
    P* params = load_rows<P>(t.params, first, rows);
    X* y = t.in_place ? x : place_rows<X>(t.out, first);
    wait_for_copies();
    __syncthreads();
    for_tile_rows(rows, threads, [&](int row, bool mine) {
      T sum = 0;
      if (mine) {
        sum = forward_row<TileAccess>(c, t.coupled, 0, n, threads, in_row(x, t.x, t.at_x, row),
                                      in_row(params, t.params, t.at_shift, row),
                                      in_row(params, t.params, t.at_raw, row),
                                      in_row(y, t.out, t.at_out, row), SummedLogDet());
        if (!t.in_place)
          copy_row<TileAccess>(t.kept, 0, kept, threads, in_row(x, t.x, t.at_kept_x, row),
                               in_row(y, t.out, t.at_kept_out, row));
      }
      sum = group_sum(sum, threads);
      if (mine && threads.lane == 0) static_cast<T*>(t.log_det)[first + row] = sum;
    });
    __syncthreads();
    store_rows(t.out, first, rows, y);
    __syncthreads();
  });
}

template <class X, class P>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<X>>)
    affine_coupling_backward_tiles(const __grid_constant__ TileArgs t) {
  using T = compute_t<X>;
  const ThreadGroup threads = thread_group(t.group_size);
  const Coupling<T> c = coupling_of<T>(t.options);
  const int32_t n = t.coupled.size(), kept = t.kept.size();
  for_tiles(t.tiles, t.tile_rows, t.rows, [&](int64_t first, int rows) {
    X* x = load_rows<X>(t.x, first, rows);
    P* params = load_rows<P>(t.params, first, rows);
    X* grad_y = load_rows<X>(t.grad_y, first, rows);
    X* grad_x = t.in_place ? grad_y : place_rows<X>(t.out, first);
    P* grad_params = t.in_place ? params : place_rows<P>(t.out_params, first);
    wait_for_copies();
    __syncthreads();
    for_tile_rows(rows, threads, [&](int row, bool mine) {
      if (!mine) return;
      const SharedGradient<T> grad_log_det{
          static_cast<const T*>(t.grad_log_det)[(first + row) * t.grad_log_det_stride]};
      backward_row<TileAccess>(
          c, grad_log_det, t.coupled, 0, n, threads, in_row(x, t.x, t.at_x, row),
          in_row(params, t.params, t.at_shift, row), in_row(params, t.params, t.at_raw, row),
          in_row(grad_y, t.grad_y, t.at_grad_y, row), in_row(grad_x, t.out, t.at_out, row),
          in_row(grad_params, t.out_params, t.at_out_shift, row),
          in_row(grad_params, t.out_params, t.at_out_raw, row));
      if (!t.in_place)
        copy_row<TileAccess>(t.kept, 0, kept, threads, in_row(grad_y, t.grad_y, t.at_kept_x, row),
                             in_row(grad_x, t.out, t.at_kept_out, row));
    });
    __syncthreads();
    store_rows(t.out, first, rows, grad_x);
    store_rows(t.out_params, first, rows, grad_params);
    __syncthreads();
  });
}

// ---- on the host -------------------------------------------------------------------

struct TileLaunch {
  TileArgs args;
  size_t shared_bytes = scratch_bytes;
  bool possible = false;
};

inline TileLaunch tile_launch(const AffineCouplingArgs& a, const LaunchContext& context,
                              bool backward) {
  TileLaunch launch;
  TileArgs& t = launch.args;
  const RowOperand& out = backward ? a.grad_x : a.y;
  // Row by row, forward: x, params -> y; backward: x, params, grad_y -> grad_x, grad_params.
  RowLayout x, params, grad_y, to, to_params;
  x.add(a.x, a.coupled);
  if (!backward) x.add(a.kept_x, a.kept);
  params.add(a.shift, a.coupled);
  params.add(a.raw, a.coupled);
  to.add(out, a.coupled);
  to.add(a.kept_y, a.kept);
  if (!(x.packed() && params.packed() && to.packed())) return launch;
  t.in_place = same_strides(a.x, out);
  if (backward) {
    grad_y.add(a.grad_y, a.coupled);
    grad_y.add(a.kept_x, a.kept);
    to_params.add(a.grad_shift, a.coupled);
    to_params.add(a.grad_raw, a.coupled);
    if (!(grad_y.packed() && to_params.packed())) return launch;
    t.in_place = same_strides(a.grad_y, out) && same_strides(a.shift, a.grad_shift);
  }
  t.in_place = t.in_place && same_strides(a.kept_x, a.kept_y);

  int64_t row_bytes = x.row_bytes() + params.row_bytes() + grad_y.row_bytes();
  if (!t.in_place) row_bytes += to.row_bytes() + to_params.row_bytes();
  const int64_t n = row_elements(a.coupled);
  const TilePlan plan = plan_tiles(context, a.coupled.rows, row_bytes, 5, n);
  if (plan.rows == 0) return launch;

  const auto place = [&](const RowLayout& layout, bool in_shared) {
    TileRows rows = layout.rows();
    if (in_shared) rows.region = tile_region(plan.rows, layout.row_bytes(), launch.shared_bytes);
    return rows;
  };
  t.rows = a.coupled.rows;
  t.tiles = plan.tiles;
  t.tile_rows = plan.rows;
  t.group_size = plan.group_size;
  t.options = a;
  t.coupled = nest_of<int32_t>(a.coupled, 1);
  t.kept = nest_of<int32_t>(a.kept, 1);
  t.x = place(x, true);
  t.params = place(params, true);
  t.at_x = x.elements(a.x);
  t.at_shift = params.elements(a.shift);
  t.at_raw = params.elements(a.raw);
  t.out = place(to, !t.in_place);
  t.at_out = to.elements(out);
  const RowLayout& kept_from = backward ? grad_y : x;
  if (backward) {
    t.grad_y = place(grad_y, true);
    t.out_params = place(to_params, !t.in_place);
    t.at_grad_y = grad_y.elements(a.grad_y);
    t.at_out_shift = to_params.elements(a.grad_shift);
    t.at_out_raw = to_params.elements(a.grad_raw);
  }
  t.at_kept_x = kept_from.elements(a.kept_x);
  t.at_kept_out = to.elements(a.kept_y);
  t.log_det = a.log_det.base;
  t.grad_log_det = a.grad_log_det.base;
  t.grad_log_det_stride = a.grad_log_det.stride[0];
  launch.possible = true;
  return launch;
}

}  // namespace
}  // namespace cuda
}  // namespace fk
