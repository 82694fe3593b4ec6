// Walking over a row: a loop nest of up to three dimensions, shared by a thread group, through
// packs of 16 bytes, through strides of any kind, or in a tile in shared memory.
//
// An access names a Place (the N elements that a thread handles at once) and how an
// operand's elements at a place are loaded and stored.
#pragma once

#include <type_traits>

#include "../args/rows.h"
#include "../engine/cuda/group.h"

namespace fk {
namespace cuda {

template <class I>
struct Nest {
  I n[3];
  FK_DEVICE I size() const { return n[0] * n[1] * n[2]; }
};

template <class I>
struct Cursor {
  I i, j, k;

  FK_DEVICE Cursor() {}
  FK_DEVICE Cursor(const Nest<I>& nest, I e) {
    // Divisions are slow, and most rows have one dimension.
    if (nest.n[0] * nest.n[1] == 1) {
      i = j = 0;
      k = e;
    } else {
      const I line = e / nest.n[2];
      k = e - line * nest.n[2];
      i = line / nest.n[1];
      j = line - i * nest.n[1];
    }
  }
  // By another cursor, whose components are each within the nest.
  FK_DEVICE void advance(const Cursor& step, const Nest<I>& nest) {
    i += step.i;
    j += step.j;
    k += step.k;
    if (k >= nest.n[2] && nest.n[0] * nest.n[1] != 1) {
      k -= nest.n[2];
      ++j;
    }
    if (j >= nest.n[1]) {
      j -= nest.n[1];
      ++i;
    }
  }
};

// In rows of one dimension.
template <class I>
struct FlatCursor {
  I k;

  FK_DEVICE FlatCursor() {}
  FK_DEVICE FlatCursor(const Nest<I>&, I e) : k(e) {}
  FK_DEVICE void advance(const FlatCursor& step, const Nest<I>&) { k += step.k; }
};

// One pack of N neighbours along the innermost dimension, which is counted in packs; Flat, in rows
// of that dimension alone.
template <int Elements, bool Flat = false>
struct PackAccess {
  static constexpr int N = Elements;
  using Index = int32_t;
  using At = std::conditional_t<Flat, FlatCursor<Index>, Cursor<Index>>;
  struct Place {
    At at;
    FK_DEVICE bool holds(int) const { return true; }
  };

  template <class S>
  struct Operand {
    using Loaded = Values<S, N>;
    S* row;
    Index stride[2];  // in packs: see packs_fit

    FK_DEVICE S* at(const Place& p) const {
      if constexpr (Flat) return row + int64_t(p.at.k) * N;
      if constexpr (!Flat)
        return row + int64_t(p.at.i * stride[0] + p.at.j * stride[1] + p.at.k) * N;
    }
    FK_DEVICE Loaded load(const Place& p) const {
      Loaded v;
      load_pack(at(p), v);
      return v;
    }
    FK_DEVICE void store(const Place& p, const Loaded& v) const { store_pack(at(p), v); }
  };
  template <class S>
  static FK_DEVICE Operand<S> operand(const RowOperand& o, int64_t row) {
    return {static_cast<S*>(o.base) + row * o.stride[0],
            {static_cast<Index>(o.stride[1] / N), static_cast<Index>(o.stride[2] / N)}};
  }

  template <class Body>
  static FK_DEVICE void walk(const Nest<Index>& nest, Index begin, Index end,
                             const ThreadGroup& threads, Body body) {
    Place p{At(nest, begin + threads.lane)};
    const At step(nest, threads.size);
    for (Index e = begin + threads.lane; e < end; e += threads.size) {
      body(p);
      p.at.advance(step, nest);
    }
  }
};

// N elements, a thread group's width apart, so that neighbouring threads meet neighbours.
template <class I, int Elements>
struct ScatterAccess {
  static constexpr int N = Elements;
  using Index = I;
  struct Place {
    Cursor<Index> at[N];
    int count;
    FK_DEVICE bool holds(int m) const { return m < count; }
  };

  template <class Body>
  static FK_DEVICE void walk(const Nest<Index>& nest, Index begin, Index end,
                             const ThreadGroup& threads, Body body) {
    Cursor<Index> next(nest, begin + threads.lane);
    const Cursor<Index> step(nest, threads.size);
    for (Index e = begin + threads.lane; e < end; e += N * threads.size) {
      Place p;
      p.count = 0;
#pragma unroll
      for (int m = 0; m < N; ++m) {
        p.at[m] = next;
        p.count += e + m * threads.size < end;
        next.advance(step, nest);
      }
      body(p);
    }
  }
};

// In global memory, dtype known at run time; T is the compute type.
template <class I, class T>
struct StridedAccess : ScatterAccess<I, 2> {
  using Base = ScatterAccess<I, 2>;
  using Base::N;
  using Place = typename Base::Place;

  struct Operand {
    using Loaded = Values<T, N>;
    void* base;
    DType dtype;
    int64_t row;  // offset of the row's first element
    int64_t stride[3];

    FK_DEVICE int64_t offset(const Cursor<I>& c) const {
      return row + c.i * stride[0] + c.j * stride[1] + c.k * stride[2];
    }
    FK_DEVICE Loaded load(const Place& p) const {
      Loaded v;
#pragma unroll
      for (int m = 0; m < N; ++m)
        v.at[m] = p.holds(m) ? load_element<T>(base, dtype, offset(p.at[m])) : T(1);
      return v;
    }
    FK_DEVICE void store(const Place& p, const Loaded& v) const {
#pragma unroll
      for (int m = 0; m < N; ++m)
        if (p.holds(m)) store_element<T>(base, dtype, offset(p.at[m]), v.at[m]);
    }
  };
  template <class>
  static FK_DEVICE Operand operand(const RowOperand& o, int64_t row) {
    return {o.base, o.dtype, row * o.stride[0], {o.stride[1], o.stride[2], o.stride[3]}};
  }
};

// In a tile in shared memory.
struct TileAccess : ScatterAccess<int32_t, 4> {
  template <class S>
  struct Operand {
    using Loaded = Values<compute_t<S>, N>;
    S* row;
    int32_t stride[3];

    FK_DEVICE S& at(const Cursor<int32_t>& c) const {
      return row[c.i * stride[0] + c.j * stride[1] + c.k * stride[2]];
    }
    FK_DEVICE Loaded load(const Place& p) const {
      Loaded v;
#pragma unroll
      for (int m = 0; m < N; ++m) v.at[m] = p.holds(m) ? widen(at(p.at[m])) : compute_t<S>(1);
      return v;
    }
    FK_DEVICE void store(const Place& p, const Loaded& v) const {
#pragma unroll
      for (int m = 0; m < N; ++m)
        if (p.holds(m)) at(p.at[m]) = narrow<S>(v.at[m]);
    }
  };
};

}  // namespace cuda
}  // namespace fk
