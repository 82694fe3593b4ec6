// stereographic, stereographic_inverse: schema, argument checks, autograd, CPU dispatch.
#include "../cpu/stereographic.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include "autograd.h"
#include "check.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace {

struct Stereographic {
  static constexpr const char* name = "stereographic";
  static constexpr const char* argument = "z";
  static constexpr int64_t extra_in = 0, extra_out = 1;  // elements beyond d
  static constexpr auto& forward = cpu::stereographic_forward;
  static constexpr auto& backward = cpu::stereographic_backward;
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&);
};
struct StereographicInverse {
  static constexpr const char* name = "stereographic_inverse";
  static constexpr const char* argument = "s";
  static constexpr int64_t extra_in = 1, extra_out = 0;
  static constexpr auto& forward = cpu::stereographic_inverse_forward;
  static constexpr auto& backward = cpu::stereographic_inverse_backward;
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&);
};

// (rows, width): a view where the strides allow it.
Tensor rows_of(const Tensor& t) {
  if (t.dim() == 2) return t;
  const auto sizes = t.sizes();
  return t.reshape({c10::multiply_integers(sizes.slice(0, sizes.size() - 1)), sizes.back()});
}

cpu::StereographicOperand operand(const Tensor& rows) {
  return {rows.data_ptr(), cpu_dtype(rows.scalar_type()), rows.stride(0),
          rows.dim() == 2 ? rows.stride(1) : 0};
}

template <class Spec>
void check(const Tensor& x) {
  check_floating(Spec::name, Spec::argument, x);
  TORCH_CHECK_VALUE(x.dim() >= 1 && x.size(-1) > Spec::extra_in, Spec::name, ": `", Spec::argument,
                    "` must have shape ", Spec::extra_in ? "(..., d + 1)" : "(..., d)",
                    " with d >= 1, got ", x.sizes());
}

template <class Spec>
cpu::StereographicArgs arguments(const Tensor& rows) {
  cpu::StereographicArgs a;
  a.rows = rows.size(0);
  a.d = rows.size(1) - Spec::extra_in;
  a.float64 = rows.scalar_type() == at::kDouble;
  a.x = operand(rows);
  return a;
}

// Work on a row beside its elements, counted in elements.
constexpr int64_t row_overhead = 16;

template <class Kernel>
void run(const Kernel& kernel, const cpu::StereographicArgs& a) {
  at::parallel_for(0, a.rows, grain(a.d + row_overhead),
                   [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

template <class Spec>
std::tuple<Tensor, Tensor> forward_cpu(const Tensor& x) {
  check<Spec>(x);
  const Tensor rows = rows_of(x);
  cpu::StereographicArgs a = arguments<Spec>(rows);
  c10::SmallVector<int64_t, 6> sizes(x.sizes().begin(), x.sizes().end());
  sizes.back() = a.d + Spec::extra_out;
  Tensor out = at::empty(sizes, x.options());
  sizes.pop_back();
  Tensor log_det = at::empty(sizes, x.options().dtype(wide(x.scalar_type())));
  a.out = {out.data_ptr(), a.x.dtype, a.d + Spec::extra_out, 1};
  a.log_det = {log_det.data_ptr(), cpu_dtype(log_det.scalar_type()), 1, 0};
  run(Spec::forward, a);
  return {std::move(out), std::move(log_det)};
}

template <class Spec>
Tensor backward_cpu(const Tensor& grad_out, const Tensor& grad_log_det, const Tensor& x) {
  check<Spec>(x);
  const Tensor rows = rows_of(x), grads = rows_of(grad_out);
  const Tensor grads_log_det = grad_log_det.reshape({rows.size(0)});
  cpu::StereographicArgs a = arguments<Spec>(rows);
  Tensor grad = at::empty(x.sizes(), x.options());
  a.grad_out = operand(grads);
  a.grad_log_det = operand(grads_log_det);
  a.out = {grad.data_ptr(), a.x.dtype, rows.size(1), 1};
  run(Spec::backward, a);
  return grad;
}

}  // namespace

FK_LIBRARY_FRAGMENT(m) {
  define_differentiable(m, Stereographic::name, "Tensor z", "Tensor grad_s, Tensor grad_log_det",
                        "(Tensor, Tensor)", "Tensor");
  define_differentiable(m, StereographicInverse::name, "Tensor s",
                        "Tensor grad_z, Tensor grad_log_det", "(Tensor, Tensor)", "Tensor");
}
TORCH_LIBRARY_IMPL(flowkernels, CPU, m) {
  m.impl("stereographic", &forward_cpu<Stereographic>);
  m.impl("stereographic_backward", &backward_cpu<Stereographic>);
  m.impl("stereographic_inverse", &forward_cpu<StereographicInverse>);
  m.impl("stereographic_inverse_backward", &backward_cpu<StereographicInverse>);
}
TORCH_LIBRARY_IMPL(flowkernels, Autograd, m) {
  register_autograd<Stereographic>(m);
  register_autograd<StereographicInverse>(m);
}

void bind_stereographic(pybind11::module_& m) {
  bind_op<Stereographic>(m);
  bind_op<StereographicInverse>(m);
}

}  // namespace bindings
}  // namespace fk
