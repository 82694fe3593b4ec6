// log_det_diagonal: rows of numbers away from 0.
#include "../../../csrc/cpu/log_det.h"

#include <math.h>

#include "../../../csrc/cuda/log_det.h"
#include "cases.h"

namespace driver {
namespace {

std::unique_ptr<Case> make(const Spec& spec) {
  auto owned = std::make_unique<Case>(spec);
  Case& c = *owned;
  const Fill fill = [](int64_t row, double* values, int64_t width) {
    for (int64_t i = 0; i < width; ++i) {
      const double x = normal(1, row, i);
      values[i] = x + (x < 0 ? -0.25 : 0.25);
    }
  };
  Matrix& diag = c.input("diag", spec.dtype, spec.width, fill);
  const auto arguments = [&](Where where) {
    fk::LogDetArgs a;
    const Operand d = diag.at(where);
    a.diag = d.base;
    a.dtype = d.dtype;
    a.rows = c.rows(where);
    a.n = spec.width;
    a.row_stride = d.row_stride;
    a.stride = d.stride;
    a.wide = wide(d.dtype);
    return a;
  };
  if (c.is_backward()) {
    Matrix& grad = c.input("grad_log_det", c.wide(), 1, normals(2));
    Matrix& out = c.output("grad_diag", spec.dtype, spec.width);
    const auto whole = [&c, &grad, &out, arguments](Where where) {
      fk::LogDetArgs a = arguments(where);
      a.grad_log_det = grad.at(where).base;
      a.grad_stride = grad.at(where).row_stride;
      a.grad_diag = out.at(where).base;
      return a;
    };
    c.launch = [whole](const fk::cuda::LaunchContext& context) {
      const fk::LogDetArgs a = whole(Where::device);
      fk::cuda::log_det_backward(a, fk::cuda::log_det_parts(a, context), context);
    };
    c.reference = [whole] {
      const fk::LogDetArgs a = whole(Where::host);
      fk::cpu::log_det_backward(a, 0, a.rows);
    };
    return owned;
  }
  Matrix& out = c.output("log_det", c.wide(), 1);
  out.least_scale = sqrt(double(spec.width));
  const auto whole = [&out, arguments](Where where) {
    fk::LogDetArgs a = arguments(where);
    a.log_det = out.at(where).base;
    return a;
  };
  c.launch = [&c, whole, sums = static_cast<Matrix*>(nullptr)](
                 const fk::cuda::LaunchContext& context) mutable {
    const fk::LogDetArgs a = whole(Where::device);
    const int64_t parts = fk::cuda::log_det_parts(a, context);
    if (parts > 1 && sums == nullptr) sums = &c.scratch(c.wide(), a.rows, parts);
    fk::cuda::log_det_forward(a, parts, parts > 1 ? sums->at(Where::device).base : nullptr,
                              context);
  };
  c.reference = [whole] {
    const fk::LogDetArgs a = whole(Where::host);
    fk::cpu::log_det_forward(a, 0, a.rows);
  };
  return owned;
}

}  // namespace

Op log_det_diagonal() {
  return {"log_det_diagonal", {""}, both_directions, false, every_dtype, make};
}

}  // namespace driver
