// stereographic, stereographic_inverse: argument checks and the kernels' arguments, for
// every device.
#pragma once

#include <ATen/Functions.h>

#include <tuple>

#include "../args/stereographic.h"
#include "batch.h"
#include "check.h"

namespace fk {
namespace bindings {

struct Stereographic {
  static constexpr const char* name = "stereographic";
  static constexpr const char* arguments = "Tensor z";
  static constexpr const char* gradients = "Tensor grad_s, Tensor grad_log_det";
  static constexpr const char* argument = "z";
  static constexpr const char* grad_out = "grad_s";
  static constexpr int64_t extra_in = 0, extra_out = 1;  // elements beyond d
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&);
};
struct StereographicInverse {
  static constexpr const char* name = "stereographic_inverse";
  static constexpr const char* arguments = "Tensor s";
  static constexpr const char* gradients = "Tensor grad_z, Tensor grad_log_det";
  static constexpr const char* argument = "s";
  static constexpr const char* grad_out = "grad_z";
  static constexpr int64_t extra_in = 1, extra_out = 0;
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&);
};

namespace stereographic {

template <class Spec>
c10::SmallVector<int64_t, 6> out_sizes(const Tensor& x) {
  c10::SmallVector<int64_t, 6> sizes(x.sizes().begin(), x.sizes().end());
  sizes.back() += Spec::extra_out - Spec::extra_in;
  return sizes;
}

// (rows, width): a view where the strides allow it.
inline Tensor rows_of(const Tensor& t) {
  if (t.dim() == 2) return t;
  const auto sizes = t.sizes();
  return t.reshape({c10::multiply_integers(sizes.slice(0, sizes.size() - 1)), sizes.back()});
}

inline RowView operand(const Tensor& rows) {
  return {rows.data_ptr(), cpu_dtype(rows.scalar_type()), rows.stride(0),
          rows.dim() == 2 ? rows.stride(1) : 0};
}

template <class Spec>
void check(const Tensor& x) {
  check_floating(Spec::name, Spec::argument, x);
  TORCH_CHECK_VALUE(x.dim() >= 1 && x.size(-1) > Spec::extra_in, Spec::name, ": `", Spec::argument,
                    "` must have shape ", Spec::extra_in ? "(..., d + 1)" : "(..., d)",
                    " with d >= 1, got ", x.sizes());
}

template <class Spec>
StereographicArgs arguments(const Tensor& rows) {
  StereographicArgs a;
  a.rows = rows.size(0);
  a.d = rows.size(1) - Spec::extra_in;
  a.float64 = rows.scalar_type() == at::kDouble;
  a.x = operand(rows);
  return a;
}

// A kernel's arguments with its results and the tensors they point into.
struct Forward {
  StereographicArgs args;
  Tensor out, log_det;
  Tensor rows;
};

template <class Spec>
Forward forward(const Tensor& x) {
  check<Spec>(x);
  Forward call;
  call.rows = rows_of(x);
  StereographicArgs& a = call.args = arguments<Spec>(call.rows);
  call.out = at::empty(out_sizes<Spec>(x), x.options());
  call.log_det = at::empty(batch_of(x), x.options().dtype(wide(x.scalar_type())));
  a.out = {call.out.data_ptr(), a.x.dtype, a.d + Spec::extra_out, 1};
  a.log_det = {call.log_det.data_ptr(), cpu_dtype(call.log_det.scalar_type()), 1, 0};
  return call;
}

struct Backward {
  StereographicArgs args;
  Tensor grad;
  Tensor rows, grads, grads_log_det;
};

template <class Spec>
Backward backward(const Tensor& grad_out, const Tensor& grad_log_det, const Tensor& x) {
  check<Spec>(x);
  check_gradient(Spec::name, Spec::grad_out, grad_out, out_sizes<Spec>(x), x.scalar_type(), x);
  check_gradient(Spec::name, "grad_log_det", grad_log_det, batch_of(x), wide(x.scalar_type()), x);
  Backward call;
  call.rows = rows_of(x);
  call.grads = rows_of(grad_out);
  call.grads_log_det = grad_log_det.reshape({call.rows.size(0)});
  StereographicArgs& a = call.args = arguments<Spec>(call.rows);
  call.grad = at::empty(x.sizes(), x.options());
  a.grad_out = operand(call.grads);
  a.grad_log_det = operand(call.grads_log_det);
  a.out = {call.grad.data_ptr(), a.x.dtype, call.rows.size(1), 1};
  return call;
}

}  // namespace stereographic
}  // namespace bindings
}  // namespace fk
