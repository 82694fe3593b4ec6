// stereographic, stereographic_inverse: CUDA dispatch.
#include "../../cuda/stereographic.h"

#include <torch/library.h>

#include "../stereographic.h"
#include "queue.h"

namespace fk {
namespace bindings {
namespace {

using Kernel = void(const StereographicArgs&, const cuda::Queue&);

template <class Spec, Kernel* kernel>
std::tuple<Tensor, Tensor> forward_cuda(const Tensor& x) {
  const Device device(x);
  stereographic::Forward call = stereographic::forward<Spec>(x);
  kernel(call.args, device.queue());
  device.check_launch();
  return {std::move(call.out), std::move(call.log_det)};
}

template <class Spec, Kernel* kernel>
Tensor backward_cuda(const Tensor& grad_out, const Tensor& grad_log_det, const Tensor& x) {
  const Device device(x);
  stereographic::Backward call = stereographic::backward<Spec>(grad_out, grad_log_det, x);
  kernel(call.args, device.queue());
  device.check_launch();
  return std::move(call.grad);
}

}  // namespace

TORCH_LIBRARY_IMPL(flowkernels, FK_CUDA_KEY, m) {
  m.impl("stereographic", &forward_cuda<Stereographic, cuda::stereographic_forward>);
  m.impl("stereographic_backward", &backward_cuda<Stereographic, cuda::stereographic_backward>);
  m.impl("stereographic_inverse",
         &forward_cuda<StereographicInverse, cuda::stereographic_inverse_forward>);
  m.impl("stereographic_inverse_backward",
         &backward_cuda<StereographicInverse, cuda::stereographic_inverse_backward>);
}

}  // namespace bindings
}  // namespace fk
