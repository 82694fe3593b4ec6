// affine_coupling: CUDA dispatch.
#include "../../cuda/affine_coupling.h"

#include "../affine_coupling.h"
#include "../kernels.h"
#include "device.h"

namespace fk {
namespace bindings {
namespace coupling {
namespace {

struct Cuda {
  template <class, class... O>
  static std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& params, O... options) {
    const Device device(x);
    MapForward<coupling::Map> call =
        map_forward<coupling::Map>(x, params, coupling::parse(options...));
    AffineCouplingArgs& a = call.args;
    const cuda::LaunchContext context = device.context();
    a.parts = cuda::affine_coupling_parts(a, context);
    Tensor sums;
    if (a.parts > 1 && a.sums_rows) {
      sums = at::empty({a.coupled.rows, a.parts}, call.log_det.options());
      a.log_det.base = sums.data_ptr();
    }
    cuda::affine_coupling_forward(a, call.log_det.data_ptr(), context);
    device.check_launch();
    return {std::move(call.y), std::move(call.log_det)};
  }
  template <class, class... O>
  static std::tuple<Tensor, Tensor> backward(const Tensor& grad_y, const Tensor& grad_log_det,
                                             const Tensor& x, const Tensor& params, O... options) {
    const Device device(x);
    MapBackward<coupling::Map> call =
        map_backward<coupling::Map>(grad_y, grad_log_det, x, params, coupling::parse(options...));
    const cuda::LaunchContext context = device.context();
    call.args.parts = cuda::affine_coupling_parts(call.args, context);
    cuda::affine_coupling_backward(call.args, context);
    device.check_launch();
    return {std::move(call.grad_x), std::move(call.grad_params)};
  }
};

}  // namespace

FK_KERNELS(AffineCoupling, FK_CUDA_KEY, Cuda)

}  // namespace coupling
}  // namespace bindings
}  // namespace fk
