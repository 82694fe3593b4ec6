// Arguments of the autoregressive kernels: a masked ReLU network and what it conditions.
#pragma once

#include <stdint.h>

#include "affine_coupling.h"
#include "rational_quadratic_spline.h"

namespace fk {

// One linear layer of a masked network.  Its units are sorted by degree; a unit of degree p sees
// the inputs [0, seen): those that are known once p features are.  The features lie in the order
// in which they are solved for, the outputs of one together; `row` and `column` say where the
// source has them.
struct AutoregressiveLayer {
  int64_t units, inputs;
  int64_t before;               // units of the layers before this one
  const int64_t* end;           // (features): end[p] units have degrees up to p
  const int64_t* seen;          // (units)
  const int64_t *row, *column;  // (units), (inputs); null where nothing moves
  const void *weight, *bias;    // (units, inputs), (units), dense; the first has no bias
  void *panel, *turned;         // the weights in the kernel's order, and their transpose
  void* bias_panel;
  void *weight_sums, *bias_sums;  // over a chunk's rows, (chunks, units, padded inputs), ...
  void *grad_weight, *grad_bias;
};

struct AutoregressiveArgs {
  bool float64;
  int64_t rows, features;
  int64_t outputs;  // of the network for each feature
  int64_t layers;
  const AutoregressiveLayer* layer;
  const int64_t* order;  // (features): which feature is solved for at each step
  // Matrices of dense rows.
  const void* z;       // (rows, features)
  const void* offset;  // (rows, units of the first layer): its biases, `offset_stride` apart
  int64_t offset_stride;
  void *x, *log_det;
  // backward
  int64_t chunk;  // blocks of rows whose gradients are summed together
  const void *grad_x, *grad_log_det;
  void *grad_z, *grad_offset;
};

// What the network's outputs do to a feature.
struct AffineAutoregressiveArgs : AutoregressiveArgs {
  CouplingOptions options;
};
struct SplineAutoregressiveArgs : AutoregressiveArgs {
  SplineOptions options;
};

}  // namespace fk
