// A multilayer perceptron as a part of graph nodes: its checks, its forward, and what its gradient
// needs.
#pragma once

#include <string_view>
#include <vector>

#include "../args/mlp.h"
#include "autograd.h"

namespace fk {
namespace bindings {
namespace mlp {

using at::TensorList;

MlpOptions parse(const char* op, std::string_view activation, double negative_slope, bool residual);

// Refuses what is no network, or none for `width` features like x; errors begin with `op`.
void check(const char* op, const Tensor& x, c10::SymInt width, TensorList weights,
           TensorList biases, const MlpOptions& options);

// The definition; differentiable in every mode.
Tensor layer_by_layer(const Tensor& x, TensorList weights, TensorList biases,
                      const MlpOptions& options);

// Whether nothing but a plain graph (no transform, tangent, autocast or mode) would see the layers.
bool takes_one_node(const Tensor& x, TensorList weights, TensorList biases);

// For a compiler's graph: the CPU kernels as ops of the dispatcher (mlp_compiled.cpp).
std::tuple<Tensor, std::vector<Tensor>> rows(const Tensor& x, TensorList weights, TensorList biases,
                                             const MlpOptions& options, bool keep);
std::vector<Tensor> rows_backward(const Tensor& grad_y, const Tensor& x, TensorList hidden,
                                  TensorList weights, const MlpOptions& options);

// A forward of the network, and its gradients.
class Tape {
 public:
  // `traced`: by ops that a compiler sees, for matrices x that have kernels.
  explicit Tape(bool traced = false) : traced_(traced) {}

  // The output for x (*batch, features), without a graph; `keep` what `pull` needs.
  Tensor record(const Tensor& x, TensorList weights, TensorList biases, const MlpOptions& options,
                bool keep);
  // The same once more, differentiably.
  Tensor again(const Tensor& x);
  // The gradients of x, weights and biases, in this order, as far as they are wanted; with a
  // graph of their own where gradients are enabled. Where they are not, x's may be added to
  // `sum` (of x's shape), which is then what is returned.
  variable_list pull(const Tensor& x, const Tensor& grad_y, const std::vector<bool>& wanted,
                     const Tensor& sum = {});
  void release();

 private:
  std::vector<SavedVariable> weights_, biases_;
  std::vector<SavedVariable> hidden_;  // of the kernels, if there are any, else of torch's products
  bool has_kernels_ = false, traced_;
  MlpOptions options_;
};

// A node's inputs in the order of Tape::pull, whether they take gradients, and which.
variable_list inputs_of(const Tensor& x, TensorList weights, TensorList biases);
bool is_tracked(const variable_list& inputs);
std::vector<bool> wanted_of(const Node& node);

}  // namespace mlp
}  // namespace bindings
}  // namespace fk
