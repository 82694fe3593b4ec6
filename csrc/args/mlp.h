// Arguments of the multilayer perceptron's kernels.
#pragma once

#include <stdint.h>

#include "options.h"

namespace fk {

// What lies between the layers.
struct MlpOptions {
  Activation activation = Activation::relu;
  double negative_slope = 0.01;  // of leaky_relu
  // Layers between the first and the last are pairs: h becomes h + W2 a(W1 a(h) + b1) + b2.
  bool residual = false;

  // Whether layer i of n reads what the activation returned.
  bool reads_activated(int64_t i, int64_t n) const { return i > 0 && !(residual && i == n - 1); }
  // Whether layer i of n ends a residual block.
  bool ends_block(int64_t i, int64_t n) const {
    return residual && i > 0 && i < n - 1 && i % 2 == 0;
  }
};

// One linear layer.  The rows of a panel are padded with zeros to whole vectors, so that inner
// loops have no tails.
struct MlpLayer {
  int64_t in, out;
  int64_t padded_in, padded_out;
  const void* weight;  // (out, in), strides in elements
  int64_t weight_stride[2];
  const void* bias;  // (out)
  int64_t bias_stride;
  void* forward_panel;   // (in + 1, padded_out): the weight transposed, then the bias
  void* backward_panel;  // (out, padded_in)
  // What the layer reads, (rows, padded_in); not for the first layer.
  void* input;
  // Sums over a chunk's rows, (chunks, out, padded_in) and (chunks, padded_out).
  void *weight_sums, *bias_sums;
  void *grad_weight, *grad_bias;  // dense; null if not needed
};

struct MlpArgs : MlpOptions {
  bool float64;
  int64_t layers, rows;
  int64_t chunk;  // rows whose gradients are summed together; a multiple of mlp_block
  const MlpLayer* layer;
  const void* x;  // (rows, in)
  int64_t x_stride[2];
  void* y;             // (rows, out), dense
  const void* grad_y;  // (rows, out)
  int64_t grad_y_stride[2];
  void* grad_x;  // (rows, in), or null
  int64_t grad_x_stride[2];
  bool adds_to_grad_x;
};

// Rows processed through all layers together, so that their activations stay in cache.
constexpr int64_t mlp_block = 96;
// The largest layer width, in and out, that the kernels support.
constexpr int64_t mlp_widest = 128;

}  // namespace fk
