// Measures csrc/math/elementary.h against the C library in wider arithmetic.
//
//   elementary_check STRIDE    every STRIDE-th float32 bit pattern (1: all of them),
//                              and as many float64 patterns, 2^32 / 997 at the most
//
// and zeros, infinities, NaN and the ends of the range.
//
// Prints one line a function: name, type, largest error in ulp, where.
#include "../../csrc/math/elementary.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

namespace {

using fk::Vec;

// Arithmetic with at least 11 digits more than T; for float32 the one that is fast.
template <class T>
using Wide = std::conditional_t<sizeof(T) == 4, double, long double>;

// One unit in the last place of `x`, finite.
double last_place(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  const uint32_t exponent = std::max((bits >> 23) & 0xff, 1u);
  const uint64_t power = uint64_t{exponent + 1023 - 150} << 52;  // 2^(exponent - 127 - 23)
  double unit;
  memcpy(&unit, &power, 8);
  return unit;
}
long double last_place(double x) {
  int exponent = -1021;
  if (x != 0) std::frexp(x, &exponent);
  return ldexpl(1.0L, std::max(exponent - 53, -1074));
}

// The error of `got` in units in the last place of the representable value nearest to `want`.
template <class T>
double ulps(T got, Wide<T> want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : HUGE_VAL;
  const T nearest = static_cast<T>(want);
  if (std::isinf(nearest) || std::isinf(got)) return nearest == got ? 0 : HUGE_VAL;
  if (std::isnan(got)) return HUGE_VAL;
  if (got == 0 && nearest == 0) return std::signbit(got) == std::signbit(nearest) ? 0 : HUGE_VAL;
  return static_cast<double>(std::fabs(static_cast<Wide<T>>(got) - want) / last_place(nearest));
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

template <class T>
struct Worst {
  double error = 0;
  T where = 0;
};

// The largest error over the multiples of `stride` in [begin, end).
template <class T, class F, class G>
Worst<T> worst_of(uint64_t begin, uint64_t end, uint64_t stride, double range, const F& function,
                  const G& truth) {
  using V = Vec<T>;
  Worst<T> worst;
  T x[V::size], y[V::size];
  int lanes = 0;
  const auto flush = [&] {
    for (int j = lanes; j < V::size; ++j) x[j] = x[0];
    fk::store<V>(y, function(fk::load<V>(x)));
    for (int j = 0; j < lanes; ++j) {
      const double error = ulps<T>(y[j], truth(static_cast<Wide<T>>(x[j])));
      if (error > worst.error) worst = {error, x[j]};
    }
    lanes = 0;
  };
  for (uint64_t i = (begin + stride - 1) / stride * stride; i < end; i += stride) {
    const T value = pattern<T>(i);
    if (std::fabs(value) > range) continue;
    x[lanes++] = value;
    if (lanes == V::size) flush();
  }
  if (lanes > 0) flush();
  return worst;
}

template <class T, class F, class G>
Worst<T> worst_of_special(double range, const F& function, const G& truth) {
  using Limits = std::numeric_limits<T>;
  Worst<T> worst;
  for (const T x : {T(0), T(1), Limits::denorm_min(), Limits::min(), Limits::max(),
                    Limits::infinity(), Limits::quiet_NaN()})
    for (const T value : {x, -x}) {
      if (std::fabs(value) > range) continue;
      T y[Vec<T>::size];
      fk::store<Vec<T>>(y, function(Vec<T>(value)));
      const double error = ulps<T>(y[0], truth(static_cast<Wide<T>>(value)));
      if (error > worst.error) worst = {error, value};
    }
  return worst;
}

template <class T, class F, class G>
void check(const char* name, uint64_t stride, double range, F function, G truth) {
  constexpr uint64_t all = uint64_t{1} << 32, share = all / 256;
  // Shares are handed out in turn: functions are quick where they saturate.
  const unsigned count = std::max(std::thread::hardware_concurrency(), 1u);
  std::vector<Worst<T>> worsts(count);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < count; ++t)
    threads.emplace_back([&, t] {
      for (uint64_t begin = t * share; begin < all; begin += count * share) {
        const auto worst = worst_of<T>(begin, begin + share, stride, range, function, truth);
        if (worst.error > worsts[t].error) worsts[t] = worst;
      }
    });
  for (auto& thread : threads) thread.join();
  Worst<T> worst = worst_of_special<T>(range, function, truth);
  for (const auto& other : worsts)
    if (other.error > worst.error) worst = other;
  std::printf("%s float%d %.3f %.9g\n", name, int(8 * sizeof(T)), worst.error,
              static_cast<double>(worst.where));
  std::fflush(stdout);
}

template <class T>
void check_all(uint64_t stride) {
  using std::exp, std::expm1, std::log, std::log1p, std::tanh, std::fabs, std::atan;
  using W = Wide<T>;
#define FK_CHECK(name, truth)                                              \
  check<T>(                                                                \
      #name, stride, HUGE_VAL, [](auto lanes) { return fk::name(lanes); }, \
      [](W x) -> W { return truth; })
  FK_CHECK(exp, exp(x));
  FK_CHECK(expm1, expm1(x));
  FK_CHECK(log, log(x));
  FK_CHECK(log1p, log1p(x));
  FK_CHECK(tanh, tanh(x));
  FK_CHECK(sigmoid, x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)));
  FK_CHECK(softplus, std::isnan(x) ? x : (x > 0 ? x : 0) + log1p(exp(-fabs(x))));
  FK_CHECK(logsigmoid, std::isnan(x) ? x : -((x < 0 ? -x : 0) + log1p(exp(-fabs(x)))));
  FK_CHECK(atan, atan(x));
#undef FK_CHECK
  // The reduction of sincos is stated for these ranges.
  const double range = sizeof(T) == 4 ? 8192 : 1e5;
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
  check<T>("sin", stride, range, sine, [](W x) { return std::sin(x); });
  check<T>("cos", stride, range, cosine, [](W x) { return std::cos(x); });
}

}  // namespace

int main(int, char** argv) {
  const uint64_t stride = std::strtoull(argv[1], nullptr, 10);
  check_all<float>(stride);
  check_all<double>(std::max(stride, uint64_t{997}));
}
