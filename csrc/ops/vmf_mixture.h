// The density of a mixture of von Mises-Fisher distributions, and its responsibilities:
//
//   z_k = log w_k + log C_p(kappa_k) + kappa_k x.loc_k
//       = offset_k + kappa_k (x.loc_k - 1),   offset_k = log w_k + log C_p(kappa_k) + kappa_k
//   log p(x) = log sum_k e^(z_k),   r_k = e^(z_k) / p(x)
//
// The second form of z does not cancel near the modes.  Source: Banerjee et al., Clustering on the
// unit hypersphere using von Mises-Fisher distributions, JMLR 6 (2005), section 3.
//
// The products x.loc_k of a block of points are a matrix with a row for each component: vectors, or
// the threads of a GPU, run across the points, and sums over components need no exchange between
// lanes.
#pragma once

#include "../args/dtype.h"
#include "../math/elementary.h"

namespace fk {

// Matrices have a row for each component, `stride` apart; rows have room for whole vectors.
// Everything is of the dtype `wide` but `common`.
//
// The gradients of the statistics sum_n s_n r_nk and sum_n s_n r_nk x_n have `weights`, s_n; then
// `products` and `out` have another row for each component: x.G_k for the gradient G_k of the
// second sum, and s_n r_nk.
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
  const void* weights = nullptr;      // (points), or null
  const void* grad_counts = nullptr;  // (components): the gradient of the first sum
  void* grad_weights = nullptr;       // (points)
};

namespace cuda {
struct LaunchContext;
void vmf_mixture(const VmfMixtureArgs& a, const LaunchContext& context);
}  // namespace cuda
}  // namespace fk

FK_BEGIN

// U neighbouring points or, of vectors, U vectors of points.
template <class V, int U>
struct VmfMixturePoints {
  using T = scalar_t<V>;

  const VmfMixtureArgs a;  // a copy, which no store changes
  int64_t at;              // the first point

  // f(u, place) for each of the U values of component k in a matrix.
  template <class F>
  FK_HD void each(int64_t k, F f) const {
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) f(u, k * a.stride + at + u * lanes_v<V>);
  }
  static FK_HD V read(const void* matrix, int64_t place) {
    return load<V>(static_cast<const T*>(matrix) + place);
  }
  static FK_HD void write(void* matrix, int64_t place, V v) {
    store<V>(static_cast<T*>(matrix) + place, v);
  }
  // 0 for subnormal numbers: a CPU multiplies them a hundred times more slowly than others.
  static FK_HD V normal(V v) {
    return select(abs(v) < real<V>(Range<T>::smallest_normal), real<V>(0.0), v);
  }
  FK_HD V above_mode(int64_t place) const {  // x.loc_k - 1
    return read(a.products, place) - real<V>(1.0);
  }
  FK_HD V logit(int64_t k, int64_t place) const {
    return fma(V(static_cast<const T*>(a.kappa)[k]), above_mode(place),
               V(static_cast<const T*>(a.offset)[k]));
  }

  // Writes the matrices; `result` is the gradient of log p(x), where it is wanted, then log p(x),
  // and `weight` the weight of the statistics' gradients, then that weight's gradient.
  FK_HD void run(V (&result)[U], V (&weight)[U]) const {
    V shift[U], sum[U];
    each(0, [&](int u, int64_t place) FK_INLINE_LAMBDA {
      shift[u] = logit(0, place);
      sum[u] = real<V>(0.0);
    });
    for (int64_t k = 1; k < a.components; ++k)
      each(k, [&](int u, int64_t place)
                  FK_INLINE_LAMBDA { shift[u] = max(shift[u], logit(k, place)); });
    // Of points that have no density anywhere the logits are -inf: e^(-inf - 0) is 0.
    each(0, [&](int u, int64_t) FK_INLINE_LAMBDA {
      shift[u] = select(shift[u] == V(T(-INFINITY)), real<V>(0.0), shift[u]);
    });
    const bool gradients = a.grad != nullptr;
    for (int64_t k = 0; k < a.components; ++k)
      each(k, [&](int u, int64_t place) FK_INLINE_LAMBDA {
        const V e = exp(logit(k, place) - shift[u]);
        sum[u] += e;
        if (gradients) write(a.out, place, normal(e));
      });
    if (a.weights != nullptr)
      pull_back_statistics(result, weight, sum);
    else if (gradients)
      pull_back(result, sum);
    each(0, [&](int u, int64_t) FK_INLINE_LAMBDA { sum[u] = shift[u] + log(sum[u]); });
    if (!gradients && a.out != nullptr)
      for (int64_t k = 0; k < a.components; ++k)
        each(k, [&](int u, int64_t place)
                    FK_INLINE_LAMBDA { write(a.out, place, logit(k, place) - sum[u]); });
    // With `common`, rounded once: in float32 `common` has more digits than the result.
    const T high = static_cast<T>(*a.common), low = static_cast<T>(*a.common - double(high));
    each(0, [&](int u, int64_t) FK_INLINE_LAMBDA { result[u] = (sum[u] + V(low)) + V(high); });
  }

  // dz_k = r_k (g - sum_j g_j) + g_k, for gradients g of log p and g_k of log r_k.
  FK_HD void pull_back(V (&grad)[U], const V (&sum)[U]) const {
    if (a.grad_log_r != nullptr)
      for (int64_t k = 0; k < a.components; ++k)
        each(k, [&](int u, int64_t place)
                    FK_INLINE_LAMBDA { grad[u] = grad[u] - read(a.grad_log_r, place); });
    each(0, [&](int u, int64_t) FK_INLINE_LAMBDA { grad[u] = grad[u] / sum[u]; });
    for (int64_t k = 0; k < a.components; ++k)
      each(k, [&](int u, int64_t place) FK_INLINE_LAMBDA {
        V dz = normal(read(a.out, place) * grad[u]);
        if (a.grad_log_r != nullptr) dz += read(a.grad_log_r, place);
        write_gradient(place, dz);
      });
  }
  FK_HD void write_gradient(int64_t place, V dz) const {
    write(a.out, place, dz);
    if (a.along != nullptr) write(a.along, place, dz * above_mode(place));
  }

  // a_k = grad_counts_k + x.G_k is the gradient of s r_k:
  // dz_k = r_k (g + s (a_k - m)),   ds = m = sum_k r_k a_k.
  FK_HD void pull_back_statistics(const V (&grad)[U], V (&weight)[U], const V (&sum)[U]) const {
    const int64_t further = a.components * a.stride;
    const auto of_share = [&](int64_t k, int64_t place) FK_INLINE_LAMBDA {
      return read(a.products, place + further) + V(static_cast<const T*>(a.grad_counts)[k]);
    };
    V mean[U], inverse[U];
    each(0, [&](int u, int64_t) FK_INLINE_LAMBDA {
      mean[u] = real<V>(0.0);
      inverse[u] = real<V>(1.0) / sum[u];
    });
    for (int64_t k = 0; k < a.components; ++k)
      each(k, [&](int u, int64_t place) FK_INLINE_LAMBDA {
        const V r = read(a.out, place) * inverse[u];
        mean[u] = fma(r, of_share(k, place), mean[u]);
      });
    for (int64_t k = 0; k < a.components; ++k)
      each(k, [&](int u, int64_t place) FK_INLINE_LAMBDA {
        const V r = read(a.out, place) * inverse[u];
        write(a.out, place + further, normal(r * weight[u]));
        write_gradient(place, normal(r * fma(weight[u], of_share(k, place) - mean[u], grad[u])));
      });
    each(0, [&](int u, int64_t) FK_INLINE_LAMBDA { weight[u] = mean[u]; });
  }
};

FK_END
