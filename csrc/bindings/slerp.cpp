// slerp: schema, argument checks, autograd, CPU dispatch.
#include "../cpu/slerp.h"

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include "autograd.h"
#include "check.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace {

struct Slerp {
  static constexpr const char* name = "slerp";
  using Signature = Tensor(const Tensor&, const Tensor&, const Tensor&);
};
constexpr const char* op = Slerp::name;

void check(const Tensor& a, const Tensor& b, const Tensor& t) {
  check_floating(op, "a", a);
  check_floating(op, "b", b);
  check_floating(op, "t", t);
  check_same_device(op, "b", b, "a", a);
  check_same_dtype(op, "b", b, "a", a);
  if (t.dim() > 0) check_same_device(op, "t", t, "a", a);
  TORCH_CHECK_VALUE(a.dim() >= 1 && a.size(-1) >= 1, op,
                    ": `a` must have shape (*batch, D) with D >= 1, got ", a.sizes());
  TORCH_CHECK_VALUE(a.sizes() == b.sizes(), op, ": `b` must have the shape of `a` (", a.sizes(),
                    ") without broadcasting, got ", b.sizes());
  const auto batch = a.sizes().slice(0, a.dim() - 1);
  TORCH_CHECK_VALUE(
      t.dim() <= 1 || (t.dim() == a.dim() && t.sizes().slice(0, t.dim() - 1) == batch), op,
      ": `t` must be a number, 0-d, (T,) or (*batch, T) with batch ", batch, ", got shape ",
      t.sizes());
}

int64_t rows_of(const Tensor& a) { return c10::multiply_integers(a.sizes().slice(0, a.dim() - 1)); }

// The last `inner` dimensions behind all others as one: a view where the strides allow it.
Tensor flattened(const Tensor& x, int64_t rows, int64_t inner) {
  if (x.dim() == inner + 1) return x;
  c10::SmallVector<int64_t, 3> sizes{rows};
  sizes.append(x.sizes().end() - inner, x.sizes().end());
  return x.reshape(sizes);
}

cpu::SlerpOperand vectors(const Tensor& x) {
  const int64_t point_stride = x.dim() == 3 ? x.stride(1) : 0;
  return {x.data_ptr(), cpu_dtype(x.scalar_type()), x.stride(0), point_stride, x.stride(-1)};
}

// Every tensor flattened to (rows, [points,] d); holds what the kernel's pointers need.
struct Call {
  Tensor a, b, t;
  cpu::SlerpArgs args;

  Call(const Tensor& a_, const Tensor& b_, const Tensor& t_) {
    args.rows = rows_of(a_);
    args.points = t_.dim() == 0 ? 1 : t_.size(-1);
    args.d = a_.size(-1);
    args.float64 = a_.scalar_type() == at::kDouble;
    a = flattened(a_, args.rows, 1);
    b = flattened(b_, args.rows, 1);
    t = t_.dim() > 1 ? flattened(t_, args.rows, 1) : t_;
    args.a = vectors(a);
    args.b = vectors(b);
    args.t = {t.data_ptr(), cpu_dtype(t.scalar_type()), t.dim() == 2 ? t.stride(0) : 0,
              t.dim() > 0 ? t.stride(-1) : 0, 0};
  }
  cpu::SlerpOperand result(const Tensor& x, int64_t points) const {
    return {x.data_ptr(), cpu_dtype(x.scalar_type()), points * args.d, args.d, 1};
  }
  template <class Kernel>
  void run(const Kernel& kernel) const {
    // A pair's angle costs about as much as 64 elements.
    at::parallel_for(0, args.rows, grain(args.d * (args.points + 2) + 64),
                     [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  }
};

Tensor forward_cpu(const Tensor& a, const Tensor& b, const Tensor& t) {
  check(a, b, t);
  Call call(a, b, t);
  c10::SmallVector<int64_t, 6> sizes(a.sizes().begin(), a.sizes().end());
  if (t.dim() > 0) sizes.insert(sizes.end() - 1, call.args.points);
  Tensor y = at::empty(sizes, a.options());
  call.args.y = call.result(y, call.args.points);
  if (call.args.points > 0) call.run(cpu::slerp_forward);
  return y;
}

// The gradient of t from those of all rows' points: summed over the rows that share t.
Tensor reduced(const Tensor& grads, const Tensor& t) {
  constexpr int64_t few = 1024;
  if (t.dim() == 0 && grads.size(0) <= few) {
    double sum = 0;
    AT_DISPATCH_FLOATING_TYPES(grads.scalar_type(), op, [&] {
      const scalar_t* g = grads.const_data_ptr<scalar_t>();
      for (int64_t i = 0; i < grads.size(0); ++i) sum += g[i];
    });
    return at::scalar_tensor(sum, t.options());
  }
  const Tensor sum = t.dim() > 1 ? grads : grads.sum(0);
  return sum.to(t.scalar_type()).reshape(t.sizes());
}

std::tuple<Tensor, Tensor, Tensor> backward_cpu(const Tensor& grad_y, const Tensor& a,
                                                const Tensor& b, const Tensor& t) {
  check(a, b, t);
  Call call(a, b, t);
  cpu::SlerpArgs& args = call.args;
  if (args.points == 0) return {at::zeros_like(a), at::zeros_like(b), at::zeros_like(t)};
  const Tensor g = flattened(grad_y, args.rows, t.dim() > 0 ? 2 : 1);
  Tensor grad_a = at::empty(a.sizes(), a.options()), grad_b = at::empty(b.sizes(), b.options());
  Tensor grad_t = at::empty({args.rows, args.points}, a.options().dtype(wide(a.scalar_type())));
  args.grad_y = vectors(g);
  args.grad_a = call.result(grad_a, 1);
  args.grad_b = call.result(grad_b, 1);
  args.grad_t = {grad_t.data_ptr(), cpu_dtype(grad_t.scalar_type()), args.points, 1, 0};
  call.run(cpu::slerp_backward);
  return {std::move(grad_a), std::move(grad_b), reduced(grad_t, t)};
}

// Numbers become 0-d tensors here: cheaper than in Python.
Tensor call_with_number(const Tensor& a, const Tensor& b, double t) {
  check_floating(op, "a", a);
  return Op<Slerp>::call(a, b,
                         at::scalar_tensor(t, at::device(at::kCPU).dtype(wide(a.scalar_type()))));
}

}  // namespace

FK_LIBRARY_FRAGMENT(m) {
  define_differentiable(m, op, "Tensor a, Tensor b, Tensor t", "Tensor grad_y", "Tensor",
                        "(Tensor, Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(flowkernels, CPU, m) {
  m.impl("slerp", &forward_cpu);
  m.impl("slerp_backward", &backward_cpu);
}
TORCH_LIBRARY_IMPL(flowkernels, Autograd, m) { register_autograd<Slerp>(m); }

void bind_slerp(pybind11::module_& m) {
  bind_op<Slerp>(m);
  m.def(op, &call_with_number, pybind11::call_guard<pybind11::gil_scoped_release>());
}

}  // namespace bindings
}  // namespace fk
