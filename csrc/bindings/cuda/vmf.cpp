// vmf_log_prob, stereographic_vmf_log_prob: CUDA dispatch.
#include "../../cuda/vmf.h"

#include "../kernels.h"
#include "../vmf.h"
#include "device.h"

namespace fk {
namespace bindings {
namespace vmf {
namespace {

struct Cuda {
  template <class Spec>
  static Tensor forward(const Tensor& x, const Tensor& loc, const Tensor& kappa, bool) {
    const Device device(x);
    Call<Spec> call(x, loc, kappa);
    call.prepare_forward(x);
    cuda::vmf_forward(call.args, device.context());
    device.check_launch();
    return std::move(call.result);
  }
  template <class Spec>
  static std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& grad, const Tensor& x,
                                                     const Tensor& loc, const Tensor& kappa,
                                                     bool grad_loc) {
    const Device device(x);
    Call<Spec> call(x, loc, kappa);
    call.args.block_rows = cuda::vmf_block(call.args, device.context());
    call.prepare_backward(grad, x, loc, grad_loc);
    cuda::vmf_backward(call.args, device.context());
    device.check_launch();
    return call.gradients(x, loc, kappa);
  }
};

}  // namespace

FK_KERNELS(VmfLogProb, FK_CUDA_KEY, Cuda)
FK_KERNELS(StereographicVmfLogProb, FK_CUDA_KEY, Cuda)

}  // namespace vmf
}  // namespace bindings
}  // namespace fk
