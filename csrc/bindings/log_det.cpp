// log_det_diagonal: schema, autograd, CPU dispatch.
#include "log_det.h"

#include <ATen/Parallel.h>

#include "../cpu/log_det.h"
#include "autograd.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace {

constexpr const char* op = LogDetDiagonal::name;

template <class Kernel>
void run(const LogDetArgs& a, const Kernel& kernel) {
  at::parallel_for(0, a.rows, grain(a.n),
                   [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

Tensor forward_cpu(const Tensor& diag, int64_t event_ndim) {
  log_det::Call call = log_det::forward(diag, event_ndim);
  run(call.args, cpu::log_det_forward);
  return std::move(call.result);
}

Tensor backward_cpu(const Tensor& grad_log_det, const Tensor& diag, int64_t event_ndim) {
  log_det::Call call = log_det::backward(grad_log_det, diag, event_ndim);
  run(call.args, cpu::log_det_backward);
  return std::move(call.result);
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
