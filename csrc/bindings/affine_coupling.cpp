// affine_coupling: schema, argument checks, autograd, CPU dispatch.
#include "../cpu/affine_coupling.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include "autograd.h"
#include "check.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace {

using cpu::AffineCouplingArgs;
using cpu::CouplingOperand;
using cpu::CouplingShape;
using std::string_view;

struct AffineCoupling {
  static constexpr const char* name = "affine_coupling";
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, string_view, double,
                                               string_view, string_view, bool, string_view);
};
constexpr const char* op = AffineCoupling::name;

// ---- options -----------------------------------------------------------------

struct Options {
  ScaleFn scale_fn;
  double bound;
  enum { shift_scale, scale_shift, interleaved } layout;
  bool shift_first, inverse, transform_first;
};

ScaleFn parse_scale_fn(string_view s) {
  constexpr const char* names[scale_fn_count] = {"exp",     "tanh",        "softclip", "atan",
                                                 "sigmoid", "inv_sigmoid", "softplus"};
  for (int i = 0; i < scale_fn_count; ++i)
    if (s == names[i]) return static_cast<ScaleFn>(i);
  TORCH_CHECK_VALUE(false, op,
                    ": `scale_fn` must be one of exp, tanh, softclip, atan, sigmoid, inv_sigmoid, "
                    "softplus, got '",
                    s, "'");
}

Options parse(string_view scale_fn, double bound, string_view layout, string_view order,
              bool inverse, string_view transform) {
  check_positive(op, "bound", bound);
  TORCH_CHECK_VALUE(layout == "shift_scale" || layout == "scale_shift" || layout == "interleaved",
                    op, ": `layout` must be shift_scale, scale_shift or interleaved, got '", layout,
                    "'");
  TORCH_CHECK_VALUE(order == "scale_then_shift" || order == "shift_then_scale", op,
                    ": `order` must be scale_then_shift or shift_then_scale, got '", order, "'");
  TORCH_CHECK_VALUE(transform == "second" || transform == "first", op,
                    ": `transform` must be first or second, got '", transform, "'");
  return {parse_scale_fn(scale_fn),
          bound,
          layout == "shift_scale"   ? Options::shift_scale
          : layout == "scale_shift" ? Options::scale_shift
                                    : Options::interleaved,
          order == "shift_then_scale",
          inverse,
          transform == "first"};
}

void check(const Tensor& x, const Tensor& params) {
  check_floating(op, "x", x);
  check_floating(op, "params", params);
  check_same_device(op, "params", params, "x", x);
  TORCH_CHECK_TYPE(params.scalar_type() == x.scalar_type() ||
                       (x.scalar_type() != at::kDouble && params.scalar_type() != at::kDouble),
                   op, ": `params` must have the dtype of `x` (", x.scalar_type(),
                   ") or both be of at most float32, got ", params.scalar_type());
  TORCH_CHECK_VALUE(x.dim() >= 2, op, ": `x` must have shape (B, C, *S), got ", x.sizes());
  TORCH_CHECK_VALUE(params.dim() == x.dim() && params.size(0) == x.size(0) &&
                        params.sizes().slice(2) == x.sizes().slice(2) && params.size(1) % 2 == 0 &&
                        params.size(1) <= 2 * x.size(1),
                    op, ": `params` must have shape (B, 2 C, *S) for `x` of shape (B, C, *S) = ",
                    x.sizes(), ", got ", params.sizes());
}

// ---- loop nests ---------------------------------------------------------------

// Merges the dimensions (C, *S) of all operands where their strides allow it.
CouplingShape merge(at::IntArrayRef sizes, std::initializer_list<CouplingOperand*> operands,
                    std::initializer_list<at::IntArrayRef> strides) {
  CouplingShape shape;
  shape.rows = sizes[0];
  int64_t n[3] = {1, 1, 1};
  int64_t merged[8][3] = {};
  int last = -1;
  for (size_t d = 1; d < sizes.size(); ++d) {
    if (sizes[d] == 1) continue;
    bool extends = last >= 0;
    size_t k = 0;
    for (auto s : strides) extends = extends && merged[k++][last] == s[d] * sizes[d];
    if (!extends) ++last;
    TORCH_INTERNAL_ASSERT(last < 3);
    n[last] = extends ? n[last] * sizes[d] : sizes[d];
    k = 0;
    for (auto s : strides) merged[k++][last] = s[d];
  }
  const int shift = 2 - (last < 0 ? 0 : last);  // right-align: the longest run is innermost
  size_t k = 0;
  auto stride = strides.begin();
  for (auto* o : operands) {
    o->stride[0] = (*stride++)[0];
    for (int d = 0; d <= last; ++d) o->stride[1 + d + shift] = merged[k][d];
    if (last < 0) o->stride[3] = 1;
    ++k;
  }
  for (int d = 0; d <= last; ++d) shape.n[d + shift] = n[d];
  return shape;
}

CouplingOperand operand(const Tensor& t, int64_t channel) {
  CouplingOperand o;
  o.dtype = cpu_dtype(t.scalar_type());
  o.base = static_cast<char*>(t.data_ptr()) + channel * t.stride(1) * t.element_size();
  return o;
}

// At most three merged dimensions fit a kernel's loop nest; rarer layouts are copied.
Tensor loopable(const Tensor& t) { return t.dim() <= 4 ? t : t.contiguous(); }

// Shift and raw scale inside a tensor of the parameters' layout.
struct ParamHalves {
  CouplingOperand shift, raw;
  c10::SmallVector<int64_t, 6> strides;
};
ParamHalves halves(const Tensor& params, const Options& o) {
  const int64_t channels = params.size(1) / 2;
  ParamHalves h{operand(params, 0), operand(params, 0), {}};
  h.strides.assign(params.strides().begin(), params.strides().end());
  if (o.layout == Options::interleaved) {
    h.raw = operand(params, 1);
    h.strides[1] *= 2;
  } else {
    (o.layout == Options::shift_scale ? h.raw : h.shift) = operand(params, channels);
  }
  return h;
}

struct Halved {
  int64_t coupled, kept;  // numbers of channels
  int64_t coupled_at, kept_at;
};
Halved halve(const Tensor& x, const Tensor& params, const Options& o) {
  const int64_t coupled = params.size(1) / 2, kept = x.size(1) - coupled;
  return {coupled, kept, o.transform_first ? 0 : kept, o.transform_first ? coupled : 0};
}

AffineCouplingArgs arguments(const Tensor& x, const Options& o) {
  AffineCouplingArgs a;
  a.scale_fn = o.scale_fn;
  a.bound = o.bound;
  a.shift_first = o.shift_first;
  a.inverse = o.inverse;
  a.float64 = x.scalar_type() == at::kDouble;
  return a;
}

int64_t row_elements(const CouplingShape& s) { return s.n[0] * s.n[1] * s.n[2]; }

// Few long rows are divided, into parts that depend on the shape alone: the sum of a
// row is then the same whatever the number of threads.
void divide_rows(AffineCouplingArgs& a) {
  if (a.coupled.rows < 32) a.parts = std::clamp<int64_t>(row_elements(a.coupled) / 32768, 1, 64);
}

CouplingShape shape_of_kept(const Tensor& x, int64_t kept, CouplingOperand& from,
                            at::IntArrayRef from_strides, CouplingOperand& to,
                            at::IntArrayRef to_strides) {
  auto sizes = x.sizes().vec();
  sizes[1] = kept;
  return merge(sizes, {&from, &to}, {from_strides, to_strides});
}

// ---- kernels ------------------------------------------------------------------

std::tuple<Tensor, Tensor> forward_cpu(const Tensor& x_, const Tensor& params_,
                                       string_view scale_fn, double bound, string_view layout,
                                       string_view order, bool inverse, string_view transform) {
  check(x_, params_);
  const Options o = parse(scale_fn, bound, layout, order, inverse, transform);
  const Tensor x = loopable(x_), params = loopable(params_);
  const Halved h = halve(x, params, o);
  Tensor y = at::empty(x.sizes(), x.options());
  Tensor log_det = at::empty({x.size(0)}, x.options().dtype(wide(x.scalar_type())));

  AffineCouplingArgs a = arguments(x, o);
  ParamHalves p = halves(params, o);
  a.x = operand(x, h.coupled_at);
  a.y = operand(y, h.coupled_at);
  a.shift = p.shift;
  a.raw = p.raw;
  auto sizes = x.sizes().vec();
  sizes[1] = h.coupled;
  a.coupled = merge(sizes, {&a.x, &a.y, &a.shift, &a.raw},
                    {x.strides(), y.strides(), p.strides, p.strides});
  a.kept_x = operand(x, h.kept_at);
  a.kept_y = operand(y, h.kept_at);
  a.kept = shape_of_kept(x, h.kept, a.kept_x, x.strides(), a.kept_y, y.strides());
  divide_rows(a);
  Tensor sums =
      a.parts == 1 ? log_det : at::empty({x.size(0), a.parts}, x.options().dtype(at::kDouble));
  a.log_det.base = sums.data_ptr();
  a.log_det.dtype = cpu_dtype(sums.scalar_type());

  at::parallel_for(
      0, a.coupled.rows * a.parts, grain((x.numel() + 1) / (a.coupled.rows * a.parts + 1)),
      [&](int64_t begin, int64_t end) { cpu::affine_coupling_forward(a, begin, end); });
  if (a.parts > 1) log_det.copy_(sums.sum(1));
  return {y, log_det};
}

std::tuple<Tensor, Tensor> backward_cpu(const Tensor& grad_y_, const Tensor& grad_log_det,
                                        const Tensor& x_, const Tensor& params_,
                                        string_view scale_fn, double bound, string_view layout,
                                        string_view order, bool inverse, string_view transform) {
  check(x_, params_);
  const Options o = parse(scale_fn, bound, layout, order, inverse, transform);
  const Tensor x = loopable(x_), params = loopable(params_), grad_y = loopable(grad_y_);
  const Halved h = halve(x, params, o);
  Tensor grad_x = at::empty(x.sizes(), x.options());
  Tensor grad_params = at::empty(params.sizes(), params.options());

  AffineCouplingArgs a = arguments(x, o);
  ParamHalves p = halves(params, o), gp = halves(grad_params, o);
  a.x = operand(x, h.coupled_at);
  a.grad_y = operand(grad_y, h.coupled_at);
  a.grad_x = operand(grad_x, h.coupled_at);
  a.shift = p.shift;
  a.raw = p.raw;
  a.grad_shift = gp.shift;
  a.grad_raw = gp.raw;
  auto sizes = x.sizes().vec();
  sizes[1] = h.coupled;
  a.coupled =
      merge(sizes, {&a.x, &a.grad_y, &a.grad_x, &a.shift, &a.raw, &a.grad_shift, &a.grad_raw},
            {x.strides(), grad_y.strides(), grad_x.strides(), p.strides, p.strides, gp.strides,
             gp.strides});
  a.kept_x = operand(grad_y, h.kept_at);
  a.kept_y = operand(grad_x, h.kept_at);
  a.kept = shape_of_kept(x, h.kept, a.kept_x, grad_y.strides(), a.kept_y, grad_x.strides());
  a.grad_log_det.base = grad_log_det.data_ptr();
  a.grad_log_det.dtype = cpu_dtype(grad_log_det.scalar_type());
  a.grad_log_det.stride[0] = grad_log_det.stride(0);
  divide_rows(a);

  at::parallel_for(
      0, a.coupled.rows * a.parts, grain((x.numel() + 1) / (a.coupled.rows * a.parts + 1)),
      [&](int64_t begin, int64_t end) { cpu::affine_coupling_backward(a, begin, end); });
  return {grad_x, grad_params};
}

}  // namespace

FK_LIBRARY_FRAGMENT(m) {
  define_differentiable(
      m, op,
      "Tensor x, Tensor params, str scale_fn, float bound, str layout, str order, "
      "bool inverse, str transform",
      "Tensor grad_y, Tensor grad_log_det", "(Tensor, Tensor)", "(Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(flowkernels, CPU, m) {
  m.impl("affine_coupling", &forward_cpu);
  m.impl("affine_coupling_backward", &backward_cpu);
}
TORCH_LIBRARY_IMPL(flowkernels, Autograd, m) { register_autograd<AffineCoupling>(m); }

void bind_affine_coupling(pybind11::module_& m) { bind_op<AffineCoupling>(m); }

}  // namespace bindings
}  // namespace fk
