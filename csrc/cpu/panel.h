// Products of small matrices whose inner loops are whole vectors.
#pragma once

#include "../engine/cpu/chunk.h"

FK_BEGIN
namespace loops {

// A result of `vectors` vectors by `rows` rows stays in registers: 6 x 4 of AVX-512's and
// NEON's 32, 6 x 2 of the 16 of AVX2 and SSE.
constexpr int panel_rows = 6;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int panel_vectors = 4;
#else
constexpr int panel_vectors = 2;
#endif

// body(Width<n>()) for an n below `panel_rows`, unless it is 0.
template <class Body>
FK_HD void with_rest(int n, Body body) {
  static_assert(panel_rows == 6);
  switch (n) {
    case 1:
      return body(Width<1>());
    case 2:
      return body(Width<2>());
    case 3:
      return body(Width<3>());
    case 4:
      return body(Width<4>());
    case 5:
      return body(Width<5>());
  }
}

// c = finish(start + a b) with a (m, k) of any strides, b (k, n) of dense vectors.
// start(i, j) and finish(i, j, value) see row i and the vector that begins at column j.
// With `every_rest` the last rows are one tile, however many there are: for matrices of few rows.
template <class T, bool every_rest = false>
struct Product {
  using V = Vec<T>;
  const T* a;
  int64_t a_row, a_column;
  const T* b;
  int64_t b_row;
  int m, n, k;  // n a multiple of the vector's lanes

  template <int rows, int vectors, class Start, class Finish>
  FK_HD void tile(int i, int j, Start start, Finish finish) const {
    V sum[rows][vectors];
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v) sum[r][v] = start(i + r, j + v * lanes_v<V>);
    const T *left = a + i * a_row, *right = b + j;
    for (int step = 0; step < k; ++step, left += a_column, right += b_row) {
      V across[vectors];
      for (int v = 0; v < vectors; ++v) across[v] = load<V>(right + v * lanes_v<V>);
      for (int r = 0; r < rows; ++r) {
        const V down(left[r * a_row]);
        for (int v = 0; v < vectors; ++v) sum[r][v] = fma(down, across[v], sum[r][v]);
      }
    }
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v) finish(i + r, j + v * lanes_v<V>, sum[r][v]);
  }

  template <int vectors, class Start, class Finish>
  FK_HD void strip(int j, Start start, Finish finish) const {
    int i = 0;
    for (; i + panel_rows <= m; i += panel_rows) tile<panel_rows, vectors>(i, j, start, finish);
    if constexpr (every_rest) {
      with_rest(m - i, [&](auto rows)
                           FK_INLINE_LAMBDA { tile<rows.value, vectors>(i, j, start, finish); });
    } else {
      for (; i + 2 <= m; i += 2) tile<2, vectors>(i, j, start, finish);
      if (i < m) tile<1, vectors>(i, j, start, finish);
    }
  }

  template <class Start, class Finish>
  FK_HD void run(Start start, Finish finish) const {
    int j = 0;
    for (; j + panel_vectors * lanes_v<V> <= n; j += panel_vectors * lanes_v<V>)
      strip<panel_vectors>(j, start, finish);
    for (; j < n; j += lanes_v<V>) strip<1>(j, start, finish);
  }
};

// The products a_i . b_j of the rows of two matrices, (m, k) and (n, k), whose rows are dense:
// finish(i, j, product).  For long rows: a product's last step adds up the lanes of a vector.
template <class T>
struct Dots {
  using V = Vec<T>;
  const T* a;
  int64_t a_row;
  int m;
  const T* b;
  int64_t b_row;
  int n, k;

  template <int rows, int columns, class Finish>
  FK_HD void tile(int i, int j, Finish finish) const {
    V sum[rows][columns];
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < columns; ++c) sum[r][c] = real<V>(0.0);
    for_lanes<V>(k, [&](int at, int count) FK_INLINE_LAMBDA {
      V across[rows];
      for (int r = 0; r < rows; ++r) across[r] = load_lanes<V>(a + (i + r) * a_row + at, count);
      for (int c = 0; c < columns; ++c) {
        const V down = load_lanes<V>(b + (j + c) * b_row + at, count);
        for (int r = 0; r < rows; ++r) sum[r][c] = fma(across[r], down, sum[r][c]);
      }
    });
    for (int c = 0; c < columns; ++c)
      for (int r = 0; r < rows; ++r) finish(i + r, j + c, hsum(sum[r][c]));
  }

  template <int columns, class Finish>
  FK_HD void strip(int j, Finish finish) const {
    int i = 0;
    for (; i + panel_vectors <= m; i += panel_vectors) tile<panel_vectors, columns>(i, j, finish);
    for (; i < m; ++i) tile<1, columns>(i, j, finish);
  }

  template <class Finish>
  FK_HD void run(Finish finish) const {
    int j = 0;
    for (; j + panel_rows <= n; j += panel_rows) strip<panel_rows>(j, finish);
    with_rest(n - j, [&](auto columns) FK_INLINE_LAMBDA { strip<columns.value>(j, finish); });
  }
};

}  // namespace loops
FK_END
