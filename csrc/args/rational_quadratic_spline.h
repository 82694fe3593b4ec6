// Arguments of the rational_quadratic_spline kernels.
#pragma once

#include "map.h"
#include "options.h"

namespace fk {

// What is beyond the ends of [-bound, bound], and so which derivatives the knots there have.
#define FK_SPLINE_BOUNDARIES(X) X(linear) X(circular) X(none)
FK_OPTION(SplineBoundary, FK_SPLINE_BOUNDARIES)

// Whose reading of the raw parameters; normflows' is that of nflows.
#define FK_SPLINE_CONVENTIONS(X) X(nflows) X(normflows) X(zuko)
FK_OPTION(SplineConvention, FK_SPLINE_CONVENTIONS)

// The most bins that kernels have room for.
constexpr int largest_bins = 128;

struct SplineOptions {
  int bins = 8;
  double bound = 3.0;
  SplineBoundary boundary = SplineBoundary::linear;
  SplineConvention convention = SplineConvention::nflows;
  double min_width = 1e-3, min_height = 1e-3, min_derivative = 1e-3;
  double scale = 1.0;  // of raw widths and heights
  double clip = 0.0;   // zuko: raw widths and heights become r / (1 + |r clip|)
  bool inverse = false;
};

// An operand whose elements are vectors: parameter m is m * part_stride further on.
struct VectorOperand : RowOperand {
  int64_t part_stride = 0;
};

// An element has a vector of raw parameters.
struct RationalQuadraticSplineArgs : SplineOptions, MapArgs {
  VectorOperand params, grad_params;
};

}  // namespace fk
