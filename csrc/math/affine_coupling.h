// The scale of an affine coupling and its derivative.
//
// The conditioner's raw output, times a gain, is r, which is mapped to a positive scale s.  The
// affine coupling is y = x s + t (or (x + t) s), and its log-det-Jacobian the sum of log s.
//
//   exp         log s = r
//   tanh        log s = b tanh(r / b)              (RealNVP: arXiv 1605.08803, sec. 3.7)
//   softclip    log s = r / (1 + |r / b|)          (as zuko's monotonic affine map)
//   atan        log s = 0.636 b atan(r / b)        (as FrEIA's clamp)
//   sigmoid     s = 1 / (1 + e^-(r + 2))           (Glow: arXiv 1807.03039, reference code)
//   inv_sigmoid s = 1 + e^-(r + 2)
//   softplus    s = min(log(1 + e^r) + 1e-3, 3)    (as nflows' bounded scale)
//   floored_sigmoid   s = 1 / (1 + e^-(r + 2)) + 1e-3   (as nflows' couplings)
//   floored_softplus  s = log(1 + e^r) + 1e-3           (as nflows' autoregressive maps)
//   shifted_softplus  s = log(1 + e^(r + c)), c = log(e - 1), so that r = 0 gives 1
//                                                  (STARFlow: arXiv 2506.06276)
//
// Domain: every finite r; b > 0.
#pragma once

#include "../args/options.h"
#include "elementary.h"

namespace fk {

// The list of scale functions; `coupling_scale` below is their mathematics.
// clang-format off
#define FK_SCALE_FUNCTIONS(X) \
  X(exp) X(tanh) X(softclip) X(atan) X(sigmoid) X(inv_sigmoid) X(softplus) X(shifted_softplus) \
  X(floored_sigmoid) X(floored_softplus)
// clang-format on
FK_OPTION(ScaleFn, FK_SCALE_FUNCTIONS)

}  // namespace fk

FK_BEGIN

template <class V>
struct CouplingScale {
  V log_s;   // log s
  V s;       // s
  V dlog_s;  // d log s / d r
};

// What is the same for all elements.
template <class V>
struct CouplingConstants {
  V bound, inverse_bound, gain;
};
template <class V, class Options>
FK_HD CouplingConstants<V> coupling_constants(const Options& o) {
  using T = scalar_t<V>;
  const T bound = static_cast<T>(o.bound);
  return {V(bound), V(T(1) / bound), V(static_cast<T>(o.gain))};
}

// The conditioner's raw output as the formulas have it.
template <ScaleFn F, class V>
FK_HD V coupling_argument(V raw, const CouplingConstants<V>& c) {
  using Limits = Range<scalar_t<V>>;
  const V r = raw * c.gain;
  if constexpr (F == ScaleFn::shifted_softplus)
    return r + real<V>(Limits::coupling_softplus_shift);
  else if constexpr (F == ScaleFn::sigmoid || F == ScaleFn::inv_sigmoid ||
                     F == ScaleFn::floored_sigmoid)
    return r + real<V>(Limits::coupling_sigmoid_shift);
  else
    return r;
}

// The first of the functions that the scale is made of, each of which takes the one before it.
template <ScaleFn F, class V>
FK_HD V coupling_first(V raw, const CouplingConstants<V>& c) {
  const V r = coupling_argument<F>(raw, c), one = real<V>(1.0);
  if constexpr (F == ScaleFn::exp) {
    return r;
  } else if constexpr (F == ScaleFn::tanh) {
    return tanh(r * c.inverse_bound);
  } else if constexpr (F == ScaleFn::softclip) {
    return ratio(one, one + abs(r * c.inverse_bound));
  } else if constexpr (F == ScaleFn::atan) {
    return atan(r * c.inverse_bound);
  } else {
    static_assert(F == ScaleFn::sigmoid || F == ScaleFn::inv_sigmoid ||
                  F == ScaleFn::floored_sigmoid || F == ScaleFn::softplus ||
                  F == ScaleFn::floored_softplus || F == ScaleFn::shifted_softplus);
    return exp(-abs(r));
  }
}

// Whether `coupling_scale` does much after that function.
FK_HD constexpr bool coupling_is_long(ScaleFn f, bool needs_log) {
  switch (f) {
    case ScaleFn::exp:
    case ScaleFn::softclip:
      return false;
    case ScaleFn::sigmoid:
    case ScaleFn::inv_sigmoid:
    case ScaleFn::floored_sigmoid:
      return needs_log;
    case ScaleFn::tanh:
    case ScaleFn::atan:
    case ScaleFn::softplus:
    case ScaleFn::floored_softplus:
    case ScaleFn::shifted_softplus:
      return true;
  }
  return false;
}

// From the conditioner's raw output and the first function of it.
template <ScaleFn F, class V>
FK_HD CouplingScale<V> coupling_scale(V raw, V first, const CouplingConstants<V>& c) {
  using Limits = Range<scalar_t<V>>;
  const V r = coupling_argument<F>(raw, c), bound = c.bound, inverse_bound = c.inverse_bound;
  const V one = real<V>(1.0);
  CouplingScale<V> out;
  if constexpr (F == ScaleFn::exp) {
    out.log_s = r;
    out.s = exp(r);
    out.dlog_s = one;
  } else if constexpr (F == ScaleFn::tanh) {
    const V u = first;
    out.log_s = bound * u;
    out.s = exp(out.log_s);
    out.dlog_s = (one - u) * (one + u);
  } else if constexpr (F == ScaleFn::softclip) {
    const V q = first;
    out.log_s = r * q;
    out.s = exp(out.log_s);
    out.dlog_s = q * q;
  } else if constexpr (F == ScaleFn::atan) {
    const V slope = real<V>(Limits::coupling_atan_slope);
    const V u = r * inverse_bound;
    out.log_s = bound * slope * first;
    out.s = exp(out.log_s);
    out.dlog_s = ratio(slope, fma(u, u, one));
  } else if constexpr (F == ScaleFn::softplus || F == ScaleFn::floored_softplus) {
    const V e = first;
    const V unclamped =
        max(r, real<V>(0.0)) + log1p_below_one(e) + real<V>(Limits::coupling_scale_floor);
    const V slope = ratio(select(r < real<V>(0.0), e, one), one + e);
    if constexpr (F == ScaleFn::softplus) {
      out.s = min(unclamped, real<V>(Limits::coupling_softplus_ceiling));
      out.dlog_s = select(unclamped <= real<V>(Limits::coupling_softplus_ceiling),
                          ratio(slope, out.s), real<V>(0.0));
    } else {
      out.s = unclamped;
      out.dlog_s = ratio(slope, out.s);
    }
    out.log_s = log(out.s);
  } else if constexpr (F == ScaleFn::shifted_softplus) {
    const V v = r, e = first;
    out.s = max(v, real<V>(0.0)) + log1p_below_one(e);
    const V slope = ratio(select(v < real<V>(0.0), e, one), one + e);
    // Far down s = e^v (1 - e^v / 2) may round to 0, whose logarithm is not that of s.
    const mask_t<V> low = v < real<V>(Limits::coupling_softplus_lowest);
    const V rest = real<V>(0.5) * e;
    out.log_s = select(low, v - rest, log(select(low, one, out.s)));
    out.dlog_s = select(low, one - rest, ratio(slope, select(low, one, out.s)));
  } else {
    static_assert(F == ScaleFn::sigmoid || F == ScaleFn::inv_sigmoid ||
                  F == ScaleFn::floored_sigmoid);
    const V v = r, e = first;
    const mask_t<V> negative = v < real<V>(0.0);
    const V inverse = ratio(one, one + e);
    const V log_s = min(v, real<V>(0.0)) - log1p_below_one(e);
    const V complement = select(negative, one, e) * inverse;
    if constexpr (F == ScaleFn::sigmoid) {
      out.log_s = log_s;
      out.s = select(negative, e, one) * inverse;
      out.dlog_s = complement;
    } else if constexpr (F == ScaleFn::inv_sigmoid) {
      out.log_s = -log_s;
      out.s = exp(-v) + one;
      out.dlog_s = -complement;
    } else {
      const V s = select(negative, e, one) * inverse;
      out.s = s + real<V>(Limits::coupling_scale_floor);
      out.log_s = log(out.s);
      out.dlog_s = ratio(s * complement, out.s);
    }
  }
  out.dlog_s = out.dlog_s * c.gain;
  return out;
}
template <ScaleFn F, class V>
FK_HD CouplingScale<V> coupling_scale(V raw, const CouplingConstants<V>& c) {
  return coupling_scale<F>(raw, coupling_first<F>(raw, c), c);
}

// Whether the shift is applied to x before the scale, as in (x + t) s and in (x - t) / s, the
// inverse of x s + t. Only then does the pullback depend on the shift.
FK_HD constexpr bool coupling_shifts_before(bool shift_first, bool inverse) {
  return shift_first != inverse;
}
// The same as a mask, with one value in every lane.
template <class V, class Options>
FK_HD mask_t<V> coupling_shifts_before(const Options& o, bool inverse) {
  using T = scalar_t<V>;
  return V(T(coupling_shifts_before(o.shift_first, inverse))) != V(T(0));
}

// What the scale is applied to: x with the shift, or x alone (adding -0 changes no number).
template <class V>
FK_HD V coupling_shifted(V x, V t, mask_t<V> before, bool inverse) {
  return x + select(before, inverse ? -t : t, real<V>(-0.0));
}
// The coupled value: (x + t) s or x s + t, or the inverse of either.
template <class V>
FK_HD V coupling_apply(V x, V t, V s, mask_t<V> before, bool inverse) {
  const V shifted = coupling_shifted(x, t, before, inverse);
  const V after = select(before, real<V>(-0.0), inverse ? -t : t);
  return inverse ? shifted / s + after : shifted * s + after;
}

template <class V>
struct CouplingGradients {
  V x, shift, raw;
};

// Pullback of y and of log s, from the gradients of both.
template <class V>
FK_HD CouplingGradients<V> coupling_pullback(V grad_y, V grad_log_s, V x, V t,
                                             const CouplingScale<V>& scale, mask_t<V> before,
                                             bool inverse) {
  CouplingGradients<V> g;
  g.x = inverse ? grad_y / scale.s : grad_y * scale.s;
  const V shift = select(before, g.x, grad_y);
  const V product = g.x * coupling_shifted(x, t, before, inverse);
  g.shift = inverse ? -shift : shift;
  g.raw = (inverse ? -product - grad_log_s : product + grad_log_s) * scale.dlog_s;
  return g;
}

FK_END
