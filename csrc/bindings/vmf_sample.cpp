// vmf_sample_cosine: schema, CPU dispatch.  No gradient: the slopes are results.
#include "vmf_sample.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <string>

#include "../cpu/vmf_sample.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace vmf_sample {
namespace {

constexpr int64_t elements_per_row = 64, elements_per_slope = 512;  // what a row costs

std::tuple<Tensor, Tensor, Tensor, Tensor> cosine_cpu(const Tensor& concentration,
                                                      const Tensor& seed, int64_t dim,
                                                      bool slopes) {
  vmf_sample::Call call(concentration, seed, dim, slopes);
  std::atomic<bool> inside{true};
  at::parallel_for(0, call.args.rows, grain(slopes ? elements_per_slope : elements_per_row),
                   [&](int64_t begin, int64_t end) {
                     if (!cpu::vmf_sample_cosine(call.args, begin, end)) inside = false;
                   });
  TORCH_CHECK_VALUE(inside, call.op, ": `concentration` must be >= 0, got ",
                    call.kappa.min().item<double>());
  return {call.cosine, call.sine, call.slope, call.bend};
}

}  // namespace

FK_LIBRARY_FRAGMENT(m) {
  define(m, VmfSampleCosine::name,
         std::string("(") + VmfSampleCosine::arguments + ") -> " + tensors(4));
  refuse_other_layouts<VmfSampleCosine>(m);
}
TORCH_LIBRARY_IMPL(flowkernels, CPU, m) { m.impl(VmfSampleCosine::name, &cosine_cpu); }
static const Direct<&Op<VmfSampleCosine>::call> direct(VmfSampleCosine::name);

}  // namespace vmf_sample
}  // namespace bindings
}  // namespace fk
