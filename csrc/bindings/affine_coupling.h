// affine_coupling: options, argument checks and the kernels' arguments, for every device.
#pragma once

#include <algorithm>
#include <string_view>
#include <tuple>

#include "../args/affine_coupling.h"
#include "map.h"
#include "option.h"

namespace fk {
namespace bindings {

struct AffineCoupling {
  static constexpr const char* name = "affine_coupling";
  static constexpr const char* arguments =
      "Tensor x, Tensor params, str scale_fn, float bound, float gain, str layout, str order, "
      "bool inverse, str transform, str reduction";
  static constexpr const char* gradients = "Tensor grad_y, Tensor grad_log_det";
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, std::string_view,
                                               double, double, std::string_view, std::string_view,
                                               bool, std::string_view, std::string_view);
};

namespace coupling {

using channels::Nest;
using std::string_view;
constexpr const char* op = AffineCoupling::name;

// ---- options -----------------------------------------------------------------

struct Options : CouplingOptions, MapOptions {
  Layout layout;
};

// As the dispatcher's schema has them.
inline Options parse(string_view scale_fn, double bound, double gain, string_view layout,
                     string_view order, bool inverse, string_view transform,
                     string_view reduction) {
  check_positive(op, "bound", bound);
  check_positive(op, "gain", gain);
  return {{parse_option<ScaleFn>(op, "scale_fn", scale_fn), bound, gain,
           parse_option<Order>(op, "order", order) == Order::shift_then_scale, inverse},
          {parse_option<Transform>(op, "transform", transform),
           parse_option<Reduction>(op, "reduction", reduction) == Reduction::row},
          parse_option<Layout>(op, "layout", layout)};
}

// ---- operands ------------------------------------------------------------------

// Where shift and raw scale lie in the parameters: their first channels, `step` apart.
struct ParamLayout {
  int64_t shift, raw, step;
};
inline ParamLayout layout_of(Layout layout, int64_t channels) {
  switch (layout) {
    case Layout::shift_scale:
      return {0, channels, 1};
    case Layout::scale_shift:
      return {channels, 0, 1};
    case Layout::interleaved:
      return {0, 1, 2};
    case Layout::interleaved_scale_shift:
      return {1, 0, 2};
  }
  return {};
}

struct Map {
  using Args = AffineCouplingArgs;
  using KernelOptions = CouplingOptions;
  using Options = coupling::Options;
  static constexpr const char* op = coupling::op;

  static int64_t parameters(const Options&) { return 2; }
  static void add_params(Nest& nest, const Options& o, int64_t coupled, const Tensor& params,
                         Args& a) {
    add(nest, layout_of(o.layout, coupled), params, a.shift, a.raw);
  }
  static void add_grad_params(Nest& nest, const Options& o, int64_t coupled, const Tensor& params,
                              Args& a) {
    add(nest, layout_of(o.layout, coupled), params, a.grad_shift, a.grad_raw);
  }

 private:
  static void add(Nest& nest, const ParamLayout& at, const Tensor& params, RowOperand& shift,
                  RowOperand& raw) {
    shift = channels::operand(params, at.shift);
    raw = channels::operand(params, at.raw);
    nest.add(shift, params, at.step);
    nest.add(raw, params, at.step);
  }
};

}  // namespace coupling
}  // namespace bindings
}  // namespace fk
