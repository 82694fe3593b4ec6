// Cosines of von Mises-Fisher points, and their paths, in vectors across the rows.
#include "vmf_sample.h"

#include "../engine/cpu/chunk.h"
#include "../math/row_key.h"
#include "../math/vmf_sample.h"

FK_BEGIN
namespace loops {
namespace {

using V = Vec<double>;
constexpr int lanes = lanes_v<V>;

void put_lanes(void* to, DType dtype, int64_t row, V v, int n) {
  double values[lanes];
  store<V>(values, v);
  const Sink sink{to, dtype};
  for (int i = 0; i < n; ++i) put(sink, row + i, values[i]);
}

bool cosines(const VmfSampleCosineArgs& a, int64_t begin, int64_t end) {
  const auto* plan = static_cast<const BesselPlan<double>*>(a.plan);
  const Source source{a.kappa.base, a.kappa.dtype};
  const double n = static_cast<double>(a.dim - 1);
  bool inside = true;
  for (int64_t row = begin; row < end; row += lanes) {
    const int count = static_cast<int>(end - row < lanes ? end - row : lanes);
    double concentration[lanes];
    WordVec row_low, row_high, key_low, key_high;
    for (int i = 0; i < lanes; ++i) {
      const int64_t r = row + (i < count ? i : 0);
      const RowKey key = key_of(a.random, r);
      with_reader<double>(source,
                          [&](auto read) { concentration[i] = read(r * a.kappa.row_stride); });
      row_low[i] = key.row_low;
      row_high[i] = key.row_high;
      key_low[i] = key.low;
      key_high[i] = key.high;
    }
    const V kappa = load<V>(concentration);
    inside = inside && all(kappa >= V(0.0));
    const VmfCosine<V> w = vmf_sample_cosine<V>(kappa, n, row_low, row_high, key_low, key_high);
    put_lanes(a.cosine, a.wide, row, V(0.5) * (w.above - w.below), count);
    put_lanes(a.sine, a.wide, row, sqrt(w.above * w.below), count);
    if (plan == nullptr) continue;
    V slope, bend;
    vmf_cosine_path(*plan, kappa, n, w, slope, bend);
    put_lanes(a.slope, a.wide, row, slope, count);
    put_lanes(a.bend, a.wide, row, bend, count);
  }
  return inside;
}

}  // namespace
}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(vmf_sample_cosine, fk::FK_ISA::loops::cosines);
}  // namespace cpu
}  // namespace fk
