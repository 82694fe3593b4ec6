// The stereographic maps and their pullbacks: two sums over a row, coefficients, one line
// through the row.  Rows without gaps go through tiles in shared memory, so that they are
// read once; others are read twice, the second time from the cache.
#include "stereographic.h"

#include "rows.h"
#include "stereographic_row.h"
#include "tile_rows.h"

namespace fk {
namespace cuda {
namespace {

// The four maps: which coefficients, S^d or R^d, forward or pullback.
template <class Coefficients, bool Inverse_, bool Pullback_>
struct Map {
  static constexpr bool inverse = Inverse_, pullback = Pullback_;
  static constexpr bool x_has_last = inverse, g_has_last = !inverse;
  static constexpr bool out_has_last = inverse == pullback;

  template <class T>
  static FK_DEVICE StereographicCoefficients<T> coefficients(const StereographicRow<T>& row) {
    return Coefficients::template coefficients<T>(row);
  }
};

// A tile's rows between the sums and the lines.
template <class T>
struct RowState {
  RowSums<T> sums;
  T gain, slope, scale;
};

// out_i = gain g_i + slope (scale x_i) for a thread's share of a row.
template <class M, class T, class I, class X, class G, class Out>
FK_DEVICE void write_line(I d, const Team& team, T gain, T slope, T scale, const X& x, const G& g,
                          const Out& out) {
  walk_line(d, team, [&](const LinePlace<I>& p) {
    T v[line_group], w[line_group];
    load_line(x, p, v);
    if constexpr (M::pullback) load_line(g, p, w);
#pragma unroll
    for (int m = 0; m < line_group; ++m) {
      v[m] = slope * (scale * v[m]);
      if constexpr (M::pullback) v[m] = fma(gain, w[m], v[m]);
    }
    store_line(out, p, v);
  });
}

// From sums to coefficients; writes what belongs to the row as a whole.
template <class M, class T, class X, class G, class Out>
FK_DEVICE StereographicCoefficients<T> finish_row(const StereographicArgs& a, int64_t row,
                                                  StereographicRow<T>& r, const X& x, const G& g,
                                                  const Out& out, bool writes) {
  r.d = static_cast<T>(a.d);
  if constexpr (M::x_has_last) r.last = x.get(a.d);
  if constexpr (M::pullback) {
    if constexpr (M::g_has_last) r.grad_last = g.get(a.d);
    r.grad_log_det =
        load_element<T>(a.grad_log_det.base, a.grad_log_det.dtype, row * a.grad_log_det.row_stride);
  }
  const StereographicCoefficients<T> c = M::coefficients(r);
  if (writes) {
    if constexpr (M::out_has_last) out.set(a.d, c.last);
    if constexpr (!M::pullback) static_cast<T*>(a.log_det.base)[row] = c.log_det;
  }
  return c;
}

// ---- tiles -------------------------------------------------------------------------

struct TileArgs {
  StereographicArgs a;
  int64_t tiles;
  int tile_rows, team;
  int state;  // where in shared memory the rows' states are
  TileRows x, grad_out, out;
};

template <class M, class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    stereographic_tiles(const __grid_constant__ TileArgs t) {
  using T = compute_t<S>;
  const StereographicArgs& a = t.a;
  const Team team = team_of(t.team);
  const int d = static_cast<int>(a.d);
  RowState<T>* states = reinterpret_cast<RowState<T>*>(shared_memory() + t.state);
  for_tiles(t.tiles, t.tile_rows, a.rows, [&](int64_t first, int rows) {
    S* x = load_rows<S>(t.x, first, rows);
    S* g = M::pullback ? load_rows<S>(t.grad_out, first, rows) : nullptr;
    // A pullback's result takes the place of x.
    S* out = M::pullback ? x : place_rows<S>(t.out, first);
    const auto line = [](S* tile, const TileRows& r, int row) {
      return TileLine<S>{tile + row * r.width};
    };
    wait_for_copies();
    __syncthreads();
    for_tile_rows(rows, team, [&](int row, bool mine) {
      const RowSums<T> sums = row_sums<M::inverse, M::pullback, T>(d, team, mine, line(x, t.x, row),
                                                                   line(g, t.grad_out, row));
      if (mine && team.lane == 0) states[row].sums = sums;
    });
    __syncthreads();
    for (int row = threadIdx.x; row < rows; row += block_threads) {
      StereographicRow<T> r = stereographic_row<M::inverse>(states[row].sums);
      const auto c = finish_row<M, T>(a, first + row, r, line(x, t.x, row),
                                      line(g, t.grad_out, row), line(out, t.out, row), true);
      states[row].gain = c.gain;
      states[row].slope = c.slope;
      states[row].scale = r.scale;
    }
    __syncthreads();
    for_tile_rows(rows, team, [&](int row, bool mine) {
      if (!mine) return;
      const RowState<T> s = states[row];
      write_line<M>(d, team, s.gain, s.slope, s.scale, line(x, t.x, row), line(g, t.grad_out, row),
                    line(out, t.out, row));
    });
    __syncthreads();
    store_rows(t.out, first, rows, out);
    __syncthreads();
  });
}

// ---- rows in global memory -----------------------------------------------------------

template <class M, class T>
__global__ void __launch_bounds__(block_threads, resident_blocks<T>)
    stereographic_strided(const __grid_constant__ StereographicArgs a, int team_size) {
  const Team team = team_of(team_size);
  for_items(a.rows, 1, team, [&](bool mine, int64_t, int64_t row, int64_t) {
    const auto line = [&](const RowView& o) {
      return GlobalLine<T>{o.base, o.dtype, row * o.row_stride, o.stride};
    };
    const auto x = line(a.x), g = line(a.grad_out), out = line(a.out);
    const RowSums<T> sums = row_sums<M::inverse, M::pullback, T>(a.d, team, mine, x, g);
    if (!mine) return;
    StereographicRow<T> r = stereographic_row<M::inverse>(sums);
    const auto c = finish_row<M, T>(a, row, r, x, g, out, team.lane == 0);
    write_line<M>(a.d, team, c.gain, c.slope, r.scale, x, g, out);
  });
}

// ---- on the host -------------------------------------------------------------------

template <class M, class S>
bool launch_tiles(const StereographicArgs& a, const Queue& queue) {
  const int64_t x_width = a.d + M::x_has_last, out_width = a.d + M::out_has_last;
  const int64_t g_width = M::pullback ? a.d + M::g_has_last : 0;
  const auto packed = [&](const RowView& o, int64_t width) {
    return (o.stride == 1 || width == 1) && (o.row_stride == width || a.rows == 1);
  };
  if (!packed(a.x, x_width) || (M::pullback && !packed(a.grad_out, g_width))) return false;
  if (M::pullback && a.grad_out.dtype != a.x.dtype) return false;
  const int64_t elements = x_width + g_width + (M::pullback ? 0 : out_width);
  const int64_t state = sizeof(RowState<compute_t<S>>);
  const TilePlan plan = plan_tiles(queue, a.rows, elements * sizeof(S) + state, 4, a.d);
  if (plan.rows == 0) return false;

  TileArgs t{a, plan.tiles, plan.rows, plan.team, static_cast<int>(scratch_bytes), {}, {}, {}};
  size_t shared_bytes = scratch_bytes + (plan.rows * state + 15) / 16 * 16;
  const auto place = [&](const RowView& o, int64_t width, bool in_shared) {
    TileRows r{o.base, static_cast<int>(width), 0};
    if (in_shared) r.region = tile_region(plan.rows, width * sizeof(S), shared_bytes);
    return r;
  };
  t.x = place(a.x, x_width, true);
  t.grad_out = place(a.grad_out, g_width, M::pullback);
  t.out = place(a.out, out_width, !M::pullback);
  launch(stereographic_tiles<M, S>, queue, {persistent_blocks(queue, plan.tiles), shared_bytes}, t);
  return true;
}

template <class M>
void run(const StereographicArgs& a, const Queue& queue) {
  if (a.rows == 0) return;
  bool done = false;
  with_storage(a.x.dtype,
               [&](auto s) { done = launch_tiles<M, typename decltype(s)::type>(a, queue); });
  if (done) return;
  const int team = stream_team(queue, (a.d + line_group - 1) / line_group, a.rows);
  const Grid grid = grid_of_teams(queue, team, a.rows);
  if (a.float64) {
    launch(stereographic_strided<M, double>, queue, grid, a, team);
  } else {
    launch(stereographic_strided<M, float>, queue, grid, a, team);
  }
}

}  // namespace

void stereographic_forward(const StereographicArgs& a, const Queue& queue) {
  run<Map<StereographicForward, false, false>>(a, queue);
}
void stereographic_backward(const StereographicArgs& a, const Queue& queue) {
  run<Map<StereographicPullback, false, true>>(a, queue);
}
void stereographic_inverse_forward(const StereographicArgs& a, const Queue& queue) {
  run<Map<StereographicInverse, true, false>>(a, queue);
}
void stereographic_inverse_backward(const StereographicArgs& a, const Queue& queue) {
  run<Map<StereographicInversePullback, true, true>>(a, queue);
}

}  // namespace cuda
}  // namespace fk
