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
      "Tensor x, Tensor params, str scale_fn, float bound, float gain, str layout, str order, "
      "bool inverse, str transform, str reduction";
  static constexpr const char* gradients = "Tensor grad_y, Tensor grad_log_det";
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, std::string_view,
                                               double, double, std::string_view, std::string_view,
                                               bool, std::string_view, std::string_view);
};

namespace coupling {

using channels::loopable;
using channels::Nest;
using channels::operand;
using std::string_view;
constexpr const char* op = AffineCoupling::name;

// ---- options -----------------------------------------------------------------

struct Options : CouplingOptions {
  Layout layout;
  Transform transform;
  bool sums_rows;
};

// As the dispatcher's schema has them.
inline Options parse(string_view scale_fn, double bound, double gain, string_view layout,
                     string_view order, bool inverse, string_view transform,
                     string_view reduction) {
  check_positive(op, "bound", bound);
  check_positive(op, "gain", gain);
  return {{parse_option<ScaleFn>(op, "scale_fn", scale_fn), bound, gain,
           parse_option<Order>(op, "order", order) == Order::shift_then_scale, inverse},
          parse_option<Layout>(op, "layout", layout),
          parse_option<Transform>(op, "transform", transform),
          parse_option<Reduction>(op, "reduction", reduction) == Reduction::row};
}

inline void check(const Tensor& x, const Tensor& params, const Options& o) {
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
  channels::check_coupled(op, x, params.size(1) / 2, o.transform);
}

// ---- operands ------------------------------------------------------------------

// Where shift and raw scale lie in the parameters: their first channels, `step` apart.
struct ParamLayout {
  int64_t shift, raw, step;
};
inline ParamLayout layout_of(Layout layout, int64_t channels) {
  switch (layout) {
    case Layout::shift_scale:
      return {0, channels, 1};
    case Layout::scale_shift:
      return {channels, 0, 1};
    case Layout::interleaved:
      return {0, 1, 2};
    case Layout::interleaved_scale_shift:
      return {1, 0, 2};
  }
  return {};
}
inline void add_params(Nest& nest, const ParamLayout& at, const Tensor& params,
                       CouplingOperand& shift, CouplingOperand& raw) {
  shift = operand(params, at.shift);
  raw = operand(params, at.raw);
  nest.add(shift, params, at.step);
  nest.add(raw, params, at.step);
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
  check(x_, params_, o);
  Forward call;
  const Tensor& x = call.x = loopable(x_);
  const Tensor& params = call.params = loopable(params_);
  const Tensor& y = call.y = at::empty(x.sizes(), x.options());
  const channels::Split h = channels::split(x, params.size(1) / 2, o.transform);
  const Tensor& log_det = call.log_det = at::empty(
      channels::log_det_sizes(x, h.coupled, o.sums_rows), x.options().dtype(wide(x.scalar_type())));

  AffineCouplingArgs& a = call.args = arguments(x, o);
  Nest nest(x, h.coupled);
  a.x = operand(x, h.coupled_at);
  a.y = operand(y, h.coupled_at);
  a.log_det = operand(log_det);
  nest.add(a.x, x, h.step);
  nest.add(a.y, y, h.step);
  add_params(nest, layout_of(o.layout, h.coupled), params, a.shift, a.raw);
  if (!o.sums_rows) nest.add(a.log_det, log_det);
  a.coupled = nest.merge();
  a.kept = channels::copied(h, x, a.kept_x, y, a.kept_y);
  return call;
}

struct Backward {
  AffineCouplingArgs args;
  Tensor grad_x, grad_params;
  Tensor x, params, grad_y, grad_log_det;
};

inline Backward backward(const Tensor& grad_y_, const Tensor& grad_log_det_, const Tensor& x_,
                         const Tensor& params_, const Options& o) {
  check(x_, params_, o);
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

  const channels::Split h = channels::split(x, params.size(1) / 2, o.transform);
  AffineCouplingArgs& a = call.args = arguments(x, o);
  const ParamLayout at = layout_of(o.layout, h.coupled);
  Nest nest(x, h.coupled);
  a.x = operand(x, h.coupled_at);
  a.grad_y = operand(grad_y, h.coupled_at);
  a.grad_x = operand(grad_x, h.coupled_at);
  a.grad_log_det = operand(grad_log_det);
  nest.add(a.x, x, h.step);
  nest.add(a.grad_y, grad_y, h.step);
  nest.add(a.grad_x, grad_x, h.step);
  add_params(nest, at, params, a.shift, a.raw);
  add_params(nest, at, grad_params, a.grad_shift, a.grad_raw);
  if (o.sums_rows) {
    a.grad_log_det.stride[0] = grad_log_det.stride(0);
  } else {
    nest.add(a.grad_log_det, grad_log_det);
  }
  a.coupled = nest.merge();
  a.kept = channels::copied(h, grad_y, a.kept_x, grad_x, a.kept_y);
  return call;
}

}  // namespace coupling
}  // namespace bindings
}  // namespace fk
