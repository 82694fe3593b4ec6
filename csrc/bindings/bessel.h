// log_iv, iv_ratio and the radial functions of the vMF: argument checks and the kernels'
// arguments, for every device.
//
// Two ops serve them all: `bessel` for one order (through its plan) and `bessel_order` for
// an order per element. A function is chosen by name; the derivative of each is another.
#pragma once

#include <ATen/Functions.h>

#include <memory>
#include <string_view>

#include "bessel_function.h"
#include "bessel_plan.h"
#include "check.h"
#include "signature.h"

namespace fk {
namespace bindings {

struct Bessel {
  static constexpr const char* name = "bessel";
  static constexpr const char* arguments = "Tensor x, float order, str function";
  static constexpr const char* gradients = "Tensor grad";
  using Signature = Tensor(const Tensor&, double, std::string_view);
};
struct BesselOrder {
  static constexpr const char* name = "bessel_order";
  static constexpr const char* arguments = "Tensor x, Tensor order, str function";
  static constexpr const char* gradients = "Tensor grad";
  using Signature = Tensor(const Tensor&, const Tensor&, std::string_view);
};

namespace bessel {

inline const BesselEntry& entry(std::string_view function) {
  const BesselEntry* e = find_bessel(function);
  TORCH_CHECK_VALUE(e != nullptr, "bessel: `function` is unknown: '", function, "'");
  return *e;
}

// One call's arguments, checked; keeps alive what they point to.
struct Call {
  const BesselEntry& e;
  Tensor x, v, grad, result;
  BesselArgs args;
  std::shared_ptr<const BesselPlan<float>> single;
  std::shared_ptr<const BesselPlan<double>> twofold;

  Call(const Tensor& x_, std::string_view function) : e(entry(function)) {
    check_floating(e.op, e.argument, x_);
    x = x_.contiguous();
    args.function = e.kernel;
    args.x = x.data_ptr();
    args.dtype = cpu_dtype(x.scalar_type());
    args.wide = cpu_dtype(wide(x.scalar_type()));
  }
  void set_order(double order) {
    TORCH_CHECK_VALUE(std::isfinite(order) && order >= e.lowest_order, e.op,
                      ": `order` must be a finite number >= ", e.lowest_order, ", got ", order);
    if (e.density) args.offset = log_uniform_density(2 * order + 2);
    if (args.wide == DType::f64) {
      args.plan = (twofold = bessel_plan<double>(order)).get();
    } else {
      args.plan = (single = bessel_plan<float>(order)).get();
    }
  }
  // An order for every element, as a contiguous tensor of the computation's dtype.
  void set_order(const Tensor& order) {
    TORCH_CHECK_VALUE(e.any_order, e.op,
                      ": `order` must be one number for all elements, got shape ", order.sizes());
    check_floating(e.op, "v", order);
    check_same_device(e.op, "v", order, e.argument, x);
    TORCH_CHECK_VALUE(order.sizes() == x.sizes(), e.op, ": `v` must have the shape of `",
                      e.argument, "` ", x.sizes(), ", got ", order.sizes());
    v = in_dtype(order, wide(x.scalar_type())).contiguous();
    args.order = v.data_ptr();
    // A GPU would have to be waited for: its kernels give NaN instead.
    if (v.numel() == 0 || !v.is_cpu()) return;
    const double low = v.min().item<double>();
    // The ratio's order here is that of its denominator, one below the caller's.
    const double shift = e.lowest_order < 0 ? 1 : 0;
    TORCH_CHECK_VALUE(low >= e.lowest_order, e.op, ": `v` must be >= ", e.lowest_order + shift,
                      ", got ", low + shift);
  }
  void prepare_forward() {
    result = at::empty(x.sizes(), x.options().dtype(wide(x.scalar_type())));
    args.out = result.data_ptr();
  }
  void prepare_backward(const Tensor& grad_) {
    check_gradient(e.op, "grad", grad_, x.sizes(), wide(x.scalar_type()), x);
    grad = grad_.contiguous();
    result = at::empty(x.sizes(), x.options());
    args.grad = grad.data_ptr();
    args.out = result.data_ptr();
  }
};

// What the backward returns: no gradient of an order is ever asked for (see autograd).
template <class Order>
auto gradients(Tensor of_x, const Order& order) {
  if constexpr (is_tensor<Order>)
    return std::tuple<Tensor, Tensor>(std::move(of_x), at::zeros(order.sizes(), order.options()));
  else
    return of_x;
}

}  // namespace bessel
}  // namespace bindings
}  // namespace fk
