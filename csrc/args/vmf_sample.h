// Arguments of the vmf_sample_cosine kernels.
#pragma once

#include "tangent_normal.h"

namespace fk {

struct VmfSampleCosineArgs {
  int64_t rows = 0, dim = 0;
  RowView kappa;
  RowSeeds random;
  const void* plan = nullptr;  // BesselPlan<double>; null if no slopes are needed
  DType wide = DType::f32;     // of the outputs, (rows,)
  void* cosine = nullptr;
  void* sine = nullptr;
  void* slope = nullptr;
  void* bend = nullptr;
};

}  // namespace fk
