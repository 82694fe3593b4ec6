// affine_coupling: options, argument checks and the kernels' arguments, for every device.
#pragma once

#include <ATen/Functions.h>

#include <algorithm>
#include <string_view>
#include <tuple>

#include "../args/affine_coupling.h"
#include "channels.h"
#include "check.h"
#include "option.h"

namespace fk {
namespace bindings {

struct AffineCoupling {
  static constexpr const char* name = "affine_coupling";
  static constexpr const char* arguments =
      "Tensor x, Tensor params, str scale_fn, float bound, str layout, str order, bool inverse, "
      "str transform, str reduction";
  static constexpr const char* gradients = "Tensor grad_y, Tensor grad_log_det";
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, std::string_view,
                                               double, std::string_view, std::string_view, bool,
                                               std::string_view, std::string_view);
};

namespace coupling {

using channels::loopable;
using channels::merge;
using channels::operand;
using channels::shape_of_kept;
using std::string_view;
constexpr const char* op = AffineCoupling::name;

// ---- options -----------------------------------------------------------------

struct Options : CouplingOptions {
  Layout layout;
  bool transform_first;
  bool sums_rows;
};

// As the dispatcher's schema has them.
inline Options parse(string_view scale_fn, double bound, string_view layout, string_view order,
                     bool inverse, string_view transform, string_view reduction) {
  check_positive(op, "bound", bound);
  return {{parse_option<ScaleFn>(op, "scale_fn", scale_fn), bound,
           parse_option<Order>(op, "order", order) == Order::shift_then_scale, inverse},
          parse_option<Layout>(op, "layout", layout),
          parse_option<Transform>(op, "transform", transform) == Transform::first,
          parse_option<Reduction>(op, "reduction", reduction) == Reduction::row};
}

inline void check(const Tensor& x, const Tensor& params) {
  check_floating(op, "x", x);
  check_floating(op, "params", params);
  check_same_device(op, "params", params, "x", x);
  check_precision(op, "params", params, "x", x);
  TORCH_CHECK_VALUE(x.dim() >= 2, op, ": `x` must have shape (B, C, *S), got ", x.sizes());
  TORCH_CHECK_VALUE(params.dim() == x.dim() && params.size(0) == x.size(0) &&
                        params.sizes().slice(2) == x.sizes().slice(2) && params.size(1) % 2 == 0 &&
                        params.size(1) <= 2 * x.size(1),
                    op, ": `params` must have shape (B, 2 C, *S) for `x` of shape (B, C, *S) = ",
                    x.sizes(), ", got ", params.sizes());
}

// ---- operands ------------------------------------------------------------------

// Shift and raw scale inside a tensor of the parameters' layout.
struct ParamHalves {
  CouplingOperand shift, raw;
  c10::SmallVector<int64_t, 6> strides;
};
inline ParamHalves halves(const Tensor& params, const Options& o) {
  const int64_t channels = params.size(1) / 2;
  ParamHalves h{operand(params, 0), operand(params, 0), {}};
  h.strides.assign(params.strides().begin(), params.strides().end());
  if (o.layout == Layout::interleaved) {
    h.raw = operand(params, 1);
    h.strides[1] *= 2;
  } else {
    (o.layout == Layout::shift_scale ? h.raw : h.shift) = operand(params, channels);
  }
  return h;
}

inline AffineCouplingArgs arguments(const Tensor& x, const Options& o) {
  AffineCouplingArgs a;
  static_cast<CouplingOptions&>(a) = o;
  a.float64 = x.scalar_type() == at::kDouble;
  a.sums_rows = o.sums_rows;
  return a;
}

// ---- calls ---------------------------------------------------------------------

// A kernel's arguments with the tensors they point into.  Where and in how many parts
// it runs is the device's affair.
struct Forward {
  AffineCouplingArgs args;
  Tensor y, log_det;
  Tensor x, params;
};

inline Forward forward(const Tensor& x_, const Tensor& params_, const Options& o) {
  check(x_, params_);
  Forward call;
  const Tensor& x = call.x = loopable(x_);
  const Tensor& params = call.params = loopable(params_);
  const Tensor& y = call.y = at::empty(x.sizes(), x.options());
  const channels::Split h = channels::split(x, params.size(1) / 2, o.transform_first);
  const Tensor& log_det = call.log_det = at::empty(
      channels::log_det_sizes(x, h.coupled, o.sums_rows), x.options().dtype(wide(x.scalar_type())));

  AffineCouplingArgs& a = call.args = arguments(x, o);
  const ParamHalves p = halves(params, o);
  a.x = operand(x, h.coupled_at);
  a.y = operand(y, h.coupled_at);
  a.shift = p.shift;
  a.raw = p.raw;
  a.log_det = operand(log_det);
  const auto sizes = channels::sizes_of(x, h.coupled);
  a.coupled = o.sums_rows
                  ? merge(sizes, {&a.x, &a.y, &a.shift, &a.raw},
                          {x.strides(), y.strides(), p.strides, p.strides})
                  : merge(sizes, {&a.x, &a.y, &a.shift, &a.raw, &a.log_det},
                          {x.strides(), y.strides(), p.strides, p.strides, log_det.strides()});
  a.kept_x = operand(x, h.kept_at);
  a.kept_y = operand(y, h.kept_at);
  a.kept = shape_of_kept(x, h.kept, a.kept_x, x.strides(), a.kept_y, y.strides());
  return call;
}

struct Backward {
  AffineCouplingArgs args;
  Tensor grad_x, grad_params;
  Tensor x, params, grad_y, grad_log_det;
};

inline Backward backward(const Tensor& grad_y_, const Tensor& grad_log_det_, const Tensor& x_,
                         const Tensor& params_, const Options& o) {
  check(x_, params_);
  check_gradient(op, "grad_y", grad_y_, x_.sizes(), x_.scalar_type(), x_);
  check_gradient(op, "grad_log_det", grad_log_det_,
                 channels::log_det_sizes(x_, params_.size(1) / 2, o.sums_rows),
                 wide(x_.scalar_type()), x_);
  Backward call;
  const Tensor& x = call.x = loopable(x_);
  const Tensor& params = call.params = loopable(params_);
  const Tensor& grad_y = call.grad_y = loopable(grad_y_);
  const Tensor& grad_x = call.grad_x = at::empty(x.sizes(), x.options());
  const Tensor& grad_params = call.grad_params = at::empty(params.sizes(), params.options());
  const Tensor& grad_log_det = call.grad_log_det = loopable(grad_log_det_);

  const channels::Split h = channels::split(x, params.size(1) / 2, o.transform_first);
  AffineCouplingArgs& a = call.args = arguments(x, o);
  const ParamHalves p = halves(params, o), gp = halves(grad_params, o);
  a.x = operand(x, h.coupled_at);
  a.grad_y = operand(grad_y, h.coupled_at);
  a.grad_x = operand(grad_x, h.coupled_at);
  a.shift = p.shift;
  a.raw = p.raw;
  a.grad_shift = gp.shift;
  a.grad_raw = gp.raw;
  a.grad_log_det = operand(grad_log_det);
  const auto sizes = channels::sizes_of(x, h.coupled);
  if (o.sums_rows) {
    a.coupled =
        merge(sizes, {&a.x, &a.grad_y, &a.grad_x, &a.shift, &a.raw, &a.grad_shift, &a.grad_raw},
              {x.strides(), grad_y.strides(), grad_x.strides(), p.strides, p.strides, gp.strides,
               gp.strides});
    a.grad_log_det.stride[0] = grad_log_det.stride(0);
  } else {
    a.coupled = merge(
        sizes,
        {&a.x, &a.grad_y, &a.grad_x, &a.shift, &a.raw, &a.grad_shift, &a.grad_raw, &a.grad_log_det},
        {x.strides(), grad_y.strides(), grad_x.strides(), p.strides, p.strides, gp.strides,
         gp.strides, grad_log_det.strides()});
  }
  a.kept_x = operand(grad_y, h.kept_at);
  a.kept_y = operand(grad_x, h.kept_at);
  a.kept = shape_of_kept(x, h.kept, a.kept_x, grad_y.strides(), a.kept_y, grad_x.strides());
  return call;
}

}  // namespace coupling
}  // namespace bindings
}  // namespace fk
