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

// A row of at most N elements that one thread holds, so that no thread repeats the mathematics of
// a row's numbers.  Rows that follow each other closely pass through shared memory, where a warp's
// rows lie as in global memory: its threads access neighbouring elements of that.
template <class T, int N>
class NarrowRow {
 public:
  static constexpr int gap = 1;  // elements between rows that still count as close
  // A warp's part of the shared memory, which begins at `stage_begins`.
  static constexpr int stage_elements = warp_threads * (N + gap);
  static constexpr size_t stage_begins = scratch_bytes + (N + 4) / 4 * 4 * sizeof(T);
  static constexpr size_t shared_bytes = stage_begins + sizeof(T) * stage_elements * block_warps;

  FK_DEVICE void begin(const ThreadGroup&, int n, bool there) {
    n_ = n;
    there_ = there;
    rows_ = __popc(__ballot_sync(0xffffffffu, there));  // of a warp, the first ones
  }

  FK_DEVICE int index(int i) const { return i; }
  FK_DEVICE NarrowRow recomputed() const { return *this; }
  FK_DEVICE bool holds(int i) const { return there_ && i < n_; }
  FK_DEVICE bool begins(int i) const { return i < n_; }

  FK_DEVICE void load(const RowView& o, int64_t at, T pad, T (&v)[N]) const {
    with_stored<T>(o.dtype, [&](auto stored) FK_INLINE_LAMBDA {
      using S = typename decltype(stored)::type;
      const S* from = static_cast<const S*>(o.base) + at;
      const S* own = from;
      int64_t stride = o.stride;
      if (are_close(o)) {
        own = stage<S>() + lane() * o.row_stride;
        stride = 1;
        __syncwarp();  // what was staged before has been read
        for_span(o, from, [&](int i, const S* global) { stage<S>()[i] = *global; });
        __syncwarp();
      }
#pragma unroll
      for (int i = 0; i < N; ++i) {
        T out[1] = {pad};
        if (holds(i)) {
          Values<S, 1> raw;
          fill(raw, pad);
          load_one_of(own + i * stride, raw);
          raw.get(0, out);
        }
        v[i] = out[0];
      }
    });
  }

  template <class Value>
  FK_DEVICE void store(const RowView& o, int64_t at, Value value) const {
    with_stored<T>(o.dtype, [&](auto stored) FK_INLINE_LAMBDA {
      using S = typename decltype(stored)::type;
      S* to = static_cast<S*>(o.base) + at;
      const bool close = are_close(o);
      S* own = close ? stage<S>() + lane() * o.row_stride : to;
      const int64_t stride = close ? 1 : o.stride;
      if (close) __syncwarp();
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if (!begins(i / 4 * 4)) continue;
        T v[1] = {value(i)};
        Values<S, 1> pack;
        pack.put(0, v);
        if (holds(i)) store_pack(own + i * stride, pack);
      }
      if (!close) return;
      __syncwarp();
      // Not the gaps, which hold what others have written.
      const int row_stride = static_cast<int>(o.row_stride);
      const float reciprocal = 1.0f / static_cast<float>(row_stride);
      for_span(o, to, [&](int i, S* global) {
        const int row = static_cast<int>((static_cast<float>(i) + 0.5f) * reciprocal);
        if (i - row * row_stride < n_) *global = stage<S>()[i];
      });
    });
  }

 private:
  static FK_DEVICE int lane() { return static_cast<int>(threadIdx.x) % warp_threads; }
  FK_DEVICE bool are_close(const RowView& o) const {
    return (o.stride == 1 || n_ == 1) && o.row_stride >= n_ && o.row_stride <= n_ + gap;
  }
  template <class S>
  static FK_DEVICE S* stage() {
    // At the same place for every S: warps may be staging operands of different dtypes.
    constexpr size_t bytes = sizeof(T) * stage_elements;
    const size_t warp = threadIdx.x / warp_threads;
    return reinterpret_cast<S*>(shared_memory() + stage_begins + warp * bytes);
  }
  // Shared memory cannot be read by load_one, which reads global memory alone.
  template <class S>
  static FK_DEVICE void load_one_of(const S* from, Values<S, 1>& v) {
    if constexpr (sizeof(S) == 2) {
      v.at[0] = from->bits;
    } else {
      v.at[0] = *from;
    }
  }
  // Calls body(i, element) for this thread's elements of what a warp's rows span; `own` is the
  // beginning of this thread's row.
  template <class S, class Body>
  FK_DEVICE void for_span(const RowView& o, S* own, Body body) const {
    if (!there_) return;
    const int row_stride = static_cast<int>(o.row_stride), span = (rows_ - 1) * row_stride + n_;
    S* first = own - lane() * o.row_stride;
    for (int i = lane(); i < span; i += rows_) body(i, first + i);
  }

  int n_, rows_;
  bool there_;
};

}  // namespace cuda
}  // namespace fk
