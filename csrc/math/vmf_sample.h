// The cosine w = loc.x of a von Mises-Fisher draw on S^(p-1), n = p - 1, and its pathwise
// derivative.
//
// Rejection from a beta-like envelope: Ulrich, Computer Generation of Distributions on the
// m-Sphere (1984); Wood, Simulation of the von Mises Fisher Distribution (1994).  With
//   c = sqrt(4 kappa^2 + n^2), b = n / (2 kappa + c), 4 a = n + 2 kappa + c,
// and e ~ Beta(n/2, n/2), s = 2 a b / (1 - (1 - b) e), the proposal
//   1 - w = 2 b e / (1 - (1 - b) e)  is accepted if  n log(s / n) - s + 4 a b / (1 + b) > log U.
// b must have this exact form: its Taylor series n / (4 kappa) gives a wrong distribution.
//
// e = (1 + r cos f) / 2 with 1 - r^2 = U^(2/(n-1)), f uniform (Ulrich): e and 1 - e keep their
// relative accuracy, and so do 1 - w and 1 + w.
#pragma once

#include "bessel_ratio.h"
#include "philox.h"

FK_BEGIN

// 1 - w and 1 + w.
template <class V>
struct VmfCosine {
  V below, above;
};

template <class V>
FK_HD V greater_of_zero(V x) {
  return max(x, V(0.0));
}

// V: double or a vector of them.
template <class V>
FK_HD VmfCosine<V> vmf_sample_cosine(V kappa, double n_, words_t<V> row_low, words_t<V> row_high,
                                     words_t<V> key_low, words_t<V> key_high) {
  using W = words_t<V>;
  const V n(n_), one(1.0);
  const V c = sqrt(V(4.0) * kappa * kappa + n * n);
  const V b = n / (kappa + kappa + c);
  const V two_ab = V(0.5) * (n + kappa + kappa + c) * b;
  const V top = (two_ab + two_ab) / (one + b);
  const V power(n_ > 1 ? 2 / (n_ - 1) : INFINITY);
  const W zero = row_low ^ row_low;
  VmfCosine<V> taken = {};
  mask_t<V> pending = kappa == kappa;
  for (uint32_t round = 0; round < Range<double>::sample_rounds; ++round) {
    W a0 = zero + 2 * round, a1 = row_low, a2 = row_high, a3 = zero + uint32_t(Stream::cosine);
    W b0 = zero + (2 * round + 1), b1 = row_low, b2 = row_high, b3 = a3;
    philox(a0, a1, a2, a3, key_low, key_high);
    philox(b0, b1, b2, b3, key_low, key_high);
    const V log_gap = log(uniform<V>(a0, a1)) * power;
    const V r = sqrt(-expm1(log_gap));
    V sine, cosine;
    sincos(uniform<V>(a2, a3) * V(3.14159265358979323846), sine, cosine);
    // 1 -+ r cos f without cancellation; sine and cosine are those of f / 2
    const V lost = exp(log_gap) / (one + r), two_r = r + r;
    const V not_e = V(0.5) * (lost + two_r * sine * sine);
    const V e = V(0.5) * (lost + two_r * cosine * cosine);
    const V inverse = one / (not_e + b * e);
    const V s = two_ab * inverse;
    const mask_t<V> accept = n * log(s / n) - s + top > log(uniform<V>(b0, b1));
    taken.below = select(pending, V(2.0) * b * e * inverse, taken.below);
    taken.above = select(pending, V(2.0) * not_e * inverse, taken.above);
    pending = pending & !accept;
    if (!any(pending)) break;
  }
  taken.below = select(kappa == kappa, taken.below, kappa);
  return taken;
}

// The derivative of w in kappa at a fixed quantile F(w; kappa), the pathwise derivative:
//   dw/dkappa = s^2 slope,  d^2w/dkappa^2 = s^2 bend,  s = sin(theta), w = cos(theta).
//
// w' = -F_kappa / f, and with f's density g(theta) = exp(kappa cos) sin^(n-1) of theta
//   slope = int_theta^pi (A - cos t) g(t) dt / (s g(theta)), or the integral from 0 to theta of
//   (cos t - A) g; the integral on the side of theta away from A has a positive integrand;
//   w'' = -2 (w - A) w' - (kappa - (n-2) w / s^2) w'^2 - int ((cos t - A)^2 - A') g s / g(theta).
// Gauss-Legendre quadrature, truncated where g has decreased by e^-50.
template <class V>
FK_HD void vmf_cosine_path(const BesselPlan<double>& plan, V kappa, double n_, VmfCosine<V> at,
                           V& slope, V& bend) {
  const V n1(n_ - 1), w = V(0.5) * (at.above - at.below);
  const V s = max(sqrt(at.below * at.above), V(Range<double>::sample_smallest));
  const V complement = bessel_ratio_complement(plan, kappa), rate = bessel_ratio_slope(plan, kappa);
  const mask_t<V> inner = at.below < complement;
  const V side = select(inner, V(-1.0), V(1.0)), cotangent = w / s;
  const V room = atan2(s, select(inner, w, -w));
  const V curvature = greater_of_zero(kappa * w + n1 / (s * s));
  const V fall = greater_of_zero(side * (kappa * s - n1 * cotangent));
  const V reach = min(V(100.0) / max(fall + sqrt(fall * fall + V(100.0) * curvature),
                                     V(Range<double>::sample_smallest)),
                      room);
  V first(0.0), second(0.0);
  for (int i = 0; i < quadrature_nodes; ++i) {
    const bool mirrored = 2 * i >= quadrature_nodes;
    const int j = mirrored ? quadrature_nodes - 1 - i : i;
    const V node(mirrored ? 1 - quadrature_node(j) : quadrature_node(j));
    V sine, cosine;  // of half the step
    sincos(V(0.5) * side * reach * node, sine, cosine);
    const V drop = V(-2.0) * sine * (s * cosine + w * sine);
    const V log_sine = log1p(V(2.0) * sine * (cotangent * cosine - sine));
    const V g = V(quadrature_weight(j)) * exp(kappa * drop + n1 * log_sine);
    const V distance = drop + (complement - at.below);
    first += g * abs(distance);
    second += g * (distance * distance - rate);
  }
  const V step = reach / s;
  slope = first * step;
  bend = V(-2.0) * slope * (complement - at.below) -
         slope * slope * (kappa * s * s - (n1 - V(1.0)) * w) - side * step * second;
}

FK_END
