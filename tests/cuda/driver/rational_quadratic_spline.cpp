// rational_quadratic_spline: numbers of bins in registers and in local memory, boundaries,
// conventions, directions; rows of parameters and other layouts; of all channels, or of half of
// them beside the half that is copied.
#include "../../../csrc/cpu/rational_quadratic_spline.h"

#include <math.h>

#include <sstream>

#include "../../../csrc/cuda/rational_quadratic_spline.h"
#include "cases.h"

namespace driver {
namespace {

using Args = fk::RationalQuadraticSplineArgs;

// The words of a note.
struct Options {
  fk::SplineOptions spline;
  bool image = false, channels_last = false, split = false, first = false, each = false;
  DType params;

  Options(const std::string& note, DType dtype) : params(dtype) {
    std::istringstream words(note);
    for (std::string word; words >> word;) {
      if (isdigit(word[0])) spline.bins = std::stoi(word);
      spline.inverse |= word == "inverse";
      if (word == "circular") spline.boundary = fk::SplineBoundary::circular;
      if (word == "none") spline.boundary = fk::SplineBoundary::none;
      if (word == "zuko") {
        spline.convention = fk::SplineConvention::zuko;
        spline.clip = -2.0 / log(spline.min_derivative);
      }
      channels_last |= word == "channels_last";
      image |= word == "image" || channels_last;
      first |= word == "first";
      split |= word == "split" || first;
      each |= word == "each";  // a log-det an element
      // As autocast makes them.
      if (word == "float16-params" && dtype == DType::f32) params = DType::f16;
      if (word == "bfloat16-params" && dtype == DType::f32) params = DType::bf16;
    }
  }
  int parts() const {
    const int bins = spline.bins;
    if (spline.boundary == fk::SplineBoundary::linear) return 3 * bins - 1;
    return spline.boundary == fk::SplineBoundary::circular ? 3 * bins : 3 * bins + 1;
  }
};

// Rows as images of C channels at S positions, each channel of `parts` parts.
struct Image {
  int64_t channels, positions, parts = 1;
  bool channels_last = false;

  fk::VectorOperand operand(Operand o, int64_t channel = 0) const {
    fk::VectorOperand r;
    r.part_stride = o.stride * (channels_last ? 1 : positions);
    const int64_t of_channel = r.part_stride * parts;
    r.base = static_cast<char*>(o.base) + channel * of_channel * int64_t(fk::size_of(o.dtype));
    r.dtype = o.dtype;
    r.stride[0] = o.row_stride;
    r.stride[2] = of_channel;
    r.stride[3] = o.stride * (channels_last ? channels * parts : 1);
    if (positions == 1) r.stride[3] = r.stride[2];
    return r;
  }
};
void set_nest(fk::RowShape& shape, int64_t channels, int64_t positions) {
  shape.n[1] = positions == 1 ? 1 : channels;
  shape.n[2] = positions == 1 ? channels : positions;
}

struct Layouts {
  int64_t channels, positions, coupled, kept, coupled_at, kept_at;
  Image x, y, params, grads, log_det;

  Layouts(const Options& o, int64_t width) {
    positions = o.image && width % 4 == 0 ? width / 4 : 1;
    channels = width / positions;
    coupled = o.split ? channels / 2 : channels;
    kept = channels - coupled;
    coupled_at = o.first ? 0 : kept;
    kept_at = o.first ? coupled : 0;
    x = {channels, positions, 1, o.channels_last};
    y = {channels, positions};
    params = {coupled, positions, o.parts(), o.channels_last};
    grads = {coupled, positions, o.parts()};
    log_det = {coupled, positions};
  }
};

Args arguments(const Case& c, const Options& o, const Layouts& l, Operand x, Operand params,
               Where where) {
  Args a;
  static_cast<fk::SplineOptions&>(a) = o.spline;
  a.sums_rows = !o.each;
  a.coupled.rows = a.kept.rows = c.rows(where);
  set_nest(a.coupled, l.coupled, l.positions);
  set_nest(a.kept, l.kept, l.positions);
  a.float64 = x.dtype == DType::f64;
  a.x = l.x.operand(x, l.coupled_at);
  a.params = l.params.operand(params);
  return a;
}

std::unique_ptr<Case> make(const Spec& spec) {
  auto owned = std::make_unique<Case>(spec);
  Case& c = *owned;
  const Options o(spec.note, spec.dtype);
  const Layouts l(o, spec.width);
  const int64_t elements = l.coupled * l.positions;
  Matrix& x = c.input("x", spec.dtype, spec.width, normals(1, 1.6));
  Matrix& params = c.input("params", o.params, o.parts() * elements, normals(2, 0.5));
  const int64_t log_dets = o.each ? elements : 1;
  // A log-det of its own for each element, or the row's for all of them.
  const auto log_det_operand = [=](Operand given) {
    fk::RowOperand r = l.log_det.operand(given);
    if (!o.each) r.stride[1] = r.stride[2] = r.stride[3] = 0;
    return r;
  };
  if (!c.is_backward()) {
    Matrix& y = c.output("y", spec.dtype, spec.width);
    Matrix& log_det = c.output("log_det", c.wide(), log_dets);
    log_det.least_scale = o.each ? 1 : sqrt(double(elements));
    const auto whole = [=, &c, &x, &params, &y, &log_det](Where where) {
      Args a = arguments(c, o, l, x.at(where), params.at(where), where);
      a.y = l.y.operand(y.at(where), l.coupled_at);
      a.kept_x = l.x.operand(x.at(where), l.kept_at);
      a.kept_y = l.y.operand(y.at(where), l.kept_at);
      a.log_det = log_det_operand(log_det.at(where));
      return a;
    };
    c.launch = [=, &c, &log_det, scratch = static_cast<Matrix*>(nullptr)](
                   const fk::cuda::LaunchContext& context) mutable {
      Args a = whole(Where::device);
      if (!o.each) {
        if (scratch == nullptr) scratch = &c.scratch(c.wide(), a.coupled.rows, elements);
        a.log_det = l.log_det.operand(scratch->at(Where::device));
      }
      fk::cuda::rational_quadratic_spline_forward(a, log_det.at(Where::device).base, context);
    };
    c.reference = [whole] {
      const Args a = whole(Where::host);
      fk::cpu::rational_quadratic_spline_forward(a, 0, a.coupled.rows);
    };
    return owned;
  }
  Matrix& grad_y = c.input("grad_y", spec.dtype, spec.width, normals(3));
  Matrix& grad_log_det = c.input("grad_log_det", c.wide(), log_dets, normals(4));
  Matrix& grad_x = c.output("grad_x", spec.dtype, spec.width);
  Matrix& grad_params = c.output("grad_params", o.params, o.parts() * elements);
  const auto whole = [=, &c, &x, &params, &grad_y, &grad_log_det, &grad_x,
                      &grad_params](Where where) {
    Args a = arguments(c, o, l, x.at(where), params.at(where), where);
    a.grad_y = l.x.operand(grad_y.at(where), l.coupled_at);
    a.grad_x = l.y.operand(grad_x.at(where), l.coupled_at);
    a.grad_params = l.grads.operand(grad_params.at(where));
    a.kept_x = l.x.operand(grad_y.at(where), l.kept_at);
    a.kept_y = l.y.operand(grad_x.at(where), l.kept_at);
    a.grad_log_det = log_det_operand(grad_log_det.at(where));
    return a;
  };
  c.launch = [whole](const fk::cuda::LaunchContext& context) {
    fk::cuda::rational_quadratic_spline_backward(whole(Where::device), context);
  };
  c.reference = [whole] {
    const Args a = whole(Where::host);
    fk::cpu::rational_quadratic_spline_backward(a, 0, a.coupled.rows);
  };
  return owned;
}

}  // namespace

Op rational_quadratic_spline() {
  const std::vector<std::string> notes = {
      "8",
      "8 inverse",
      "8 zuko each",
      "8 circular split",
      "8 none inverse first",
      "8 float16-params",
      "8 bfloat16-params inverse",
      "8 image split",
      "8 channels_last inverse",
      "5",
      "5 inverse split",
      "31 none image",
      "10 circular inverse image",
      "40",
      "40 inverse",
  };
  return {"rational_quadratic_spline", notes, both_directions, false, every_dtype, make};
}

}  // namespace driver
