// sum log|x_i| as the logarithm of a product: mantissas are multiplied, exponents added as
// integers, and one logarithm is left for all elements of a thread.
//
// Up to 96 elements are exact but for the roundings of the product, half an ulp each: as
// many as their logarithms would have.  0, infinity and NaN go through the product.
#pragma once

#include "../../math/elementary.h"

namespace fk {
namespace cuda {

template <class T>
class LogProduct {
  static constexpr int mantissa_bits = sizeof(T) == 4 ? 23 : 52;
  static constexpr int bias = sizeof(T) == 4 ? 127 : 1023;
  using I = int_t<T>;
  static constexpr I one = I(bias) << mantissa_bits;
  static constexpr I mantissa_mask = (I(1) << mantissa_bits) - 1;
  static constexpr I magnitude_mask = static_cast<I>(~(I(1) << (8 * sizeof(T) - 1)));

 public:
  FK_HD void times(const T (&x)[4]) {
    bool all_normal = true;
    for (int m = 0; m < 4; ++m) {
      const I bits = as_int(x[m]) & magnitude_mask;
      all_normal = all_normal & (bits > mantissa_mask) & (bits < I(2 * bias + 1) << mantissa_bits);
    }
    if (all_normal) {
      for (int m = 0; m < 4; ++m) times_normal(m, as_int(x[m]));
    } else {
      for (int m = 0; m < 4; ++m) times_any(m, as_int(x[m]) & magnitude_mask);
    }
  }
  // Moves the product's exponent into the sum: for rows of any length, every 96 elements.
  FK_HD void normalise() {
    for (int m = 0; m < 4; ++m) {
      const T p = product_[m];
      product_[m] = T(1);
      times_any(m, as_int(p));
    }
  }
  FK_HD T log() const {
    const T p = (product_[0] * product_[1]) * (product_[2] * product_[3]);
    const T e = static_cast<T>(exponents_);
    // The exponents' part in two pieces, the first of them exact.
    const T high = T(sizeof(T) == 4 ? 0.693359375 : 6.93147180369123816490e-01);
    const T low = T(sizeof(T) == 4 ? -2.12194440e-4 : 1.90821492927058770002e-10);
    return e * high + (fk::log(p) + e * low);
  }

 private:
  FK_HD void times_normal(int m, I bits) {
    product_[m] *= as_float((bits & mantissa_mask) | one);
    exponents_ += static_cast<int32_t>((bits & magnitude_mask) >> mantissa_bits) - bias;
  }
  FK_HD void times_any(int m, I bits) {
    if (bits <= mantissa_mask && bits != 0) {
      bits = as_int(as_float(bits) * T(sizeof(T) == 4 ? 16777216.0 : 18014398509481984.0));
      exponents_ -= sizeof(T) == 4 ? 24 : 54;
    }
    if (bits == 0 || bits >= I(2 * bias + 1) << mantissa_bits) {
      product_[m] *= as_float(bits);
    } else {
      times_normal(m, bits);
    }
  }

  T product_[4] = {T(1), T(1), T(1), T(1)};
  int32_t exponents_ = 0;
};

}  // namespace cuda
}  // namespace fk
