// stereographic, stereographic_inverse: schema, autograd, CPU dispatch.
#include "stereographic.h"

#include <ATen/Parallel.h>

#include "../cpu/stereographic.h"
#include "autograd.h"
#include "module.h"
#include "past_cache.h"

namespace fk {
namespace bindings {
namespace {

// Work on a row beside its elements, counted in elements.
constexpr int64_t row_overhead = 16;

template <class Kernel>
void run(const Kernel& kernel, const StereographicArgs& a) {
  at::parallel_for(0, a.rows, grain(a.d + row_overhead),
                   [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

template <class Spec, const auto& kernel>
std::tuple<Tensor, Tensor> forward_cpu(const Tensor& x) {
  stereographic::Forward call = stereographic::forward<Spec>(x);
  call.args.past_cache = past_cache(x, call.out);
  run(kernel, call.args);
  return {std::move(call.out), std::move(call.log_det)};
}

template <class Spec, const auto& kernel>
Tensor backward_cpu(const Tensor& grad_out, const Tensor& grad_log_det, const Tensor& x) {
  stereographic::Backward call = stereographic::backward<Spec>(grad_out, grad_log_det, x);
  call.args.past_cache = past_cache(grad_out, x, call.grad);
  run(kernel, call.args);
  return std::move(call.grad);
}

}  // namespace

FK_LIBRARY_FRAGMENT(m) {
  define_differentiable(m, Stereographic::name, "Tensor z", "Tensor grad_s, Tensor grad_log_det",
                        "(Tensor, Tensor)", "Tensor");
  define_differentiable(m, StereographicInverse::name, "Tensor s",
                        "Tensor grad_z, Tensor grad_log_det", "(Tensor, Tensor)", "Tensor");
}
TORCH_LIBRARY_IMPL(flowkernels, CPU, m) {
  m.impl("stereographic", &forward_cpu<Stereographic, cpu::stereographic_forward>);
  m.impl("stereographic_backward", &backward_cpu<Stereographic, cpu::stereographic_backward>);
  m.impl("stereographic_inverse",
         &forward_cpu<StereographicInverse, cpu::stereographic_inverse_forward>);
  m.impl("stereographic_inverse_backward",
         &backward_cpu<StereographicInverse, cpu::stereographic_inverse_backward>);
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
