// Log density of the von Mises-Fisher distribution, on the sphere and pulled back to R^d, and
// its gradients (vmf_row.h).  Rows of x without gaps go through tiles in shared memory, so
// that they are read once; others are read again from the cache.
//
// A loc that all rows share gets its gradient as sums over blocks of rows, each in an order
// of its own that nothing changes.
#include "vmf.h"

#include "columns.h"
#include "rows.h"
#include "tile_rows.h"
#include "vmf_row.h"

namespace fk {
namespace cuda {
namespace {

template <bool Latent, class T, class L>
FK_DEVICE T last_difference(const L& loc, int64_t d, T last) {
  if constexpr (!Latent) return T(0);
  return last - loc.get(d);
}

template <bool Latent, class T>
FK_DEVICE T density(const VmfArgs& a, T square, T rest, T log_rho, T kappa, T peak) {
  const T out = static_cast<T>(a.log_uniform) + (peak - kappa * ((square + rest * rest) * T(0.5)));
  if constexpr (!Latent) return out;
  return out + static_cast<T>(a.dim - 1) * log_rho;
}

// ---- tiles -------------------------------------------------------------------------

struct TileArgs {
  VmfArgs a;
  int64_t blocks;  // of block_rows rows
  int block_rows, tile_rows, team;
  int state, loc, columns;  // where in shared memory; loc is 0 where it is not staged
  TileRows x;
};

// A tile's rows between the phases; `grads` serves the backward only.
template <class T>
struct RowState {
  VmfPoint<T> point;
  VmfSums<T> sums;
};
template <class T>
union BackwardState {
  RowState<T> row;
  VmfGradients<T> grads;
  FK_DEVICE BackwardState() {}
};

template <bool Latent, class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    vmf_forward_tiles(const __grid_constant__ TileArgs t,
                      const __grid_constant__ BesselPlan<compute_t<S>> plan) {
  using T = compute_t<S>;
  const VmfArgs& a = t.a;
  const Team team = team_of(t.team);
  const int d = t.x.width;
  RowState<T>* states = reinterpret_cast<RowState<T>*>(shared_memory() + t.state);
  const T* staged = stage_loc<T>(a.loc, a.dim, t.loc);
  const auto peak_of = [&](T k) { return bessel_peak(plan, k); };
  const OfKappa<T, decltype(peak_of)> peak(a.kappa, peak_of);
  for_tiles(t.blocks, t.tile_rows, a.rows, [&](int64_t first, int rows) {
    S* x = load_rows<S>(t.x, first, rows);
    wait_for_copies();
    __syncthreads();
    for_tile_rows(rows, team, [&](int row, bool mine) {
      const TileLine<S> line{x + row * d};
      const LocLine<T> loc{staged, line_of<T>(a.loc, first + row)};
      const VmfPoint<T> p = vmf_point<Latent, T>(d, team, mine, line);
      const VmfSums<T> sums = vmf_sums<Latent, false>(d, team, mine, line, loc, p);
      if (mine && team.lane == 0) states[row] = {p, sums};
    });
    __syncthreads();
    for (int row = threadIdx.x; row < rows; row += block_threads) {
      const RowState<T> s = states[row];
      const LocLine<T> loc{staged, line_of<T>(a.loc, first + row)};
      const auto k = peak.at(first + row);
      static_cast<T*>(a.out)[first + row] =
          density<Latent>(a, s.sums.square, last_difference<Latent>(loc, d, s.point.last),
                          s.point.log_rho, k.kappa, k.value);
    }
    __syncthreads();
  });
}

template <bool Latent, class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    vmf_backward_tiles(const __grid_constant__ TileArgs t,
                       const __grid_constant__ BesselPlan<compute_t<S>> plan) {
  using T = compute_t<S>;
  const VmfArgs& a = t.a;
  const Team team = team_of(t.team);
  const int d = t.x.width;
  auto* states = reinterpret_cast<BackwardState<T>*>(shared_memory() + t.state);
  const T* staged = stage_loc<T>(a.loc, a.dim, t.loc);
  const auto complement_of = [&](T k) { return bessel_ratio_complement(plan, k); };
  const OfKappa<T, decltype(complement_of)> complement(a.kappa, complement_of);
  const bool each = a.grad_loc != nullptr && !a.sum_grad_loc;
  const auto tile = [&](int64_t block, int64_t first, int rows) {
    S* x = load_rows<S>(t.x, first, rows);
    const auto loc_of = [&](int64_t row) { return LocLine<T>{staged, line_of<T>(a.loc, row)}; };
    wait_for_copies();
    __syncthreads();
    for_tile_rows(rows, team, [&](int row, bool mine) {
      const TileLine<S> line{x + row * d};
      const VmfPoint<T> p = vmf_point<Latent, T>(d, team, mine, line);
      const VmfSums<T> sums = vmf_sums<Latent, Latent>(d, team, mine, line, loc_of(first + row), p);
      if (mine && team.lane == 0) states[row].row = {p, sums};
    });
    __syncthreads();
    for (int row = threadIdx.x; row < rows; row += block_threads) {
      const RowState<T> s = states[row].row;
      const int64_t at = first + row;
      const T rest = last_difference<Latent>(loc_of(at), d, s.point.last);
      const auto k = complement.at(at);
      const T g = load_element<T>(a.grad.base, a.grad.dtype, at * a.grad.row_stride);
      const VmfGradients<T> grads =
          vmf_gradients<Latent>(s.point, s.sums, rest, T(d), g, k.kappa, k.value);
      static_cast<T*>(a.grad_kappa)[at] = grads.kappa;
      if (Latent && each) static_cast<T*>(a.grad_loc)[at * a.dim + d] = grads.c * rest;
      states[row].grads = grads;
    }
    __syncthreads();
    if (a.sum_grad_loc) {
      const LocLine<T> loc = loc_of(first);
      sum_columns(static_cast<int>(a.dim), rows, reinterpret_cast<T*>(shared_memory() + t.columns),
                  static_cast<T*>(a.grad_loc) + block * a.dim, first == block * t.block_rows,
                  [&](int row, int i) {
                    const VmfGradients<T>& g = states[row].grads;
                    if (i == d) return g.c * g.rest;
                    const T s = on_sphere<Latent>(g.scale, g.factor, widen(x[row * d + i]));
                    return g.c * (s - loc.get(i));
                  });
      __syncthreads();
    }
    for_tile_rows(rows, team, [&](int row, bool mine) {
      if (!mine) return;
      const TileLine<S> line{x + row * d};
      const GlobalLine<T> to{a.grad_loc, a.wide, (first + row) * a.dim, 1};
      vmf_write<Latent>(d, team, states[row].grads, line, loc_of(first + row), line,
                        [&](const LinePlace<int>& p, const T(&v)[line_group]) {
                          if (each) store_line(to, p, v);
                        });
    });
    __syncthreads();
    store_rows(TileRows{a.grad_x, d, 0}, first, rows, x);
    __syncthreads();
  };
  for_blocks(t.blocks, t.block_rows, t.tile_rows, a.rows, tile);
}

// ---- rows in global memory -----------------------------------------------------------

template <bool Latent, class T>
__global__ void __launch_bounds__(block_threads, resident_blocks<T>)
    vmf_forward_strided(const __grid_constant__ VmfArgs a,
                        const __grid_constant__ BesselPlan<T> plan, int team_size) {
  const Team team = team_of(team_size);
  const int64_t d = a.dim - Latent;
  const auto peak_of = [&](T k) { return bessel_peak(plan, k); };
  const OfKappa<T, decltype(peak_of)> peak(a.kappa, peak_of);
  for_items(a.rows, 1, team, [&](bool mine, int64_t, int64_t row, int64_t) {
    const GlobalLine<T> x = line_of<T>(a.x, row), loc = line_of<T>(a.loc, row);
    const VmfPoint<T> p = vmf_point<Latent, T>(d, team, mine, x);
    const VmfSums<T> sums = vmf_sums<Latent, false>(d, team, mine, x, loc, p);
    if (!mine || team.lane != 0) return;
    const auto k = peak.at(row);
    static_cast<T*>(a.out)[row] = density<Latent>(
        a, sums.square, last_difference<Latent>(loc, d, p.last), p.log_rho, k.kappa, k.value);
  });
}

// A team works through the rows of a block; each thread adds to elements of its own.
template <bool Latent, class T>
__global__ void __launch_bounds__(block_threads, resident_blocks<T>)
    vmf_backward_strided(const __grid_constant__ VmfArgs a,
                         const __grid_constant__ BesselPlan<T> plan, int team_size, int64_t blocks,
                         int64_t block_rows) {
  const Team team = team_of(team_size);
  const int64_t d = a.dim - Latent;
  const auto complement_of = [&](T k) { return bessel_ratio_complement(plan, k); };
  const OfKappa<T, decltype(complement_of)> complement(a.kappa, complement_of);
  for_items(blocks, 1, team, [&](bool there, int64_t, int64_t block, int64_t) {
    for (int64_t i = 0; i < block_rows; ++i) {
      const int64_t row = block * block_rows + i;
      const bool mine = there && row < a.rows;
      const GlobalLine<T> x = line_of<T>(a.x, row), loc = line_of<T>(a.loc, row);
      const VmfPoint<T> p = vmf_point<Latent, T>(d, team, mine, x);
      const VmfSums<T> sums = vmf_sums<Latent, Latent>(d, team, mine, x, loc, p);
      if (!mine) continue;
      const T rest = last_difference<Latent>(loc, d, p.last);
      const auto k = complement.at(row);
      const T g = load_element<T>(a.grad.base, a.grad.dtype, row * a.grad.row_stride);
      const VmfGradients<T> grads = vmf_gradients<Latent>(p, sums, rest, T(d), g, k.kappa, k.value);
      if (team.lane == 0) static_cast<T*>(a.grad_kappa)[row] = grads.kappa;
      T* to = static_cast<T*>(a.grad_loc) + (a.sum_grad_loc ? block : row) * a.dim;
      const auto put = [&](int64_t at, T v) { to[at] = a.sum_grad_loc && i > 0 ? to[at] + v : v; };
      if (Latent && a.grad_loc != nullptr && team.lane == 0) put(d, grads.c * rest);
      const GlobalLine<T> grad_x{a.grad_x, a.x.dtype, row * d, 1};
      vmf_write<Latent>(d, team, grads, x, loc, grad_x,
                        [&](const LinePlace<int64_t>& place, const T(&v)[line_group]) {
                          if (a.grad_loc == nullptr) return;
#pragma unroll
                          for (int m = 0; m < line_group; ++m)
                            if (place.holds(m)) put(place.at(m), v[m]);
                        });
    }
  });
}

// ---- on the host -------------------------------------------------------------------

template <bool Backward, class T>
constexpr int64_t state_bytes = Backward ? sizeof(BackwardState<T>) : sizeof(RowState<T>);

// Tiles of x; none where its rows have gaps or are too long.
template <bool Backward, class S>
TilePlan plan_of(const VmfArgs& a, const Queue& queue) {
  const int64_t d = a.dim - a.stereographic;
  if (!(a.x.stride == 1 || d == 1) || !(a.x.row_stride == d || a.rows == 1)) return {};
  const int64_t row_bytes = d * sizeof(S) + state_bytes<Backward, compute_t<S>>;
  if (row_bytes + columns_bytes > static_cast<int64_t>(tile_bytes_limit)) return {};
  return plan_tiles(queue, a.rows, row_bytes, 2, d);
}

template <bool Latent, bool Backward, class S>
bool launch_tiles(const VmfArgs& a, const Queue& queue) {
  using T = compute_t<S>;
  const TilePlan plan = plan_of<Backward, S>(a, queue);
  if (plan.rows == 0) return false;
  const int64_t d = a.dim - Latent;
  TileArgs t{a, plan.tiles, plan.rows, plan.rows, plan.team, 0, 0, 0, {a.x.base, int(d), 0}};
  size_t shared_bytes = scratch_bytes;
  t.state = tile_region(plan.rows, state_bytes<Backward, T>, shared_bytes);
  t.x.region = tile_region(plan.rows, d * sizeof(S), shared_bytes);
  if (Backward && a.sum_grad_loc) {
    t.block_rows = static_cast<int>(a.block_rows);
    t.blocks = (a.rows + a.block_rows - 1) / a.block_rows;
    t.columns = tile_region(block_threads, sizeof(T), shared_bytes);
  }
  t.loc = loc_region(a.loc, a.dim * sizeof(T), shared_bytes);
  const auto& bessel = *static_cast<const BesselPlan<T>*>(a.plan);
  launch(Backward ? vmf_backward_tiles<Latent, S> : vmf_forward_tiles<Latent, S>, queue,
         {persistent_blocks(queue, t.blocks), shared_bytes}, t, bessel);
  return true;
}

template <bool Latent, bool Backward, class T>
void launch_strided(const VmfArgs& a, const Queue& queue) {
  const auto& bessel = *static_cast<const BesselPlan<T>*>(a.plan);
  const int64_t block_rows = Backward && a.sum_grad_loc ? a.block_rows : 1;
  const int64_t blocks = (a.rows + block_rows - 1) / block_rows;
  const int team = stream_team(queue, (a.dim + line_group - 1) / line_group, blocks);
  const Grid grid = grid_of_teams(queue, team, blocks);
  if constexpr (Backward) {
    launch(vmf_backward_strided<Latent, T>, queue, grid, a, bessel, team, blocks, block_rows);
  } else {
    launch(vmf_forward_strided<Latent, T>, queue, grid, a, bessel, team);
  }
}

template <bool Latent, bool Backward>
void run(const VmfArgs& a, const Queue& queue) {
  if (a.rows == 0) return;
  bool done = false;
  with_storage(a.x.dtype, [&](auto s) {
    done = launch_tiles<Latent, Backward, typename decltype(s)::type>(a, queue);
  });
  if (done) return;
  if (a.wide == DType::f64) {
    launch_strided<Latent, Backward, double>(a, queue);
  } else {
    launch_strided<Latent, Backward, float>(a, queue);
  }
}

}  // namespace

int64_t vmf_block(const VmfArgs& a, const Queue& queue) {
  int64_t rows = 0;
  with_storage(a.x.dtype,
               [&](auto s) { rows = plan_of<true, typename decltype(s)::type>(a, queue).rows; });
  return rows_to_sum(queue, a.rows, rows);
}

void vmf_forward(const VmfArgs& a, const Queue& queue) {
  a.stereographic ? run<true, false>(a, queue) : run<false, false>(a, queue);
}
void vmf_backward(const VmfArgs& a, const Queue& queue) {
  a.stereographic ? run<true, true>(a, queue) : run<false, true>(a, queue);
}

}  // namespace cuda
}  // namespace fk
