// vmf_log_prob, stereographic_vmf_log_prob: CUDA dispatch.
#include "../../cuda/vmf.h"

#include <torch/library.h>

#include <string>

#include "../vmf.h"
#include "queue.h"

namespace fk {
namespace bindings {
namespace {

template <class Spec>
Tensor forward_cuda(const Tensor& x, const Tensor& loc, const Tensor& kappa, bool) {
  const Device device(x);
  vmf::Call<Spec> call(x, loc, kappa);
  call.prepare_forward(x);
  cuda::vmf_forward(call.args, device.queue());
  device.check_launch();
  return std::move(call.result);
}

template <class Spec>
std::tuple<Tensor, Tensor, Tensor> backward_cuda(const Tensor& grad, const Tensor& x,
                                                 const Tensor& loc, const Tensor& kappa,
                                                 bool grad_loc) {
  const Device device(x);
  vmf::Call<Spec> call(x, loc, kappa);
  call.args.block_rows = cuda::vmf_block(call.args, device.queue());
  call.prepare_backward(grad, x, loc, grad_loc);
  cuda::vmf_backward(call.args, device.queue());
  device.check_launch();
  return call.gradients(x, loc, kappa);
}

template <class Spec>
void implement(torch::Library& m) {
  m.impl(Spec::name, &forward_cuda<Spec>);
  m.impl((std::string(Spec::name) + "_backward").c_str(), &backward_cuda<Spec>);
}

}  // namespace

TORCH_LIBRARY_IMPL(flowkernels, FK_CUDA_KEY, m) {
  implement<VmfLogProb>(m);
  implement<StereographicVmfLogProb>(m);
}

}  // namespace bindings
}  // namespace fk
