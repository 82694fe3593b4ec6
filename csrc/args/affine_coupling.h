// Arguments of the affine_coupling kernels.
#pragma once

#include "../math/affine_coupling.h"
#include "map.h"

namespace fk {

// The options that change the formulas.
struct CouplingOptions {
  ScaleFn scale_fn = ScaleFn::tanh;
  double bound = 1.0;
  double gain = 1.0;         // of the raw scale
  bool shift_first = false;  // (x + t) s instead of x s + t
  bool inverse = false;
};

// An element has a shift and a raw scale.
struct AffineCouplingArgs : CouplingOptions, MapArgs {
  RowOperand shift, raw;
  RowOperand grad_shift, grad_raw;
};

}  // namespace fk
