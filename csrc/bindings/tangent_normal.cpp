// tangent_normal: CPU dispatch.
#include "tangent_normal.h"

#include <ATen/Parallel.h>

#include "../cpu/tangent_normal.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace tangent_normal {
namespace {

// A random number costs about as much as four elements of other kernels.
int64_t blocks_per_task(const Call& call) { return grain(4 * call.args.dim * vmf_block_rows); }

struct Cpu {
  template <class>
  static Tensor forward(const Tensor& loc, const Tensor& cosine, const Tensor& sine,
                        const Tensor& seed) {
    Call call(loc, cosine, sine, seed);
    call.prepare_forward(loc, cosine);
    at::parallel_for(0, call.blocks(), blocks_per_task(call), [&](int64_t begin, int64_t end) {
      cpu::tangent_normal_forward(call.args, begin, end);
    });
    return call.result;
  }
  template <class>
  static std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& grad, const Tensor& loc,
                                                             const Tensor& cosine,
                                                             const Tensor& sine,
                                                             const Tensor& seed) {
    Call call(loc, cosine, sine, seed);
    call.set_grad(grad, loc, cosine);
    call.prepare_backward(loc, cosine);
    at::parallel_for(0, call.blocks(), blocks_per_task(call), [&](int64_t begin, int64_t end) {
      cpu::tangent_normal_backward(call.args, begin, end);
    });
    return call.gradients(loc, cosine, sine, seed);
  }
};

}  // namespace

FK_DIFFERENTIABLE_OP(TangentNormal)
FK_KERNELS(TangentNormal, CPU, Cpu)

}  // namespace tangent_normal
}  // namespace bindings
}  // namespace fk
