// vmf_log_prob and stereographic_vmf_log_prob: schema, autograd, CPU dispatch.
#include "vmf.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <string>

#include "../cpu/vmf.h"
#include "autograd.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace {

using vmf::Call;

template <class Spec, class Kernel>
void run(const Call<Spec>& call, const Kernel& kernel) {
  std::atomic<bool> inside{true};
  at::parallel_for(0, call.blocks(), grain(call.args.dim * vmf_block_rows),
                   [&](int64_t begin, int64_t end) {
                     if (!kernel(call.args, begin, end)) inside = false;
                   });
  TORCH_CHECK_VALUE(inside, Spec::name, ": `concentration` must be >= 0, got ",
                    call.kappa.kept.min().template item<double>());
}

template <class Spec>
Tensor forward_cpu(const Tensor& x, const Tensor& loc, const Tensor& kappa, bool) {
  Call<Spec> call(x, loc, kappa);
  call.prepare_forward(x);
  run(call, cpu::vmf_forward);
  return call.result;
}

template <class Spec>
std::tuple<Tensor, Tensor, Tensor> backward_cpu(const Tensor& grad, const Tensor& x,
                                                const Tensor& loc, const Tensor& kappa,
                                                bool grad_loc) {
  Call<Spec> call(x, loc, kappa);
  call.prepare_backward(grad, x, loc, grad_loc);
  run(call, cpu::vmf_backward);
  return call.gradients(x, loc, kappa);
}

// The gradient in loc costs a pass over memory: made where something asks for it.
template <class Spec>
Tensor autograd(const Tensor& x, const Tensor& loc, const Tensor& kappa, bool) {
  return Op<Spec>::autograd(x, loc, kappa, loc.requires_grad());
}

template <class Spec>
void define(torch::Library& m) {
  define_differentiable(
      m, Spec::name,
      std::string("Tensor ") + Spec::point + ", Tensor loc, Tensor concentration, bool grad_loc",
      "Tensor grad", "Tensor", "(Tensor, Tensor, Tensor)");
}
template <class Spec>
void implement(torch::Library& m) {
  m.impl(Spec::name, &forward_cpu<Spec>);
  m.impl((std::string(Spec::name) + "_backward").c_str(), &backward_cpu<Spec>);
}
template <class Spec>
void implement_autograd(torch::Library& m) {
  m.impl(Spec::name, &autograd<Spec>);
  m.impl((std::string(Spec::name) + "_backward").c_str(), &Op<Spec>::Grads::backward_autograd);
}

}  // namespace

FK_LIBRARY_FRAGMENT(m) {
  define<VmfLogProb>(m);
  define<StereographicVmfLogProb>(m);
}
TORCH_LIBRARY_IMPL(flowkernels, CPU, m) {
  implement<VmfLogProb>(m);
  implement<StereographicVmfLogProb>(m);
}
TORCH_LIBRARY_IMPL(flowkernels, Autograd, m) {
  implement_autograd<VmfLogProb>(m);
  implement_autograd<StereographicVmfLogProb>(m);
}

void bind_vmf(pybind11::module_& m) {
  bind_op<VmfLogProb>(m);
  bind_op<StereographicVmfLogProb>(m);
}

}  // namespace bindings
}  // namespace fk
