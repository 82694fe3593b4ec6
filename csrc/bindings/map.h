// Calls of ops that map channels and add to their rows' log-dets: checks, results and the kernels'
// arguments, for every device.
//
// An op is described by a struct:
//
//   struct Map {
//     using Args = ...;              // MapArgs and the op's own (csrc/args)
//     using KernelOptions = ...;     // the part of Args that is options
//     using Options = ...;           // KernelOptions and MapOptions
//     static constexpr const char* op;
//     static int64_t parameters(const Options&);  // of an element
//     // Adds the parameters of `coupled` channels, or their gradients, to the nest of loops.
//     static void add_params(Nest&, const Options&, int64_t coupled, const Tensor&, Args&);
//     static void add_grad_params(Nest&, const Options&, int64_t coupled, const Tensor&, Args&);
//   };
#pragma once

#include <ATen/Functions.h>

#include "../args/map.h"
#include "channels.h"
#include "check.h"

namespace fk {
namespace bindings {

struct MapOptions {
  Transform transform;
  bool sums_rows;
};

// A kernel's arguments with the tensors they point into.  Where and in how many parts it runs is
// the device's affair.
template <class Map>
struct MapForward {
  typename Map::Args args;
  Tensor y, log_det;
  Tensor x, params;
};
template <class Map>
struct MapBackward {
  typename Map::Args args;
  Tensor grad_x, grad_params;
  Tensor x, params, grad_y, grad_log_det;
};

// How many channels the parameters are those of.
template <class Map>
int64_t map_coupled(const Tensor& params, const typename Map::Options& o) {
  return params.size(1) / Map::parameters(o);
}

template <class Map>
void map_check(const Tensor& x, const Tensor& params, const typename Map::Options& o) {
  constexpr const char* op = Map::op;
  check_floating(op, "x", x);
  check_floating(op, "params", params);
  check_same_device(op, "params", params, "x", x);
  check_precision(op, "params", params, "x", x);
  TORCH_CHECK_VALUE(x.dim() >= 2, op, ": `x` must have shape (B, C, *S), got ", x.sizes());
  const int64_t parameters = Map::parameters(o);
  TORCH_CHECK_VALUE(params.dim() == x.dim() && params.size(0) == x.size(0) &&
                        params.sizes().slice(2) == x.sizes().slice(2) &&
                        params.size(1) % parameters == 0 &&
                        params.size(1) / parameters <= x.size(1),
                    op, ": `params` must have shape (B, ", parameters,
                    " C, *S) for `x` of shape (B, C, *S) = ", x.sizes(), ", got ", params.sizes());
  channels::check_coupled(op, x, map_coupled<Map>(params, o), o.transform);
}

// The op's options, and the operands that lie in x and in tensors of its shape.
template <class Map>
struct MapArguments {
  const channels::Split split;
  channels::Nest nest;
  typename Map::Args args;

  MapArguments(const Tensor& x, const Tensor& params, const typename Map::Options& o)
      : split(channels::split(x, map_coupled<Map>(params, o), o.transform)),
        nest(x, split.coupled) {
    static_cast<typename Map::KernelOptions&>(args) = o;
    args.float64 = x.scalar_type() == at::kDouble;
    args.sums_rows = o.sums_rows;
    add(args.x, x);
  }
  // The mapped channels of a tensor shaped as x.
  void add(RowOperand& o, const Tensor& tensor) {
    o = channels::operand(tensor, split.coupled_at);
    nest.add(o, tensor, split.step);
  }
  // A number for each row, or for each mapped element.
  void add_log_det(RowOperand& o, const Tensor& tensor) {
    o = channels::operand(tensor);
    if (args.sums_rows) {
      o.stride[0] = tensor.stride(0);
    } else {
      nest.add(o, tensor);
    }
  }
  void finish(const Tensor& from, const Tensor& to) {
    args.coupled = nest.merge();
    args.kept = channels::copied(split, from, args.kept_x, to, args.kept_y);
  }
};

template <class Map>
MapForward<Map> map_forward(const Tensor& x_, const Tensor& params_,
                            const typename Map::Options& o) {
  map_check<Map>(x_, params_, o);
  const Tensor x = channels::loopable(x_), params = channels::loopable(params_);
  MapArguments<Map> a(x, params, o);
  const Tensor y = at::empty(x.sizes(), x.options());
  const Tensor log_det = at::empty(channels::log_det_sizes(x, a.split.coupled, o.sums_rows),
                                   x.options().dtype(wide(x.scalar_type())));
  a.add(a.args.y, y);
  Map::add_params(a.nest, o, a.split.coupled, params, a.args);
  a.add_log_det(a.args.log_det, log_det);
  a.finish(x, y);
  return {a.args, y, log_det, x, params};
}

template <class Map>
MapBackward<Map> map_backward(const Tensor& grad_y_, const Tensor& grad_log_det_, const Tensor& x_,
                              const Tensor& params_, const typename Map::Options& o) {
  map_check<Map>(x_, params_, o);
  check_gradient(Map::op, "grad_y", grad_y_, x_.sizes(), x_.scalar_type(), x_);
  check_gradient(Map::op, "grad_log_det", grad_log_det_,
                 channels::log_det_sizes(x_, map_coupled<Map>(params_, o), o.sums_rows),
                 wide(x_.scalar_type()), x_);
  const Tensor x = channels::loopable(x_), params = channels::loopable(params_);
  const Tensor grad_y = channels::loopable(grad_y_);
  const Tensor grad_log_det = channels::loopable(grad_log_det_);
  MapArguments<Map> a(x, params, o);
  const Tensor grad_x = at::empty(x.sizes(), x.options());
  const Tensor grad_params = at::empty(params.sizes(), params.options());
  a.add(a.args.grad_y, grad_y);
  a.add(a.args.grad_x, grad_x);
  Map::add_params(a.nest, o, a.split.coupled, params, a.args);
  Map::add_grad_params(a.nest, o, a.split.coupled, grad_params, a.args);
  a.add_log_det(a.args.grad_log_det, grad_log_det);
  a.finish(grad_y, grad_x);
  return {a.args, grad_x, grad_params, x, params, grad_y, grad_log_det};
}

}  // namespace bindings
}  // namespace fk
