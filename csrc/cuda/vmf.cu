// The von Mises-Fisher densities and their gradients: row programs.
//
// A loc that all rows share gets its gradient as sums over blocks of rows, each in an order
// of its own that nothing changes.
#include "vmf.h"

#include "../engine/cuda/row_kernel.h"
#include "../ops/vmf.h"

namespace fk {
namespace cuda {
namespace {

// Calls body(T, Latent) for the type of the computation and the kind of points.
template <class Body>
auto with_kind(const VmfArgs& a, Body body) {
  const auto with_latent = [&](auto number) {
    return a.stereographic ? body(number, Bool<true>()) : body(number, Bool<false>());
  };
  return a.wide == DType::f64 ? with_latent(double()) : with_latent(float());
}

}  // namespace

int64_t vmf_block(const VmfArgs& a, const LaunchContext& context) {
  return with_kind(a, [&](auto number, auto latent) {
    using T = decltype(number);
    using P = VmfProgram<T, latent(), true>;
    return RowLaunch<P, T, P::grad_loc>(a, {}, context).block_rows();
  });
}

void vmf_forward(const VmfArgs& a, const LaunchContext& context) {
  with_kind(a, [&](auto number, auto latent) {
    using T = decltype(number);
    run_rows<VmfProgram<T, latent(), false>, T>(a, *static_cast<const BesselPlan<T>*>(a.plan),
                                                context);
  });
}

void vmf_backward(const VmfArgs& a, const LaunchContext& context) {
  with_kind(a, [&](auto number, auto latent) {
    using T = decltype(number);
    using P = VmfProgram<T, latent(), true>;
    const auto& plan = *static_cast<const BesselPlan<T>*>(a.plan);
    a.sum_grad_loc&& a.grad_loc != nullptr ? run_rows<P, T, P::grad_loc>(a, plan, context)
                                           : run_rows<P, T>(a, plan, context);
  });
}

}  // namespace cuda
}  // namespace fk
