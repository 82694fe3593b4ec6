// What both layouts of rows share: numbers of a row in the lanes of a vector.
#pragma once

#include "../program.h"
#include "chunk.h"

FK_BEGIN
namespace loops {

// ---- structs of vectors ------------------------------------------------------------

// Sums and coefficients are structs of V and nothing else.
template <class S, class V>
constexpr int fields_of = __is_empty(S) ? 0 : sizeof(S) / sizeof(V);

// body(k, field) for every field.
template <class V, class S, class Body>
FK_HD void for_fields(S& s, Body body) {
  constexpr int n = fields_of<S, V>;
  static_assert(n <= 7);
  if constexpr (n == 1) {
    auto& [a] = s;
    body(0, a);
  } else if constexpr (n == 2) {
    auto& [a, b] = s;
    body(0, a), body(1, b);
  } else if constexpr (n == 3) {
    auto& [a, b, c] = s;
    body(0, a), body(1, b), body(2, c);
  } else if constexpr (n == 4) {
    auto& [a, b, c, d] = s;
    body(0, a), body(1, b), body(2, c), body(3, d);
  } else if constexpr (n == 5) {
    auto& [a, b, c, d, e] = s;
    body(0, a), body(1, b), body(2, c), body(3, d), body(4, e);
  } else if constexpr (n == 6) {
    auto& [a, b, c, d, e, f] = s;
    body(0, a), body(1, b), body(2, c), body(3, d), body(4, e), body(5, f);
  } else if constexpr (n == 7) {
    auto& [a, b, c, d, e, f, g] = s;
    body(0, a), body(1, b), body(2, c), body(3, d), body(4, e), body(5, f), body(6, g);
  }
}

template <class S, class V>
FK_HD S zeros() {
  S s;
  for_fields<V>(s, [](int, V& v) FK_INLINE_LAMBDA { v = real<V>(0.0); });
  return s;
}

// 0, 1, 2 ...
template <class V>
FK_HD V iota() {
  scalar_t<V> values[lanes_v<V>];
  for (int i = 0; i < lanes_v<V>; ++i) values[i] = static_cast<scalar_t<V>>(i);
  return load<V>(values);
}

// A struct of vectors or scalars, lane by lane.
template <template <class> class C, class V>
class Lanes {
  static constexpr int fields = fields_of<C<V>, V>;

 public:
  FK_HD explicit Lanes(const C<V>& c) {
    for_fields<V>(c, [&](int k, const V& v) FK_INLINE_LAMBDA { store<V>(values_[k], v); });
  }
  // Lane r of every field in all lanes of a W.
  template <class W, class... A>
  FK_HD C<W> spread(int r, A... a) const {
    if constexpr (sizeof...(a) == fields) {
      return C<W>{a...};
    } else {
      return spread<W>(r, a..., W(values_[sizeof...(a)][r]));
    }
  }

 private:
  alignas(sizeof(V)) scalar_t<V> values_[fields > 0 ? fields : 1][lanes_v<V>];
};

// ---- the rows in hand -------------------------------------------------------------------

// `count` rows from `row` on, a lane each.  Lanes beyond them repeat the first row's numbers or
// hold anything: their results go nowhere.
template <class V>
class RowValues {
  using T = scalar_t<V>;

 public:
  using Value = V;
  static constexpr int lanes = lanes_v<V>;

  FK_HD bool any(mask_t<V> mask) const {
    if constexpr (lanes == 1) {
      return mask;
    } else {
      return fk::any(mask) && (count_ == lanes || any_in_use(mask));
    }
  }
  FK_HD V number(const RowView& o) const { return read(o, row_ * o.row_stride); }
  FK_HD V number(const PointView& o) const { return read(o, at_point(o)); }
  FK_HD void put(const RowView& o, V value) const { write(o, row_ * o.row_stride, value); }
  FK_HD void put(const PointView& o, V value) const { write(o, at_point(o), value); }

  template <class F>
  FK_HD V shared(bool same, V x, F f) {
    if (!same || !made_) shared_ = f(x);
    made_ = true;
    return shared_;
  }
  FK_HD void refuse(mask_t<V> mask) { valid_ = valid_ && !any(mask); }
  bool valid() const { return valid_; }

 protected:
  FK_HD int64_t at_point(const PointView& o) const {
    return row_ * o.row_stride + point_ * o.point_stride;
  }
  __attribute__((noinline)) bool any_in_use(mask_t<V> mask) const {
    T set[lanes];
    store<V>(set, select(mask, real<V>(1.0), real<V>(0.0)));
    bool found = false;
    for (int r = 0; r < count_; ++r) found = found || set[r] != T(0);
    return found;
  }
  // An element of each row; the first row's at `offset`.
  FK_HD V read(const RowView& o, int64_t offset) const {
    if (o.dtype == dtype_of<T>) {
      const T* const from = static_cast<const T*>(o.base) + offset;
      if (o.row_stride == 0 || lanes == 1) return V(*from);
      if (o.row_stride == 1 && count_ == lanes) return load<V>(from);
    }
    T values[lanes];
    read_each(o, offset, count_, values);
    return load<V>(values);
  }
  static __attribute__((noinline)) void read_each(const RowView& o, int64_t offset, int count,
                                                  T* values) {
    const int64_t step = o.row_stride;
    with_reader<T>(source(o), [=](auto element) {
      const T first = element(offset);
      for (int r = 0; r < lanes; ++r) values[r] = r < count ? element(offset + r * step) : first;
    });
  }
  FK_HD void write(const RowView& o, int64_t offset, V value) const {
    if (o.dtype == dtype_of<T> && o.row_stride == 1)
      return store_lanes<V>(static_cast<T*>(o.base) + offset, value, count_);
    T values[lanes];
    store<V>(values, value);
    write_each(o, offset, count_, values);
  }
  static __attribute__((noinline)) void write_each(const RowView& o, int64_t offset, int count,
                                                   const T* values) {
    const int64_t step = o.row_stride;
    with_writer<T>(sink(o), [=](auto element) {
      for (int r = 0; r < count; ++r) element(offset + r * step, values[r]);
    });
  }

  int64_t row_ = 0, point_ = 0;
  int count_ = 0;

 private:
  V shared_ = real<V>(0.0);
  bool made_ = false, valid_ = true;
};

}  // namespace loops
FK_END
