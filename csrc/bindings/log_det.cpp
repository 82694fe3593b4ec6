// log_det_diagonal: schema, argument checks, autograd, CPU dispatch.
#include "../cpu/log_det.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include "autograd.h"
#include "check.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace {

struct LogDetDiagonal {
  static constexpr const char* name = "log_det_diagonal";
  using Signature = Tensor(const Tensor&, int64_t);
};
constexpr const char* op = LogDetDiagonal::name;

struct Rows {
  Tensor flat;  // (rows, n)
  at::IntArrayRef batch;
};
Rows rows_of(const Tensor& diag, int64_t event_ndim) {
  check_floating(op, "diag", diag);
  TORCH_CHECK_VALUE(event_ndim >= 0 && event_ndim <= diag.dim(), op,
                    ": `event_ndim` must be between 0 and the ", diag.dim(),
                    " dimensions of `diag`, got ", event_ndim);
  const auto batch = diag.sizes().slice(0, diag.dim() - event_ndim);
  const auto event = diag.sizes().slice(diag.dim() - event_ndim);
  return {diag.reshape({c10::multiply_integers(batch), c10::multiply_integers(event)}), batch};
}

cpu::LogDetArgs arguments(const Tensor& flat) {
  cpu::LogDetArgs a;
  a.diag = flat.data_ptr();
  a.dtype = cpu_dtype(flat.scalar_type());
  a.wide = cpu_dtype(wide(flat.scalar_type()));
  a.n = flat.size(1);
  a.row_stride = flat.stride(0);
  a.stride = flat.stride(1);
  return a;
}

Tensor forward_cpu(const Tensor& diag, int64_t event_ndim) {
  const Rows rows = rows_of(diag, event_ndim);
  Tensor log_det = at::empty(rows.batch, diag.options().dtype(wide(diag.scalar_type())));
  cpu::LogDetArgs a = arguments(rows.flat);
  a.log_det = log_det.data_ptr();
  at::parallel_for(0, rows.flat.size(0), grain(a.n),
                   [&](int64_t begin, int64_t end) { cpu::log_det_forward(a, begin, end); });
  return log_det;
}

Tensor backward_cpu(const Tensor& grad_log_det, const Tensor& diag, int64_t event_ndim) {
  const Rows rows = rows_of(diag, event_ndim);
  Tensor grad_diag = at::empty(diag.sizes(), diag.options());
  const Tensor grads = grad_log_det.to(wide(diag.scalar_type())).reshape({rows.flat.size(0)});
  cpu::LogDetArgs a = arguments(rows.flat);
  a.grad_log_det = grads.data_ptr();
  a.grad_stride = grads.stride(0);
  a.grad_diag = grad_diag.data_ptr();
  at::parallel_for(0, rows.flat.size(0), grain(a.n),
                   [&](int64_t begin, int64_t end) { cpu::log_det_backward(a, begin, end); });
  return grad_diag;
}

}  // namespace

FK_LIBRARY_FRAGMENT(m) {
  define_differentiable(m, op, "Tensor diag, int event_ndim", "Tensor grad_log_det", "Tensor",
                        "Tensor");
}
TORCH_LIBRARY_IMPL(flowkernels, CPU, m) {
  m.impl("log_det_diagonal", &forward_cpu);
  m.impl("log_det_diagonal_backward", &backward_cpu);
}
TORCH_LIBRARY_IMPL(flowkernels, Autograd, m) { register_autograd<LogDetDiagonal>(m); }

void bind_log_det(pybind11::module_& m) { bind_op<LogDetDiagonal>(m); }

}  // namespace bindings
}  // namespace fk
