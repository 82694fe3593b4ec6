// tangent_normal: schema, autograd, CPU dispatch.
#include "tangent_normal.h"

#include <ATen/Parallel.h>

#include "../cpu/tangent_normal.h"
#include "autograd.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace {

using tangent_normal::Call;

// A random number costs about as much as four elements of other kernels.
int64_t blocks_per_task(const Call& call) { return grain(4 * call.args.dim * vmf_block_rows); }

Tensor forward_cpu(const Tensor& loc, const Tensor& cosine, const Tensor& sine,
                   const Tensor& seed) {
  Call call(loc, cosine, sine, seed);
  call.prepare_forward(loc, cosine);
  at::parallel_for(0, call.blocks(), blocks_per_task(call), [&](int64_t begin, int64_t end) {
    cpu::tangent_normal_forward(call.args, begin, end);
  });
  return call.result;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward_cpu(const Tensor& grad, const Tensor& loc,
                                                        const Tensor& cosine, const Tensor& sine,
                                                        const Tensor& seed) {
  Call call(loc, cosine, sine, seed);
  call.set_grad(grad, loc, cosine);
  call.prepare_backward(loc, cosine);
  at::parallel_for(0, call.blocks(), blocks_per_task(call), [&](int64_t begin, int64_t end) {
    cpu::tangent_normal_backward(call.args, begin, end);
  });
  return call.gradients(loc, cosine, sine, seed);
}

}  // namespace

FK_LIBRARY_FRAGMENT(m) {
  define_differentiable(m, TangentNormal::name,
                        "Tensor loc, Tensor cosine, Tensor sine, Tensor seed", "Tensor grad",
                        "Tensor", "(Tensor, Tensor, Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(flowkernels, CPU, m) {
  m.impl("tangent_normal", &forward_cpu);
  m.impl("tangent_normal_backward", &backward_cpu);
}
TORCH_LIBRARY_IMPL(flowkernels, Autograd, m) { register_autograd<TangentNormal>(m); }

void bind_tangent_normal(pybind11::module_& m) { bind_op<TangentNormal>(m); }

}  // namespace bindings
}  // namespace fk
