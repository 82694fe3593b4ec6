// tangent_normal: CUDA dispatch.
#include "../../cuda/tangent_normal.h"

#include "../kernels.h"
#include "../tangent_normal.h"
#include "device.h"

namespace fk {
namespace bindings {
namespace tangent_normal {
namespace {

struct Cuda {
  template <class>
  static Tensor forward(const Tensor& loc, const Tensor& cosine, const Tensor& sine,
                        const Tensor& seed) {
    const Device device(loc);
    Call call(loc, cosine, sine, seed);
    call.prepare_forward(loc, cosine);
    cuda::tangent_normal_forward(call.args, device.context());
    device.check_launch();
    return std::move(call.result);
  }
  template <class>
  static std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& grad, const Tensor& loc,
                                                             const Tensor& cosine,
                                                             const Tensor& sine,
                                                             const Tensor& seed) {
    const Device device(loc);
    Call call(loc, cosine, sine, seed);
    call.set_grad(grad, loc, cosine);
    call.args.block_rows = cuda::tangent_normal_block(call.args, device.context());
    call.prepare_backward(loc, cosine);
    cuda::tangent_normal_backward(call.args, device.context());
    device.check_launch();
    return call.gradients(loc, cosine, sine, seed);
  }
};

}  // namespace

FK_KERNELS(TangentNormal, FK_CUDA_KEY, Cuda)

}  // namespace tangent_normal
}  // namespace bindings
}  // namespace fk
