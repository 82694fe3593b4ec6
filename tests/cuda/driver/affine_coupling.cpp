// affine_coupling: every scale function, layout of the parameters, order and direction, log-dets of
// rows or of each element; of all channels, or of half of them beside the half that is copied.
#include "../../../csrc/cpu/affine_coupling.h"

#include <math.h>

#include <sstream>

#include "../../../csrc/cuda/affine_coupling.h"
#include "cases.h"

namespace driver {
namespace {

using Args = fk::AffineCouplingArgs;
using fk::ScaleFn;

constexpr auto& scale_names = fk::OptionNames<ScaleFn>::names;

// The words of a note: a scale function, and options.
struct Options {
  ScaleFn scale_fn = ScaleFn::tanh;
  bool interleaved = false, scale_first = false, shift_first = false, inverse = false,
       first = false, even = false, image = false, channels_last = false, each = false;
  DType params;

  Options(const std::string& note, DType dtype) : params(dtype) {
    std::istringstream words(note);
    for (std::string word; words >> word;) {
      for (size_t i = 0; i < std::size(scale_names); ++i)
        if (word == scale_names[i]) scale_fn = static_cast<ScaleFn>(i);
      interleaved |= word == "interleaved";
      scale_first |= word == "scale_shift";
      shift_first |= word == "shift_then_scale";
      inverse |= word == "inverse";
      first |= word == "first";
      even |= word == "even";
      channels_last |= word == "channels_last";
      each |= word == "each";
      image |= word == "image" || channels_last;
      // As autocast makes them.
      if (word == "float16-params" && dtype == DType::f32) params = DType::f16;
      if (word == "bfloat16-params" && dtype == DType::f32) params = DType::bf16;
    }
  }
};

// A row as an image of C channels at S positions. Outputs are always dense.
struct Image {
  int64_t channels, positions;
  bool channels_last;

  Image(int64_t channels, int64_t positions, bool channels_last = false)
      : channels(channels), positions(positions), channels_last(channels_last) {}

  // Channels `first`, `first + step`, ...
  fk::RowOperand part(Operand o, int64_t first, int64_t step = 1) const {
    const int64_t of_channel = o.stride * (channels_last ? 1 : positions);
    fk::RowOperand r;
    r.base = static_cast<char*>(o.base) + first * of_channel * int64_t(fk::size_of(o.dtype));
    r.dtype = o.dtype;
    r.stride[0] = o.row_stride;
    r.stride[2] = of_channel * step;
    r.stride[3] = o.stride * (channels_last ? channels : 1);
    if (positions == 1) r.stride[3] = r.stride[2];
    return r;
  }
};
void set_nest(fk::RowShape& shape, int64_t channels, int64_t positions) {
  shape.n[1] = positions == 1 ? 1 : channels;
  shape.n[2] = positions == 1 ? channels : positions;
}

struct Halves {
  fk::RowOperand shift, raw;
};
Halves halves(Operand params, const Image& of, const Options& o) {
  const int64_t second = o.interleaved ? 1 : of.channels / 2, step = o.interleaved ? 2 : 1;
  const int64_t shift_at = o.scale_first ? second : 0, raw_at = o.scale_first ? 0 : second;
  return {of.part(params, shift_at, step), of.part(params, raw_at, step)};
}

template <bool Split>
std::unique_ptr<Case> make(const Spec& spec) {
  auto owned = std::make_unique<Case>(spec);
  Case& c = *owned;
  const Options o(spec.note, spec.dtype);
  const int64_t positions = o.image && spec.width % 4 == 0 ? spec.width / 4 : 1;
  const int64_t channels = spec.width / positions;
  const bool even = Split && o.even;
  const int64_t coupled = Split ? (channels + even) / 2 : channels, kept = channels - coupled;
  const int64_t coupled_at = even || o.first ? 0 : kept, step = even ? 2 : 1;
  const int64_t kept_at = even ? 1 : o.first ? coupled : 0;
  Matrix& x = c.input("x", spec.dtype, spec.width, normals(1));
  const Image of_x(channels, positions, o.channels_last), of_y(channels, positions);
  const Image of_params(2 * coupled, positions, o.channels_last), of_grads(2 * coupled, positions);
  Matrix& params = c.input("params", o.params, 2 * coupled * positions, normals(2));
  const auto arguments = [=, &c, &x, &params](Where where) {
    Args a;
    a.coupled.rows = a.kept.rows = c.rows(where);
    set_nest(a.coupled, coupled, positions);
    set_nest(a.kept, kept, positions);
    a.scale_fn = o.scale_fn;
    a.shift_first = o.shift_first;
    a.inverse = o.inverse;
    a.bound = 2;
    a.gain = 1.25;
    a.sums_rows = !o.each;
    a.float64 = x.at(where).dtype == DType::f64;
    a.x = of_x.part(x.at(where), coupled_at, step);
    const Halves h = halves(params.at(where), of_params, o);
    a.shift = h.shift;
    a.raw = h.raw;
    return a;
  };
  const int64_t log_dets = o.each ? coupled * positions : 1;
  const Image of_log_det(o.each ? coupled : 1, o.each ? positions : 1);
  if (!c.is_backward()) {
    Matrix& y = c.output("y", spec.dtype, spec.width);
    Matrix& log_det = c.output("log_det", c.wide(), log_dets);
    log_det.least_scale = o.each ? 1 : sqrt(double(coupled * positions));
    const auto whole = [=, &x, &y, &log_det](Where where) {
      Args a = arguments(where);
      a.y = of_y.part(y.at(where), coupled_at, step);
      a.kept_x = of_x.part(x.at(where), kept_at, step);
      a.kept_y = of_y.part(y.at(where), kept_at, step);
      a.log_det = of_log_det.part(log_det.at(where), 0);
      return a;
    };
    c.launch = [&c, &log_det, whole, sums = static_cast<Matrix*>(nullptr)](
                   const fk::cuda::LaunchContext& context) mutable {
      Args a = whole(Where::device);
      a.parts = fk::cuda::affine_coupling_parts(a, context);
      const bool summed = a.sums_rows && a.parts > 1;
      if (summed && sums == nullptr) sums = &c.scratch(c.wide(), a.coupled.rows, a.parts);
      if (summed) a.log_det.base = sums->at(Where::device).base;
      fk::cuda::affine_coupling_forward(a, log_det.at(Where::device).base, context);
    };
    c.reference = [whole] {
      const Args a = whole(Where::host);
      fk::cpu::affine_coupling_forward(a, 0, a.coupled.rows);
    };
    return owned;
  }
  Matrix& grad_y = c.input("grad_y", spec.dtype, spec.width, normals(3));
  Matrix& grad_log_det = c.input("grad_log_det", c.wide(), log_dets, normals(4));
  Matrix& grad_x = c.output("grad_x", spec.dtype, spec.width);
  Matrix& grad_params = c.output("grad_params", o.params, 2 * coupled * positions);
  const auto whole = [=, &grad_y, &grad_log_det, &grad_x, &grad_params](Where where) {
    Args a = arguments(where);
    a.grad_y = of_x.part(grad_y.at(where), coupled_at, step);
    a.grad_x = of_y.part(grad_x.at(where), coupled_at, step);
    const Halves h = halves(grad_params.at(where), of_grads, o);
    a.grad_shift = h.shift;
    a.grad_raw = h.raw;
    a.kept_x = of_x.part(grad_y.at(where), kept_at, step);
    a.kept_y = of_y.part(grad_x.at(where), kept_at, step);
    a.grad_log_det = of_log_det.part(grad_log_det.at(where), 0);
    return a;
  };
  c.launch = [whole](const fk::cuda::LaunchContext& context) {
    Args a = whole(Where::device);
    a.parts = fk::cuda::affine_coupling_parts(a, context);
    fk::cuda::affine_coupling_backward(a, context);
  };
  c.reference = [whole] {
    const Args a = whole(Where::host);
    fk::cpu::affine_coupling_backward(a, 0, a.coupled.rows);
  };
  return owned;
}

std::vector<std::string> notes() {
  std::vector<std::string> all = {"tanh"};
  for (const char* name : scale_names)
    for (const char* options :
         {"", " inverse", " interleaved shift_then_scale", " scale_shift shift_then_scale inverse"})
      if (std::string(name) + options != "tanh") all.push_back(std::string(name) + options);
  all.push_back("tanh float16-params");
  all.push_back("tanh bfloat16-params");
  all.push_back("tanh float16-params interleaved image");
  all.push_back("tanh bfloat16-params interleaved image");
  all.push_back("tanh first");
  all.push_back("tanh interleaved image");
  all.push_back("exp image channels_last first");
  all.push_back("sigmoid interleaved channels_last inverse");
  all.push_back("tanh even");
  all.push_back("softplus even image interleaved scale_shift inverse");
  all.push_back("tanh each");
  all.push_back("exp each interleaved image channels_last inverse");
  return all;
}

}  // namespace

Op affine_coupling() {
  return {"affine_coupling", notes(), both_directions, false, every_dtype, make<false>};
}
Op affine_coupling_split() {
  return {"affine_coupling_split", notes(), both_directions, false, every_dtype, make<true>};
}

}  // namespace driver
