// Maps of elements that have vectors of parameters: a thread an element, a block a tile of
// neighbouring elements.
//
// Where the parameters of neighbouring elements follow each other, a tile of them is staged in
// shared memory, 16 bytes at a time; elsewhere each thread reads its own, neighbouring threads
// neighbouring elements where the layout lets them.
#pragma once

#include "../../args/rows.h"
#include "group.h"
#include "launch.h"

namespace fk {
namespace cuda {

// Rows of fewer elements than this are walked with 32-bit indices.
#if !defined(FK_SHORT_INDEX)
#define FK_SHORT_INDEX (int64_t(1) << 30)
#endif

// An element's place in the nest of a row.
struct Element {
  int64_t row, i, j, k;

  FK_DEVICE int64_t offset(const RowOperand& o) const {
    return row * o.stride[0] + i * o.stride[1] + j * o.stride[2] + k * o.stride[3];
  }
};

// The elements of all rows in order.
struct ElementOrder {
  int64_t rows, row_elements;
  int64_t n[3];

  FK_DEVICE int64_t count() const { return rows * row_elements; }
  FK_HD bool is_flat() const { return n[0] * n[1] == 1; }
};

// Neighbouring elements: the first of all, how many, and the first one's row and place in it.
struct ElementTile {
  int64_t first;
  int n;
  int64_t row, in_row;
};

// Calls body(tile) for this block's tiles: all its threads take part.
template <class Body>
FK_DEVICE void for_tiles(const ElementOrder& order, Body body) {
  const int64_t step = int64_t(gridDim.x) * block_threads, count = order.count();
  ElementTile tile;
  tile.first = int64_t(blockIdx.x) * block_threads;
  if (tile.first >= count) return;
  // One division here, and none from tile to tile.
  tile.row = tile.first / order.row_elements;
  tile.in_row = tile.first - tile.row * order.row_elements;
  const int64_t rows_on = step / order.row_elements, on = step - rows_on * order.row_elements;
  for (; tile.first < count; tile.first += step) {
    const int64_t left = count - tile.first;
    tile.n = static_cast<int>(left < block_threads ? left : block_threads);
    body(tile);
    tile.row += rows_on;
    tile.in_row += on;
    if (tile.in_row >= order.row_elements) {
      tile.in_row -= order.row_elements;
      ++tile.row;
    }
  }
}

// In a nest: the line and the place in it of an element of a row.
template <class I>
FK_DEVICE void place_in_nest(const ElementOrder& order, I rest, Element& e) {
  const I length = static_cast<I>(order.n[2]), lines = static_cast<I>(order.n[1]);
  const I line = rest / length;
  e.k = rest - line * length;
  e.i = line / lines;
  e.j = line - e.i * lines;
}

// The element of this thread; Flat, in rows of one dimension.
template <bool Flat>
FK_DEVICE Element element_of(const ElementOrder& order, const ElementTile& tile) {
  const int thread = static_cast<int>(threadIdx.x);
  Element e = {tile.row, 0, 0, tile.in_row + thread};
  if (order.row_elements >= block_threads) {
    if (e.k >= order.row_elements) {
      e.k -= order.row_elements;
      ++e.row;
    }
  } else {
    const int length = static_cast<int>(order.row_elements), at = static_cast<int>(e.k);
    e.row += at / length;
    e.k = at - at / length * length;
  }
  if (Flat || order.is_flat()) return e;
  // 32-bit divisions are much the faster.
  if (order.row_elements < FK_SHORT_INDEX) {
    place_in_nest(order, static_cast<int>(e.k), e);
  } else {
    place_in_nest(order, e.k, e);
  }
  return e;
}

// Copies elements of one dtype.
FK_DEVICE void copy_elements(const ElementOrder& order, const RowOperand& from,
                             const RowOperand& to) {
  for_tiles(order, [&](const ElementTile& tile) {
    if (static_cast<int>(threadIdx.x) >= tile.n) return;
    const Element e = element_of<false>(order, tile);
    const int64_t in = e.offset(from), out = e.offset(to);
    switch (from.dtype) {
      case DType::f16:
      case DType::bf16:
        static_cast<uint16_t*>(to.base)[out] = static_cast<const uint16_t*>(from.base)[in];
        break;
      case DType::f32:
        static_cast<uint32_t*>(to.base)[out] = static_cast<const uint32_t*>(from.base)[in];
        break;
      case DType::f64:
        static_cast<uint64_t*>(to.base)[out] = static_cast<const uint64_t*>(from.base)[in];
        break;
    }
  });
}

// Sums of the rows of `count` neighbouring elements, a thread group a row.
template <class T>
__global__ void __launch_bounds__(block_threads)
    sum_element_rows(const T* from, int64_t rows, int64_t count, T* out, int group_size) {
  const ThreadGroup threads = thread_group(group_size);
  const int64_t step = int64_t(gridDim.x) * threads.count;
  for (int64_t first = int64_t(blockIdx.x) * threads.count; first < rows; first += step) {
    const int64_t row = first + threads.index;
    const bool mine = row < rows;
    T sum = 0;
    if (mine)
      for (int64_t i = threads.lane; i < count; i += threads.size) sum += from[row * count + i];
    sum = group_sum(sum, threads);
    if (mine && threads.lane == 0) out[row] = sum;
  }
}

// ---- on the host -------------------------------------------------------------------

inline ElementOrder order_of(const RowShape& s) {
  return {s.rows, s.n[0] * s.n[1] * s.n[2], {s.n[0], s.n[1], s.n[2]}};
}
inline int64_t tiles_of(const ElementOrder& order) {
  return (order.rows * order.row_elements + block_threads - 1) / block_threads;
}

inline void launch_sum_element_rows(const LaunchContext& context, DType wide, const void* from,
                                    int64_t rows, int64_t count, void* out) {
  int size = 1;
  while (size < block_threads && size * 4 < count) size *= 2;
  const int64_t groups = block_threads / size, blocks = (rows + groups - 1) / groups;
  if (wide == DType::f64) {
    launch<sum_element_rows<double>>(context, blocks, scratch_bytes,
                                     static_cast<const double*>(from), rows, count,
                                     static_cast<double*>(out), size);
  } else {
    launch<sum_element_rows<float>>(context, blocks, scratch_bytes, static_cast<const float*>(from),
                                    rows, count, static_cast<float*>(out), size);
  }
}

}  // namespace cuda
}  // namespace fk
