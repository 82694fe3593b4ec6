// A row of x = R(loc) [cosine, sine v], v uniform on the sphere across the axis, and its
// gradients: the formulas and the order of the random numbers are those of
// cpu/tangent_normal.cpp.
#pragma once

#include "../args/tangent_normal.h"
#include "../math/philox.h"
#include "../math/row_key.h"
#include "line.h"

namespace fk {
namespace cuda {

FK_DEVICE int32_t signed_word(uint32_t w, float) { return static_cast<int32_t>(w); }
FK_DEVICE int64_t signed_word(uint32_t w, double) { return static_cast<int32_t>(w); }

// Counter j gives the numbers 2 j', 2 j' + 1, 16 + 2 j' and 17 + 2 j' of run j / 8 of 32,
// j' = j % 8.
template <class T, class I>
struct NormalPlace {
  I first;  // the others lie 1, 16 and 17 after it
  FK_DEVICE explicit NormalPlace(I j) : first(j / 8 * 32 + j % 8 * 2) {}
  FK_DEVICE I at(int m) const { return first + m % 2 + m / 2 * 16; }
};

// Calls body(place) for a thread's share of the counters of n numbers.
template <class T, class I, class Body>
FK_DEVICE void walk_counters(I n, const ThreadGroup& threads, Body body) {
  const I rest = n % 32;
  const I counters = n / 32 * 8 + (rest < 16 ? (rest + 1) / 2 : I(8));
  for (I j = threads.lane; j < counters; j += threads.size) body(NormalPlace<T, I>(j), j);
}

template <class T>
FK_DEVICE void normal_numbers(const RowKey& key, uint32_t counter, T (&v)[4]) {
  uint32_t w0 = counter, w1 = key.row_low, w2 = key.row_high, w3 = uint32_t(Stream::direction);
  philox(w0, w1, w2, w3, key.low, key.high);
  box_muller(signed_word(w0, T()), signed_word(w2, T()), v[0], v[2]);
  box_muller(signed_word(w1, T()), signed_word(w3, T()), v[1], v[3]);
}

// The numbers of a row as they are made, once more each time.
template <class T>
struct MadeNormals {
  RowKey key;
  template <class I>
  FK_DEVICE void make(const NormalPlace<T, I>&, I j, I, T (&v)[4]) const {
    normal_numbers(key, static_cast<uint32_t>(j), v);
  }
  template <class I>
  FK_DEVICE void again(const NormalPlace<T, I>& p, I j, I n, T (&v)[4]) const {
    make(p, j, n, v);
  }
};

// The same, kept in shared memory; every thread reads only what it made.
template <class T>
struct KeptNormals {
  RowKey key;
  T* row;
  template <class I>
  FK_DEVICE void make(const NormalPlace<T, I>& p, I j, I n, T (&v)[4]) const {
    normal_numbers(key, static_cast<uint32_t>(j), v);
#pragma unroll
    for (int m = 0; m < 4; ++m)
      if (p.at(m) < n) row[p.at(m)] = v[m];
  }
  template <class I>
  FK_DEVICE void again(const NormalPlace<T, I>& p, I, I n, T (&v)[4]) const {
#pragma unroll
    for (int m = 0; m < 4; ++m) v[m] = p.at(m) < n ? row[p.at(m)] : T(0);
  }
};

// loc as the isometry needs it.
template <class T>
struct Axis {
  T first, sign, c;
  FK_DEVICE explicit Axis(T m)
      : first(m), sign(m < T(0) ? T(-1) : T(1)), c(sign / (T(1) + abs(m))) {}
};

// All of a thread group calls it, with n = 0 where there is no row; writes x.
template <class T, class I, class N, class L, class X>
FK_DEVICE void forward_row(I n, const ThreadGroup& threads, const N& normals, const L& loc,
                           T cosine, T sine, const X& x) {
  T sums[2] = {T(0), T(0)};
  walk_counters<T>(n, threads, [&](const NormalPlace<T, I>& p, I j) {
    T v[4];
    normals.make(p, j, n, v);
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      if (p.at(m) >= n) continue;
      sums[0] = fma(v[m], v[m], sums[0]);
      sums[1] = fma(v[m], loc.get(p.at(m) + 1), sums[1]);
    }
  });
  group_sum(sums, threads);
  if (n == 0) return;
  const Axis<T> axis(loc.get(0));
  const T length = sine / sqrt(sums[0]), along = sums[1] * length;
  const T gain = cosine + axis.c * along, across = -axis.sign * length;
  walk_counters<T>(n, threads, [&](const NormalPlace<T, I>& p, I j) {
    T v[4];
    normals.again(p, j, n, v);
#pragma unroll
    for (int m = 0; m < 4; ++m)
      if (p.at(m) < n) x.set(p.at(m) + 1, fma(loc.get(p.at(m) + 1), gain, across * v[m]));
  });
  if (threads.lane == 0) x.set(0, fma(axis.first, cosine, along));
}

// What a row's gradients are made of: grad_loc = [head, of_normal v + of_grad g_r].
template <class T>
struct TangentGradients {
  T head, of_normal, of_grad;
  T cosine, sine;
};

template <class T, class I, class N, class L, class G>
FK_DEVICE TangentGradients<T> backward_row(I n, const ThreadGroup& threads, const N& normals,
                                           const L& loc, T cosine, T sine, const G& grad) {
  T sums[4] = {T(0), T(0), T(0), T(0)};  // v.v, v.l, v.g, l.g
  walk_counters<T>(n, threads, [&](const NormalPlace<T, I>& p, I j) {
    T v[4];
    normals.make(p, j, n, v);
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      if (p.at(m) >= n) continue;
      const T l = loc.get(p.at(m) + 1), g = grad.get(p.at(m) + 1);
      sums[0] = fma(v[m], v[m], sums[0]);
      sums[1] = fma(v[m], l, sums[1]);
      sums[2] = fma(v[m], g, sums[2]);
      sums[3] = fma(l, g, sums[3]);
    }
  });
  group_sum(sums, threads);
  TangentGradients<T> out = {};
  if (n == 0) return out;
  const Axis<T> axis(loc.get(0));
  const T inverse = T(1) / sqrt(sums[0]), length = sine * inverse;
  const T g_0 = grad.get(0), lg = sums[3], along = sums[1] * length;
  out.cosine = fma(axis.first, g_0, lg);
  out.sine = inverse * (sums[1] * (g_0 + axis.c * lg) - axis.sign * sums[2]);
  out.of_normal = length * (g_0 + axis.c * lg);
  out.of_grad = cosine + axis.c * along;
  out.head = g_0 * cosine - lg * along * axis.c * axis.c;
  return out;
}

// A thread's share of a row's gradient in loc: put(index, value).
template <class T, class I, class N, class G, class Put>
FK_DEVICE void write_grad_loc(I n, const ThreadGroup& threads, const TangentGradients<T>& grads,
                              const N& normals, const G& grad, Put put) {
  walk_counters<T>(n, threads, [&](const NormalPlace<T, I>& p, I j) {
    T v[4];
    normals.again(p, j, n, v);
#pragma unroll
    for (int m = 0; m < 4; ++m)
      if (p.at(m) < n)
        put(p.at(m) + 1, fma(grads.of_normal, v[m], grads.of_grad * grad.get(p.at(m) + 1)));
  });
  if (threads.lane == 0) put(I(0), grads.head);
}

}  // namespace cuda
}  // namespace fk
