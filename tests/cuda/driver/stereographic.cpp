// stereographic and its inverse: points of the plane at a distance of about 1, points of the
// sphere.
#include "../../../csrc/cpu/stereographic.h"

#include <math.h>

#include "../../../csrc/cuda/stereographic.h"
#include "cases.h"

namespace driver {
namespace {

using Args = fk::StereographicArgs;

fk::RowView operand(Operand o) { return o.as<fk::RowView>(); }

template <bool Inverse>
std::unique_ptr<Case> make(const Spec& spec) {
  auto owned = std::make_unique<Case>(spec);
  Case& c = *owned;
  // A size's width is that of the plane.
  const int64_t d = spec.width, in = Inverse ? d + 1 : d, out = Inverse ? d : d + 1;
  const Fill fill = Inverse ? units(1) : normals(1, 1 / sqrt(double(d)));
  Matrix& x = c.input(Inverse ? "s" : "z", spec.dtype, in, fill);
  const auto arguments = [&c, &x, d](Where where) {
    Args a;
    a.rows = c.rows(where);
    a.d = d;
    a.float64 = x.at(where).dtype == DType::f64;
    a.x = operand(x.at(where));
    return a;
  };
  if (!c.is_backward()) {
    Matrix& y = c.output("out", spec.dtype, out);
    Matrix& log_det = c.output("log_det", c.wide(), 1);
    // d log rho near |z| = 1, where log rho is small: in float64 |z|^2 itself is rounded.
    if (!Inverse && spec.dtype == DType::f64) log_det.least_scale = double(d);
    const auto whole = [&y, &log_det, arguments](Where where) {
      Args a = arguments(where);
      a.out = operand(y.at(where));
      a.log_det = operand(log_det.at(where));
      return a;
    };
    c.launch = [whole](const fk::cuda::LaunchContext& context) {
      const Args a = whole(Where::device);
      Inverse ? fk::cuda::stereographic_inverse_forward(a, context)
              : fk::cuda::stereographic_forward(a, context);
    };
    c.reference = [whole] {
      const Args a = whole(Where::host);
      Inverse ? fk::cpu::stereographic_inverse_forward(a, 0, a.rows)
              : fk::cpu::stereographic_forward(a, 0, a.rows);
    };
    return owned;
  }
  Matrix& grad_out = c.input("grad_out", spec.dtype, out, normals(2));
  Matrix& grad_log_det = c.input("grad_log_det", c.wide(), 1, normals(3));
  Matrix& grad = c.output("grad", spec.dtype, in);
  const auto whole = [&grad_out, &grad_log_det, &grad, arguments](Where where) {
    Args a = arguments(where);
    a.grad_out = operand(grad_out.at(where));
    a.grad_log_det = operand(grad_log_det.at(where));
    a.out = operand(grad.at(where));
    return a;
  };
  c.launch = [whole](const fk::cuda::LaunchContext& context) {
    const Args a = whole(Where::device);
    Inverse ? fk::cuda::stereographic_inverse_backward(a, context)
            : fk::cuda::stereographic_backward(a, context);
  };
  c.reference = [whole] {
    const Args a = whole(Where::host);
    Inverse ? fk::cpu::stereographic_inverse_backward(a, 0, a.rows)
            : fk::cpu::stereographic_backward(a, 0, a.rows);
  };
  return owned;
}

}  // namespace

Op stereographic() {
  return {"stereographic", {""}, both_directions, false, every_dtype, make<false>};
}
Op stereographic_inverse() {
  return {"stereographic_inverse", {""}, both_directions, false, every_dtype, make<true>};
}

}  // namespace driver
