// The Bessel family: CUDA dispatch.
#include "../../cuda/bessel.h"

#include <torch/library.h>

#include "../bessel.h"
#include "queue.h"

namespace fk {
namespace bindings {
namespace {

using bessel::Call;
using std::string_view;

template <class Order>
Tensor forward(const Tensor& x, const Order& order, string_view function) {
  const Device device(x);
  Call call(x, function);
  call.set_order(order);
  call.prepare_forward();
  cuda::bessel_forward(call.args, call.x.numel(), device.queue());
  device.check_launch();
  return std::move(call.result);
}
template <class Order>
Tensor backward(const Tensor& grad, const Tensor& x, const Order& order, string_view function) {
  const Device device(x);
  Call call(x, function);
  call.set_order(order);
  call.prepare_backward(grad);
  cuda::bessel_backward(call.args, call.x.numel(), device.queue());
  device.check_launch();
  return std::move(call.result);
}

Tensor forward_cuda(const Tensor& x, double order, string_view function) {
  return forward(x, order, function);
}
Tensor backward_cuda(const Tensor& grad, const Tensor& x, double order, string_view function) {
  return backward(grad, x, order, function);
}
Tensor order_forward_cuda(const Tensor& x, const Tensor& order, string_view function) {
  return forward(x, order, function);
}
std::tuple<Tensor, Tensor> order_backward_cuda(const Tensor& grad, const Tensor& x,
                                               const Tensor& order, string_view function) {
  return {backward(grad, x, order, function), at::zeros(order.sizes(), order.options())};
}

}  // namespace

TORCH_LIBRARY_IMPL(flowkernels, FK_CUDA_KEY, m) {
  m.impl("bessel", &forward_cuda);
  m.impl("bessel_backward", &backward_cuda);
  m.impl("bessel_order", &order_forward_cuda);
  m.impl("bessel_order_backward", &order_backward_cuda);
}

}  // namespace bindings
}  // namespace fk
