// slerp: CPU dispatch.
#include "slerp.h"

#include <ATen/Parallel.h>

#include "../cpu/slerp.h"
#include "module.h"
#include "non_temporal.h"
#include "sum_rows.h"

namespace fk {
namespace bindings {
namespace slerp {
namespace {

template <class Kernel>
void run(const SlerpArgs& args, const Kernel& kernel) {
  // A pair's angle costs about as much as 64 elements.
  at::parallel_for(0, args.rows, grain(args.d * (args.points + 2) + 64),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

// The gradient of t from those of all rows' points: summed over the rows that share t.
Tensor reduced(const Tensor& grads, const Tensor& t) {
  if (t.dim() > 1) return grads.to(t.scalar_type()).reshape(t.sizes());
  return sum_rows(grads, t);
}

struct Cpu {
  template <class>
  static Tensor forward(const Tensor& a, const Tensor& b, const Tensor& t) {
    Call call(a, b, t);
    Tensor y = call.make_y(a);
    call.args.non_temporal = non_temporal(a, b, y);
    if (call.args.points > 0) run(call.args, cpu::slerp_forward);
    return y;
  }
  template <class>
  static std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& grad_y, const Tensor& a,
                                                     const Tensor& b, const Tensor& t) {
    Call call(a, b, t);
    call.check_grad(grad_y, a);
    if (call.args.points == 0) return {at::zeros_like(a), at::zeros_like(b), at::zeros_like(t)};
    Call::Gradients grads = call.make_gradients(grad_y, a, b);
    call.args.non_temporal = non_temporal(grad_y, a, b, grads.a, grads.b);
    run(call.args, cpu::slerp_backward);
    return {std::move(grads.a), std::move(grads.b), reduced(grads.t, t)};
  }
};

// Numbers become 0-d tensors here: cheaper than in Python.
Tensor call_with_number(const Tensor& a, const Tensor& b, double t) {
  check_floating(Slerp::name, "a", a);
  return Op<Slerp>::call(a, b,
                         at::scalar_tensor(t, at::device(at::kCPU).dtype(wide(a.scalar_type()))));
}

}  // namespace

FK_DIFFERENTIABLE_OP(Slerp)
FK_KERNELS(Slerp, CPU, Cpu)
static const Direct<&call_with_number> direct_number(Slerp::name);

}  // namespace slerp
}  // namespace bindings
}  // namespace fk
