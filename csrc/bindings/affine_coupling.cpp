// affine_coupling: CPU dispatch.
#include "affine_coupling.h"

#include <ATen/Parallel.h>

#include "../cpu/affine_coupling.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace affine_coupling {
namespace {

int64_t row_elements(const CouplingShape& s) { return s.n[0] * s.n[1] * s.n[2]; }

// Few long rows are divided, into parts that depend on the shape alone: the sum of a
// row is then the same whatever the number of threads.
void divide_rows(AffineCouplingArgs& a) {
  if (a.coupled.rows < 32) a.parts = std::clamp<int64_t>(row_elements(a.coupled) / 32768, 1, 64);
}

template <class Kernel>
void run(const AffineCouplingArgs& a, const Tensor& x, const Kernel& kernel) {
  const int64_t items = a.coupled.rows * a.parts;
  at::parallel_for(0, items, grain((x.numel() + 1) / (items + 1)),
                   [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

struct Cpu {
  template <class, class... O>
  static std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& params, O... options) {
    coupling::Forward call = coupling::forward(x, params, coupling::parse(options...));
    AffineCouplingArgs& a = call.args;
    divide_rows(a);
    if (a.parts == 1 || !a.sums_rows) {
      run(a, x, cpu::affine_coupling_forward);
    } else {
      const Tensor sums = at::empty({x.size(0), a.parts}, x.options().dtype(at::kDouble));
      a.log_det.base = sums.data_ptr();
      a.log_det.dtype = DType::f64;
      run(a, x, cpu::affine_coupling_forward);
      call.log_det.copy_(sums.sum(1));
    }
    return {std::move(call.y), std::move(call.log_det)};
  }
  template <class, class... O>
  static std::tuple<Tensor, Tensor> backward(const Tensor& grad_y, const Tensor& grad_log_det,
                                             const Tensor& x, const Tensor& params, O... options) {
    coupling::Backward call =
        coupling::backward(grad_y, grad_log_det, x, params, coupling::parse(options...));
    divide_rows(call.args);
    run(call.args, x, cpu::affine_coupling_backward);
    return {std::move(call.grad_x), std::move(call.grad_params)};
  }
};

}  // namespace

FK_DIFFERENTIABLE_OP(AffineCoupling)
FK_KERNELS(AffineCoupling, CPU, Cpu)

}  // namespace affine_coupling
}  // namespace bindings
}  // namespace fk
