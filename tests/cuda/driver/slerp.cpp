// slerp: a number, one fraction for all pairs, the same few fractions for all, or a few a pair.
#include "../../../csrc/cpu/slerp.h"

#include "../../../csrc/cuda/slerp.h"
#include "cases.h"

namespace driver {
namespace {

constexpr int64_t many_points = 16;

std::unique_ptr<Case> make(const Spec& spec) {
  auto owned = std::make_unique<Case>(spec);
  Case& c = *owned;
  const bool is_number = spec.note.empty(), is_each = spec.note == "points a pair";
  const int64_t points = is_number ? 1 : many_points;
  Matrix& a = c.input("a", spec.dtype, spec.width, units(1));
  Matrix& b = c.input("b", spec.dtype, spec.width, units(2));
  const Sample of_t = is_each ? c.sample() : Sample{1, 1, 0};
  Matrix& t = c.input("t", spec.dtype, points, of_t, uniforms(3, -0.25, 1.25));
  const auto vectors = [](Operand o, int64_t width) {
    return fk::PointView{{o.base, o.dtype, o.row_stride, o.stride}, width * o.stride};
  };
  const auto arguments = [&c, &a, &b, &t, vectors, is_each, is_number, points](Where where) {
    fk::SlerpArgs s;
    s.rows = c.rows(where);
    s.points = points;
    s.d = c.spec.width;
    s.float64 = a.at(where).dtype == DType::f64;
    s.a = vectors(a.at(where), s.d);
    s.b = vectors(b.at(where), s.d);
    const Operand of = t.at(where);
    s.t = {{of.base, of.dtype, is_each ? of.row_stride : 0, 0}, is_number ? 0 : of.stride};
    if (is_number) {  // its value travels with the launch
      s.number = t.host()[0];
      if (where == Where::device) s.t.base = nullptr;
    }
    return s;
  };
  // Rows of all points of a pair.
  const auto results = [points](Matrix& m, Where where) {
    const Operand o = m.at(where);
    return fk::PointView{{o.base, o.dtype, m.width(), 1}, m.width() / points};
  };
  if (!c.is_backward()) {
    Matrix& y = c.output("y", spec.dtype, points * spec.width);
    const auto whole = [&y, arguments, results](Where where) {
      fk::SlerpArgs s = arguments(where);
      s.y = results(y, where);
      return s;
    };
    c.launch = [whole](const fk::cuda::LaunchContext& context) {
      fk::cuda::slerp_forward(whole(Where::device), context);
    };
    c.reference = [whole] {
      const fk::SlerpArgs s = whole(Where::host);
      fk::cpu::slerp_forward(s, 0, s.rows);
    };
    return owned;
  }
  Matrix& grad_y = c.input("grad_y", spec.dtype, points * spec.width, normals(4));
  Matrix& grad_a = c.output("grad_a", spec.dtype, spec.width);
  Matrix& grad_b = c.output("grad_b", spec.dtype, spec.width);
  Matrix& grad_t = c.output("grad_t", c.wide(), points);
  const auto whole = [&grad_y, &grad_a, &grad_b, &grad_t, arguments, vectors](Where where) {
    fk::SlerpArgs s = arguments(where);
    s.grad_y = vectors(grad_y.at(where), s.d);
    s.grad_a = vectors(grad_a.at(where), s.d);
    s.grad_b = vectors(grad_b.at(where), s.d);
    const Operand o = grad_t.at(where);
    s.grad_t = {{o.base, o.dtype, o.row_stride, 0}, 1};
    return s;
  };
  c.launch = [whole](const fk::cuda::LaunchContext& context) {
    fk::cuda::slerp_backward(whole(Where::device), context);
  };
  c.reference = [whole] {
    const fk::SlerpArgs s = whole(Where::host);
    fk::cpu::slerp_backward(s, 0, s.rows);
  };
  return owned;
}

}  // namespace

Op slerp() {
  return {"slerp", {"", "16 points", "points a pair"}, both_directions, false, every_dtype, make};
}

}  // namespace driver
