// The Bessel family: CPU dispatch and autograd.
#include "bessel.h"

#include <ATen/Parallel.h>

#include <atomic>

#include "../cpu/bessel.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace bessel {
namespace {

using std::string_view;

// Runs a kernel over all elements; an argument outside the domain is an error.
template <class Kernel>
Tensor run(const Call& call, const Kernel& kernel) {
  std::atomic<bool> inside{true};
  at::parallel_for(0, call.x.numel(), task_elements / 2, [&](int64_t begin, int64_t end) {
    if (!kernel(call.args, begin, end)) inside = false;
  });
  if (!inside) {
    const double low = call.x.min().item<double>(), high = call.x.max().item<double>();
    TORCH_CHECK_VALUE(false, call.e.op, ": `", call.e.argument, "` must ", bessel_domain(call.e),
                      ", got ", low < 0 ? low : high);
  }
  return call.result;
}

struct Cpu {
  template <class, class Order>
  static Tensor forward(const Tensor& x, const Order& order, string_view function) {
    Call call(x, function);
    call.set_order(order);
    call.prepare_forward();
    return run(call, cpu::bessel_forward);
  }
  template <class, class Order>
  static auto backward(const Tensor& grad, const Tensor& x, const Order& order,
                       string_view function) {
    Call call(x, function);
    call.set_order(order);
    call.prepare_backward(grad);
    return bessel::gradients(run(call, cpu::bessel_backward), order);
  }
};

// Elementwise ops are their own transposes: the backward applied to the tangent of x is
// the tangent of the result. The node keeps x with its tangent, for forward over reverse.
template <class Record, class Pushforward>
Tensor with_tangent(const Tensor& x, const Record& record, const Pushforward& pushforward) {
  Tensor out = record();
  const Tensor given = in_dtype(x._fw_grad(0), out.scalar_type());
  const Tensor tangent = pushforward(given, x._fw_primal(0)).to(out.scalar_type());
  out._set_fw_grad(tangent, /*level=*/0, /*is_inplace_op=*/false);
  return out;
}

Tensor autograd(const Tensor& x, double order, string_view function) {
  using Op = Op<Bessel>;
  if (!has_tangent(x)) return Op::record(x, order, function);
  return with_tangent(
      x, [&] { return Op::record(x, order, function); },
      [&](const Tensor& tangent, const Tensor& primal) {
        return Op::Grads::backward().call(tangent, primal, order, function);
      });
}

// d/dv of I_v has no closed form of this kind: refused, instead of a silent zero.
Tensor order_autograd(const Tensor& x, const Tensor& order, string_view function) {
  using Op = Op<BesselOrder>;
  const bool tracked = at::GradMode::is_enabled() && order.requires_grad();
  TORCH_CHECK_NOT_IMPLEMENTED(
      !tracked && !has_tangent(order), bessel::entry(function).op,
      ": the gradient with respect to the order `v` is not implemented; pass v.detach()");
  if (!has_tangent(x)) return Op::record(x, order, function);
  return with_tangent(
      x, [&] { return Op::record(x, order, function); },
      [&](const Tensor& tangent, const Tensor& primal) {
        return std::get<0>(Op::Grads::backward().call(tangent, primal, order, function));
      });
}

}  // namespace

FK_DIFFERENTIABLE_OP_BY(Bessel, &autograd)
FK_DIFFERENTIABLE_OP_BY(BesselOrder, &order_autograd)
FK_KERNELS(Bessel, CPU, Cpu)
FK_KERNELS(BesselOrder, CPU, Cpu)

}  // namespace bessel
}  // namespace bindings
}  // namespace fk
