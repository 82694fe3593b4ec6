// Cosines of von Mises-Fisher points, and their paths: a row a thread, in float64.
#include "vmf_sample.h"

#include "../engine/cuda/launch.h"
#include "../math/row_key.h"
#include "../math/vmf_sample.h"

namespace fk {
namespace cuda {
namespace {

FK_DEVICE double load_wide(const RowView& o, int64_t row) {
  const int64_t at = row * o.row_stride;
  return o.dtype == DType::f64 ? load_element<double>(o.base, o.dtype, at)
                               : static_cast<double>(load_element<float>(o.base, o.dtype, at));
}
FK_DEVICE void store_wide(void* to, DType wide, int64_t row, double v) {
  if (wide == DType::f64) {
    static_cast<double*>(to)[row] = v;
  } else {
    static_cast<float*>(to)[row] = static_cast<float>(v);
  }
}

template <bool Path>
__global__ void __launch_bounds__(block_threads, 4)
    vmf_cosines(const __grid_constant__ VmfSampleCosineArgs a,
                const __grid_constant__ BesselPlan<double> plan) {
  const double n = static_cast<double>(a.dim - 1);
  const int64_t threads = int64_t(gridDim.x) * block_threads;
  for (int64_t row = int64_t(blockIdx.x) * block_threads + threadIdx.x; row < a.rows;
       row += threads) {
    double kappa = load_wide(a.kappa, row);
    if (kappa < 0) kappa = NAN;
    const RowKey key = key_of(a.random, row);
    const VmfCosine<double> w =
        fk::vmf_sample_cosine<double>(kappa, n, key.row_low, key.row_high, key.low, key.high);
    store_wide(a.cosine, a.wide, row, 0.5 * (w.above - w.below));
    store_wide(a.sine, a.wide, row, sqrt(w.above * w.below));
    if constexpr (Path) {
      double slope, bend;
      vmf_cosine_path(plan, kappa, n, w, slope, bend);
      store_wide(a.slope, a.wide, row, slope);
      store_wide(a.bend, a.wide, row, bend);
    }
  }
}

}  // namespace

void vmf_sample_cosine(const VmfSampleCosineArgs& a, const LaunchContext& context) {
  const int64_t blocks = (a.rows + block_threads - 1) / block_threads;
  if (a.plan != nullptr) {
    launch<vmf_cosines<true>>(context, blocks, 0, a,
                              *static_cast<const BesselPlan<double>*>(a.plan));
  } else {
    launch<vmf_cosines<false>>(context, blocks, 0, a, BesselPlan<double>{});
  }
}

}  // namespace cuda
}  // namespace fk
