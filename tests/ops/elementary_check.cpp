// Measures csrc/math/elementary.h against the C library in wider arithmetic.
//
//   elementary_check STRIDE    every STRIDE-th float32 bit pattern (1: all of them),
//                              and as many float64 patterns
//
// Prints one line a function: name, type, largest error in ulp, where.
#include "../../csrc/math/elementary.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace {

using fk::Vec;
using wide = long double;

// The error of `got` in units in the last place of the nearest representable value.
template <class T>
double ulps(T got, wide want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : HUGE_VAL;
  const T nearest = static_cast<T>(want);
  if (std::isinf(nearest) || std::isinf(got)) return nearest == got ? 0 : HUGE_VAL;
  if (std::isnan(got)) return HUGE_VAL;
  if (got == 0 && nearest == 0) return std::signbit(got) == std::signbit(nearest) ? 0 : HUGE_VAL;
  constexpr int digits = sizeof(T) == 4 ? 24 : 53, lowest = sizeof(T) == 4 ? -149 : -1074;
  int exponent = lowest + digits;
  if (nearest != 0) std::frexp(nearest, &exponent);
  const int last = exponent - digits > lowest ? exponent - digits : lowest;
  return static_cast<double>(fabsl(static_cast<wide>(got) - want) / ldexpl(1.0L, last));
}

template <class T>
T pattern(uint64_t i) {
  T value;
  if constexpr (sizeof(T) == 4) {
    const uint32_t bits = static_cast<uint32_t>(i);
    memcpy(&value, &bits, 4);
  } else {
    // Spread over the 64-bit patterns, with irregular low bits.
    const uint64_t bits = (i << 32) | ((i * 2654435761u) & 0xffffffffu);
    memcpy(&value, &bits, 8);
  }
  return value;
}

template <class T, class F, class G>
void check(const char* name, uint64_t stride, double low, double high, F function, G truth) {
  using V = Vec<T>;
  double worst = 0;
  T where = 0, x[V::size], y[V::size];
  int lanes = 0;
  const auto flush = [&] {
    for (int j = lanes; j < V::size; ++j) x[j] = x[0];
    fk::store<V>(y, function(fk::load<V>(x)));
    for (int j = 0; j < lanes; ++j) {
      const double error = ulps<T>(y[j], truth(static_cast<wide>(x[j])));
      if (error > worst) worst = error, where = x[j];
    }
    lanes = 0;
  };
  for (uint64_t i = 0; i < (uint64_t{1} << 32); i += stride) {
    const T value = pattern<T>(i);
    if (!(std::isnan(value) || (value >= low && value <= high))) continue;
    x[lanes++] = value;
    if (lanes == V::size) flush();
  }
  if (lanes > 0) flush();
  std::printf("%s float%d %.3f %.9g\n", name, int(8 * sizeof(T)), worst,
              static_cast<double>(where));
}

template <class T>
void check_all(uint64_t stride) {
  const double all = HUGE_VAL;
#define FK_CHECK(name, truth)                                       \
  check<T>(                                                         \
      #name, stride, -all, all, [](auto x) { return fk::name(x); }, \
      [](wide x) -> wide { return truth; })
  FK_CHECK(exp, expl(x));
  FK_CHECK(expm1, expm1l(x));
  FK_CHECK(log, logl(x));
  FK_CHECK(log1p, log1pl(x));
  FK_CHECK(tanh, tanhl(x));
  FK_CHECK(sigmoid, x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x)));
  FK_CHECK(softplus, std::isnan(x) ? x : (x > 0 ? x : 0) + log1pl(expl(-fabsl(x))));
  FK_CHECK(logsigmoid, std::isnan(x) ? x : -((x < 0 ? -x : 0) + log1pl(expl(-fabsl(x)))));
  FK_CHECK(atan, atanl(x));
  FK_CHECK(asinh, asinhl(x));
#undef FK_CHECK
  // The reduction of sincos is stated for these ranges.
#if defined(__FMA__)
  const double range = sizeof(T) == 4 ? 8192 : 1e5;
#else
  const double range = sizeof(T) == 4 ? 32 : 1e5;
#endif
  const auto sine = [](auto x) {
    auto s = x, c = x;
    fk::sincos(x, s, c);
    return s;
  };
  const auto cosine = [](auto x) {
    auto s = x, c = x;
    fk::sincos(x, s, c);
    return c;
  };
  check<T>("sin", stride, -range, range, sine, [](wide x) { return sinl(x); });
  check<T>("cos", stride, -range, range, cosine, [](wide x) { return cosl(x); });
}

}  // namespace

int main(int, char** argv) {
  const uint64_t stride = std::strtoull(argv[1], nullptr, 10);
  check_all<float>(stride);
  check_all<double>(stride);
}
