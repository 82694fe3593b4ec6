// Blocks of short rows as columns, so that vectors run across the rows.
#pragma once

#include "chunk.h"

FK_BEGIN
namespace loops {

constexpr int block_rows = 64;
constexpr int widest_columns = 32;

// Element i of row r is at [i][r].
template <class T>
using Columns = T (*)[block_rows];

namespace columns {

template <class T>
struct Four {
  typedef T type __attribute__((vector_size(4 * sizeof(T))));
};
template <class T>
using four_t = typename Four<T>::type;

// Integers to index them by.
template <class T>
struct Index {
  typedef int_t<T> type __attribute__((vector_size(4 * sizeof(T))));
};
template <class T>
using index_t = typename Index<T>::type;

#if defined(__clang__)
#define FK_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FK_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, index_t<T>{__VA_ARGS__})
#endif

template <class T>
FK_HD four_t<T> load4(const T* p) {
  four_t<T> v;
  memcpy(&v, p, sizeof(v));
  return v;
}
template <class T>
FK_HD void store4(T* p, four_t<T> v) {
  memcpy(p, &v, sizeof(v));
}

// Four rows of four elements, `from_stride` apart, become four columns.
template <class T>
FK_HD void transpose4(const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  const four_t<T> a = load4(from), b = load4(from + from_stride);
  const four_t<T> c = load4(from + 2 * from_stride), d = load4(from + 3 * from_stride);
  const four_t<T> ab = FK_SHUFFLE(a, b, 0, 4, 1, 5), AB = FK_SHUFFLE(a, b, 2, 6, 3, 7);
  const four_t<T> cd = FK_SHUFFLE(c, d, 0, 4, 1, 5), CD = FK_SHUFFLE(c, d, 2, 6, 3, 7);
  store4<T>(to, FK_SHUFFLE(ab, cd, 0, 1, 4, 5));
  store4<T>(to + to_stride, FK_SHUFFLE(ab, cd, 2, 3, 6, 7));
  store4<T>(to + 2 * to_stride, FK_SHUFFLE(AB, CD, 0, 1, 4, 5));
  store4<T>(to + 3 * to_stride, FK_SHUFFLE(AB, CD, 2, 3, 6, 7));
}

// As many rows of four floats as a vector has lanes, and back.  A vector collects every fourth
// row's pieces, or every second's; then each 128 bits of four vectors are transposed.
#if defined(__AVX512F__) || defined(__AVX2__)
#define FK_TRANSPOSES_VECTORS 1
#if defined(__AVX512F__)
using Pieces = __m512;
#define FK_PIECES(op, kind, a, b) _mm512_##op##_##kind(a, b)
FK_HD Pieces pieces(const float* from, int64_t stride) {
  Pieces v = _mm512_castps128_ps512(_mm_loadu_ps(from));
  v = _mm512_insertf32x4(v, _mm_loadu_ps(from + 4 * stride), 1);
  v = _mm512_insertf32x4(v, _mm_loadu_ps(from + 8 * stride), 2);
  return _mm512_insertf32x4(v, _mm_loadu_ps(from + 12 * stride), 3);
}
FK_HD void store_pieces(Pieces v, float* to, int64_t stride) {
  _mm_storeu_ps(to, _mm512_castps512_ps128(v));
  _mm_storeu_ps(to + 4 * stride, _mm512_extractf32x4_ps(v, 1));
  _mm_storeu_ps(to + 8 * stride, _mm512_extractf32x4_ps(v, 2));
  _mm_storeu_ps(to + 12 * stride, _mm512_extractf32x4_ps(v, 3));
}
FK_HD Pieces as_floats(__m512d v) { return _mm512_castpd_ps(v); }
FK_HD __m512d as_pairs(Pieces v) { return _mm512_castps_pd(v); }
#else
using Pieces = __m256;
#define FK_PIECES(op, kind, a, b) _mm256_##op##_##kind(a, b)
FK_HD Pieces pieces(const float* from, int64_t stride) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)),
                              _mm_loadu_ps(from + 4 * stride), 1);
}
FK_HD void store_pieces(Pieces v, float* to, int64_t stride) {
  _mm_storeu_ps(to, _mm256_castps256_ps128(v));
  _mm_storeu_ps(to + 4 * stride, _mm256_extractf128_ps(v, 1));
}
FK_HD Pieces as_floats(__m256d v) { return _mm256_castpd_ps(v); }
FK_HD __m256d as_pairs(Pieces v) { return _mm256_castps_pd(v); }
#endif

// In each 128 bits, the j-th elements of a, b, c, d become the j-th vector.
FK_HD void transpose_pieces(Pieces& a, Pieces& b, Pieces& c, Pieces& d) {
  const auto ab = as_pairs(FK_PIECES(unpacklo, ps, a, b));
  const auto AB = as_pairs(FK_PIECES(unpackhi, ps, a, b));
  const auto cd = as_pairs(FK_PIECES(unpacklo, ps, c, d));
  const auto CD = as_pairs(FK_PIECES(unpackhi, ps, c, d));
  a = as_floats(FK_PIECES(unpacklo, pd, ab, cd));
  b = as_floats(FK_PIECES(unpackhi, pd, ab, cd));
  c = as_floats(FK_PIECES(unpacklo, pd, AB, CD));
  d = as_floats(FK_PIECES(unpackhi, pd, AB, CD));
}
constexpr int vector_rows = sizeof(Pieces) / sizeof(float);

FK_HD void four_to_columns(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  Pieces a = pieces(from, from_stride), b = pieces(from + from_stride, from_stride);
  Pieces c = pieces(from + 2 * from_stride, from_stride);
  Pieces d = pieces(from + 3 * from_stride, from_stride);
  transpose_pieces(a, b, c, d);
  memcpy(to, &a, sizeof(a));
  memcpy(to + to_stride, &b, sizeof(b));
  memcpy(to + 2 * to_stride, &c, sizeof(c));
  memcpy(to + 3 * to_stride, &d, sizeof(d));
}
FK_HD void four_to_rows(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  Pieces a, b, c, d;
  memcpy(&a, from, sizeof(a));
  memcpy(&b, from + from_stride, sizeof(b));
  memcpy(&c, from + 2 * from_stride, sizeof(c));
  memcpy(&d, from + 3 * from_stride, sizeof(d));
  transpose_pieces(a, b, c, d);
  store_pieces(a, to, to_stride);
  store_pieces(b, to + to_stride, to_stride);
  store_pieces(c, to + 2 * to_stride, to_stride);
  store_pieces(d, to + 3 * to_stride, to_stride);
}
#undef FK_PIECES
#else
#define FK_TRANSPOSES_VECTORS 0
#endif

// Calls body(i) for groups of four columns that cover `width` >= 4 of them; the last
// group may overlap the one before.
template <class Body>
FK_HD void for_fours(int width, Body body) {
  int i = 0;
  for (; i + 4 <= width; i += 4) body(i);
  if (i < width) body(width - 4);
}

#if defined(__AVX512F__)
// Sixteen rows of `width` floats, as many vectors of them, as columns and back: each result
// takes its elements from one more vector at a time.
template <int width>
struct Permutations {
  alignas(64) int32_t index[width][width][16];

  constexpr explicit Permutations(bool to_columns) : index{} {
    for (int v = 0; v < width; ++v)
      for (int k = 0; k < 16; ++k) {
        const int flat = 16 * v + k;
        const int from = to_columns ? width * k + v : flat % width * 16 + flat / width;
        // What is there already, or the element of the second operand.
        for (int j = 1; j < width; ++j)
          index[v][j][k] = from / 16 == j ? 16 + from % 16 : j == 1 ? from % 16 : k;
      }
  }
  FK_HD void permute(const float* from, int from_stride, float* to, int to_stride) const {
    __m512 x[width];
    for (int j = 0; j < width; ++j) x[j] = _mm512_loadu_ps(from + j * from_stride);
    for (int v = 0; v < width; ++v) {
      __m512 y = x[0];
      for (int j = 1; j < width; ++j)
        y = _mm512_permutex2var_ps(y, _mm512_load_si512(index[v][j]), x[j]);
      _mm512_storeu_ps(to + v * to_stride, y);
    }
  }
};
template <int width>
constexpr Permutations<width> to_columns(true);
template <int width>
constexpr Permutations<width> to_rows(false);
#endif

// Of contiguous rows; the compiler makes permutations of the loops of known width.
template <int width, class T>
void load_narrow(const T* __restrict from, Columns<T> __restrict to, int rows) {
  int r = 0;
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    for (; r + 16 <= rows; r += 16)
      to_columns<width>.permute(from + r * width, 16, to[0] + r, block_rows);
#endif
  for (; r < rows; ++r)
    for (int i = 0; i < width; ++i) to[i][r] = from[r * width + i];
}
template <int width, class T>
void store_narrow(const Columns<T> __restrict from, T* __restrict to, int rows) {
  int r = 0;
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    for (; r + 16 <= rows; r += 16)
      to_rows<width>.permute(from[0] + r, block_rows, to + r * width, 16);
#endif
  for (; r < rows; ++r)
    for (int i = 0; i < width; ++i) to[r * width + i] = from[i][r];
}

template <class T>
void load_rows(const T* from, int64_t row_stride, int rows, int width, Columns<T> to) {
  const bool dense = row_stride == width;
  if (dense && width == 1) return static_cast<void>(memcpy(to[0], from, rows * sizeof(T)));
  if (dense && width == 2) return load_narrow<2>(from, to, rows);
  if (dense && width == 3) return load_narrow<3>(from, to, rows);
  if (dense && width == 4) return load_narrow<4>(from, to, rows);
#if defined(__AVX512F__)
  if (dense && width == 6) return load_narrow<6>(from, to, rows);
  if (dense && width == 7) return load_narrow<7>(from, to, rows);
#endif
  int r = 0;
#if FK_TRANSPOSES_VECTORS
  if constexpr (sizeof(T) == 4)
    if (width >= 4)
      for (; r + vector_rows <= rows; r += vector_rows)
        for_fours(width, [=](int i) {
          four_to_columns(from + r * row_stride + i, row_stride, to[i] + r, block_rows);
        });
#endif
  if (width >= 4)
    for (; r + 4 <= rows; r += 4)
      for_fours(width, [=](int i) {
        transpose4(from + r * row_stride + i, row_stride, to[i] + r, block_rows);
      });
  for (; r < rows; ++r)
    for (int i = 0; i < width; ++i) to[i][r] = from[r * row_stride + i];
}
template <class T>
void store_rows_apart(const Columns<T> from, T* to, int64_t row_stride, int rows, int width) {
  int r = 0;
#if FK_TRANSPOSES_VECTORS
  if constexpr (sizeof(T) == 4)
    if (width >= 4)
      for (; r + vector_rows <= rows; r += vector_rows)
        for_fours(width, [=](int i) {
          four_to_rows(from[i] + r, block_rows, to + r * row_stride + i, row_stride);
        });
#endif
  if (width >= 4)
    for (; r + 4 <= rows; r += 4)
      for_fours(width, [=](int i) {
        transpose4(from[i] + r, block_rows, to + r * row_stride + i, row_stride);
      });
  for (; r < rows; ++r)
    for (int i = 0; i < width; ++i) to[r * row_stride + i] = from[i][r];
}
template <class T>
void store_rows(const Columns<T> from, T* to, int rows, int width) {
  if (width == 1) return static_cast<void>(memcpy(to, from[0], rows * sizeof(T)));
  if (width == 2) return store_narrow<2>(from, to, rows);
  if (width == 3) return store_narrow<3>(from, to, rows);
  if (width == 4) return store_narrow<4>(from, to, rows);
#if defined(__AVX512F__)
  if (width == 6) return store_narrow<6>(from, to, rows);
  if (width == 7) return store_narrow<7>(from, to, rows);
#endif
  store_rows_apart<T>(from, to, width, rows, width);
}

}  // namespace columns

// `rows` rows of `width` elements from `offset` on.
template <class T>
void load_columns(Source s, int64_t offset, int64_t row_stride, int64_t stride, int rows, int width,
                  Columns<T> to) {
  if (s.dtype == dtype_of<T> && stride == 1)
    return columns::load_rows(static_cast<const T*>(s.base) + offset, row_stride, rows, width, to);
  T dense[block_rows * widest_columns];
  if (row_stride == width * stride) {
    collect(s, offset, stride, rows * width, dense);
  } else {
    for (int r = 0; r < rows; ++r)
      collect(s, offset + r * row_stride, stride, width, dense + r * width);
  }
  columns::load_rows<T>(dense, width, rows, width, to);
}

// The same, written to contiguous rows.
template <class T>
void store_columns(Sink s, int64_t offset, int rows, int width, const Columns<T> from) {
  if (s.dtype == dtype_of<T>)
    return columns::store_rows<T>(from, static_cast<T*>(s.base) + offset, rows, width);
  T dense[block_rows * widest_columns];
  columns::store_rows<T>(from, dense, rows, width);
  distribute(s, offset, 1, rows * width, dense);
}
// The same, written to rows of contiguous elements that begin `row_stride` apart.
template <class T>
void store_columns_apart(Sink s, int64_t offset, int64_t row_stride, int rows, int width,
                         const Columns<T> from) {
  if (s.dtype == dtype_of<T>)
    return columns::store_rows_apart<T>(from, static_cast<T*>(s.base) + offset, row_stride, rows,
                                        width);
  T dense[block_rows * widest_columns];
  columns::store_rows_apart<T>(from, dense, width, rows, width);
  for (int r = 0; r < rows; ++r)
    distribute(s, offset + r * row_stride, 1, width, dense + r * width);
}

}  // namespace loops
FK_END
