// vmf_sample_cosine: CUDA dispatch.
#include "../../cuda/vmf_sample.h"

#include <torch/library.h>

#include "../vmf_sample.h"
#include "device.h"

namespace fk {
namespace bindings {
namespace vmf_sample {
namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor> cosine_cuda(const Tensor& concentration,
                                                       const Tensor& seed, int64_t dim,
                                                       bool slopes) {
  const Device device(concentration);
  Call call(concentration, seed, dim, slopes);
  cuda::vmf_sample_cosine(call.args, device.context());
  device.check_launch();
  return {call.cosine, call.sine, call.slope, call.bend};
}

}  // namespace

TORCH_LIBRARY_IMPL(flowkernels, FK_CUDA_KEY, m) { m.impl("vmf_sample_cosine", &cosine_cuda); }

}  // namespace vmf_sample
}  // namespace bindings
}  // namespace fk
