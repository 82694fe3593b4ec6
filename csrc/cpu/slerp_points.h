// From sums to coefficients: what slerp's loops for long and for short rows share.
#pragma once

#include <stdlib.h>

#include "../math/slerp.h"
#include "columns.h"
#include "slerp.h"

FK_BEGIN
namespace loops {

// A pair's sums (see SlerpSums) and what has become of it.
template <class T>
struct SlerpPairSums {
  SlerpSums<T> sums;
  // How r comes from a and b: regularly b - step a; a second residual, r - refine a; the
  // unit vector of an axis for antipodal pairs; 0 for parallel ones.
  enum { regular, refined, parallel, antipodal } kind;
  T step, refine;
  int64_t axis;

  FK_HD T residual(int64_t i, T a, T b) const {
    if (kind == antipodal) return i == axis ? T(1) : T(0);
    if (kind == parallel) return T(0);
    const T r = slerp_residual(step, a, b);
    return kind == refined ? slerp_residual(refine, a, r) : r;
  }
};

// Decides on a pair whose first residual lies along a.  `sum_residual(pair)` sums a.r and
// r.r anew; `smallest(value)` finds the smallest |a_i|.
template <class T, class SumResidual, class Smallest>
void settle(SlerpPairSums<T>& p, SumResidual sum_residual, Smallest smallest) {
  if (!slerp_parallel(p.sums)) {
    p.kind = p.refined;
    p.refine = p.sums.ar / p.sums.aa;
    sum_residual(p);
    if (!slerp_degenerate(p.sums) && !slerp_parallel(p.sums)) return;
  }
  p.kind = p.sums.ab < T(0) ? p.antipodal : p.parallel;
  p.sums.ar = p.sums.rr = T(0);
  if (p.kind == p.antipodal) {
    p.axis = smallest(p.sums.ar);
    p.sums.rr = T(1);
  }
}

// Arrays with a value for each point of a block: the pair's sums (repeated where a pair has
// several points), its fractions, and the coefficients made of them.
template <class T>
class SlerpPoints {
  using V = Vec<T>;

 public:
  enum Field {
    aa,
    ab,
    ar,
    rr,
    antipodal,
    t,
    ga,
    gr,
    weight_a,
    along_a,
    across_a,
    weight_b,
    along_b,
    across_b,
    grad_t,
    fields
  };

  explicit SlerpPoints(int64_t points)
      : capacity_((points + lanes_v<V> - 1) / lanes_v<V> * lanes_v<V>),
        memory_(static_cast<T*>(calloc(static_cast<size_t>(fields * capacity_), sizeof(T)))) {}
  ~SlerpPoints() { free(memory_); }
  SlerpPoints(const SlerpPoints&) = delete;
  SlerpPoints& operator=(const SlerpPoints&) = delete;

  T* operator[](Field f) const { return memory_ + f * capacity_; }

  void set_pair(int64_t i, const SlerpPairSums<T>& p) {
    (*this)[aa][i] = p.sums.aa;
    (*this)[ab][i] = p.sums.ab;
    (*this)[ar][i] = p.sums.ar;
    (*this)[rr][i] = p.sums.rr;
    (*this)[antipodal][i] = p.kind == p.antipodal ? T(1) : T(0);
  }

  // Reads the fractions of `rows` pairs.
  void fetch_fractions(const SlerpArgs& a, int64_t row, int rows) {
    T* to = (*this)[t];
    with_reader<T>(source(a.t), [=](auto read) {
      for (int r = 0; r < rows; ++r)
        for (int64_t j = 0; j < a.points; ++j)
          to[r * a.points + j] = read((row + r) * a.t.row_stride + j * a.t.point_stride);
    });
  }

  // y = along_a a + across_a r.
  void make_points(int64_t points) {
    for_each(points, [&](int64_t i, const SlerpPair<V>& pair) {
      const SlerpPoint<V> y = slerp_point(pair, get(t, i));
      set(along_a, i, y.along);
      set(across_a, i, y.across);
    });
  }

  // From G.a and G.r; see SlerpPullback.
  void make_pullbacks(int64_t points, bool circle) {
    for_each(points, [&](int64_t i, const SlerpPair<V>& pair) {
      const SlerpPullback<V> g = slerp_pullback(pair, get(t, i), get(ga, i), get(gr, i), circle);
      set(weight_a, i, g.weight_a);
      set(along_a, i, g.along_a);
      set(across_a, i, g.across_a);
      set(weight_b, i, g.weight_b);
      set(along_b, i, g.along_b);
      set(across_b, i, g.across_b);
      set(grad_t, i, g.grad_t);
    });
  }

  FK_HD V get(Field f, int64_t i) const { return load<V>((*this)[f] + i); }
  FK_HD void set(Field f, int64_t i, V v) const { store<V>((*this)[f] + i, v); }

 private:
  // Whole vectors: lanes past the last point hold anything.
  template <class Body>
  FK_HD void for_each(int64_t points, Body body) const {
    for (int64_t i = 0; i < points; i += lanes_v<V>) {
      const SlerpSums<V> sums{get(aa, i), get(ab, i), get(ar, i), get(rr, i)};
      body(i, slerp_pair(sums, get(antipodal, i) != V(T(0))));
    }
  }

  int64_t capacity_;
  T* memory_;
};

}  // namespace loops
FK_END
