// Sums of logarithms, of which few are computed.
#pragma once

#include "../../math/elementary.h"
#include "float64_sums.h"

FK_BEGIN
namespace loops {

// sum log|d| of float32 as one logarithm of a product in float64.  Six factors
// between 2^-149 and 2^128 stay normal in float64; then the product gives its exponent to
// an integer sum and keeps its mantissa.  A multiplication costs a fraction of a
// logarithm, and errs by 2^-53 where a float32 logarithm errs by 2^-25.
class LogProduct {
 public:
  using V = Vec<double>;
  static constexpr int factors = 6;

  // At most 1000 calls, in all lanes whose product is taken: every mantissa may double it.
  FK_HD void times(V q) {
    q = abs(q);
    const auto ordinary = (q >= real<V>(smallest)) & (q < V(double(INFINITY)));
    if (any(!ordinary)) {
      rest_ += select(ordinary, real<V>(0.0), log(q));
      q = select(ordinary, q, real<V>(1.0));
    }
    const Bits bits = (Bits)q.raw;
    exponent_ += (Integers)(bits >> 52) - 1023;
    product_ *= V((V::Raw)((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull));
  }
  // The lanes' sums.
  FK_HD V logs() const { return logs(product_, to_float(exponent_)) + rest_; }
  // The sum of all lanes' in parts: log(product) + exponent log 2 + rest.
  FK_HD void merge(double& product, double& exponent, double& rest) const {
#if defined(__AVX512F__)
    product = _mm512_reduce_mul_pd((__m512d)product_.raw);
#else
    product = product_.raw[0];
    for (int i = 1; i < V::size; ++i) product *= product_.raw[i];
#endif
    exponent = hsum(to_float(exponent_));
    rest = hsum(rest_);
  }
  template <class D>
  static FK_HD D logs(D product, D exponent) {
    return fma(exponent, real<D>(0.69314718055994530942), log(product));
  }

 private:
  typedef uint64_t Bits __attribute__((vector_size(FK_VECTOR_BYTES)));
  using Integers = int_t<V>;
  static constexpr double smallest = 2.2250738585072014e-308;

  V product_ = real<V>(1.0), rest_ = real<V>(0.0);
  Integers exponent_ = {};
};

// The factors of contiguous elements; few enough for LogProduct.
FK_HD LogProduct product_of(const float* d, int n) {
  using V = LogProduct::V;
  constexpr int step = LogProduct::factors * V::size;
  LogProduct product;
  int i = 0;
  for (; i + step <= n; i += step) {
    V q = widen(d + i);
    for (int k = 1; k < LogProduct::factors; ++k) q *= widen(d + i + k * V::size);
    product.times(q);
  }
  if (i == n) return product;
  V q = real<V>(1.0);
  for (; i + V::size <= n; i += V::size) q *= widen(d + i);
  if (i < n) {
    float last[V::size];
    for (int k = 0; k < V::size; ++k) last[k] = i + k < n ? d[i + k] : 1.0f;
    product.times(widen(last));
  }
  product.times(q);
  return product;
}

// float64 keeps its digits only as a sum of logarithms: near |d| = 1 they are small.
FK_HD double sum_logs(const double* d, int n) {
  using V = Vec<double>;
  V total(0.0);
  // Lanes past the end hold 1, whose logarithm adds nothing.
  for_lanes<V>(n, [&](int i, int lanes)
                      FK_INLINE_LAMBDA { total += log(abs(load_lanes<V>(d + i, lanes, 1.0))); });
  return hsum(total);
}

}  // namespace loops
FK_END
