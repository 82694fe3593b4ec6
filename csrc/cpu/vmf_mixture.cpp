// Densities and responsibilities of mixtures, in vectors across the points.
#include "../ops/vmf_mixture.h"

FK_BEGIN
namespace loops {
namespace {

template <class T>
void mixture_of(const VmfMixtureArgs& a) {
  using V = Vec<T>;
  constexpr int lanes = lanes_v<V>;
  const T* grad = static_cast<const T*>(a.grad);
  T* log_prob = static_cast<T*>(a.log_prob);
  for (int64_t at = 0; at < a.points; at += lanes) {
    const int n = static_cast<int>(a.points - at < lanes ? a.points - at : lanes);
    const V g = grad == nullptr ? real<V>(0.0) : load_n<V>(grad + at, n);
    const V density = VmfMixturePoints<V>{a, at}.run(g);
    if (log_prob != nullptr) store_n<V>(log_prob + at, density, n);
  }
}

void mixture(const VmfMixtureArgs& a) {
  a.wide == DType::f64 ? mixture_of<double>(a) : mixture_of<float>(a);
}

}  // namespace
}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(vmf_mixture, fk::FK_ISA::loops::mixture);
}  // namespace cpu
}  // namespace fk
