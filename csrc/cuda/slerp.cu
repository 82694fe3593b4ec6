// slerp and its pullback: a pair's angle is computed once, then all its points are written.
//
// Where the tensors' rows have no gaps, pairs, points and gradients go through tiles in shared
// memory, so that every element is read or written once, 16 bytes at a time; others are read
// again from the cache, once for each point in the forward and twice in the backward.
#include "slerp.h"

#include "rows.h"
#include "slerp_row.h"
#include "tile_rows.h"

namespace fk {
namespace cuda {
namespace {

// The fractions of a pair's points.
template <class T>
struct Fractions {
  const SlerpArgs& a;
  int64_t row;
  FK_DEVICE T at(int64_t j) const {
    if (a.t.base == nullptr) return static_cast<T>(a.number);
    return load_element<T>(a.t.base, a.t.dtype, row * a.t.row_stride + j * a.t.point_stride);
  }
};

template <class T>
FK_DEVICE void add(SlerpPullback<T>& total, const SlerpPullback<T>& p) {
  total.along_a += p.along_a;
  total.across_a += p.across_a;
  total.along_b += p.along_b;
  total.across_b += p.across_b;
}

// All points of a pair: `y(j)` gives the line of point j.
template <class T, class I, class A, class B, class Y>
FK_DEVICE void forward_row(const SlerpArgs& args, I d, const Team& team, bool mine, int64_t at,
                           const A& a, const B& b, Y y) {
  const SlerpRow<T> row = slerp_row<T>(mine ? d : I(0), team, a, b);
  if (!mine) return;
  const SlerpPair<T> pair = slerp_pair(row.sums, row.antipodal);
  const Fractions<T> t{args, at};
  for (int64_t j = 0; j < args.points; ++j)
    write_point(d, team, row, slerp_point(pair, t.at(j)), a, b, y(j));
}

// The gradients of a pair and its fractions: `grad(j)` gives the line of point j's gradient.
template <class T, class I, class A, class B, class Grad, class OutA, class OutB>
FK_DEVICE void backward_row(const SlerpArgs& args, I d, const Team& team, bool mine, int64_t at,
                            const A& a, const B& b, Grad grad, const OutA& out_a,
                            const OutB& out_b) {
  const SlerpRow<T> row = slerp_row<T>(mine ? d : I(0), team, a, b);
  const SlerpPair<T> pair = slerp_pair(row.sums, row.antipodal);
  const Fractions<T> t{args, at};
  const bool circle = args.d == 2;
  SlerpPullback<T> total = {}, last = {};
  for (int64_t j = 0; j < args.points; ++j) {
    T sums[2];
    sum_gradient(mine ? d : I(0), team, row, a, b, grad(j), sums);
    if (!mine) continue;
    last = slerp_pullback(pair, t.at(j), sums[0], sums[1], circle);
    add(total, last);
    if (team.lane == 0) static_cast<T*>(args.grad_t.base)[at * args.points + j] = last.grad_t;
  }
  if (!mine) return;
  // The weights depend on the fraction alone; with one point they are at hand.
  const auto weights = [&](int64_t j) {
    return args.points == 1 ? last : slerp_pullback(pair, t.at(j), T(0), T(0), circle);
  };
  write_gradients(d, team, row, total, args.points, a, b, weights, grad, out_a, out_b);
}

// ---- tiles -------------------------------------------------------------------------

struct TileArgs {
  SlerpArgs a;
  int64_t tiles;
  int tile_rows, team;
  TileRows first, second, points;
};

template <class S>
FK_DEVICE TileLine<S> line(S* tile, const TileRows& rows, int row, int64_t offset = 0) {
  return {tile + row * rows.width + offset};
}

template <class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    slerp_forward_tiles(const __grid_constant__ TileArgs t) {
  const Team team = team_of(t.team);
  const int d = t.first.width;
  for_tiles(t.tiles, t.tile_rows, t.a.rows, [&](int64_t first, int rows) {
    S* a = load_rows<S>(t.first, first, rows);
    S* b = load_rows<S>(t.second, first, rows);
    S* y = place_rows<S>(t.points, first);
    wait_for_copies();
    __syncthreads();
    for_tile_rows(rows, team, [&](int row, bool mine) {
      forward_row<compute_t<S>>(t.a, d, team, mine, first + row, line(a, t.first, row),
                                line(b, t.second, row),
                                [&](int64_t j) { return line(y, t.points, row, j * d); });
    });
    __syncthreads();
    store_rows(t.points, first, rows, y);
    __syncthreads();
  });
}

// The gradients take the places of a and b.
template <class S>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<S>>)
    slerp_backward_tiles(const __grid_constant__ TileArgs t) {
  const Team team = team_of(t.team);
  const int d = t.first.width;
  for_tiles(t.tiles, t.tile_rows, t.a.rows, [&](int64_t first, int rows) {
    S* a = load_rows<S>(t.first, first, rows);
    S* b = load_rows<S>(t.second, first, rows);
    S* g = load_rows<S>(t.points, first, rows);
    wait_for_copies();
    __syncthreads();
    for_tile_rows(rows, team, [&](int row, bool mine) {
      const auto line_a = line(a, t.first, row), line_b = line(b, t.second, row);
      backward_row<compute_t<S>>(
          t.a, d, team, mine, first + row, line_a, line_b,
          [&](int64_t j) { return line(g, t.points, row, j * d); }, line_a, line_b);
    });
    __syncthreads();
    store_rows(TileRows{t.a.grad_a.base, d, 0}, first, rows, a);
    store_rows(TileRows{t.a.grad_b.base, d, 0}, first, rows, b);
    __syncthreads();
  });
}

// ---- rows in global memory -----------------------------------------------------------

template <class T>
FK_DEVICE GlobalLine<T> line(const PointView& o, int64_t row, int64_t point = 0) {
  return {o.base, o.dtype, row * o.row_stride + point * o.point_stride, o.stride};
}

template <class T>
__global__ void __launch_bounds__(block_threads, resident_blocks<T>)
    slerp_forward_strided(const __grid_constant__ SlerpArgs a, int team_size) {
  const Team team = team_of(team_size);
  for_items(a.rows, 1, team, [&](bool mine, int64_t, int64_t row, int64_t) {
    forward_row<T>(a, a.d, team, mine, row, line<T>(a.a, row), line<T>(a.b, row),
                   [&](int64_t j) { return line<T>(a.y, row, j); });
  });
}

// Two resident blocks: with three it spills.
template <class T>
__global__ void __launch_bounds__(block_threads, 2)
    slerp_backward_strided(const __grid_constant__ SlerpArgs a, int team_size) {
  const Team team = team_of(team_size);
  for_items(a.rows, 1, team, [&](bool mine, int64_t, int64_t row, int64_t) {
    backward_row<T>(
        a, a.d, team, mine, row, line<T>(a.a, row), line<T>(a.b, row),
        [&](int64_t j) { return line<T>(a.grad_y, row, j); }, line<T>(a.grad_a, row),
        line<T>(a.grad_b, row));
  });
}

// ---- on the host -------------------------------------------------------------------

template <bool Backward, class S>
bool launch_tiles(const SlerpArgs& a, const Queue& queue) {
  const PointView& points = Backward ? a.grad_y : a.y;
  const int64_t width = a.points * a.d;
  const auto packed = [&](const PointView& o, int64_t row) {
    return o.dtype == a.a.dtype && (o.stride == 1 || a.d == 1) &&
           (o.row_stride == row || a.rows == 1);
  };
  if (!packed(a.a, a.d) || !packed(a.b, a.d) || !packed(points, width)) return false;
  if (a.points > 1 && points.point_stride != a.d) return false;
  const TilePlan plan = plan_tiles(queue, a.rows, (2 * a.d + width) * sizeof(S), 3, a.d);
  if (plan.rows == 0) return false;
  TileArgs t{a, plan.tiles, plan.rows, plan.team, {}, {}, {}};
  size_t shared_bytes = scratch_bytes;
  const auto place = [&](const PointView& o, int64_t elements) {
    return TileRows{o.base, static_cast<int>(elements),
                    tile_region(plan.rows, elements * sizeof(S), shared_bytes)};
  };
  t.first = place(a.a, a.d);
  t.second = place(a.b, a.d);
  t.points = place(points, width);
  launch(Backward ? slerp_backward_tiles<S> : slerp_forward_tiles<S>, queue,
         {persistent_blocks(queue, plan.tiles), shared_bytes}, t);
  return true;
}

template <bool Backward>
void run(const SlerpArgs& a, const Queue& queue) {
  if (a.rows == 0) return;
  bool done = false;
  with_storage(a.a.dtype, [&](auto s) {
    done = launch_tiles<Backward, typename decltype(s)::type>(a, queue);
  });
  if (done) return;
  const int team = stream_team(queue, (a.d + line_group - 1) / line_group, a.rows);
  const Grid grid = grid_of_teams(queue, team, a.rows);
  if (a.float64) {
    launch(Backward ? slerp_backward_strided<double> : slerp_forward_strided<double>, queue, grid,
           a, team);
  } else {
    launch(Backward ? slerp_backward_strided<float> : slerp_forward_strided<float>, queue, grid, a,
           team);
  }
}

}  // namespace

void slerp_forward(const SlerpArgs& a, const Queue& queue) { run<false>(a, queue); }
void slerp_backward(const SlerpArgs& a, const Queue& queue) { run<true>(a, queue); }

}  // namespace cuda
}  // namespace fk
