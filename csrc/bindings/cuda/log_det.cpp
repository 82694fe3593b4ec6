// log_det_diagonal: CUDA dispatch.
#include "../../cuda/log_det.h"

#include "../kernels.h"
#include "../log_det.h"
#include "device.h"

namespace fk {
namespace bindings {
namespace log_det {
namespace {

struct Cuda {
  template <class>
  static Tensor forward(const Tensor& diag, int64_t event_ndim) {
    const Device device(diag);
    log_det::Call call = log_det::forward(diag, event_ndim);
    const cuda::LaunchContext context = device.context();
    const int64_t parts = cuda::log_det_parts(call.args, context);
    Tensor sums;
    if (parts > 1) sums = at::empty({call.args.rows, parts}, call.result.options());
    cuda::log_det_forward(call.args, parts, parts > 1 ? sums.data_ptr() : nullptr, context);
    device.check_launch();
    return std::move(call.result);
  }
  template <class>
  static Tensor backward(const Tensor& grad_log_det, const Tensor& diag, int64_t event_ndim) {
    const Device device(diag);
    log_det::Call call = log_det::backward(grad_log_det, diag, event_ndim);
    const cuda::LaunchContext context = device.context();
    cuda::log_det_backward(call.args, cuda::log_det_parts(call.args, context), context);
    device.check_launch();
    return std::move(call.result);
  }
};

}  // namespace

FK_KERNELS(LogDetDiagonal, FK_CUDA_KEY, Cuda)

}  // namespace log_det
}  // namespace bindings
}  // namespace fk
