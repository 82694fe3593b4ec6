// vmf_log_prob and stereographic_vmf_log_prob: CPU dispatch, and which gradients autograd asks for.
#include "vmf.h"

#include <ATen/Parallel.h>

#include <atomic>

#include "../cpu/vmf.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace vmf {
namespace {

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

struct Cpu {
  template <class Spec>
  static Tensor forward(const Tensor& x, const Tensor& loc, const Tensor& kappa, bool) {
    Call<Spec> call(x, loc, kappa);
    call.prepare_forward(x);
    run(call, cpu::vmf_forward);
    return call.result;
  }
  template <class Spec>
  static std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& grad, const Tensor& x,
                                                     const Tensor& loc, const Tensor& kappa,
                                                     bool grad_loc) {
    Call<Spec> call(x, loc, kappa);
    call.prepare_backward(grad, x, loc, grad_loc);
    run(call, cpu::vmf_backward);
    return call.gradients(x, loc, kappa);
  }
};

// The gradient in loc costs a pass over memory: made where something asks for it.
template <class Spec>
Tensor autograd(const Tensor& x, const Tensor& loc, const Tensor& kappa, bool) {
  return Op<Spec>::autograd(x, loc, kappa, loc.requires_grad());
}

}  // namespace

FK_DIFFERENTIABLE_OP_BY(VmfLogProb, &autograd<VmfLogProb>)
FK_DIFFERENTIABLE_OP_BY(StereographicVmfLogProb, &autograd<StereographicVmfLogProb>)
FK_KERNELS(VmfLogProb, CPU, Cpu)
FK_KERNELS(StereographicVmfLogProb, CPU, Cpu)

}  // namespace vmf
}  // namespace bindings
}  // namespace fk
