// The elements of a row that a thread holds: where they lie, how they are loaded and stored.
//
// The dtype is known at run time only; a branch for a thread's whole share costs next to
// nothing, where kernels for each combination of dtypes would be hundreds.
#pragma once

#include "group.h"

namespace fk {
namespace cuda {

// A choice known at compile time, as an argument.
template <bool Value>
struct Bool {
  static constexpr bool value = Value;
  FK_HD constexpr bool operator()() const { return Value; }
};

template <class S>
struct Stored {
  using type = S;
};

// Calls body with the storage type of a dtype: float64 for double, another for float.
template <class T, class Body>
FK_DEVICE void with_stored(DType dtype, Body body) {
  if constexpr (sizeof(T) == 8) {
    body(Stored<double>());
  } else if (dtype == DType::f32) {
    body(Stored<float>());
  } else if (dtype == DType::f16) {
    body(Stored<Half>());
  } else {
    body(Stored<Bfloat16>());
  }
}

// A thread's N elements of a part of a row, E neighbours each time; Size as in Shape.
template <class T, int N, int E, int Size>
class StoredRow {
 public:
  // A part of n elements.
  FK_DEVICE void begin(const ThreadGroup& group, int n, bool there) {
    size_ = Size ? Size : group.size;
    n_ = n;
    begin_ = group.lane * E;
    left_ = there ? n - begin_ : 0;
  }

  // Where in the part element i lies; whether it lies in a row; whether those from i on are
  // of any thread's concern, the same for the whole group.
  FK_DEVICE int index(int i) const { return begin_ + offset(i); }
  // The same, computed where it is asked for: rare rows need places as numbers, and the compiler
  // would keep them all in registers from the kernel's beginning.
  FK_DEVICE StoredRow recomputed() const {
    StoredRow copy = *this;
#if defined(__CUDA_ARCH__)
    asm volatile("" : "+r"(copy.begin_), "+r"(copy.size_));
#endif
    return copy;
  }
  FK_DEVICE bool holds(int i) const { return offset(i) < left_; }
  FK_DEVICE bool begins(int i) const { return i / E * E * size_ < n_; }

  FK_DEVICE void load(const RowView& o, int64_t at, T pad, T (&v)[N]) const {
    with_stored<T>(o.dtype, [&](auto stored) FK_INLINE_LAMBDA {
      using S = typename decltype(stored)::type;
      const S* from = static_cast<const S*>(o.base) + at + begin_ * stride(o);
      const int64_t step = int64_t(size_) * E * stride(o);
      // All loads before the first conversion, which waits for its element.
      Values<S, E> raw[N / E];
#pragma unroll
      for (int i = 0; i < N; i += E, from += Size ? 0 : step) {
        const S* here = Size ? from + i * Size : from;
        fill(raw[i / E], pad);
        if (begins(i / 4 * 4) && holds(i)) load_pack(here, raw[i / E]);
      }
#pragma unroll
      for (int i = 0; i < N; i += E) {
        T out[E];
        raw[i / E].get(0, out);
#pragma unroll
        for (int m = 0; m < E; ++m) v[i + m] = out[m];
      }
    });
  }

  // Stores value(i) for each element i held, computed just before.
  template <class Value>
  FK_DEVICE void store(const RowView& o, int64_t at, Value value) const {
    with_stored<T>(o.dtype, [&](auto stored) FK_INLINE_LAMBDA {
      using S = typename decltype(stored)::type;
      S* to = static_cast<S*>(o.base) + at + begin_ * stride(o);
      const int64_t step = int64_t(size_) * E * stride(o);
#pragma unroll
      for (int i = 0; i < N; i += E, to += Size ? 0 : step) {
        S* here = Size ? to + i * Size : to;
        if (!begins(i / 4 * 4)) continue;
        T v[E];
#pragma unroll
        for (int m = 0; m < E; ++m) v[m] = value(i + m);
        if (!holds(i)) continue;
        Values<S, E> pack;
        pack.put(0, v);
        store_pack(here, pack);
      }
    });
  }

 private:
  FK_DEVICE int offset(int i) const { return i / E * E * size_ + i % E; }
  // Neighbours, and rows of a length known in advance, have no gaps.
  static FK_DEVICE int64_t stride(const RowView& o) { return E > 1 || Size ? 1 : o.stride; }

  int size_, n_, begin_, left_;
};

}  // namespace cuda
}  // namespace fk
