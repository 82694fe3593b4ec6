// stereographic, stereographic_inverse: CUDA dispatch.
#include "../../cuda/stereographic.h"

#include "../kernels.h"
#include "../stereographic.h"
#include "device.h"

namespace fk {
namespace bindings {
namespace stereographic {
namespace {

using Kernel = void(const StereographicArgs&, const cuda::LaunchContext&);

// The kernels of an op: those of the two maps differ in nothing else.
template <Kernel* forward_kernel, Kernel* backward_kernel>
struct Cuda {
  template <class Spec>
  static std::tuple<Tensor, Tensor> forward(const Tensor& x) {
    const Device device(x);
    stereographic::Forward call = stereographic::forward<Spec>(x);
    forward_kernel(call.args, device.context());
    device.check_launch();
    return {std::move(call.out), std::move(call.log_det)};
  }
  template <class Spec>
  static Tensor backward(const Tensor& grad_out, const Tensor& grad_log_det, const Tensor& x) {
    const Device device(x);
    stereographic::Backward call = stereographic::backward<Spec>(grad_out, grad_log_det, x);
    backward_kernel(call.args, device.context());
    device.check_launch();
    return std::move(call.grad);
  }
};
using Projection = Cuda<cuda::stereographic_forward, cuda::stereographic_backward>;
using Inverse = Cuda<cuda::stereographic_inverse_forward, cuda::stereographic_inverse_backward>;

}  // namespace

FK_KERNELS(Stereographic, FK_CUDA_KEY, Projection)
FK_KERNELS(StereographicInverse, FK_CUDA_KEY, Inverse)

}  // namespace stereographic
}  // namespace bindings
}  // namespace fk
