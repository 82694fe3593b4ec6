// The Bessel family: CUDA dispatch.
#include "../../cuda/bessel.h"

#include "../bessel.h"
#include "../kernels.h"
#include "device.h"

namespace fk {
namespace bindings {
namespace bessel {
namespace {

using std::string_view;

struct Cuda {
  template <class, class Order>
  static Tensor forward(const Tensor& x, const Order& order, string_view function) {
    const Device device(x);
    Call call(x, function);
    call.set_order(order);
    call.prepare_forward();
    cuda::bessel_forward(call.args, call.x.numel(), device.context());
    device.check_launch();
    return std::move(call.result);
  }
  template <class, class Order>
  static auto backward(const Tensor& grad, const Tensor& x, const Order& order,
                       string_view function) {
    const Device device(x);
    Call call(x, function);
    call.set_order(order);
    call.prepare_backward(grad);
    cuda::bessel_backward(call.args, call.x.numel(), device.context());
    device.check_launch();
    return bessel::gradients(std::move(call.result), order);
  }
};

}  // namespace

FK_KERNELS(Bessel, FK_CUDA_KEY, Cuda)
FK_KERNELS(BesselOrder, FK_CUDA_KEY, Cuda)

}  // namespace bessel
}  // namespace bindings
}  // namespace fk
