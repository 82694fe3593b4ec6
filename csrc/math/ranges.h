// Ranges and limits of the mathematics, in one place for the CPU, CUDA and Triton.
// Written by csrc/math/tables/ranges.py; do not edit.
//
//   projection_square: |x|^2 above which a row must be scaled before a stereographic projection,
//     or below whose inverse before the inverse projection: beyond it products of rho and |x|
//     leave the normal numbers
//   projection_largest: an element of a float64 row beyond which (in the inverse: below whose
//     inverse) the row is multiplied by projection_lift before its squares are summed
//   projection_lift: that multiplier; the inverse projection's is its inverse
//   largest: the largest finite number
//   slerp_parallel: b's part across a, squared, over b's along a, squared, at or below which the
//     pair counts as parallel
//   slerp_along: r's part across a, squared, over |r|^2, at or below which r is refined once more
//   exp_lowest: below it e^x rounds to 0
//   exp_highest: above it e^x rounds to infinity
//   expm1_lowest: below it e^x - 1 rounds to -1
//   tanh_lowest: -2|x| below which tanh x rounds to its sign
//   log1p_smallest: |x| below which log(1 + x) rounds to x
//   atan_largest: |x| above which atan x rounds to its limit
//   smallest_normal: below it lie the subnormals
//   log_gamma_below: orders from which Stirling's series takes over
//   bessel_series_below: sqrt(v^2 + x^2) from which Debye's expansion serves, below it the
//     ascending series
//   bessel_huge: beyond it x^2 would overflow
//   bessel_unit: half an ulp of 1
//   quotient_small: x below which (h + v) / x may overflow
//   quotient_lift: what multiplies such an x
//   quotient_log_lift: the logarithm of that
//   order_down: what multiplies v and x beyond bessel_huge, so that neither square overflows; its
//     inverse multiplies their root
//   order_series_terms: terms of the ascending series at an order of each element
//   order_debye_terms: terms of Debye's expansion at an order of each element
//   concentration_steps: steps of Newton's iteration for a concentration
//   sample_rounds: proposals for a vMF cosine: each is refused with probability at most 0.34, all
//     of them with less than 1e-14
//   sample_smallest: bounds sines and slopes away from 0 in a vMF path
//   coupling_atan_slope: of FrEIA's clamp, about 2 / pi
//   coupling_sigmoid_shift: added to r by the sigmoid scales, as in Glow
//   coupling_softplus_floor: added to the softplus scale, as in nflows
//   coupling_softplus_ceiling: the largest softplus scale
#pragma once

#include "simd.h"

FK_BEGIN

template <class T>
struct Range;
template <>
struct Range<float> {
  static constexpr double projection_square = 1e+16;
  static constexpr double projection_largest = 1e+140;
  static constexpr double projection_lift = 0x1p-600;
  static constexpr double largest = 3.4028234e+38;
  static constexpr double slerp_parallel = 1e-32;
  static constexpr double slerp_along = 0.25;
  static constexpr double exp_lowest = -104.0;
  static constexpr double exp_highest = 89.0;
  static constexpr double expm1_lowest = -18.0;
  static constexpr double tanh_lowest = -20.0;
  static constexpr double log1p_smallest = 1e-09;
  static constexpr double atan_largest = 1e+30;
  static constexpr double smallest_normal = 1.17549435e-38;
  static constexpr int log_gamma_below = 28;
  static constexpr int bessel_series_below = 12;
  static constexpr double bessel_huge = 1e+18;
  static constexpr double bessel_unit = 5.960464477539063e-08;
  static constexpr double quotient_small = 1e-18;
  static constexpr double quotient_lift = 0x1p64;
  static constexpr double quotient_log_lift = 44.3614195558365;
  static constexpr double order_down = 0x1p-70;
  static constexpr int order_series_terms = 22;
  static constexpr int order_debye_terms = 10;
  static constexpr int concentration_steps = 2;
  static constexpr int sample_rounds = 32;
  static constexpr double sample_smallest = 1e-150;
  static constexpr double coupling_atan_slope = 0.636;
  static constexpr double coupling_sigmoid_shift = 2.0;
  static constexpr double coupling_softplus_floor = 0.001;
  static constexpr double coupling_softplus_ceiling = 3.0;
};
template <>
struct Range<double> {
  static constexpr double projection_square = 1e+100;
  static constexpr double projection_largest = 1e+140;
  static constexpr double projection_lift = 0x1p-600;
  static constexpr double largest = 1.7976931348623157e+308;
  static constexpr double slerp_parallel = 1e-302;
  static constexpr double slerp_along = 0.25;
  static constexpr double exp_lowest = -746.0;
  static constexpr double exp_highest = 710.0;
  static constexpr double expm1_lowest = -38.0;
  static constexpr double tanh_lowest = -42.0;
  static constexpr double log1p_smallest = 1e-18;
  static constexpr double atan_largest = 1e+300;
  static constexpr double smallest_normal = 2.2250738585072014e-308;
  static constexpr int log_gamma_below = 28;
  static constexpr int bessel_series_below = 28;
  static constexpr double bessel_huge = 1e+150;
  static constexpr double bessel_unit = 1.1102230246251565e-16;
  static constexpr double quotient_small = 1e-150;
  static constexpr double quotient_lift = 0x1p600;
  static constexpr double quotient_log_lift = 415.88830833596717;
  static constexpr double order_down = 0x1p-520;
  static constexpr int order_series_terms = 46;
  static constexpr int order_debye_terms = 18;
  static constexpr int concentration_steps = 4;
  static constexpr int sample_rounds = 32;
  static constexpr double sample_smallest = 1e-150;
  static constexpr double coupling_atan_slope = 0.636;
  static constexpr double coupling_sigmoid_shift = 2.0;
  static constexpr double coupling_softplus_floor = 0.001;
  static constexpr double coupling_softplus_ceiling = 3.0;
};

FK_END
