// What runs a row program (engine/program.h) on a GPU: the rows as a thread group sees them.
//
// A group's threads hold the elements of a row in registers, converted to the type of the
// computation, from the first sum to the last element written.  Element i of a row is with
// thread (i / E) % size: E neighbours, 16 bytes of float32, where all rows begin at multiples of
// them, else single elements.  Either way neighbouring threads access neighbouring memory.
// A row too long for registers is read again, part by part, for each sum.
//
// Numbers of a row are the same in all threads of its group, which compute them together.
#pragma once

#include <type_traits>

#include "log_product.h"
#include "shape.h"
#include "storage.h"

namespace fk {
namespace cuda {

template <class Shape>
class Rows {
  using P = typename Shape::P;
  using T = typename Shape::T;
  using Args = typename P::Args;
  static constexpr int N = Shape::N, E = Shape::E, Column = Shape::Column;
  static constexpr int group_of = 4;  // elements between two looks at the row's end
  static constexpr int inputs = P::inputs, outputs = P::outputs;
  using Access =
      std::conditional_t<Shape::Narrow, NarrowRow<T, N>, StoredRow<T, N, E, Shape::Size>>;

 public:
  using Value = T;
  static constexpr bool holds = !Shape::Long;

  FK_DEVICE Rows(const Args& a, const ThreadGroup& group)
      : a_(a), group_(group), n_(P::elements(a)) {
    if (Shape::Size) group_.size = Shape::Size;
  }

  // ---- for the kernel ------------------------------------------------------------------

  // Goes on to a row; without one the group computes with padding and writes nothing.
  FK_DEVICE void take(int64_t row, bool there, const RowParts& parts) {
    there_ = there;
    row_ = part_row_ = there ? row : 0;
    point_ = 0;
    if constexpr (is_divisible<P>) {
      if (parts.count > 1) {
        row_ = part_row_ / parts.count;
        begin_ = (part_row_ - row_ * parts.count) * parts.elements;
        const int64_t left = P::elements(a_) - begin_;
        n_ = left < 0 ? 0 : left < parts.elements ? left : parts.elements;
      }
    }
    refused_ = false;
    if constexpr (!Shape::Long) {
      begin_part(0);
      load<0, row_inputs<P>>(held_);
    }
  }

  FK_DEVICE void begin_sums(int64_t block) {
    block_ = block;
    first_of_block_ = true;
    if constexpr (Column >= 0 && !Shape::Long) {
      last_column_ = T(0);
#pragma unroll
      for (int i = 0; i < N; ++i) column_[i] = T(0);
    }
  }
  FK_DEVICE void end_row() { first_of_block_ = false; }

  // Adds up the groups' sums, those of a warp first, then one after the other, and writes them.
  FK_DEVICE void end_sums() {
    if constexpr (Column >= 0 && !Shape::Long) {
      const RowOutput out = P::output(a_, Column);
      T* columns = reinterpret_cast<T*>(shared_memory() + scratch_bytes);
      const int n = static_cast<int>(n_), width = n + ended_;
      add_within_warps();
      const int thread = static_cast<int>(threadIdx.x);
      const bool several = group_.size < warp_threads;  // groups in a warp
      const int count = several ? block_warps : group_.count;
      const int mine = several ? thread / warp_threads : group_.index;
      const bool adds = !several || thread % warp_threads < group_.size;
      __syncthreads();
#pragma unroll 1
      for (int g = 0; g < count; ++g) {
        if (mine == g && adds) {
          const auto add = [&](int i, T v) { columns[i] = g == 0 ? v : columns[i] + v; };
#pragma unroll
          for (int i = 0; i < N; ++i)
            if (access_.index(i) < n) add(access_.index(i), column_[i]);
          if (ended_ && group_.lane == 0) add(n, last_column_);
        }
        __syncthreads();
      }
      for (int i = threadIdx.x; i < width; i += block_threads)
        store_element<T>(out.view.base, out.view.dtype, block_ * out.view.row_stride + i,
                         columns[i]);
      __syncthreads();
    }
  }

  // ---- for the program -------------------------------------------------------------------

  FK_DEVICE bool any(bool mask) const { return any_group(mask, group_); }
  FK_DEVICE void refuse(bool mask) { refused_ = refused_ || mask; }
  FK_DEVICE void point(int64_t j) {
    point_ = j;
    if constexpr (!Shape::Long) load<row_inputs<P>, inputs>(held_);
  }

  FK_DEVICE T number(const RowView& v) const {
    return load_element<T>(v.base, v.dtype, row_ * v.row_stride);
  }
  FK_DEVICE T number(const PointView& v) const {
    return load_element<T>(v.base, v.dtype, row_ * v.row_stride + point_ * v.point_stride);
  }
  FK_DEVICE void put(const RowView& v, T x) const { put_at(v, part_row_ * v.row_stride, x); }
  FK_DEVICE void put(const PointView& v, T x) const {
    put_at(v, row_ * v.row_stride + point_ * v.point_stride, x);
  }

  FK_DEVICE T end_of(int input) const {
    const PointView v = P::input(a_, input).view;
    return load_element<T>(v.base, v.dtype, at(v) + n_ * v.stride);
  }
  FK_DEVICE void set_end(int output, T x) {
    const RowOutput out = P::output(a_, output);
    if (out.view.base == nullptr) return;
    if (Column >= 0 && output == Column) {
      ended_ = true;
      if (Shape::Long) {
        if (group_.lane == 0 && there_) add_to_memory(out.view, n_, x);
      } else {
        last_column_ += there_ ? x : T(0);
      }
    } else if (group_.lane == 0 && there_) {
      store_element<T>(out.view.base, out.view.dtype, at(out.view) + n_ * out.view.stride, x);
    }
  }

  template <class F>
  FK_DEVICE T shared(bool same, T x, F f) {
    if (!same) return f(x);
    if (!has_shared_) shared_ = f(x);
    has_shared_ = true;
    return shared_;
  }

  template <template <class> class Sums, int = inputs, class C, class F>
  FK_DEVICE Sums<T> sum(const C& c, F f) {
    return sum_at<Sums>(c, [&](const C& c_, const T(&in)[inputs], Sums<T>& s, T)
                               FK_INLINE_LAMBDA { f(c_, in, s); });
  }
  template <template <class> class Sums, int = inputs, class C, class F>
  FK_DEVICE Sums<T> sum_at(const C& c, F f) {
    Sums<T> part[group_of] = {};  // sums side by side: an addition waits for the one before
    walk([&](int64_t first, int i, const T(&in)[inputs])
             FK_INLINE_LAMBDA { f(c, in, part[i % group_of], place(first, i)); });
    return total(part);
  }

  // Always in float64: it costs two instructions an element.
  template <bool = true>
  FK_DEVICE SquaredLength<T> squared_length(int input) {
    return squared_length(input, T(1));
  }
  template <bool = true>
  FK_DEVICE SquaredLength<T> squared_length(int input, T scale) {
    double part[group_of] = {};
    walk([&](int64_t, int i, const T(&in)[inputs]) FK_INLINE_LAMBDA {
      const double x = static_cast<double>(scale * in[input]);
      part[i % group_of] = ::fma(x, x, part[i % group_of]);
    });
    const double square = group_sum((part[0] + part[1]) + (part[2] + part[3]), group_);
    return {static_cast<T>(square), static_cast<T>(square - 1)};
  }
  FK_DEVICE T largest(int input) {
    T v = T(0);
    walk([&](int64_t, int, const T(&in)[inputs]) FK_INLINE_LAMBDA { v = max(v, abs(in[input])); });
    return group_max(v, group_);
  }
  FK_DEVICE T smallest(int input, T& index) {
    T least = T(INFINITY), at = static_cast<T>(n_);
    walk([&](int64_t first, int i, const T(&in)[inputs]) FK_INLINE_LAMBDA {
      const int64_t here = first + places_.index(i);
      if (here >= n_ || !(abs(in[input]) < abs(least))) return;
      least = in[input];
      at = static_cast<T>(here);
    });
    const T size = -group_max(-abs(least), group_);
    index = -group_max(abs(least) == size ? -at : -static_cast<T>(n_), group_);
    const T mine = at == index ? least : -T(INFINITY);
    return group_max(mine, group_);
  }
  FK_DEVICE T sum_log_abs(int input) {
    LogProduct<T> product;
    for_parts([&](int64_t) FK_INLINE_LAMBDA {
      if (Shape::Long) product.normalise();
#pragma unroll
      for (int g = 0; g < N; g += group_of) {
        if (!access_.begins(g)) continue;
        const T* v = held_[input] + g;
        product.times({v[0], v[1], v[2], v[3]});
      }
    });
    return group_sum(product.log(), group_);
  }

  template <class C, class F>
  FK_DEVICE void map(const C& c, F f) {
    map_at(c, [&](const C& c_, const T(&in)[inputs], T(&out)[outputs], T)
                  FK_INLINE_LAMBDA { f(c_, in, out); });
  }
  // With a sum on the way: where the rows are held, going over them twice costs little.
  template <template <class> class Sums, class C, class F>
  FK_DEVICE Sums<T> map(const C& c, F f) {
    const Sums<T> sums =
        sum_at<Sums>(c, [&](const C& c_, const T(&in)[inputs], Sums<T>& s, T) FK_INLINE_LAMBDA {
          T out[outputs];
          f(c_, in, out, s);
        });
    map_at(c, [&](const C& c_, const T(&in)[inputs], T(&out)[outputs], T) FK_INLINE_LAMBDA {
      Sums<T> unused = {};
      f(c_, in, out, unused);
    });
    return sums;
  }
  template <class C, class F>
  FK_DEVICE void map_at(const C& c, F f) {
    for_parts([&](int64_t first) FK_INLINE_LAMBDA {
    // Output after output, so that no results are held; what another output has computed
    // is computed again, which costs less.
#pragma unroll
      for (int k = 0; k < outputs; ++k)
        write(k, first, [&](int i) FK_INLINE_LAMBDA {
          T in[inputs], out[outputs];
#pragma unroll
          for (int j = 0; j < inputs; ++j) in[j] = held_[j][i];
          f(c, in, out, place(first, i));
          return out[k];
        });
    });
  }

  // Puts f(c, in, i) in the place of an input, where the rows are held.
  template <class C, class F>
  FK_DEVICE void replace(int input, const C& c, F f) {
    static_assert(holds);
    places_ = access_.recomputed();
    for_held([&](int i, const T(&in)[inputs])
                 FK_INLINE_LAMBDA { held_[input][i] = f(c, in, place(0, i)); });
  }

  // Outputs that sum over the points: f(c, in, out, i) makes them from the row's inputs, then
  // add(weights(j), in, out) adds point j's.  They take the places of the first inputs.
  template <class C, class F, class Weights, class Add>
  FK_DEVICE void map_points(const C& c, F f, int64_t points, Weights weights, Add add) {
    for_parts([&](int64_t first) FK_INLINE_LAMBDA {
      for_held([&](int i, const T(&in)[inputs]) FK_INLINE_LAMBDA {
        T out[outputs];
        f(c, in, out, place(first, i));
#pragma unroll
        for (int k = 0; k < outputs; ++k) held_[k][i] = out[k];
      });
#pragma unroll 1
      for (int64_t j = 0; j < points; ++j) {
        const auto w = weights(j);
        if constexpr (Shape::Long) load<row_inputs<P>, inputs>(held_);
        for_held([&](int i, const T(&in)[inputs]) FK_INLINE_LAMBDA {
          T out[outputs];
#pragma unroll
          for (int k = 0; k < outputs; ++k) out[k] = held_[k][i];
          add(w, in, out);
#pragma unroll
          for (int k = 0; k < outputs; ++k) held_[k][i] = out[k];
        });
      }
#pragma unroll
      for (int k = 0; k < outputs; ++k)
        write(k, first, [&](int i) FK_INLINE_LAMBDA { return held_[k][i]; });
    });
  }

 private:
  FK_DEVICE void add_within_warps() {
    for (int distance = group_.size; distance < warp_threads; distance *= 2) {
#pragma unroll
      for (int i = 0; i < N; ++i)
        if (access_.begins(i / group_of * group_of))
          column_[i] += __shfl_xor_sync(0xffffffffu, column_[i], distance);
      if (ended_) last_column_ += __shfl_xor_sync(0xffffffffu, last_column_, distance);
    }
  }
  FK_DEVICE T place(int64_t first, int i) const {
    return Shape::Long ? static_cast<T>(first + places_.index(i))
                       : static_cast<T>(places_.index(i));
  }
  // The sums of a group's threads from those that each keeps side by side.
  template <class Sums>
  FK_DEVICE Sums total(const Sums (&part)[group_of]) const {
    constexpr int count = sizeof(Sums) / sizeof(T);
    T all[count];
#pragma unroll
    for (int k = 0; k < count; ++k) {
      const auto of = [&](int i) { return reinterpret_cast<const T*>(&part[i])[k]; };
      all[k] = (of(0) + of(1)) + (of(2) + of(3));
    }
    group_sum(all, group_);
    Sums sums;
#pragma unroll
    for (int k = 0; k < count; ++k) reinterpret_cast<T*>(&sums)[k] = all[k];
    return sums;
  }
  FK_DEVICE int64_t at(const PointView& v) const {
    const int64_t first = row_ * v.row_stride + point_ * v.point_stride;
    return is_divisible<P> ? first + begin_ * v.stride : first;
  }
  FK_DEVICE void put_at(const RowView& v, int64_t offset, T x) const {
    if (group_.lane == 0 && there_)
      store_element<T>(v.base, v.dtype, offset, refused_ ? T(NAN) : x);
  }

  // ---- parts of a row ------------------------------------------------------------------

  FK_DEVICE void begin_part(int64_t first) {
    const int64_t left = n_ - first, most = int64_t(group_.size) * N;
    access_.begin(group_, static_cast<int>(left < most ? left : most), there_);
  }
  template <class Body>
  FK_DEVICE void for_parts(Body body) {
    if constexpr (!Shape::Long) {
      places_ = access_.recomputed();
      body(int64_t(0));
    } else {
      for (int64_t first = 0; first < n_; first += int64_t(group_.size) * N) {
        begin_part(first);
        places_ = access_;
        first_ = first;
        load<0, inputs>(held_);
        body(first);
      }
    }
  }
  // Calls body(i, elements of all inputs) for the held elements i of a part.
  template <class Body>
  FK_DEVICE void for_held(Body body) {
#pragma unroll
    for (int g = 0; g < N; g += group_of) {
      if (!access_.begins(g)) continue;
#pragma unroll
      for (int i = g; i < g + group_of; ++i) {
        T in[inputs];
#pragma unroll
        for (int k = 0; k < inputs; ++k) in[k] = held_[k][i];
        body(i, in);
      }
    }
  }
  template <class Body>
  FK_DEVICE void walk(Body body) {
    for_parts([&](int64_t first) FK_INLINE_LAMBDA {
      for_held([&](int i, const T(&in)[inputs]) FK_INLINE_LAMBDA { body(first, i, in); });
    });
  }

  template <int Begin, int End>
  FK_DEVICE void load(T (&to)[inputs][N]) {
#pragma unroll
    for (int k = Begin; k < End; ++k) {
      const PointView v = P::input(a_, k).view;
      access_.load(v, at(v) + first_ * v.stride, T(padding<P>), to[k]);
    }
  }
  template <class Value>
  FK_DEVICE void write(int k, int64_t first, Value value) {
    const RowOutput out = P::output(a_, k);
    if (out.view.base == nullptr) return;
    if constexpr (Column >= 0) {
      if (k == Column) return add(out.view, first, value);
    }
    access_.store(out.view, at(out.view) + first * out.view.stride, value);
  }
  template <class Value>
  FK_DEVICE void add(const RowView& to, int64_t first, Value value) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (!access_.begins(i / group_of * group_of)) continue;
      const T v = access_.holds(i) ? value(i) : T(0);
      if constexpr (!Shape::Long) {
        column_[i] += v;
      } else if (access_.holds(i)) {
        add_to_memory(to, first + access_.index(i), v);
      }
    }
  }
  // Rows too long for registers: each thread adds to elements of its own.
  FK_DEVICE void add_to_memory(const RowView& v, int64_t i, T x) const {
    T* to = static_cast<T*>(v.base) + block_ * v.row_stride + i;
    *to = first_of_block_ ? x : *to + x;
  }

  const Args& a_;
  ThreadGroup group_;
  Access access_, places_;
  int64_t n_;
  int64_t row_ = 0, part_row_ = 0, begin_ = 0;  // part_row_ counts the parts of all rows
  int64_t point_ = 0, first_ = 0, block_ = 0;
  bool there_ = false, refused_ = false, first_of_block_ = true, ended_ = false;
  bool has_shared_ = false;
  T shared_ = T(0);
  T held_[inputs][N];
  T column_[Column >= 0 && !Shape::Long ? N : 1], last_column_ = T(0);
};

}  // namespace cuda
}  // namespace fk
