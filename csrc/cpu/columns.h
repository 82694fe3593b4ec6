// Blocks of short rows as columns, so that vectors run across the rows.
#pragma once

#include "tile.h"

FK_BEGIN
namespace loops {

constexpr int block_rows = 64;

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

// Calls body(i) for groups of four columns that cover `width` >= 4 of them; the last
// group may overlap the one before.
template <class Body>
FK_HD void for_fours(int width, Body body) {
  int i = 0;
  for (; i + 4 <= width; i += 4) body(i);
  if (i < width) body(width - 4);
}

// Of contiguous rows; the compiler makes permutations of the loops of known width.
template <int width, class T>
void load_narrow(const T* __restrict from, Columns<T> __restrict to, int rows) {
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < width; ++i) to[i][r] = from[r * width + i];
}
template <int width, class T>
void store_narrow(const Columns<T> __restrict from, T* __restrict to, int rows) {
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < width; ++i) to[r * width + i] = from[i][r];
}

template <class T>
void load_rows(const T* from, int64_t row_stride, int rows, int width, Columns<T> to) {
  const bool packed = row_stride == width;
  if (packed && width == 2) return load_narrow<2>(from, to, rows);
  if (packed && width == 3) return load_narrow<3>(from, to, rows);
  if (packed && width == 4) return load_narrow<4>(from, to, rows);
  int r = 0;
  if (width >= 4)
    for (; r + 4 <= rows; r += 4)
      for_fours(width, [=](int i) {
        transpose4(from + r * row_stride + i, row_stride, to[i] + r, block_rows);
      });
  for (; r < rows; ++r)
    for (int i = 0; i < width; ++i) to[i][r] = from[r * row_stride + i];
}
template <class T>
void store_rows(const Columns<T> from, T* to, int rows, int width) {
  if (width == 2) return store_narrow<2>(from, to, rows);
  if (width == 3) return store_narrow<3>(from, to, rows);
  if (width == 4) return store_narrow<4>(from, to, rows);
  int r = 0;
  if (width >= 4)
    for (; r + 4 <= rows; r += 4)
      for_fours(width,
                [=](int i) { transpose4(from[i] + r, block_rows, to + r * width + i, width); });
  for (; r < rows; ++r)
    for (int i = 0; i < width; ++i) to[r * width + i] = from[i][r];
}

}  // namespace columns

// `rows` rows of `width` elements from `offset` on.
template <class T>
void load_columns(Source s, int64_t offset, int64_t row_stride, int64_t stride, int rows, int width,
                  Columns<T> to) {
  if (s.dtype == dtype_of<T> && stride == 1)
    return columns::load_rows(static_cast<const T*>(s.base) + offset, row_stride, rows, width, to);
  with_reader<T>(s, [=](auto read) {
    for (int i = 0; i < width; ++i)
      for (int r = 0; r < rows; ++r) to[i][r] = read(offset + r * row_stride + i * stride);
  });
}

// The same, written to contiguous rows.
template <class T>
void store_columns(Sink s, int64_t offset, int rows, int width, const Columns<T> from) {
  if (s.dtype == dtype_of<T>)
    return columns::store_rows<T>(from, static_cast<T*>(s.base) + offset, rows, width);
  with_writer<T>(s, [=](auto write) {
    for (int r = 0; r < rows; ++r)
      for (int i = 0; i < width; ++i) write(offset + r * width + i, from[i][r]);
  });
}

}  // namespace loops
FK_END
