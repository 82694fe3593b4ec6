// The density of one row and its gradients, however the row's elements are reached:
//
//   log p(x) = log C_p(0) + M(kappa) - kappa |x - loc|^2 / 2,   M = kappa - L (log_0f1.h)
//   log p(z) = log p(psi(z)) + d log rho                        (stereographic.h)
#pragma once

#include "../math/log_0f1.h"
#include "stereographic_row.h"

namespace fk {
namespace cuda {

// A point of the sphere by its row: s_i = factor (scale x_i), then s_d = last.
template <class T>
struct VmfPoint {
  T scale, factor, rho, last, log_rho;
};

template <bool Latent, class T, class I, class X>
FK_DEVICE VmfPoint<T> vmf_point(I d, const Team& team, bool mine, const X& x) {
  if constexpr (!Latent) return {T(1), T(1), T(1), T(0), T(0)};
  const RowSums<T> sums = row_sums<false, false, T>(d, team, mine, x, x);
  const StereographicRow<T> row = stereographic_row<false>(sums);
  const StereographicPoint<T> p = stereographic_point(row);
  return {row.scale, p.factor, p.rho, p.last, p.log_rho};
}

template <bool Latent, class T>
FK_DEVICE T on_sphere(T scale, T factor, T x) {
  if constexpr (!Latent) return x;
  return factor * (scale * x);
}

// |s - loc|^2 and s.(s - loc) over the d elements that come from x.
template <class T>
struct VmfSums {
  T square, dot;
};

template <bool Latent, bool Dot, class T, class I, class X, class L>
FK_DEVICE VmfSums<T> vmf_sums(I d, const Team& team, bool mine, const X& x, const L& loc,
                              const VmfPoint<T>& p) {
  T part[2] = {T(0), T(0)};
  walk_line(mine ? d : I(0), team, [&](const LinePlace<I>& place) {
    T v[line_group], m[line_group];
    load_line(x, place, v);
    load_line(loc, place, m);
#pragma unroll
    for (int i = 0; i < line_group; ++i) {
      const T s = on_sphere<Latent>(p.scale, p.factor, v[i]), e = s - m[i];
      part[0] = fma(e, e, part[0]);
      if constexpr (Dot) part[1] = fma(s, e, part[1]);
    }
  });
  if constexpr (Dot) {
    team_sum(part, team);
  } else {
    part[0] = team_sum(part[0], team);
  }
  return {part[0], part[1]};
}

// What a row's gradients are made of: grad_x = gain (s - loc) + slope s, grad_loc = c (s - loc).
template <class T>
struct VmfGradients {
  T scale, factor;
  T gain, slope, c;
  T rest;  // s_d - loc_d
  T kappa;
};

template <bool Latent, class T>
FK_DEVICE VmfGradients<T> vmf_gradients(const VmfPoint<T>& p, const VmfSums<T>& sums, T rest, T d,
                                        T g, T kappa, T complement) {
  VmfGradients<T> out;
  out.scale = p.scale;
  out.factor = p.factor;
  out.c = g * kappa;
  out.gain = -out.c;
  out.slope = T(0);
  out.rest = rest;
  if constexpr (Latent) {
    // rho G + s (rho G_last - s.G - d g) with G = -c (s - loc)
    out.slope = out.c * sums.dot - out.c * p.rho * rest - d * g;
    out.gain *= p.rho;
  }
  out.kappa = g * (complement - (sums.square + rest * rest) * T(0.5));
  return out;
}

// A thread's share of a row's gradients; `to_loc` takes those of loc, where they are wanted.
template <bool Latent, class T, class I, class X, class L, class Out, class ToLoc>
FK_DEVICE void vmf_write(I d, const Team& team, const VmfGradients<T>& grads, const X& x,
                         const L& loc, const Out& grad_x, ToLoc to_loc) {
  walk_line(d, team, [&](const LinePlace<I>& place) {
    T v[line_group], m[line_group];
    load_line(x, place, v);
    load_line(loc, place, m);
#pragma unroll
    for (int i = 0; i < line_group; ++i) {
      const T s = on_sphere<Latent>(grads.scale, grads.factor, v[i]), e = s - m[i];
      v[i] = fma(grads.gain, e, grads.slope * s);
      m[i] = grads.c * e;
    }
    store_line(grad_x, place, v);
    to_loc(place, m);
  });
}

// A function of the concentrations: one for all rows, computed once a thread, or one each.
template <class T, class Function>
class OfKappa {
 public:
  FK_DEVICE OfKappa(const RowView& kappa, Function function)
      : kappa_(kappa), function_(function), shared_{T(0), T(0)} {
    if (kappa.row_stride == 0) shared_ = compute(0);
  }
  struct Both {
    T kappa, value;
  };
  FK_DEVICE Both at(int64_t row) const { return kappa_.row_stride == 0 ? shared_ : compute(row); }

 private:
  FK_DEVICE Both compute(int64_t row) const {
    const T k = load_element<T>(kappa_.base, kappa_.dtype, row * kappa_.row_stride);
    return {k, k >= T(0) ? function_(k) : T(NAN)};
  }
  const RowView& kappa_;
  Function function_;
  Both shared_;
};

}  // namespace cuda
}  // namespace fk
