// Rational-quadratic splines of several vectors of elements, step by step (`find_bin`).
#pragma once

#include <new>

#include "../engine/cpu/chunk.h"
#include "../math/rational_quadratic_spline.h"

FK_BEGIN
namespace loops {

// Of at most `elements` elements.  `x`, `raw` and what else is given are called with the element
// that a vector begins at; lanes past the last element compute on what is there.
template <class V, int elements>
class Splines {
  using T = scalar_t<V>;
  static constexpr int lanes = lanes_v<V>, vectors = elements / lanes;
  static_assert(elements % lanes == 0);

 public:
  explicit Splines(const SplineConstants<T>& constants) : constants_(constants) {
    const size_t bins = static_cast<size_t>(constants.bins());
    room_ = static_cast<V*>(
        ::operator new(sizeof(V) * 4 * bins * vectors, std::align_val_t(line_bytes)));
    V* at = room_;
    const auto take = [&](V*& array) {
      array = at;
      at += bins;
    };
    for (auto& spline : at_) {
      take(spline.widths.high);
      take(spline.widths.low);
      take(spline.heights.high);
      take(spline.heights.low);
    }
  }
  Splines(const Splines&) = delete;
  Splines& operator=(const Splines&) = delete;
  ~Splines() { ::operator delete(room_, std::align_val_t(line_bytes)); }

  // raw(m, i): parameter m of the elements from i on.  begin() is called before each vector.
  template <bool inverse, class X, class Raw, class Begin>
  FK_HD void find(int n, const X& x, const Raw& raw, const Begin& begin) {
    for_each(n, [&](auto& at, int i) FK_INLINE_LAMBDA {
      begin();
      find_bin<inverse>(at, constants_, x(i), [&](int m) FK_INLINE_LAMBDA { return raw(m, i); });
    });
    for_each(n, [&](auto& at, int) FK_INLINE_LAMBDA { find_derivatives(at, constants_); });
    for_each(n,
             [&](auto& at, int i) FK_INLINE_LAMBDA { find_curve<inverse>(at, constants_, x(i)); });
  }
  // After `find`: store(i, value).
  template <bool inverse, class X, class Store>
  FK_HD void values(int n, const X& x, const Store& store) {
    for_each(n, [&](auto& at, int i)
                    FK_INLINE_LAMBDA { store(i, spline_value<inverse>(at, constants_, x(i))); });
  }
  // After `find`: store_x(i, gradient of x), store(m, i, gradient of parameter m).
  template <bool inverse, class X, class GradY, class GradLog, class Raw, class StoreX, class Store>
  FK_HD void gradients(int n, const X& x, const GradY& grad_y, const GradLog& grad_log,
                       const Raw& raw, const StoreX& store_x, const Store& store) {
    SplineGradients<V> grads[vectors];
    for_each(n, [&](auto& at, int i) FK_INLINE_LAMBDA {
      grads[i / lanes] = spline_gradients<inverse>(at, constants_, x(i), grad_y(i), grad_log(i));
      store_x(i, grads[i / lanes].x);
    });
    for_each(n, [&](auto& at, int i) FK_INLINE_LAMBDA {
      store_spline_gradients(
          at, constants_, grads[i / lanes], [&](int m) FK_INLINE_LAMBDA { return raw(m, i); },
          [&](int m, V value) FK_INLINE_LAMBDA { store(m, i, value); });
    });
  }

 private:
  template <class Body>
  FK_HD void for_each(int n, const Body& body) {
    for (int i = 0; i < n; i += lanes) body(at_[i / lanes], i);
  }

  const SplineConstants<T> constants_;
  SplineAt<V, V*> at_[vectors];
  V* room_;
};

}  // namespace loops
FK_END
