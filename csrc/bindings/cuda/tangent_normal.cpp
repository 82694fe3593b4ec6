// tangent_normal: CUDA dispatch.
#include "../../cuda/tangent_normal.h"

#include <torch/library.h>

#include "../tangent_normal.h"
#include "queue.h"

namespace fk {
namespace bindings {
namespace {

using tangent_normal::Call;

Tensor forward_cuda(const Tensor& loc, const Tensor& cosine, const Tensor& sine,
                    const Tensor& seed) {
  const Device device(loc);
  Call call(loc, cosine, sine, seed);
  call.prepare_forward(loc, cosine);
  cuda::tangent_normal_forward(call.args, device.queue());
  device.check_launch();
  return std::move(call.result);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward_cuda(const Tensor& grad, const Tensor& loc,
                                                         const Tensor& cosine, const Tensor& sine,
                                                         const Tensor& seed) {
  const Device device(loc);
  Call call(loc, cosine, sine, seed);
  call.set_grad(grad, loc, cosine);
  call.args.block_rows = cuda::tangent_normal_block(call.args, device.queue());
  call.prepare_backward(loc, cosine);
  cuda::tangent_normal_backward(call.args, device.queue());
  device.check_launch();
  return call.gradients(loc, cosine, sine, seed);
}

}  // namespace

TORCH_LIBRARY_IMPL(flowkernels, FK_CUDA_KEY, m) {
  m.impl("tangent_normal", &forward_cuda);
  m.impl("tangent_normal_backward", &backward_cuda);
}

}  // namespace bindings
}  // namespace fk
