// slerp: argument checks and the kernels' arguments, for every device.
#pragma once

#include <ATen/Functions.h>

#include "../args/slerp.h"
#include "check.h"

namespace fk {
namespace bindings {

struct Slerp {
  static constexpr const char* name = "slerp";
  static constexpr const char* arguments = "Tensor a, Tensor b, Tensor t";
  static constexpr const char* gradients = "Tensor grad_y";
  using Signature = Tensor(const Tensor&, const Tensor&, const Tensor&);
};

namespace slerp {

constexpr const char* op = Slerp::name;

inline void check(const Tensor& a, const Tensor& b, const Tensor& t) {
  check_floating(op, "a", a);
  check_floating(op, "b", b);
  check_floating(op, "t", t);
  check_same_device(op, "b", b, "a", a);
  check_same_dtype(op, "b", b, "a", a);
  if (t.dim() > 0 || !t.is_cpu()) check_same_device(op, "t", t, "a", a);
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

inline int64_t rows_of(const Tensor& a) {
  return c10::multiply_integers(a.sizes().slice(0, a.dim() - 1));
}

// The last `inner` dimensions behind all others as one: a view where the strides allow it.
inline Tensor flattened(const Tensor& x, int64_t rows, int64_t inner) {
  if (x.dim() == inner + 1) return x;
  c10::SmallVector<int64_t, 3> sizes{rows};
  sizes.append(x.sizes().end() - inner, x.sizes().end());
  return x.reshape(sizes);
}

inline PointView vectors(const Tensor& x) {
  const int64_t point_stride = x.dim() == 3 ? x.stride(1) : 0;
  return {{x.data_ptr(), cpu_dtype(x.scalar_type()), x.stride(0), x.stride(-1)}, point_stride};
}

// Every tensor flattened to (rows, [points,] d); holds what the kernel's pointers need.
struct Call {
  Tensor a, b, t, g;
  SlerpArgs args;

  Call(const Tensor& a_, const Tensor& b_, const Tensor& t_) {
    check(a_, b_, t_);
    args.rows = rows_of(a_);
    args.points = t_.dim() == 0 ? 1 : t_.size(-1);
    args.d = a_.size(-1);
    args.float64 = a_.scalar_type() == at::kDouble;
    a = flattened(a_, args.rows, 1);
    b = flattened(b_, args.rows, 1);
    t = t_.dim() > 1 ? flattened(t_, args.rows, 1) : t_;
    args.a = vectors(a);
    args.b = vectors(b);
    args.t = {{t.data_ptr(), cpu_dtype(t.scalar_type()), t.dim() == 2 ? t.stride(0) : 0, 0},
              t.dim() > 0 ? t.stride(-1) : 0};
  }
  PointView result(const Tensor& x, int64_t points) const {
    return {{x.data_ptr(), cpu_dtype(x.scalar_type()), points * args.d, 1}, args.d};
  }
  c10::SmallVector<int64_t, 6> y_sizes(const Tensor& a_) const {
    c10::SmallVector<int64_t, 6> sizes(a_.sizes().begin(), a_.sizes().end());
    if (t.dim() > 0) sizes.insert(sizes.end() - 1, args.points);
    return sizes;
  }
  // What the kernels write; y and the gradients of a and b are shaped as torch sees them.
  Tensor make_y(const Tensor& a_) {
    Tensor y = at::empty(y_sizes(a_), a_.options());
    args.y = result(y, args.points);
    return y;
  }
  struct Gradients {
    Tensor a, b;
    Tensor t;  // for every row and point
  };
  void check_grad(const Tensor& grad_y, const Tensor& a_) const {
    check_gradient(op, "grad_y", grad_y, y_sizes(a_), a_.scalar_type(), a_);
  }
  Gradients make_gradients(const Tensor& grad_y, const Tensor& a_, const Tensor& b_) {
    g = flattened(grad_y, args.rows, t.dim() > 0 ? 2 : 1);
    Gradients grads{
        at::empty(a_.sizes(), a_.options()), at::empty(b_.sizes(), b_.options()),
        at::empty({args.rows, args.points}, a_.options().dtype(wide(a_.scalar_type())))};
    args.grad_y = vectors(g);
    args.grad_a = result(grads.a, 1);
    args.grad_b = result(grads.b, 1);
    args.grad_t = {{grads.t.data_ptr(), cpu_dtype(grads.t.scalar_type()), args.points, 0}, 1};
    return grads;
  }
};

}  // namespace slerp
}  // namespace bindings
}  // namespace fk
