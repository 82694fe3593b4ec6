// Walking over a row without inner dimensions, in groups of elements a thread group's width apart.
#pragma once

#include "../engine/cuda/group.h"

namespace fk {
namespace cuda {

constexpr int line_group = 4;

// The elements that a thread handles at once.
template <class I>
struct LinePlace {
  I first;
  int step, count;
  FK_DEVICE bool holds(int m) const { return m < count; }
  FK_DEVICE I at(int m) const { return first + m * step; }
};

// Calls body(place) for a thread's share of n elements.
template <class I, class Body>
FK_DEVICE void walk_line(I n, const ThreadGroup& threads, Body body) {
  for (I i = threads.lane; i < n; i += line_group * threads.size) {
    LinePlace<I> p{i, threads.size, 0};
#pragma unroll
    for (int m = 0; m < line_group; ++m) p.count += i + m * threads.size < n;
    body(p);
  }
}

// In global memory, dtype known at run time; T is the compute type.
template <class T>
struct GlobalLine {
  void* base;
  DType dtype;
  int64_t offset, stride;

  FK_DEVICE T get(int64_t i) const { return load_element<T>(base, dtype, offset + i * stride); }
  FK_DEVICE void set(int64_t i, T v) const {
    store_element<T>(base, dtype, offset + i * stride, v);
  }
};

// In a tile in shared memory.
template <class S>
struct TileLine {
  S* row;

  FK_DEVICE compute_t<S> get(int i) const { return widen(row[i]); }
  FK_DEVICE void set(int i, compute_t<S> v) const { row[i] = narrow<S>(v); }
};

// Elements where there are any, else 0.
template <class T, class Line, class I>
FK_DEVICE void load_line(const Line& line, const LinePlace<I>& p, T (&v)[line_group]) {
#pragma unroll
  for (int m = 0; m < line_group; ++m) v[m] = p.holds(m) ? line.get(p.at(m)) : T(0);
}
template <class T, class Line, class I>
FK_DEVICE void store_line(const Line& line, const LinePlace<I>& p, const T (&v)[line_group]) {
#pragma unroll
  for (int m = 0; m < line_group; ++m)
    if (p.holds(m)) line.set(p.at(m), v[m]);
}

}  // namespace cuda
}  // namespace fk
