// log_det_diagonal: CPU dispatch.
#include "log_det.h"

#include <ATen/Parallel.h>

#include "../cpu/log_det.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace log_det {
namespace {

template <class Kernel>
void run(const LogDetArgs& a, const Kernel& kernel) {
  at::parallel_for(0, a.rows, grain(a.n),
                   [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

struct Cpu {
  template <class>
  static Tensor forward(const Tensor& diag, int64_t event_ndim) {
    log_det::Call call = log_det::forward(diag, event_ndim);
    run(call.args, cpu::log_det_forward);
    return std::move(call.result);
  }
  template <class>
  static Tensor backward(const Tensor& grad_log_det, const Tensor& diag, int64_t event_ndim) {
    log_det::Call call = log_det::backward(grad_log_det, diag, event_ndim);
    run(call.args, cpu::log_det_backward);
    return std::move(call.result);
  }
};

}  // namespace

FK_DIFFERENTIABLE_OP(LogDetDiagonal)
FK_KERNELS(LogDetDiagonal, CPU, Cpu)

}  // namespace log_det
}  // namespace bindings
}  // namespace fk
