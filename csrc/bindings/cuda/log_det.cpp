// log_det_diagonal: CUDA dispatch.
#include "../../cuda/log_det.h"

#include <torch/library.h>

#include "../log_det.h"
#include "queue.h"

namespace fk {
namespace bindings {
namespace {

Tensor forward_cuda(const Tensor& diag, int64_t event_ndim) {
  const Device device(diag);
  log_det::Call call = log_det::forward(diag, event_ndim);
  const cuda::Queue queue = device.queue();
  const int64_t parts = cuda::log_det_parts(call.args, queue);
  Tensor sums;
  if (parts > 1) sums = at::empty({call.args.rows, parts}, call.result.options());
  cuda::log_det_forward(call.args, parts, parts > 1 ? sums.data_ptr() : nullptr, queue);
  device.check_launch();
  return std::move(call.result);
}

Tensor backward_cuda(const Tensor& grad_log_det, const Tensor& diag, int64_t event_ndim) {
  const Device device(diag);
  log_det::Call call = log_det::backward(grad_log_det, diag, event_ndim);
  const cuda::Queue queue = device.queue();
  cuda::log_det_backward(call.args, cuda::log_det_parts(call.args, queue), queue);
  device.check_launch();
  return std::move(call.result);
}

}  // namespace

TORCH_LIBRARY_IMPL(flowkernels, FK_CUDA_KEY, m) {
  m.impl("log_det_diagonal", &forward_cuda);
  m.impl("log_det_diagonal_backward", &backward_cuda);
}

}  // namespace bindings
}  // namespace fk
