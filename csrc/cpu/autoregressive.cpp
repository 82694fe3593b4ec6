// The inverse of an affine autoregressive map, and what every autoregressive map needs.
#include "autoregressive.h"

#include "autoregressive_inverse.h"
#include "coupling_scales.h"

FK_BEGIN
namespace loops {
namespace {

// ---- what happens to a feature ----------------------------------------------------------------

// The affine map: a feature's outputs are its shift and its raw scale.
template <class T>
struct AffineFeature {
  using V = Vec<T>;
  static constexpr int rows = MaskedBlock<T>::rows;
  CouplingOptions options;

  explicit AffineFeature(const CouplingOptions& o) : options(o) {}

  // x of z; log_det -= log s.
  void solve(const T* z, const T* outputs, T* x, T* log_det) const {
    const auto before = coupling_shifts_before<V>(options, /*inverse=*/true);
    with_scales<true>(outputs, [=](int i, int, const auto& scale) FK_INLINE_LAMBDA {
      store<V>(x + i, coupling_apply(load<V>(z + i), load<V>(outputs + i), scale.s, before,
                                     /*inverse=*/true));
      store<V>(log_det + i, load<V>(log_det + i) - scale.log_s);
    });
  }
  void pull(const T* z, const T* outputs, const T* grad_x, const T* grad_log_det, T* grad_z,
            T* grad_outputs) const {
    const auto before = coupling_shifts_before<V>(options, /*inverse=*/true);
    with_scales<false>(outputs, [=](int i, int, const auto& scale) FK_INLINE_LAMBDA {
      const auto grad =
          coupling_pullback(load<V>(grad_x + i), load<V>(grad_log_det + i), load<V>(z + i),
                            load<V>(outputs + i), scale, before, /*inverse=*/true);
      store<V>(grad_z + i, grad.x);
      store<V>(grad_outputs + i, grad.shift);
      store<V>(grad_outputs + rows + i, grad.raw);
    });
  }

 private:
  // body(i, lanes, scale) for the raw scales of all rows.
  template <bool needs_log, class Body>
  void with_scales(const T* outputs, Body body) const {
    const auto constants = coupling_constants<V>(options);
    switch (options.scale_fn) {
#define FK_CASE(F) \
  case ScaleFn::F: \
    return for_scales<ScaleFn::F, needs_log>(outputs + rows, rows, constants, body);
      FK_SCALE_FUNCTIONS(FK_CASE)
#undef FK_CASE
    }
  }
};

// ---- weights -----------------------------------------------------------------------------------

template <class T>
void pack_layer(const AutoregressiveLayer& l, bool backward) {
  const T *const weight = static_cast<const T*>(l.weight), *const bias =
                                                               static_cast<const T*>(l.bias);
  T *const panel = static_cast<T*>(l.panel), *const turned = static_cast<T*>(l.turned);
  for (int64_t i = 0; i < l.units; ++i) {
    const T* const from = weight + place(l.row, i) * l.inputs;
    T* const to = panel + i * l.inputs;
    if (l.column == nullptr) {
      memcpy(to, from, l.seen[i] * sizeof(T));
    } else {
      for (int64_t k = 0; k < l.seen[i]; ++k) to[k] = from[l.column[k]];
    }
    if (bias != nullptr) static_cast<T*>(l.bias_panel)[i] = bias[place(l.row, i)];
    if (backward)
      for (int64_t k = 0; k < l.seen[i]; ++k) turned[k * l.units + i] = to[k];
  }
}

// Zeros where the mask is.
template <class T>
void sum_layer(const AutoregressiveLayer& l, int64_t chunks) {
  constexpr int64_t lanes = lanes_v<Vec<T>>;
  const int64_t width = (l.inputs + lanes - 1) / lanes * lanes;
  const T* const sums = static_cast<const T*>(l.weight_sums);
  for (int64_t i = 0; i < l.units; ++i) {
    T* const to = static_cast<T*>(l.grad_weight) + place(l.row, i) * l.inputs;
    for (int64_t k = 0; k < l.inputs; ++k) {
      T sum(0);
      for (int64_t c = 0; k < l.seen[i] && c < chunks; ++c)
        sum += sums[(c * l.units + i) * width + k];
      to[place(l.column, k)] = sum;
    }
    if (l.bias == nullptr) continue;
    T sum(0);
    for (int64_t c = 0; c < chunks; ++c) sum += static_cast<const T*>(l.bias_sums)[c * l.units + i];
    static_cast<T*>(l.grad_bias)[place(l.row, i)] = sum;
  }
}

// ---- kernels -----------------------------------------------------------------------------------

template <class Body>
auto with_type(const AutoregressiveArgs& a, Body body) {
  return a.float64 ? body(double()) : body(float());
}

int64_t block(bool float64) {
  return float64 ? MaskedBlock<double>::rows : MaskedBlock<float>::rows;
}
int64_t lanes(bool float64) { return float64 ? lanes_v<Vec<double>> : lanes_v<Vec<float>>; }
int64_t scratch(const AutoregressiveArgs& a, bool backward) {
  return with_type(
      a, [&](auto t) { return Inverse<decltype(t), AffineFeature>::scratch(a, backward); });
}
void pack(const AutoregressiveArgs& a, bool backward) {
  with_type(a, [&](auto t) {
    for (int64_t i = 0; i < a.layers; ++i) pack_layer<decltype(t)>(a.layer[i], backward);
  });
}
void sum(const AutoregressiveArgs& a, int64_t chunks) {
  with_type(a, [&](auto t) {
    for (int64_t i = 0; i < a.layers; ++i) sum_layer<decltype(t)>(a.layer[i], chunks);
  });
}
void affine_forward(const AffineAutoregressiveArgs& a, void* scratch, int64_t begin, int64_t end) {
  autoregressive_forward<AffineFeature>(a, scratch, begin, end);
}
void affine_backward(const AffineAutoregressiveArgs& a, void* scratch, int64_t begin, int64_t end) {
  autoregressive_backward<AffineFeature>(a, scratch, begin, end);
}

}  // namespace
}  // namespace loops
FK_END

namespace fk {
namespace cpu {
namespace impl = fk::FK_ISA::loops;
FK_REGISTER_KERNEL(autoregressive_block, impl::block);
FK_REGISTER_KERNEL(autoregressive_lanes, impl::lanes);
FK_REGISTER_KERNEL(autoregressive_scratch, impl::scratch);
FK_REGISTER_KERNEL(autoregressive_pack, impl::pack);
FK_REGISTER_KERNEL(autoregressive_sum, impl::sum);
FK_REGISTER_KERNEL(affine_autoregressive_inverse, impl::affine_forward);
FK_REGISTER_KERNEL(affine_autoregressive_inverse_backward, impl::affine_backward);
}  // namespace cpu
}  // namespace fk
