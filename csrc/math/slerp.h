// Spherical linear interpolation and its pullback.
//
// For directions a^ = a/|a|, b^ = b/|b| at angle w,
//
//   y(t) = a^ cos(t w) + e sin(t w),   e = the direction of the component of b orthogonal to a.
//
// This equals sin((1-t) w)/sin(w) a^ + sin(t w)/sin(w) b^ (Shoemake, Animating rotation with
// quaternion curves, SIGGRAPH 1985) without its cancellation.  It does not depend on |a|, |b|.
//
// The orthogonal component is computed in two steps, r = b - step a and then r - slope a.  The
// first rounds only the small difference, so |r| and e are accurate at angles near 0 and pi.
// The angle is atan2(|r|, ...); near pi its complement is computed instead, and sin(t w) from
// the complement.
//
// Pullback, with G the gradient of y, e_y and e_b the tangents of the arc at y and b, and
// G' = G minus its components along a^ and e:
//
//   |a| g_a = w0 G' + (1-t) (G.e_y) e,   |b| g_b = w1 G' + t (G.e_y) e_b,   g_t = w (G.e_y),
//   w0 = sin((1-t) w)/sin(w), w1 = sin(t w)/sin(w); 1-t and t at w = 0.
//
// Opposite directions have no unique arc.  There, e is the component orthogonal to a^ of the
// unit vector of the (first) axis k with the smallest |a_k|; the arc depends only on a.
//
// Domain: lengths whose squares are normal numbers; |t w| within the range of sincos.  If a or
// b is 0, all results are 0.
#pragma once

#include "elementary.h"

FK_BEGIN

#if defined(__FMA__) || defined(__CUDA_ARCH__) || defined(__aarch64__)
constexpr bool slerp_fused = true;
#else
constexpr bool slerp_fused = false;
#endif

// The multiple of a that the first step subtracts from b, from aa = a.a and ab = a.b.
template <class V>
FK_HD V slerp_step(V aa, V ab) {
  return select(aa == real<V>(0.0), real<V>(0.0), ab / aa);
}

// The upper half of the mantissa; the product of two such numbers is exact.
template <class V>
FK_HD V slerp_upper(V x) {
  const V c = x * real<V>(is_single<V> ? 4097.0 : 134217729.0);
  return c - (c - x);
}

// An element after the first step: b - step a, by FMA, or with the exact product (Dekker, A
// floating-point technique for extending the available precision, 1971).
template <class V>
FK_HD V slerp_residual(V step, V a, V b) {
  if constexpr (slerp_fused) return fma(-step, a, b);
  const V p = step * a;
  const V step_high = slerp_upper(step), a_high = slerp_upper(a);
  const V step_low = step - step_high, a_low = a - a_high;
  const V error =
      ((step_high * a_high - p) + step_high * a_low + step_low * a_high) + step_low * a_low;
  return (b - p) - error;
}

// A pair's sums: a.a, a.b, and a.r and r.r with the residual r.  For an antipodal pair r is
// the unit vector of the axis.
template <class V>
struct SlerpSums {
  V aa, ab, ar, rr;
};

// Whether the angle is far enough from 0 and pi that r.r = b.b - step a.b does not cancel.  Then
// a.r is 0 up to rounding, and G.r = G.b - step G.a.
template <class V>
FK_HD mask_t<V> slerp_oblique(V bb, V rr) {
  return rr > real<V>(0.5) * bb;
}

// Whether r is so nearly parallel to a that |r|^2 - (a.r)^2/|a|^2 cancels.  Then the second
// residual, r - (a.r / a.a) a, replaces r.
template <class V>
FK_HD mask_t<V> slerp_degenerate(const SlerpSums<V>& s) {
  const V across = s.rr - s.ar * (s.ar / s.aa);
  return across <= real<V>(Range<scalar_t<V>>::slerp_along) * s.rr;
}

// Whether the component of b orthogonal to a is too small to define a direction.
template <class V>
FK_HD mask_t<V> slerp_parallel(const SlerpSums<V>& s) {
  const V limit = real<V>(Range<scalar_t<V>>::slerp_parallel);
  return s.rr - s.ar * (s.ar / s.aa) <= limit * s.ab * (s.ab / s.aa);
}

template <class V>
struct SlerpPair {
  V inverse_a, inverse_b;  // 1/|a|, 1/|b|; 0 if a or b is 0; inverse_b = 0 if antipodal
  V slope;                 // e = (r - slope a) inverse_n
  V inverse_n;             // 0 if parallel
  V sine, cosine;          // of w
  V inverse_sine;
  V omega, complement;  // w and pi - w
  V tilt;               // r.a^
  mask_t<V> parallel, antipodal;
};

template <class V>
FK_HD SlerpPair<V> slerp_pair(const SlerpSums<V>& s, mask_t<V> antipodal) {
  const V zero = real<V>(0.0), one = real<V>(1.0), pi = real<V>(3.14159265358979323846);
  const V aa = select(s.aa == zero, one, s.aa);
  const V inverse_aa = one / aa;
  SlerpPair<V> p;
  p.slope = s.ar * inverse_aa;
  const V nn = max(s.rr - s.ar * p.slope, zero);
  const V bb = nn + s.ab * (s.ab * inverse_aa);
  const mask_t<V> none = (s.aa == zero) | (bb == zero);
  const V n = sqrt(nn), length_a = sqrt(aa), length_b = sqrt(bb);
  p.antipodal = antipodal;
  p.parallel = none | (nn == zero);
  p.inverse_a = select(none, zero, length_a * inverse_aa);
  p.inverse_b = select(none | antipodal, zero, one / length_b);
  p.inverse_n = select(p.parallel, zero, one / n);
  p.tilt = s.ar * p.inverse_a;
  p.sine = n * p.inverse_b;
  p.inverse_sine = length_b * p.inverse_n;
  p.cosine = s.ab * p.inverse_a * p.inverse_b;
  const mask_t<V> obtuse = s.ab < zero;
  V acute = atan2_quadrant(n * length_a, abs(s.ab));
  acute = select(none | antipodal, zero, acute);
  p.omega = select(obtuse, pi - acute, acute);
  p.complement = select(obtuse, acute, pi - acute);
  return p;
}

// sin and cos of the fraction t (1 - t = u) of the angle.
template <class V>
FK_HD void slerp_sincos(const SlerpPair<V>& p, V t, V u, V& sine, V& cosine) {
  V angle = t * p.omega;
  const mask_t<V> beyond = angle > real<V>(1.57079632679489661923);
  angle = select(beyond, p.complement + u * p.omega, angle);
  sincos(angle, sine, cosine);
  cosine = select(beyond, -cosine, cosine);
}

// y = along a + across r.
template <class V>
struct SlerpPoint {
  V along, across;
};

template <class V>
FK_HD SlerpPoint<V> slerp_point(const SlerpPair<V>& p, V t) {
  V sine, cosine;
  slerp_sincos(p, t, real<V>(1.0) - t, sine, cosine);
  SlerpPoint<V> y;
  y.across = sine * p.inverse_n;
  y.along = cosine * p.inverse_a - p.slope * y.across;
  return y;
}

// g_a = weight_a G + along_a a + across_a r, and g_b likewise.
template <class V>
struct SlerpPullback {
  V weight_a, along_a, across_a;
  V weight_b, along_b, across_b;
  V grad_t;
};

// From G.a and G.r.  On a circle (D = 2) G' is 0; its rounding error must not be amplified.
template <class V>
FK_HD SlerpPullback<V> slerp_pullback(const SlerpPair<V>& p, V t, V ga, V gr, bool circle) {
  const V one = real<V>(1.0), zero = real<V>(0.0);
  const V u = one - t;
  V sine, cosine, rest_sine, rest_cosine;
  slerp_sincos(p, t, u, sine, cosine);
  slerp_sincos(p, u, t, rest_sine, rest_cosine);
  V w0 = select(p.parallel, u, rest_sine * p.inverse_sine);
  V w1 = select(p.parallel, t, sine * p.inverse_sine);
  w0 = select(p.antipodal, cosine - sine * p.tilt * p.inverse_n, w0);
  w1 = select(p.antipodal, zero, w1);
  if (circle) {
    w0 = select(p.parallel, w0, zero);
    w1 = select(p.parallel, w1, zero);
  }
  const V g_a = ga * p.inverse_a;
  const V g_e = (gr - p.slope * ga) * p.inverse_n;
  const V g_y = g_e * cosine - g_a * sine;

  SlerpPullback<V> out;
  out.weight_a = p.inverse_a * w0;
  out.across_a = p.inverse_a * p.inverse_n * (select(p.antipodal, one, u) * g_y - w0 * g_e);
  out.along_a = -out.weight_a * g_a * p.inverse_a - p.slope * out.across_a;
  out.weight_b = p.inverse_b * w1;
  out.across_b = p.inverse_b * p.inverse_n * (t * g_y * p.cosine - w1 * g_e);
  out.along_b = -p.inverse_b * p.inverse_a * (w1 * g_a + t * g_y * p.sine) - p.slope * out.across_b;
  out.grad_t = p.omega * g_y;
  return out;
}

FK_END
