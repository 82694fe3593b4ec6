// mlp's CPU kernels as ops of the dispatcher, which a compiler's graph can hold.
//
// Their fake kernels are in python_ops/_mlp_compiled.py.
#include <ATen/Functions.h>

#include "../cpu/mlp.h"
#include "check.h"
#include "mlp.h"
#include "mlp_cpu.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace mlp {
namespace {

using std::string_view;
using Tensors = std::vector<Tensor>;
constexpr const char* rows_op = "mlp_rows";
constexpr const char* backward_op = "mlp_rows_backward";

// A network of x's rows that has kernels.
void check_rows(const char* name, const Tensor& x, TensorList weights) {
  check_dense(name, "x", x);
  check_floating(name, "x", x);
  TORCH_CHECK_VALUE(x.dim() == 2 && (x.size(0) == 0 || mlp_has_kernels(x, weights)), name,
                    ": `x` must have shape (rows, features) and `weights` at most ", mlp_widest,
                    " units a layer, got ", x.sizes());
}

// ---- kernels -----------------------------------------------------------------------

std::tuple<Tensor, Tensors> rows_cpu(const Tensor& x, TensorList weights, TensorList biases,
                                     string_view activation, double negative_slope, bool residual,
                                     bool keep) {
  Tensors hidden;
  const MlpOptions options = parse(rows_op, activation, negative_slope, residual);
  check_rows(rows_op, x, weights);
  check(rows_op, x, x.size(1), weights, biases, options);
  if (x.size(0) > 0) {
    Tensor y = mlp_forward_cpu(x, weights, biases, options, keep ? &hidden : nullptr);
    return {std::move(y), std::move(hidden)};
  }
  if (keep)
    for (const Tensor& w : weights.slice(1))
      hidden.push_back(at::empty({0, mlp_padded(x, w.size(1))}, x.options()));
  return {at::empty({0, weights.back().size(0)}, x.options()), std::move(hidden)};
}

Tensors rows_backward_cpu(const Tensor& grad_y, const Tensor& x, TensorList hidden,
                          TensorList weights, string_view activation, double negative_slope,
                          bool residual) {
  Tensors gradients(1 + 2 * weights.size());
  const MlpOptions options = parse(backward_op, activation, negative_slope, residual);
  check_rows(backward_op, x, weights);
  Tensors biases;
  for (const Tensor& w : weights) {
    TORCH_CHECK_VALUE(w.dim() == 2, backward_op, ": `weights` must be matrices, got ", w.sizes());
    biases.push_back(at::empty({w.size(0)}, x.options()));
  }
  check(backward_op, x, x.size(1), weights, biases, options);
  check_gradient(rows_op, "grad_y", grad_y, {x.size(0), weights.back().size(0)}, x.scalar_type(),
                 x);
  TORCH_CHECK_VALUE(hidden.size() + 1 == weights.size(), backward_op, ": `hidden` must hold ",
                    weights.size() - 1, " matrices, got ", hidden.size());
  for (size_t i = 0; i < hidden.size(); ++i)
    check_gradient(rows_op, "hidden", hidden[i], {x.size(0), mlp_padded(x, weights[i + 1].size(1))},
                   x.scalar_type(), x);
  if (x.size(0) > 0) {
    const std::vector<bool> all(gradients.size(), true);
    std::vector<Tensor> read;
    for (const Tensor& h : hidden) read.push_back(h.contiguous());
    mlp_backward_cpu(grad_y, x, read, weights, options, all, gradients);
    return gradients;
  }
  gradients[0] = at::zeros(x.sizes(), x.options());
  for (size_t i = 0; i < weights.size(); ++i) {
    gradients[1 + i] = at::zeros(weights[i].sizes(), x.options());
    gradients[1 + weights.size() + i] = at::zeros({weights[i].size(0)}, x.options());
  }
  return gradients;
}

// ---- calls ---------------------------------------------------------------------------

template <class Function>
const auto& handle(const char* name) {
  static const auto h =
      c10::Dispatcher::singleton().findSchemaOrThrow(name, "").template typed<Function>();
  return h;
}

string_view name_of(const MlpOptions& o) {
  return OptionNames<Activation>::names[static_cast<int>(o.activation)];
}

}  // namespace

std::tuple<Tensor, Tensors> rows(const Tensor& x, TensorList weights, TensorList biases,
                                 const MlpOptions& o, bool keep) {
  return handle<decltype(rows_cpu)>("flowkernels::mlp_rows")
      .call(x, weights, biases, name_of(o), o.negative_slope, o.residual, keep);
}
Tensors rows_backward(const Tensor& grad_y, const Tensor& x, TensorList hidden, TensorList weights,
                      const MlpOptions& o) {
  return handle<decltype(rows_backward_cpu)>("flowkernels::mlp_rows_backward")
      .call(grad_y, x, hidden, weights, name_of(o), o.negative_slope, o.residual);
}

}  // namespace mlp

FK_LIBRARY_FRAGMENT(m) {
  const std::vector<at::Tag> tags = {at::Tag::pt2_compliant_tag};
  m.def(
      "mlp_rows(Tensor x, Tensor[] weights, Tensor[] biases, str activation, "
      "float negative_slope, bool residual, bool keep) -> (Tensor, Tensor[])",
      tags);
  m.def(
      "mlp_rows_backward(Tensor grad_y, Tensor x, Tensor[] hidden, Tensor[] weights, "
      "str activation, float negative_slope, bool residual) -> Tensor[]",
      tags);
}
TORCH_LIBRARY_IMPL(flowkernels, CPU, m) {
  m.impl("mlp_rows", &mlp::rows_cpu);
  m.impl("mlp_rows_backward", &mlp::rows_backward_cpu);
}
}  // namespace bindings
}  // namespace fk
