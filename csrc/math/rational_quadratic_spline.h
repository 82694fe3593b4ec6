// Monotonic rational-quadratic splines: Durkan et al., Neural Spline Flows (arXiv 1906.04032),
// sec. 3.1 and appendix A.1, after Gregory & Delbourgo (1982).
//
// [-B, B] is divided into K bins along x and along y, whose widths and heights are softmaxes of raw
// parameters (math/softmax_bins.h).  With s the slope h / w of a bin's chord, d0 and d1 the
// derivatives at its knots, u = (x - x_k) / w the position in it and v = 1 - u:
//
//   y       = y_k + h N / D,   N = s u^2 + d0 u v,   D = s (u^2 + v^2) + (d0 + d1) u v
//   dy / dx = s^2 E / D^2,     E = d1 u^2 + 2 s u v + d0 v^2
//
// All terms are positive: nothing cancels.  (The paper's D = s + (d0 + d1 - 2 s) u v is the same.)
//
// The inverse: with p = (y - y_k) / h and q = 1 - p, N = p D is a quadratic form in (u, v),
//
//   q s u^2 + (q d0 - p d1) u v - p s v^2 = 0,
//
// whose discriminant (q d0 - p d1)^2 + 4 s^2 p q has no negative term; the ratio u : v is taken
// from the sum of two positive terms, and u + v = 1.
//
// Outside [-B, B] the map is the identity.  Domain: every finite parameter.  0 < min_derivative
// < 1, 0 <= min_width and min_height < 1 / K.
#pragma once

#include "../args/rational_quadratic_spline.h"
#include "softmax_bins.h"

FK_BEGIN

// ---- the options as numbers of the precision of a computation --------------------

// `Fixed` as in BinConstants.
template <class T, int Fixed = 0>
struct SplineConstants {
  T bound;
  BinConstants<T, Fixed> widths, heights;
  T min_derivative, derivative_clip;
  SplineBoundary boundary;
  FK_HD int bins() const { return widths.count(); }
};

template <class T, int Fixed = 0>
FK_HD SplineConstants<T, Fixed> spline_constants(const SplineOptions& o) {
  SplineConstants<T, Fixed> c;
  const bool zuko = o.convention == SplineConvention::zuko;
  c.bound = static_cast<T>(o.bound);
  c.widths = bin_constants<T, Fixed>(o.bins, o.bound, o.scale, zuko ? 0.0 : o.min_width, o.clip);
  c.heights = bin_constants<T, Fixed>(o.bins, o.bound, o.scale, zuko ? 0.0 : o.min_height, o.clip);
  c.min_derivative = static_cast<T>(o.min_derivative);
  c.derivative_clip = static_cast<T>(0.5 * o.clip);
  c.boundary = o.boundary;
  return c;
}

// ---- derivatives at the knots ------------------------------------------------------

// d = min_derivative + softplus(r), as nflows, or exp(r / (1 + |r / log min_derivative|)), as zuko.
template <class V, class T, int Fixed>
FK_HD V knot_derivative(V raw, const SplineConstants<T, Fixed>& c) {
  if (c.derivative_clip != 0) return exp(soft_clip(raw, V(c.derivative_clip)));
  return min(V(c.min_derivative) + softplus(raw), real<V>(Range<T>::spline_steepest));
}
// Its derivative in the raw parameter.
template <class V, class T, int Fixed>
FK_HD V knot_derivative_slope(V raw, V derivative, const SplineConstants<T, Fixed>& c) {
  if (c.derivative_clip != 0) return derivative * soft_clip_slope(raw, V(c.derivative_clip));
  return sigmoid(raw);
}

// The raw derivatives are those of the inner knots, of all but the last, which has that of the
// first, or of all knots.  At the ends of a linear boundary the derivative is 1.
FK_HD constexpr int raw_derivatives(SplineBoundary boundary, int bins) {
  switch (boundary) {
    case SplineBoundary::linear:
      return bins - 1;
    case SplineBoundary::circular:
      return bins;
    case SplineBoundary::none:
      return bins + 1;
  }
  return 0;
}
FK_HD constexpr int spline_parameters(SplineBoundary boundary, int bins) {
  return 2 * bins + raw_derivatives(boundary, bins);
}
// The knot of the first raw derivative.
FK_HD constexpr int first_free_knot(SplineBoundary boundary) {
  return boundary == SplineBoundary::linear ? 1 : 0;
}

// The knots at the ends of each element's bin.
template <class V>
struct Ends {
  V left, right;
};

// The raw derivatives of a bin's ends, found knot by knot: those of the first bin, then, at each
// inner knot k that the position has reached, those of the bin after it.  Where an end has no raw
// derivative, what is there is not used.
template <class V, class T, int Fixed, class Raw>
FK_HD void raw_ends_at(const SplineConstants<T, Fixed>& c, int k, mask_t<V> reached, const Raw& raw,
                       Ends<V>& ends) {
  const int count = raw_derivatives(c.boundary, c.bins());
  const int at = k - first_free_knot(c.boundary);
  const int right = at + 1 < count ? at + 1 : c.boundary == SplineBoundary::circular ? 0 : at;
  if (at >= 0) ends.left = select(reached, raw(2 * c.bins() + at), ends.left);
  if (right >= 0) ends.right = select(reached, raw(2 * c.bins() + right), ends.right);
}
template <class V, class T, int Fixed>
FK_HD Ends<V> end_derivatives(const SplineConstants<T, Fixed>& c, V bin, const Ends<V>& raw) {
  Ends<V> d = {knot_derivative(raw.left, c), knot_derivative(raw.right, c)};
  if (c.boundary == SplineBoundary::linear) {
    const V one = real<V>(1.0);
    d.left = select(bin == real<V>(0.0), one, d.left);
    d.right = select(bin == V(static_cast<T>(c.bins() - 1)), one, d.right);
  }
  return d;
}
// Stores the gradients of the raw derivatives from those at the ends of each element's bin.
template <class V, class T, int Fixed, class Store>
FK_HD void store_end_gradients(const SplineConstants<T, Fixed>& c, V bin, const Ends<V>& grad,
                               const Store& store) {
  const int first = first_free_knot(c.boundary), count = raw_derivatives(c.boundary, c.bins());
  const V zero = real<V>(0.0), last(static_cast<T>(c.bins() - 1));
  FK_UNROLL(Fixed)
  for (int j = 0; j < count; ++j) {
    const V knot(static_cast<T>(j + first));
    V sum =
        select(bin == knot, grad.left, zero) + select(bin + real<V>(1.0) == knot, grad.right, zero);
    if (j == 0 && c.boundary == SplineBoundary::circular)
      sum += select(bin == last, grad.right, zero);
    store(2 * c.bins() + j, sum);
  }
}

// ---- a bin ----------------------------------------------------------------------------

// The curve in a bin: the slope of its chord, the derivatives at its ends, a position (u, v) and
// the forms that the head comment names, all but s divided by D.
template <class V>
struct SplineCurve {
  V slope, d0, d1, u, v;
  V inverse_d;  // 1 / D
  V fraction;   // N / D
  V e;          // E / D
};

template <class V>
FK_HD SplineCurve<V> spline_curve(V slope, const Ends<V>& d, V u, V v) {
  SplineCurve<V> c = {slope, d.left, d.right, u, v, slope, slope, slope};
  const V square_u = u * u, square_v = v * v, uv = u * v;
  c.inverse_d = ratio(real<V>(1.0), fma(slope, square_u + square_v, (d.left + d.right) * uv));
  c.fraction = fma(slope, square_u, d.left * uv) * c.inverse_d;
  c.e = fma(d.right, square_u, fma(d.left, square_v, (slope + slope) * uv)) * c.inverse_d;
  return c;
}
template <class V>
FK_HD V spline_log_slope(const SplineCurve<V>& c) {
  return log(c.slope * c.inverse_d * c.e * c.slope);
}
// The position at which the curve has climbed to the fraction p = 1 - q of the bin's height.
template <class V>
FK_HD Ends<V> spline_root(V slope, const Ends<V>& d, V p, V q) {
  const V b = q * d.left - p * d.right;
  const V root = sqrt(b * b + real<V>(4.0) * (slope * p) * (slope * q));
  const V sum = abs(b) + root;
  const mask_t<V> rising = b >= real<V>(0.0);
  const V two_slope = slope + slope;
  const V u = select(rising, two_slope * p, sum), v = select(rising, sum, two_slope * q);
  const V total = u + v;
  return {u / total, v / total};
}

// ---- the map -------------------------------------------------------------------------

template <class V>
struct SplineValue {
  V y, log_det;
};

// 0 takes the place of points outside, so that all arithmetic stays in range.
template <class V, class T, int Fixed>
FK_HD V spline_point(const SplineConstants<T, Fixed>& c, V x) {
  return select(abs(x) <= V(c.bound), x, real<V>(0.0));
}

// What a spline is at one point: its bins, where the point lies, and the curve there.
template <class V, class Array>
struct SplineAt {
  BinWeights<V, Array> widths, heights;
  FoundBins<V> found;
  Ends<V> raw, derivatives;
  V width, height;  // of the bin, in units of the total
  SplineCurve<V> curve;
};

// It takes three steps, in this order.  A processor overlaps neighbouring vectors only as far as it
// looks ahead, so that a CPU takes each step for several of them.
template <bool inverse, class V, class Array, class T, int Fixed, class Raw>
FK_HD void find_bin(SplineAt<V, Array>& at, const SplineConstants<T, Fixed>& c, V x,
                    const Raw& raw) {
  const V point = spline_point(c, x);
  auto& searched = inverse ? at.heights : at.widths;
  auto& other = inverse ? at.widths : at.heights;
  weigh_bins(at.widths, c.widths, 0, raw);
  weigh_bins(at.heights, c.heights, c.bins(), raw);
  at.raw = {real<V>(0.0), real<V>(0.0)};
  raw_ends_at(c, 0, point == point, raw, at.raw);
  at.found = find_bins(searched, other, c.widths, bin_position(searched, c.widths, point),
                       [&](int k, mask_t<V> reached)
                           FK_INLINE_LAMBDA { raw_ends_at(c, k, reached, raw, at.raw); });
  at.width = inverse ? at.found.other_width : at.found.width;
  at.height = inverse ? at.found.width : at.found.other_width;
}
template <class V, class Array, class T, int Fixed>
FK_HD void find_derivatives(SplineAt<V, Array>& at, const SplineConstants<T, Fixed>& c) {
  at.derivatives = end_derivatives(c, at.found.number, at.raw);
}
template <bool inverse, class V, class Array, class T, int Fixed>
FK_HD void find_curve(SplineAt<V, Array>& at, const SplineConstants<T, Fixed>& c, V x) {
  const V slope =
      ratio(at.height, at.width) * ratio(value(at.widths.total), value(at.heights.total));
  // The ends of the interval are exact, however steep the curve is there.
  const V zero = real<V>(0.0), one = real<V>(1.0), bound(c.bound), point = spline_point(c, x);
  const mask_t<V> first = point <= -bound, last = point >= bound;
  V u = select(first, zero, select(last, one, at.found.u));
  V v = select(last, zero, select(first, one, at.found.v));
  if constexpr (inverse) {
    const Ends<V> root = spline_root(slope, at.derivatives, u, v);
    u = root.left;
    v = root.right;
  }
  at.curve = spline_curve(slope, at.derivatives, u, v);
}
template <bool inverse, class V, class Array, class T, int Fixed, class Raw>
FK_HD void spline_at(SplineAt<V, Array>& at, const SplineConstants<T, Fixed>& c, V x,
                     const Raw& raw) {
  find_bin<inverse>(at, c, x, raw);
  find_derivatives(at, c);
  find_curve<inverse>(at, c, x);
}

template <bool inverse, class V, class Array, class T, int Fixed>
FK_HD SplineValue<V> spline_value(const SplineAt<V, Array>& at, const SplineConstants<T, Fixed>& c,
                                  V x) {
  const mask_t<V> inside = abs(x) <= V(c.bound);
  const V log_slope = spline_log_slope(at.curve);
  const V y = bin_point(inverse ? at.widths : at.heights, c.widths, at.found.other_start,
                        at.found.other_width, inverse ? at.curve.u : at.curve.fraction);
  // Outside the identity; NaN stays NaN in both.
  return {select(inside, y, x),
          select(inside, inverse ? -log_slope : log_slope, select(isnan(x), x, real<V>(0.0)))};
}

// ---- the pullback ----------------------------------------------------------------------

// Gradients in the bin's coordinates.  With L = log dy/dx = log(s^2 E / D^2):
//
//   dy/du  = h s E / D^2                        dL/du  = E_u / E - 2 D_u / D
//   dy/ds  = h u v (d1 u^2 - d0 v^2) / D^2      dL/ds  = 2 u v ((d0 + d1) / (s D) + 1 / E)
//   dy/dd0 = h u v (1 - N / D) / D              dL/dd0 = v^2 / E - 2 u v / D
//   dy/dd1 = -h u v (N / D) / D                 dL/dd1 = u^2 / E - 2 u v / D
//
// where u moves with v = 1 - u, h is kept while s moves, E_u = 2 (d1 u - d0 v + s (v - u)) and
// D_u = (d0 + d1 - 2 s)(v - u).
template <class V>
struct CurveGradients {
  V u, slope;
  Ends<V> derivatives;
};
template <class V>
FK_HD CurveGradients<V> spline_curve_pullback(const SplineCurve<V>& c, V height, V grad_y,
                                              V grad_log) {
  const V uv = c.u * c.v, two = real<V>(2.0), sum = c.d0 + c.d1, tilt = c.v - c.u;
  const V inverse_e = ratio(c.inverse_d, c.e);  // 1 / E
  const V reach = grad_y * height * c.inverse_d;
  CurveGradients<V> g;
  const V e_u = two * (c.d1 * c.u - c.d0 * c.v + c.slope * tilt);
  const V d_u = (sum - two * c.slope) * tilt;
  g.u = reach * (c.slope * c.e) + grad_log * (e_u * inverse_e - two * (d_u * c.inverse_d));
  g.slope = uv * (reach * ((c.d1 * c.u * c.u - c.d0 * c.v * c.v) * c.inverse_d) +
                  grad_log * two * (sum * c.inverse_d / c.slope + inverse_e));
  const V both = grad_log * two * c.inverse_d;
  g.derivatives.left =
      grad_log * (c.v * c.v * inverse_e) + uv * (reach * (real<V>(1.0) - c.fraction) - both);
  g.derivatives.right = grad_log * (c.u * c.u * inverse_e) - uv * (reach * c.fraction + both);
  return g;
}

// The gradients of x, of where the bin begins and how long it is along both axes, and of the
// derivatives at its ends.
template <class V>
struct SplineGradients {
  V x, x_start, width, y_start, height;
  Ends<V> derivatives;
};

// Where the map is the inverse, x and y change places: dx = (dy - f_p dp) / f', so that what
// reaches the parameters is the pullback of f for the gradients -lambda and -grad_log, lambda =
// (grad_y - grad_log L_x) / f'.
template <bool inverse, class V, class Array, class T, int Fixed>
FK_HD SplineGradients<V> spline_gradients(const SplineAt<V, Array>& at,
                                          const SplineConstants<T, Fixed>& c, V x, V grad_y,
                                          V grad_log) {
  const V zero = real<V>(0.0), one = real<V>(1.0), length = real<V>(2.0) * V(c.bound);
  const mask_t<V> inside = abs(x) <= V(c.bound);
  const V outside_grad = grad_y;
  const V width = length * at.width / value(at.widths.total);
  const V height = length * at.height / value(at.heights.total);
  const SplineCurve<V>& curve = at.curve;
  grad_y = select(inside, grad_y, zero);
  grad_log = select(inside, grad_log, zero);
  V grad_x = zero;
  if constexpr (inverse) {
    const V log_u = spline_curve_pullback(curve, height, zero, one).u;
    const V f = curve.slope * (curve.slope * curve.inverse_d) * curve.e;  // dy / dx
    grad_x = (grad_y - grad_log * (log_u / width)) / f;
    grad_y = -grad_x;
    grad_log = -grad_log;
  }
  const CurveGradients<V> g = spline_curve_pullback(curve, height, grad_y, grad_log);
  const V grad_u = g.u / width;
  if constexpr (!inverse) grad_x = grad_u;
  // u = (x - x_k) / w, s = h / w; y = y_k + h N / D.
  return {select(inside, grad_x, outside_grad),
          -grad_u,
          -(curve.u * grad_u) - curve.slope * (g.slope / width),
          grad_y,
          grad_y * curve.fraction + g.slope / width,
          g.derivatives};
}
// Stores those of the raw parameters.
template <class V, class Array, class T, int Fixed, class Raw, class Store>
FK_HD void store_spline_gradients(const SplineAt<V, Array>& at, const SplineConstants<T, Fixed>& c,
                                  const SplineGradients<V>& grad, const Raw& raw,
                                  const Store& store) {
  const V number = at.found.number;
  store_bin_gradients(at.widths, c.widths, number, grad.x_start, grad.width, 0, raw, store);
  store_bin_gradients(at.heights, c.heights, number, grad.y_start, grad.height, c.bins(), raw,
                      store);
  const Ends<V> ends = {
      grad.derivatives.left * knot_derivative_slope(at.raw.left, at.derivatives.left, c),
      grad.derivatives.right * knot_derivative_slope(at.raw.right, at.derivatives.right, c)};
  store_end_gradients(c, number, ends, store);
}

FK_END
