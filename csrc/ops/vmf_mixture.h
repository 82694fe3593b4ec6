// The density of a mixture of von Mises-Fisher distributions, and its responsibilities:
//
//   z_k = log w_k + log C_p(kappa_k) + kappa_k x.loc_k
//       = offset_k + kappa_k (x.loc_k - 1),   offset_k = log w_k + log C_p(kappa_k) + kappa_k
//   log p(x) = log sum_k e^(z_k),   r_k = e^(z_k) / p(x)
//
// The second form of z does not cancel near the modes.  Source: Banerjee et al., Clustering on the
// unit hypersphere using von Mises-Fisher distributions, JMLR 6 (2005), section 3.
//
// The products x.loc_k of a block of points come from a matrix product, a row for each component:
// vectors, or the threads of a GPU, run across the points, and the sums over components need no
// exchange between lanes.
#pragma once

#include "../args/dtype.h"
#include "../math/elementary.h"
#if !defined(__CUDACC__)
#include "../cpu/dispatch.h"
#endif

namespace fk {

// Matrices have a row for each component, `stride` apart; rows have room for whole vectors.
// Everything is of the dtype `wide` but `common`.
struct VmfMixtureArgs {
  int64_t components = 0, points = 0, stride = 0;
  DType wide = DType::f32;
  const void* products = nullptr;    // matrix: x.loc_k
  const void* kappa = nullptr;       // (components)
  const void* offset = nullptr;      // (components), less `common`
  const double* common = nullptr;    // the largest offset, where it is finite
  void* log_prob = nullptr;          // (points), or null
  const void* grad = nullptr;        // (points): the gradient of log p, or a weight, of each point
  const void* grad_log_r = nullptr;  // matrix: the gradient of log r_k, or null
  void* out = nullptr;    // matrix: with `grad` the gradient of z_k; else log r_k, or null
  void* along = nullptr;  // matrix: that gradient times x.loc_k - 1, or null; may be `products`
};

namespace cpu {
#if !defined(__CUDACC__)
FK_DECLARE_KERNEL(vmf_mixture, void(const VmfMixtureArgs&));
#endif
}  // namespace cpu
namespace cuda {
struct LaunchContext;
void vmf_mixture(const VmfMixtureArgs& a, const LaunchContext& context);
}  // namespace cuda
}  // namespace fk

FK_BEGIN

template <class V>
struct VmfMixturePoints {
  using T = scalar_t<V>;

  const VmfMixtureArgs& a;
  int64_t at;  // the first point

  FK_HD V read(const void* matrix, int64_t k) const {
    return load<V>(static_cast<const T*>(matrix) + k * a.stride + at);
  }
  FK_HD void write(void* matrix, int64_t k, V v) const {
    store<V>(static_cast<T*>(matrix) + k * a.stride + at, v);
  }
  FK_HD V above_mode(int64_t k) const {  // x.loc_k - 1
    return read(a.products, k) - real<V>(1.0);
  }
  FK_HD V logit(int64_t k) const {
    return fma(V(static_cast<const T*>(a.kappa)[k]), above_mode(k),
               V(static_cast<const T*>(a.offset)[k]));
  }

  // Writes the matrices; returns log p(x).
  FK_HD V run(V grad) const {
    V top = logit(0);
    for (int64_t k = 1; k < a.components; ++k) top = max(top, logit(k));
    // Of points that have no density anywhere the logits are -inf: e^(-inf - 0) is 0.
    const V shift = select(top == V(T(-INFINITY)), real<V>(0.0), top);
    const bool gradients = a.grad != nullptr;
    V sum = real<V>(0.0);
    for (int64_t k = 0; k < a.components; ++k) {
      const V e = exp(logit(k) - shift);
      sum += e;
      if (gradients) write(a.out, k, e);
    }
    const V log_sum = shift + log(sum);
    if (gradients) {
      pull_back(grad, sum);
    } else if (a.out != nullptr) {
      for (int64_t k = 0; k < a.components; ++k) write(a.out, k, logit(k) - log_sum);
    }
    // log_sum + common, rounded once: in float32 `common` has more digits than the result.
    const T high = static_cast<T>(*a.common), low = static_cast<T>(*a.common - double(high));
    return (log_sum + V(low)) + V(high);
  }

  // dz_k = r_k (g - sum_j g_j) + g_k, for gradients g of log p and g_k of log r_k.
  FK_HD void pull_back(V grad, V sum) const {
    if (a.grad_log_r != nullptr)
      for (int64_t k = 0; k < a.components; ++k) grad -= read(a.grad_log_r, k);
    const V scale = grad / sum;
    for (int64_t k = 0; k < a.components; ++k) {
      V dz = read(a.out, k) * scale;
      if (a.grad_log_r != nullptr) dz += read(a.grad_log_r, k);
      write(a.out, k, dz);
      if (a.along != nullptr) write(a.along, k, dz * above_mode(k));
    }
  }
};

FK_END
