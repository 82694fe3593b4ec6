// A row of tangent_normal and its gradients; the formulas and the order of the random numbers are
// in math/tangent_normal.h.
#pragma once

#include "../math/row_key.h"
#include "../math/tangent_normal.h"
#include "line.h"

namespace fk {
namespace cuda {

FK_DEVICE int32_t signed_word(uint32_t w, float) { return static_cast<int32_t>(w); }
FK_DEVICE int64_t signed_word(uint32_t w, double) { return static_cast<int32_t>(w); }

// The places of a counter's four numbers.
template <class T, class I>
struct NormalPlace {
  I first;
  FK_DEVICE explicit NormalPlace(I j) : first(normal_place(j)) {}
  FK_DEVICE I at(int m) const { return first + m % 2 + m / 2 * (run_numbers / 2); }
};

// Calls body(place, j) for a thread's share of the counters of n numbers.
template <class T, class I, class Body>
FK_DEVICE void walk_counters(I n, const ThreadGroup& threads, Body body) {
  const I counters = normal_counters(n);
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
  const auto point = tangent_point(TangentAxis<T>(loc.get(0)), cosine, sine, sums[0], sums[1]);
  walk_counters<T>(n, threads, [&](const NormalPlace<T, I>& p, I j) {
    T v[4];
    normals.again(p, j, n, v);
#pragma unroll
    for (int m = 0; m < 4; ++m)
      if (p.at(m) < n)
        x.set(p.at(m) + 1, fma(loc.get(p.at(m) + 1), point.of_loc, point.of_normal * v[m]));
  });
  if (threads.lane == 0) x.set(0, point.head);
}

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
  if (n == 0) return {};
  return tangent_gradients(TangentAxis<T>(loc.get(0)), cosine, sine, grad.get(0),
                           TangentSums<T>{sums[0], sums[1], sums[2], sums[3]});
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
