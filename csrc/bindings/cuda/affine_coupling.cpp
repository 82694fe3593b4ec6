// affine_coupling: CUDA dispatch.
#include "../../cuda/affine_coupling.h"

#include <torch/library.h>

#include "../affine_coupling.h"
#include "queue.h"

namespace fk {
namespace bindings {
namespace {

using std::string_view;

std::tuple<Tensor, Tensor> forward_cuda(const Tensor& x, const Tensor& params, string_view scale_fn,
                                        double bound, string_view layout, string_view order,
                                        bool inverse, string_view transform) {
  const Device device(x);
  coupling::Forward call =
      coupling::forward(x, params, scale_fn, bound, layout, order, inverse, transform);
  AffineCouplingArgs& a = call.args;
  const cuda::Queue queue = device.queue();
  a.parts = cuda::affine_coupling_parts(a, queue);
  Tensor sums;
  if (a.parts > 1) {
    sums = at::empty({a.coupled.rows, a.parts}, call.log_det.options());
    a.log_det.base = sums.data_ptr();
  }
  cuda::affine_coupling_forward(a, call.log_det.data_ptr(), queue);
  device.check_launch();
  return {std::move(call.y), std::move(call.log_det)};
}

std::tuple<Tensor, Tensor> backward_cuda(const Tensor& grad_y, const Tensor& grad_log_det,
                                         const Tensor& x, const Tensor& params,
                                         string_view scale_fn, double bound, string_view layout,
                                         string_view order, bool inverse, string_view transform) {
  const Device device(x);
  coupling::Backward call = coupling::backward(grad_y, grad_log_det, x, params, scale_fn, bound,
                                               layout, order, inverse, transform);
  const cuda::Queue queue = device.queue();
  call.args.parts = cuda::affine_coupling_parts(call.args, queue);
  cuda::affine_coupling_backward(call.args, queue);
  device.check_launch();
  return {std::move(call.grad_x), std::move(call.grad_params)};
}

}  // namespace

TORCH_LIBRARY_IMPL(flowkernels, FK_CUDA_KEY, m) {
  m.impl("affine_coupling", &forward_cuda);
  m.impl("affine_coupling_backward", &backward_cuda);
}

}  // namespace bindings
}  // namespace fk
