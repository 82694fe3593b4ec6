// rational_quadratic_spline: options, argument checks and the kernels' arguments, for every device.
#pragma once

#include <ATen/Functions.h>

#include <cmath>
#include <string_view>
#include <tuple>

#include "../args/rational_quadratic_spline.h"
#include "../math/rational_quadratic_spline.h"
#include "channels.h"
#include "check.h"
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

using channels::loopable;
using channels::Nest;
using channels::operand;
using std::string_view;
constexpr const char* op = RationalQuadraticSpline::name;

// ---- options -----------------------------------------------------------------

struct Options : SplineOptions {
  Transform transform;
  bool sums_rows;
  int parts;  // parameters of an element
};

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
  o.parts = spline_parameters(o.boundary, o.bins);
  return o;
}

inline void check(const Tensor& x, const Tensor& params, const Options& o) {
  check_floating(op, "x", x);
  check_floating(op, "params", params);
  check_same_device(op, "params", params, "x", x);
  check_precision(op, "params", params, "x", x);
  TORCH_CHECK_VALUE(x.dim() >= 2, op, ": `x` must have shape (B, C, *S), got ", x.sizes());
  TORCH_CHECK_VALUE(params.dim() == x.dim() && params.size(0) == x.size(0) &&
                        params.sizes().slice(2) == x.sizes().slice(2) &&
                        params.size(1) % o.parts == 0 && params.size(1) / o.parts <= x.size(1),
                    op, ": `params` must have shape (B, ", o.parts,
                    " C, *S) for `x` of shape (B, C, *S) = ", x.sizes(), ", got ", params.sizes());
  channels::check_coupled(op, x, params.size(1) / o.parts, o.transform);
}

// ---- operands ----------------------------------------------------------------

// The parameters of a channel lie together along dim 1.
inline void add_vectors(Nest& nest, const Tensor& params, int parts, VectorOperand& o) {
  static_cast<RowOperand&>(o) = operand(params);
  o.part_stride = params.stride(1);
  nest.add(o, params, parts);
}

inline RationalQuadraticSplineArgs arguments(const Tensor& x, const Options& o) {
  RationalQuadraticSplineArgs a;
  static_cast<SplineOptions&>(a) = o;
  a.float64 = x.scalar_type() == at::kDouble;
  a.sums_rows = o.sums_rows;
  return a;
}

// ---- calls ---------------------------------------------------------------------

// A kernel's arguments with the tensors they point into.  Where and in how many parts
// it runs is the device's affair.
struct Forward {
  RationalQuadraticSplineArgs args;
  Tensor y, log_det;
  Tensor x, params;
};

inline channels::Sizes log_det_sizes(const Tensor& x, const Tensor& params, const Options& o) {
  return channels::log_det_sizes(x, params.size(1) / o.parts, o.sums_rows);
}

inline Forward forward(const Tensor& x_, const Tensor& params_, const Options& o) {
  check(x_, params_, o);
  Forward call;
  const Tensor& x = call.x = loopable(x_);
  const Tensor& params = call.params = loopable(params_);
  const Tensor& y = call.y = at::empty(x.sizes(), x.options());
  const Tensor& log_det = call.log_det =
      at::empty(log_det_sizes(x, params, o), x.options().dtype(wide(x.scalar_type())));

  const channels::Split h = channels::split(x, params.size(1) / o.parts, o.transform);
  RationalQuadraticSplineArgs& a = call.args = arguments(x, o);
  Nest nest(x, h.coupled);
  a.x = operand(x, h.coupled_at);
  a.y = operand(y, h.coupled_at);
  a.log_det = operand(log_det);
  nest.add(a.x, x, h.step);
  nest.add(a.y, y, h.step);
  add_vectors(nest, params, o.parts, a.params);
  if (!o.sums_rows) nest.add(a.log_det, log_det);
  a.coupled = nest.merge();
  a.kept = channels::copied(h, x, a.kept_x, y, a.kept_y);
  return call;
}

struct Backward {
  RationalQuadraticSplineArgs args;
  Tensor grad_x, grad_params;
  Tensor x, params, grad_y, grad_log_det;
};

inline Backward backward(const Tensor& grad_y_, const Tensor& grad_log_det_, const Tensor& x_,
                         const Tensor& params_, const Options& o) {
  check(x_, params_, o);
  check_gradient(op, "grad_y", grad_y_, x_.sizes(), x_.scalar_type(), x_);
  check_gradient(op, "grad_log_det", grad_log_det_, log_det_sizes(x_, params_, o),
                 wide(x_.scalar_type()), x_);
  Backward call;
  const Tensor& x = call.x = loopable(x_);
  const Tensor& params = call.params = loopable(params_);
  const Tensor& grad_y = call.grad_y = loopable(grad_y_);
  const Tensor& grad_log_det = call.grad_log_det = loopable(grad_log_det_);
  const Tensor& grad_x = call.grad_x = at::empty(x.sizes(), x.options());
  const Tensor& grad_params = call.grad_params = at::empty(params.sizes(), params.options());

  const channels::Split h = channels::split(x, params.size(1) / o.parts, o.transform);
  RationalQuadraticSplineArgs& a = call.args = arguments(x, o);
  Nest nest(x, h.coupled);
  a.x = operand(x, h.coupled_at);
  a.grad_y = operand(grad_y, h.coupled_at);
  a.grad_x = operand(grad_x, h.coupled_at);
  a.grad_log_det = operand(grad_log_det);
  nest.add(a.x, x, h.step);
  nest.add(a.grad_y, grad_y, h.step);
  nest.add(a.grad_x, grad_x, h.step);
  add_vectors(nest, params, o.parts, a.params);
  add_vectors(nest, grad_params, o.parts, a.grad_params);
  if (o.sums_rows) {
    a.grad_log_det.stride[0] = grad_log_det.stride(0);
  } else {
    nest.add(a.grad_log_det, grad_log_det);
  }
  a.coupled = nest.merge();
  a.kept = channels::copied(h, grad_y, a.kept_x, grad_x, a.kept_y);
  return call;
}

}  // namespace spline
}  // namespace bindings
}  // namespace fk
