// rational_quadratic_spline: options, argument checks and the kernels' arguments, for every device.
#pragma once

#include <cmath>
#include <string_view>
#include <tuple>

#include "../args/rational_quadratic_spline.h"
#include "../math/rational_quadratic_spline.h"
#include "map.h"
#include "option.h"

namespace fk {
namespace bindings {

struct RationalQuadraticSpline {
  static constexpr const char* name = "rational_quadratic_spline";
  static constexpr const char* arguments =
      "Tensor x, Tensor params, int bins, float bound, str boundary, float min_width, "
      "float min_height, float min_derivative, str convention, float scale, bool inverse, "
      "str transform, str reduction";
  static constexpr const char* gradients = "Tensor grad_y, Tensor grad_log_det";
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, int64_t, double,
                                               std::string_view, double, double, double,
                                               std::string_view, double, bool, std::string_view,
                                               std::string_view);
};

namespace spline {

using channels::Nest;
using std::string_view;
constexpr const char* op = RationalQuadraticSpline::name;

// ---- options -----------------------------------------------------------------

struct Options : SplineOptions, MapOptions {};

inline void check_smallest(const char* argument, double value, int64_t bins) {
  TORCH_CHECK_VALUE(value >= 0 && value * static_cast<double>(bins) < 1, op, ": `", argument,
                    "` must be a number from 0 to less than 1 / bins = ",
                    1.0 / static_cast<double>(bins), ", got ", value);
}

// As the dispatcher's schema has them.
inline Options parse(int64_t bins, double bound, string_view boundary, double min_width,
                     double min_height, double min_derivative, string_view convention, double scale,
                     bool inverse, string_view transform, string_view reduction) {
  TORCH_CHECK_VALUE(bins >= 1 && bins <= largest_bins, op, ": `bins` must be from 1 to ",
                    largest_bins, ", got ", bins);
  check_positive(op, "bound", bound);
  check_smallest("min_width", min_width, bins);
  check_smallest("min_height", min_height, bins);
  TORCH_CHECK_VALUE(min_derivative > 0 && min_derivative < 1, op,
                    ": `min_derivative` must be a number between 0 and 1, got ", min_derivative);
  check_positive(op, "scale", scale);
  Options o;
  o.bins = static_cast<int>(bins);
  o.bound = bound;
  o.boundary = parse_option<SplineBoundary>(op, "boundary", boundary);
  o.convention = parse_option<SplineConvention>(op, "convention", convention);
  o.min_width = min_width;
  o.min_height = min_height;
  o.min_derivative = min_derivative;
  o.scale = scale;
  if (o.convention == SplineConvention::zuko) o.clip = -2.0 / std::log(min_derivative);
  o.inverse = inverse;
  o.transform = parse_option<Transform>(op, "transform", transform);
  o.sums_rows = parse_option<Reduction>(op, "reduction", reduction) == Reduction::row;
  return o;
}

// ---- operands ----------------------------------------------------------------

struct Map {
  using Args = RationalQuadraticSplineArgs;
  using KernelOptions = SplineOptions;
  using Options = spline::Options;
  static constexpr const char* op = spline::op;

  static int64_t parameters(const Options& o) { return spline_parameters(o.boundary, o.bins); }
  static void add_params(Nest& nest, const Options& o, int64_t, const Tensor& params, Args& a) {
    add(nest, params, parameters(o), a.params);
  }
  static void add_grad_params(Nest& nest, const Options& o, int64_t, const Tensor& params,
                              Args& a) {
    add(nest, params, parameters(o), a.grad_params);
  }

 private:
  // The parameters of a channel lie together along dim 1.
  static void add(Nest& nest, const Tensor& params, int64_t parameters, VectorOperand& o) {
    static_cast<RowOperand&>(o) = channels::operand(params);
    o.part_stride = params.stride(1);
    nest.add(o, params, parameters);
  }
};

}  // namespace spline
}  // namespace bindings
}  // namespace fk
