// The inverse of an autoregressive map by rational-quadratic splines.
#include "../math/rational_quadratic_spline.h"
#include "autoregressive.h"
#include "autoregressive_inverse.h"

FK_BEGIN
namespace loops {
namespace {

// A feature's outputs are the raw parameters of its spline.
template <class T>
struct SplineFeature {
  using V = Vec<T>;
  static constexpr int rows = MaskedBlock<T>::rows;
  SplineConstants<T> constants;

  explicit SplineFeature(const SplineOptions& o) : constants(spline_constants<T>(o)) {}

  void solve(const T* z, const T* outputs, T* x, T* log_det) const {
    SplineAt<V, V[largest_bins]> at;
    for (int i = 0; i < rows; i += lanes_v<V>) {
      spline_at<true>(at, constants, load<V>(z + i),
                      [=](int m) FK_INLINE_LAMBDA { return load<V>(outputs + m * rows + i); });
      store<V>(x + i, at.value.y);
      store<V>(log_det + i, load<V>(log_det + i) + at.value.log_det);
    }
  }
  void pull(const T* z, const T* outputs, const T* grad_x, const T* grad_log_det, T* grad_z,
            T* grad_outputs) const {
    SplineAt<V, V[largest_bins]> at;
    for (int i = 0; i < rows; i += lanes_v<V>) {
      const V grad = spline_pullback<true>(
          at, constants, load<V>(z + i), load<V>(grad_x + i), load<V>(grad_log_det + i),
          [=](int m) FK_INLINE_LAMBDA { return load<V>(outputs + m * rows + i); },
          [=](int m, V value) FK_INLINE_LAMBDA { store<V>(grad_outputs + m * rows + i, value); });
      store<V>(grad_z + i, grad);
    }
  }
};

void forward(const SplineAutoregressiveArgs& a, void* scratch, int64_t begin, int64_t end) {
  autoregressive_forward<SplineFeature>(a, scratch, begin, end);
}
void backward(const SplineAutoregressiveArgs& a, void* scratch, int64_t begin, int64_t end) {
  autoregressive_backward<SplineFeature>(a, scratch, begin, end);
}

}  // namespace
}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(spline_autoregressive_inverse, fk::FK_ISA::loops::forward);
FK_REGISTER_KERNEL(spline_autoregressive_inverse_backward, fk::FK_ISA::loops::backward);
}  // namespace cpu
}  // namespace fk
