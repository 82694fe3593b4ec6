// What the vMF densities read of a row: its concentration and, on R^d, its projection.
#pragma once

#include "../math/log_0f1.h"
#include "../math/stereographic.h"
#include "columns.h"

FK_BEGIN
namespace loops {

// One row in tiles: body(offset, n, pointer to the tile).
template <class E, class Body>
FK_HD void over_row(const RowView& o, int64_t row, int64_t n, E* buffer, Body body) {
  for (int64_t i = 0; i < n; i += tile_size) {
    const int m = n - i < tile_size ? static_cast<int>(n - i) : tile_size;
    body(i, m, fetch<E>(source(o), row * o.row_stride + i * o.stride, o.stride, m, buffer));
  }
}
template <class T>
T element(const RowView& o, int64_t row, int64_t i) {
  T value;
  return *fetch<T>(source(o), row * o.row_stride + i * o.stride, 0, 1, &value);
}

// A point of the sphere as a row to read: s_i = x_i scale factor, then s_d = last.
template <class T>
struct Point {
  T scale = 1, factor = 1, rho = 1, last = 0, log_rho = 0;
};

template <class T>
T power_of_two_below(T x) {
  // Keeps the exponent only.
  const auto exponent = as_int(T(INFINITY));
  return as_float(as_int(x) & exponent);
}

template <class E, class T = compute_t<E>>
Point<T> project(const VmfArgs& a, int64_t row) {
  using V = Vec<T>;
  E buffer[tile_size];
  const int64_t d = a.dim - 1;
  double square = 0;
  StereographicRow<T> r = {};
  r.scale = T(1);
  over_row<E>(a.x, row, d, buffer, [&](int64_t, int n, const E* z) {
    V sum(T(0));
    for_lanes<V>(n, [&](int i, int lanes) {
      const V v = load_lanes<V>(z + i, lanes);
      sum += v * v;
    });
    square += hsum(sum);
  });
  if (!(square < (sizeof(T) == 4 ? 1e30 : 1e280))) {
    V most(T(0));
    over_row<E>(a.x, row, d, buffer, [&](int64_t, int n, const E* z) {
      for_lanes<V>(n,
                   [&](int i, int lanes) { most = max(most, abs(load_lanes<V>(z + i, lanes))); });
    });
    r.scale = T(1) / power_of_two_below(hmax(most));
    square = 0;
    over_row<E>(a.x, row, d, buffer, [&](int64_t, int n, const E* z) {
      V sum(T(0));
      for_lanes<V>(n, [&](int i, int lanes) {
        const V v = load_lanes<V>(z + i, lanes) * V(r.scale);
        sum += v * v;
      });
      square += hsum(sum);
    });
  }
  r.square = static_cast<T>(square);
  r.excess = static_cast<T>(square - 1);
  const StereographicPoint<T> p = stereographic_point(r);
  return {r.scale, p.factor, p.rho, p.last, p.log_rho};
}

// One element of each of a block's rows.
template <class T>
void load_elements(const RowView& o, int64_t row, int64_t i, int rows, T* to) {
  with_reader<T>(source(o), [=](auto read) {
    const int64_t offset = row * o.row_stride + i * o.stride;
    for (int r = 0; r < rows; ++r) to[r] = read(offset + r * o.row_stride);
  });
}

// The concentrations of a block of rows and a function of each, made once where all rows
// share one concentration.
template <class T, class Function>
class Concentrations {
  using V = Vec<T>;

 public:
  Concentrations(const VmfArgs& a, Function function)
      : a_(a), shared_(a.kappa.row_stride == 0), function_(function) {
    if (shared_) load(0, block_rows);
  }

  void move_to(int64_t first, int rows) {
    if (!shared_) load(first, rows);
  }
  bool all_valid() const { return valid_; }

  T kappa[block_rows] = {}, value[block_rows] = {};

 private:
  void load(int64_t first, int rows) {
    load_elements<T>(a_.kappa, first, 0, rows, kappa);
    for_lanes<V>(rows, [&](int i, int lanes) {
      const V k = load_lanes<V>(kappa + i, lanes, T(1));
      valid_ = valid_ && !any(k < V(T(0)));
      store_lanes<V>(value + i, function_(k), lanes);
    });
  }

  const VmfArgs& a_;
  const bool shared_;
  bool valid_ = true;
  Function function_;
};

}  // namespace loops
FK_END
