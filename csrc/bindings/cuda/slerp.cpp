// slerp: CUDA dispatch.
#include "../../cuda/slerp.h"

#include "../kernels.h"
#include "../slerp.h"
#include "device.h"

namespace fk {
namespace bindings {
namespace slerp {
namespace {

// A number lies on the CPU: its value travels with the launch.
Call call_of(const Tensor& a, const Tensor& b, const Tensor& t) {
  Call call(a, b, t);
  if (t.dim() == 0 && t.is_cpu()) {
    call.args.number = t.item<double>();
    call.args.t.base = nullptr;
  }
  return call;
}

// The gradient of t from those of all rows' points: summed over the rows that share t.
Tensor reduced(const Tensor& grads, const Tensor& t) {
  // For a number that nobody asks about, the GPU is not waited for.
  if (t.device() != grads.device() && !t.requires_grad()) return at::zeros_like(t);
  const Tensor sum = t.dim() > 1 ? grads : grads.sum(0);
  return sum.reshape(t.sizes()).to(t.options());
}

struct Cuda {
  template <class>
  static Tensor forward(const Tensor& a, const Tensor& b, const Tensor& t) {
    const Device device(a);
    Call call = call_of(a, b, t);
    Tensor y = call.make_y(a);
    if (call.args.points > 0) cuda::slerp_forward(call.args, device.context());
    device.check_launch();
    return y;
  }
  template <class>
  static std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& grad_y, const Tensor& a,
                                                     const Tensor& b, const Tensor& t) {
    const Device device(a);
    Call call = call_of(a, b, t);
    call.check_grad(grad_y, a);
    if (call.args.points == 0) return {at::zeros_like(a), at::zeros_like(b), at::zeros_like(t)};
    Call::Gradients grads = call.make_gradients(grad_y, a, b);
    cuda::slerp_backward(call.args, device.context());
    device.check_launch();
    return {std::move(grads.a), std::move(grads.b), reduced(grads.t, t)};
  }
};

}  // namespace

FK_KERNELS(Slerp, FK_CUDA_KEY, Cuda)

}  // namespace slerp
}  // namespace bindings
}  // namespace fk
