// Arguments of the kernels of the Bessel family: log_iv, iv_ratio and the radial functions
// of the von Mises-Fisher distribution.
#pragma once

#include "dtype.h"
#include "options.h"

namespace fk {

// A function of x at order v; A = I_{v+1}/I_v, L = log 0F1(; v+1; x^2/4):
//
//   log_normalizer            offset - L
//   peak                      offset + x - L
//   divergence                x A - L
//   ratio                     A
//   ratio_complement          1 - A
//   ratio_slope               A'
//   concentration             the inverse of A
//   concentration_complement  the same, given 1 - A
//   log_iv                    log I_v
//   log_iv_slope              (log I_v)'
#define FK_BESSEL_FUNCTIONS(X) \
  X(log_normalizer)            \
  X(peak)                      \
  X(divergence)                \
  X(ratio)                     \
  X(ratio_complement)          \
  X(ratio_slope) X(concentration) X(concentration_complement) X(log_iv) X(log_iv_slope)
FK_OPTION(BesselFunction, FK_BESSEL_FUNCTIONS)

struct BesselArgs {
  BesselFunction function = BesselFunction::ratio;
  const void* plan = nullptr;   // BesselPlan<float or double>, by `wide`
  const void* order = nullptr;  // instead of a plan: an order for every element, dtype `wide`
  double offset = 0;
  const void* x = nullptr;
  DType dtype = DType::f32;
  const void* grad = nullptr;  // backward: dtype `wide`
  DType wide = DType::f32;     // dtype of the computation and of the result
  void* out = nullptr;         // forward: dtype `wide`; backward: dtype of x
};

}  // namespace fk
