// A pair of vectors, its angle, the points of its arc and their gradients (math/slerp.h),
// however the vectors' elements are reached.
#pragma once

#include "../math/slerp.h"
#include "line.h"

namespace fk {
namespace cuda {

// A pair's sums, and how r, b's part across a, comes from its elements: b - step a, less
// refine a; where nothing is across, the unit vector of `axis`, or 0 where that is < 0.
template <class T>
struct SlerpRow {
  SlerpSums<T> sums;
  T step, refine;
  int64_t axis;
  bool lost, antipodal;

  FK_DEVICE T residual(int64_t i, T a, T b) const {
    if (lost) return i == axis ? T(1) : T(0);
    return slerp_residual(refine, a, slerp_residual(step, a, b));
  }
};

// Calls body(place, a's elements, r's): where there is no element both are 0.
template <class T, class I, class A, class B, class Body>
FK_DEVICE void walk_pair(I d, const Team& team, const SlerpRow<T>& row, const A& a, const B& b,
                         Body body) {
  walk_line(d, team, [&](const LinePlace<I>& place) {
    T va[line_group], vr[line_group];
    load_line(a, place, va);
    load_line(b, place, vr);
#pragma unroll
    for (int m = 0; m < line_group; ++m)
      vr[m] = place.holds(m) ? row.residual(place.at(m), va[m], vr[m]) : T(0);
    body(place, va, vr);
  });
}

// a.r and r.r.
template <class T, class I, class A, class B>
FK_DEVICE void sum_residual(I d, const Team& team, const SlerpRow<T>& row, const A& a, const B& b,
                            T (&sums)[2]) {
  sums[0] = sums[1] = T(0);
  walk_pair(d, team, row, a, b,
            [&](const LinePlace<I>&, const T(&va)[line_group], const T(&vr)[line_group]) {
#pragma unroll
              for (int m = 0; m < line_group; ++m) {
                sums[0] = fma(va[m], vr[m], sums[0]);
                sums[1] = fma(vr[m], vr[m], sums[1]);
              }
            });
  team_sum(sums, team);
}

// The first of a's elements that are smallest in magnitude.
template <class T, class I, class A>
FK_DEVICE int64_t smallest_axis(I d, const Team& team, const A& a) {
  T least = T(INFINITY);
  double at = static_cast<double>(d);
  walk_line(d, team, [&](const LinePlace<I>& place) {
#pragma unroll
    for (int m = 0; m < line_group; ++m) {
      if (!place.holds(m)) continue;
      const T v = abs(static_cast<T>(a.get(place.at(m))));
      if (v < least) {
        least = v;
        at = static_cast<double>(place.at(m));
      }
    }
  });
  const T smallest = -team_max(-least, team);
  // Exact: no row has 2^53 elements.
  return static_cast<int64_t>(-team_max(least == smallest ? -at : -static_cast<double>(d), team));
}

// The first residual lies along a: a second one takes its place, or an axis.  Every thread
// of the block calls it, though it concerns some teams only.
template <class T, class I, class A, class B>
FK_DEVICE void settle_row(I d, const Team& team, bool along, SlerpRow<T>& row, const A& a,
                          const B& b) {
  SlerpRow<T> refined = row;
  bool lost = slerp_parallel(row.sums);
  if (along && !lost) refined.refine = row.sums.ar / row.sums.aa;
  T sums[2];
  sum_residual(d, team, refined, a, b, sums);
  refined.sums.ar = sums[0];
  refined.sums.rr = sums[1];
  lost |= slerp_parallel(refined.sums) | slerp_degenerate(refined.sums);
  const int64_t axis = smallest_axis<T>(d, team, a);
  const T value = along && axis < d ? static_cast<T>(a.get(static_cast<I>(axis))) : T(0);
  __syncthreads();  // gradients may take the place of a
  if (!along) return;
  row = refined;
  if (!lost) return;
  row.lost = true;
  row.antipodal = row.sums.ab < T(0);
  row.axis = row.antipodal ? axis : -1;
  row.sums.ar = row.antipodal ? value : T(0);
  row.sums.rr = row.antipodal ? T(1) : T(0);
}

// Every thread of the block calls it, with d = 0 where its team has no pair.
template <class T, class I, class A, class B>
FK_DEVICE SlerpRow<T> slerp_row(I d, const Team& team, const A& a, const B& b) {
  T sums[2] = {T(0), T(0)};
  walk_line(d, team, [&](const LinePlace<I>& place) {
    T va[line_group], vb[line_group];
    load_line(a, place, va);
    load_line(b, place, vb);
#pragma unroll
    for (int m = 0; m < line_group; ++m) {
      sums[0] = fma(va[m], va[m], sums[0]);
      sums[1] = fma(va[m], vb[m], sums[1]);
    }
  });
  team_sum(sums, team);
  SlerpRow<T> row = {};
  row.axis = -1;
  row.sums.aa = sums[0];
  row.sums.ab = sums[1];
  row.step = slerp_step(row.sums.aa, row.sums.ab);
  sum_residual(d, team, row, a, b, sums);
  row.sums.ar = sums[0];
  row.sums.rr = sums[1];
  const bool along = d > 0 && slerp_degenerate(row.sums);
  if (__syncthreads_or(along)) settle_row(d, team, along, row, a, b);
  return row;
}

// y = along a + across r.
template <class T, class I, class A, class B, class Y>
FK_DEVICE void write_point(I d, const Team& team, const SlerpRow<T>& row, const SlerpPoint<T>& y,
                           const A& a, const B& b, const Y& out) {
  walk_pair(d, team, row, a, b,
            [&](const LinePlace<I>& place, const T(&va)[line_group], const T(&vr)[line_group]) {
              T v[line_group];
#pragma unroll
              for (int m = 0; m < line_group; ++m) v[m] = fma(y.across, vr[m], y.along * va[m]);
              store_line(out, place, v);
            });
}

// G.a and G.r of one point; every thread of the block calls it.
template <class T, class I, class A, class B, class G>
FK_DEVICE void sum_gradient(I d, const Team& team, const SlerpRow<T>& row, const A& a, const B& b,
                            const G& grad, T (&sums)[2]) {
  sums[0] = sums[1] = T(0);
  walk_pair(d, team, row, a, b,
            [&](const LinePlace<I>& place, const T(&va)[line_group], const T(&vr)[line_group]) {
              T v[line_group];
              load_line(grad, place, v);
#pragma unroll
              for (int m = 0; m < line_group; ++m) {
                sums[0] = fma(v[m], va[m], sums[0]);
                sums[1] = fma(v[m], vr[m], sums[1]);
              }
            });
  team_sum(sums, team);
}

// A row's gradients: g_a = sum_j weight_a(j) G_j + along_a a + across_a r, and g_b likewise.
// `weights(j)` gives both weights, `grad(j)` the line of G_j.
template <class T, class I, class A, class B, class Weights, class Grad, class OutA, class OutB>
FK_DEVICE void write_gradients(I d, const Team& team, const SlerpRow<T>& row,
                               const SlerpPullback<T>& total, int64_t points, const A& a,
                               const B& b, Weights weights, Grad grad, const OutA& out_a,
                               const OutB& out_b) {
  walk_pair(d, team, row, a, b,
            [&](const LinePlace<I>& place, T(&va)[line_group], T(&vr)[line_group]) {
#pragma unroll
              for (int m = 0; m < line_group; ++m) {
                const T x = va[m], r = vr[m];
                va[m] = fma(total.along_a, x, total.across_a * r);
                vr[m] = fma(total.along_b, x, total.across_b * r);
              }
              for (int64_t j = 0; j < points; ++j) {
                const SlerpPullback<T> w = weights(j);
                T v[line_group];
                load_line(grad(j), place, v);
#pragma unroll
                for (int m = 0; m < line_group; ++m) {
                  va[m] = fma(w.weight_a, v[m], va[m]);
                  vr[m] = fma(w.weight_b, v[m], vr[m]);
                }
              }
              store_line(out_a, place, va);
              store_line(out_b, place, vr);
            });
}

}  // namespace cuda
}  // namespace fk
