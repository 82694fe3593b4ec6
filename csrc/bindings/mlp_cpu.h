// The multilayer perceptron's CPU kernels, for matrices of rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "../args/mlp.h"

namespace fk {
namespace bindings {

// Whether the kernels take these: few and narrow enough layers of one dtype on the CPU.
// Wider ones are what BLAS libraries are made for.
bool mlp_has_kernels(const at::Tensor& x, at::TensorList weights);

// The width of rows of `width` elements like x's, padded to whole vectors.
int64_t mlp_padded(const at::Tensor& x, int64_t width);

// `hidden` receives what the gradient needs of the layers in between; null where no
// gradient is wanted.
at::Tensor mlp_forward_cpu(const at::Tensor& x, at::TensorList weights, at::TensorList biases,
                           const MlpOptions& options, std::vector<at::Tensor>* hidden);

// Fills those of `gradients` (x, weights, biases) that are `wanted`; adds to x's if it is given.
void mlp_backward_cpu(const at::Tensor& grad_y, const at::Tensor& x, at::TensorList hidden,
                      at::TensorList weights, const MlpOptions& options,
                      const std::vector<bool>& wanted, std::vector<at::Tensor>& gradients);

}  // namespace bindings
}  // namespace fk
