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
      static_assert(panel_rows == 6);
      switch (m - i) {
        case 1:
          return tile<1, vectors>(i, j, start, finish);
        case 2:
          return tile<2, vectors>(i, j, start, finish);
        case 3:
          return tile<3, vectors>(i, j, start, finish);
        case 4:
          return tile<4, vectors>(i, j, start, finish);
        case 5:
          return tile<5, vectors>(i, j, start, finish);
      }
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

}  // namespace loops
FK_END
