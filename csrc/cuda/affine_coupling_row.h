// Affine coupling of a row, however its elements are reached (access.h).
#pragma once

#include "../math/affine_coupling.h"
#include "access.h"

namespace fk {
namespace cuda {
namespace {

template <class T>
struct Coupling {
  ScaleFn scale_fn;
  bool shifts_before, inverse;
  CouplingConstants<T> constants;
};

template <class T>
FK_DEVICE Coupling<T> coupling_of(const CouplingOptions& o) {
  return {o.scale_fn, coupling_shifts_before(o.shift_first, o.inverse), o.inverse,
          coupling_constants<T>(o)};
}

template <ScaleFn F, class T, int N>
FK_DEVICE void scales_by(const Coupling<T>& c, const T (&raw)[N], CouplingScale<T> (&out)[N]) {
#pragma unroll
  for (int m = 0; m < N; ++m) out[m] = coupling_scale<F>(raw[m], c.constants);
}

// The choice is the same for all threads: a branch for N elements costs next to nothing,
// kernels for every choice would be hundreds.
template <class T, int N>
FK_DEVICE void scales(const Coupling<T>& c, const T (&raw)[N], CouplingScale<T> (&out)[N]) {
  switch (c.scale_fn) {
#define FK_SCALES_BY(F) \
  case ScaleFn::F:      \
    return scales_by<ScaleFn::F>(c, raw, out);
    FK_SCALE_FUNCTIONS(FK_SCALES_BY)
#undef FK_SCALES_BY
  }
}

// Log-dets that are wanted as a sum only, and the gradient of such a sum.
struct SummedLogDet {
  struct Loaded {
    template <class T, int G>
    FK_DEVICE void put(int, const T (&)[G]) {}
  };
  template <class Place>
  FK_DEVICE void store(const Place&, const Loaded&) const {}
};
template <class T>
struct SharedGradient {
  T value;
  template <int G>
  FK_DEVICE void get(int, T (&v)[G]) const {
#pragma unroll
    for (int m = 0; m < G; ++m) v[m] = value;
  }
  template <class Place>
  FK_DEVICE const SharedGradient& load(const Place&) const {
    return *this;
  }
};

// Writes this thread's share of y and of the elements' log-dets, and returns its share of their
// sum.
template <class A, class T, class X, class P, class L>
FK_DEVICE T forward_row(const Coupling<T>& c, const Nest<typename A::Index>& nest,
                        typename A::Index begin, typename A::Index end, const ThreadGroup& threads,
                        const X& x, const P& shift, const P& raw, const X& y, const L& log_det) {
  constexpr int G = X::Loaded::G;
  T total = 0;
  A::walk(nest, begin, end, threads, [&](const typename A::Place& place) {
    auto x_y = x.load(place);
    const auto t = shift.load(place), r = raw.load(place);
    typename L::Loaded logs;
#pragma unroll
    for (int group = 0; group < A::N / G; ++group) {
      T vx[G], vt[G], vr[G];
      x_y.get(group, vx);
      t.get(group, vt);
      r.get(group, vr);
      CouplingScale<T> s[G];
      scales(c, vr, s);
      T sum = 0;
#pragma unroll
      for (int m = 0; m < G; ++m) {
        vx[m] = coupling_apply(vx[m], vt[m], s[m].s, c.shifts_before, c.inverse);
        sum += place.holds(group * G + m) ? s[m].log_s : T(0);
        vr[m] = c.inverse ? -s[m].log_s : s[m].log_s;
      }
      x_y.put(group, vx);
      logs.put(group, vr);
      total += sum;
    }
    y.store(place, x_y);
    log_det.store(place, logs);
  });
  return c.inverse ? -total : total;
}

template <class A, class T, class X, class P, class L>
FK_DEVICE void backward_row(const Coupling<T>& c, const L& grad_log_det,
                            const Nest<typename A::Index>& nest, typename A::Index begin,
                            typename A::Index end, const ThreadGroup& threads, const X& x,
                            const P& shift, const P& raw, const X& grad_y, const X& grad_x,
                            const P& grad_shift, const P& grad_raw) {
  constexpr int G = X::Loaded::G;
  A::walk(nest, begin, end, threads, [&](const typename A::Place& place) {
    const auto vx = x.load(place);
    auto t = typename P::Loaded{}, r = raw.load(place);
    auto g = grad_y.load(place);
    if (c.shifts_before) t = shift.load(place);
    const auto logs = grad_log_det.load(place);
#pragma unroll
    for (int group = 0; group < A::N / G; ++group) {
      T ax[G], at[G], ar[G], ag[G], al[G];
      vx.get(group, ax);
      t.get(group, at);
      r.get(group, ar);
      g.get(group, ag);
      logs.get(group, al);
      CouplingScale<T> s[G];
      scales(c, ar, s);
#pragma unroll
      for (int m = 0; m < G; ++m) {
        const CouplingGradients<T> grad =
            coupling_pullback(ag[m], al[m], ax[m], at[m], s[m], c.shifts_before, c.inverse);
        ag[m] = grad.x;
        at[m] = grad.shift;
        ar[m] = grad.raw;
      }
      g.put(group, ag);
      t.put(group, at);
      r.put(group, ar);
    }
    grad_x.store(place, g);
    grad_shift.store(place, t);
    grad_raw.store(place, r);
  });
}

template <class A, class X>
FK_DEVICE void copy_row(const Nest<typename A::Index>& nest, typename A::Index begin,
                        typename A::Index end, const ThreadGroup& threads, const X& from,
                        const X& to) {
  A::walk(nest, begin, end, threads,
          [&](const typename A::Place& place) { to.store(place, from.load(place)); });
}

}  // namespace
}  // namespace cuda
}  // namespace fk
