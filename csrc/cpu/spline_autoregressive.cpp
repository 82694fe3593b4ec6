// The inverse of an autoregressive map by rational-quadratic splines.
#include "autoregressive.h"
#include "autoregressive_inverse.h"
#include "splines.h"

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
    Splines<V, rows> splines(constants);
    splines.template find<true>(rows, read(z), raw(outputs), [] {});
    splines.template values<true>(rows, read(z),
                                  [=](int i, const SplineValue<V>& value) FK_INLINE_LAMBDA {
                                    store<V>(x + i, value.y);
                                    store<V>(log_det + i, load<V>(log_det + i) + value.log_det);
                                  });
  }
  void pull(const T* z, const T* outputs, const T* grad_x, const T* grad_log_det, T* grad_z,
            T* grad_outputs) const {
    Splines<V, rows> splines(constants);
    splines.template find<true>(rows, read(z), raw(outputs), [] {});
    splines.template gradients<true>(
        rows, read(z), read(grad_x), read(grad_log_det), raw(outputs),
        [=](int i, V grad) FK_INLINE_LAMBDA { store<V>(grad_z + i, grad); },
        [=](int m, int i, V value)
            FK_INLINE_LAMBDA { store<V>(grad_outputs + m * rows + i, value); });
  }

 private:
  static auto read(const T* from) {
    return [from](int i) FK_INLINE_LAMBDA { return load<V>(from + i); };
  }
  static auto raw(const T* outputs) {
    return [outputs](int m, int i) FK_INLINE_LAMBDA { return load<V>(outputs + m * rows + i); };
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
