// stereographic, stereographic_inverse: CPU dispatch.
#include "stereographic.h"

#include <ATen/Parallel.h>

#include "../cpu/stereographic.h"
#include "module.h"
#include "non_temporal.h"

namespace fk {
namespace bindings {
namespace stereographic {
namespace {

// Work on a row beside its elements, counted in elements.
constexpr int64_t row_overhead = 16;

template <class Kernel>
void run(const Kernel& kernel, const StereographicArgs& a) {
  at::parallel_for(0, a.rows, grain(a.d + row_overhead),
                   [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

// The kernels of an op: those of the two maps differ in nothing else.
template <const auto& forward_kernel, const auto& backward_kernel>
struct Cpu {
  template <class Spec>
  static std::tuple<Tensor, Tensor> forward(const Tensor& x) {
    stereographic::Forward call = stereographic::forward<Spec>(x);
    call.args.non_temporal = non_temporal(x, call.out);
    run(forward_kernel, call.args);
    return {std::move(call.out), std::move(call.log_det)};
  }
  template <class Spec>
  static Tensor backward(const Tensor& grad_out, const Tensor& grad_log_det, const Tensor& x) {
    stereographic::Backward call = stereographic::backward<Spec>(grad_out, grad_log_det, x);
    call.args.non_temporal = non_temporal(grad_out, x, call.grad);
    run(backward_kernel, call.args);
    return std::move(call.grad);
  }
};
using Projection = Cpu<cpu::stereographic_forward, cpu::stereographic_backward>;
using Inverse = Cpu<cpu::stereographic_inverse_forward, cpu::stereographic_inverse_backward>;

}  // namespace

FK_DIFFERENTIABLE_OP(Stereographic)
FK_DIFFERENTIABLE_OP(StereographicInverse)
FK_KERNELS(Stereographic, CPU, Projection)
FK_KERNELS(StereographicInverse, CPU, Inverse)

}  // namespace stereographic
}  // namespace bindings
}  // namespace fk
