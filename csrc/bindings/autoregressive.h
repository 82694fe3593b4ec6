// Inverses of autoregressive maps: argument checks and the kernels' arguments, for every device.
#pragma once

#include <ATen/Functions.h>

#include <algorithm>
#include <string_view>
#include <tuple>
#include <vector>

#include "../args/autoregressive.h"
#include "check.h"
#include "option.h"
#include "rational_quadratic_spline.h"

namespace fk {
namespace bindings {

// The network of an autoregressive map, flat.  `offset` (*batch, out) has the biases of the first
// layer, for each row; `parameters` the first weight, then weight and bias of each other layer.
// `hidden` are the widths of the hidden layers, `degrees` those of all their units.
struct AffineAutoregressiveInverse {
  static constexpr const char* name = "affine_autoregressive_inverse";
  static constexpr const char* arguments =
      "Tensor z, Tensor offset, Tensor parameters, int[] hidden, int[] degrees, "
      "int[] input_order, str scale_fn, float bound, str layout, str order";
  static constexpr const char* gradients = "Tensor grad_x, Tensor grad_log_det";
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&,
                                               at::IntArrayRef, at::IntArrayRef, at::IntArrayRef,
                                               std::string_view, double, std::string_view,
                                               std::string_view);
};

struct SplineAutoregressiveInverse {
  static constexpr const char* name = "spline_autoregressive_inverse";
  static constexpr const char* arguments =
      "Tensor z, Tensor offset, Tensor parameters, int[] hidden, int[] degrees, "
      "int[] input_order, int bins, float bound, str boundary, float min_width, "
      "float min_height, float min_derivative, str convention, float scale";
  static constexpr const char* gradients = AffineAutoregressiveInverse::gradients;
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&,
                                               at::IntArrayRef, at::IntArrayRef, at::IntArrayRef,
                                               int64_t, double, std::string_view, double, double,
                                               double, std::string_view, double);
};

namespace autoregressive {

using std::string_view;

// Where the network's outputs for feature d are: at start + d * step.
struct OutputRows {
  std::vector<int64_t> starts;
  int64_t step;
};

// ---- what the outputs do ---------------------------------------------------------

struct Affine {
  using Args = AffineAutoregressiveArgs;
  CouplingOptions options;
  Layout layout;

  Affine(string_view scale_fn, double bound, string_view layout_, string_view order)
      : options{parse_option<ScaleFn>(op, "scale_fn", scale_fn), bound, /*gain=*/1.0,
                parse_option<Order>(op, "order", order) == Order::shift_then_scale,
                /*inverse=*/true},
        layout(parse_option<Layout>(op, "layout", layout_)) {
    check_positive(op, "bound", bound);
  }
  OutputRows rows(int64_t features) const {
    switch (layout) {
      case Layout::shift_scale:
        return {{0, features}, 1};
      case Layout::scale_shift:
        return {{features, 0}, 1};
      case Layout::interleaved:
        return {{0, 1}, 2};
      case Layout::interleaved_scale_shift:
        return {{1, 0}, 2};
    }
    return {};
  }

 private:
  static constexpr const char* op = AffineAutoregressiveInverse::name;
};

struct Spline {
  using Args = SplineAutoregressiveArgs;
  SplineOptions options;
  int64_t parts;

  Spline(int64_t bins, double bound, string_view boundary, double min_width, double min_height,
         double min_derivative, string_view convention, double scale) {
    const spline::Options parsed =
        spline::parse(bins, bound, boundary, min_width, min_height, min_derivative, convention,
                      scale, /*inverse=*/true, "second", "row");
    options = parsed;
    parts = spline_parameters(options.boundary, options.bins);
  }
  // Those of a feature lie together.
  OutputRows rows(int64_t) const {
    OutputRows r{std::vector<int64_t>(parts), parts};
    for (int64_t i = 0; i < parts; ++i) r.starts[i] = i;
    return r;
  }
};

template <class Spec>
struct MapOf;
template <>
struct MapOf<AffineAutoregressiveInverse> {
  using type = Affine;
};
template <>
struct MapOf<SplineAutoregressiveInverse> {
  using type = Spline;
};

// ---- the network -----------------------------------------------------------------

// Which units see what: lists by layer, the network's outputs as the last one.
class Structure {
 public:
  Structure(const char* name, int64_t features, at::IntArrayRef hidden, at::IntArrayRef degrees,
            at::IntArrayRef input_order, const OutputRows& rows)
      : op(name), features_(features), order(input_order.vec()) {
    check_order();
    const auto outputs = static_cast<int64_t>(rows.starts.size());
    const int64_t* degree = degrees.data();
    int64_t total = 0;
    for (const int64_t width : hidden) {
      TORCH_CHECK_VALUE(width >= 0, op, ": `hidden` must hold widths >= 0, got ", hidden);
      total += width;
    }
    TORCH_CHECK_VALUE(static_cast<int64_t>(degrees.size()) == total, op, ": `degrees` must hold ",
                      total, " numbers, one for each hidden unit, got ", degrees.size());
    for (const int64_t width : hidden) {
      add_layer(width, degree);
      degree += width;
    }
    std::vector<int64_t> of_outputs(features * outputs);
    for (size_t i = 0; i < of_outputs.size(); ++i)
      of_outputs[i] = static_cast<int64_t>(i) / outputs;
    add_layer(features * outputs, of_outputs.data());
    for (const int64_t feature : order)
      for (const int64_t start : rows.starts) rows_.push_back(start + feature * rows.step);
    layers.back().row = rows_.data();
    layers.front().column = order.data();
  }

  // Elements of the flat parameters.
  int64_t parameters() const {
    int64_t total = 0;
    for (size_t i = 0; i < layers.size(); ++i)
      total += layers[i].units * (layers[i].inputs + (i > 0 ? 1 : 0));
    return total;
  }
  std::vector<AutoregressiveLayer> layers;

 private:
  void check_order() const {
    std::vector<bool> found(features_);
    bool fits = static_cast<int64_t>(order.size()) == features_;
    for (const int64_t feature : order) {
      fits = fits && feature >= 0 && feature < features_ && !found[feature];
      if (fits) found[feature] = true;
    }
    TORCH_CHECK_VALUE(fits, op, ": `input_order` must hold each of 0, ..., ", features_ - 1,
                      " once, got ", at::IntArrayRef(order));
  }
  void add_layer(int64_t units, const int64_t* degree) {
    AutoregressiveLayer l = {};
    l.units = units;
    l.inputs = layers.empty() ? features_ : layers.back().units;
    l.before = layers.empty() ? 0 : layers.back().before + layers.back().units;
    std::vector<int64_t> end(features_, units), seen(units);
    for (int64_t i = units; i-- > 0;) {
      TORCH_CHECK_VALUE(degree[i] >= 0 && degree[i] < std::max<int64_t>(features_, 1) &&
                            (i == 0 || degree[i - 1] <= degree[i]),
                        op, ": `degrees` must ascend in each layer, from 0 to ", features_ - 1,
                        " at most, got ", at::IntArrayRef(degree, units));
      // Units of degrees up to p are those before the first of a higher degree.
      for (int64_t p = degree[i] - 1; p >= 0 && end[p] > i; --p) end[p] = i;
      seen[i] = layers.empty() ? degree[i] : features_ > 0 ? layers.back().end[degree[i]] : 0;
    }
    lists_.push_back(std::move(end));
    l.end = lists_.back().data();
    lists_.push_back(std::move(seen));
    l.seen = lists_.back().data();
    layers.push_back(l);
  }

  const char* op;
  int64_t features_;
  std::vector<std::vector<int64_t>> lists_;
  std::vector<int64_t> rows_;

 public:
  std::vector<int64_t> order;
};

// A kernel's arguments with the tensors they point into.  Kernels take dense rows of the compute
// type: what is stored otherwise is converted, which costs little beside the network.
struct Call {
  template <class Map>
  Call(const char* name, const Tensor& z_, const Tensor& offset_, const Tensor& parameters_,
       at::IntArrayRef hidden, at::IntArrayRef degrees, at::IntArrayRef input_order, const Map& map)
      : op(name),
        structure(name, check_tensors(name, z_, offset_, parameters_), hidden, degrees, input_order,
                  map.rows(z_.size(-1))) {
    check_sizes(z_, offset_, parameters_);
    const int64_t features = z_.size(-1);
    compute = wide(z_.scalar_type());
    sizes = z_.sizes();
    const int64_t rows = c10::multiply_integers(sizes.slice(0, sizes.size() - 1));
    z = rows_of(z_, rows);
    parameters = in_dtype(parameters_, compute).contiguous();
    args.float64 = compute == at::kDouble;
    args.rows = rows;
    args.features = features;
    args.outputs = structure.layers.back().units / std::max<int64_t>(features, 1);
    args.layers = static_cast<int64_t>(structure.layers.size());
    args.layer = structure.layers.data();
    args.order = structure.order.data();
    args.z = z.data_ptr();
    // The bias of a network without a context is one row for all.
    const bool one_row = is_one_row(offset_);
    const Tensor own = one_row ? offset_.flatten(0, -2).narrow(0, 0, 1) : offset_;
    offset = rows_of(own, one_row ? 1 : rows);
    args.offset = offset.data_ptr();
    args.offset_stride = one_row ? 0 : offset.size(1);
    char* from = static_cast<char*>(parameters.data_ptr());
    const int64_t bytes = static_cast<int64_t>(parameters.element_size());
    for (size_t i = 0; i < structure.layers.size(); ++i) {
      AutoregressiveLayer& l = structure.layers[i];
      l.weight = from;
      from += l.units * l.inputs * bytes;
      if (i == 0) continue;
      l.bias = from;
      from += l.units * bytes;
    }
  }

  bool is_empty() const { return args.rows == 0 || args.features == 0; }
  Tensor empty(at::IntArrayRef shape) const { return at::empty(shape, z.options().dtype(compute)); }
  // (rows, n) in the compute type.
  Tensor rows_of(const Tensor& t, int64_t rows) const {
    return in_dtype(t.reshape({rows, t.size(-1)}), compute).contiguous();
  }

  const char* op;
  Structure structure;
  AutoregressiveArgs args = {};
  at::ScalarType compute;
  at::IntArrayRef sizes;  // of z
  Tensor z, offset, parameters;

 private:
  static int64_t check_tensors(const char* op, const Tensor& z, const Tensor& offset,
                               const Tensor& parameters) {
    check_floating(op, "z", z);
    check_floating(op, "offset", offset);
    check_floating(op, "parameters", parameters);
    for (const auto& [name, t] : {std::pair("offset", &offset), {"parameters", &parameters}}) {
      check_same_device(op, name, *t, "z", z);
      check_precision(op, name, *t, "z", z);
    }
    TORCH_CHECK_VALUE(z.dim() >= 1, op, ": `z` must have shape (*batch, features), got a scalar");
    return z.size(-1);
  }
  void check_sizes(const Tensor& z_, const Tensor& offset_, const Tensor& parameters_) const {
    std::vector<int64_t> wanted = z_.sizes().vec();
    wanted.back() = structure.layers[0].units;
    TORCH_CHECK_VALUE(offset_.sizes() == at::IntArrayRef(wanted), op, ": `offset` must have shape ",
                      at::IntArrayRef(wanted), ", got ", offset_.sizes());
    TORCH_CHECK_VALUE(parameters_.dim() == 1 && parameters_.size(0) == structure.parameters(), op,
                      ": `parameters` must have shape (", structure.parameters(), "), got ",
                      parameters_.sizes());
  }
  static bool is_one_row(const Tensor& t) {
    for (int64_t d = 0; d + 1 < t.dim(); ++d)
      if (t.stride(d) != 0) return false;
    return t.dim() > 1 && t.numel() > 0;
  }
};

}  // namespace autoregressive
}  // namespace bindings
}  // namespace fk
