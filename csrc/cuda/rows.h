// Rows in global memory, divided among groups: a work item is a row or a part of one.
#pragma once

#include "../engine/cuda/launch.h"
#include "access.h"

namespace fk {
namespace cuda {

// Calls body(item, row, part) for the work items of a thread group.
template <class Body>
FK_DEVICE void for_items(int64_t rows, int64_t parts, const ThreadGroup& threads, Body body) {
  const int64_t items = rows * parts;
  const int64_t step = int64_t(gridDim.x) * threads.count;
  // All threads take part in each round, with or without an item.
  for (int64_t first = int64_t(blockIdx.x) * threads.count; first < items; first += step) {
    const int64_t item = first + threads.index;
    const int64_t row = parts == 1 ? item : item / parts;
    body(item < items, item, row, item - row * parts);
  }
}

// The part's share of n units.
template <class I>
struct Range {
  I begin, end;
  FK_DEVICE Range(I n, I units, int64_t part) {
    begin = static_cast<I>(part) * units;
    if (begin > n) begin = n;
    end = n - begin < units ? n : begin + units;
  }
};

// ---- on the host -------------------------------------------------------------------

inline int64_t row_elements(const RowShape& s) { return s.n[0] * s.n[1] * s.n[2]; }

template <class S>
struct Stored {
  using type = S;
};

// Calls body with the storage type of a dtype.
template <class Body>
void with_storage(DType dtype, Body body) {
  switch (dtype) {
    case DType::f32:
      return body(Stored<float>());
    case DType::f64:
      return body(Stored<double>());
    case DType::f16:
      return body(Stored<Half>());
    case DType::bf16:
      return body(Stored<Bfloat16>());
  }
}

// Rows of fewer units than this are walked with 32-bit indices.
#if !defined(FK_SHORT_INDEX)
#define FK_SHORT_INDEX (int64_t(1) << 30)
#endif

// Whether all of an operand's accesses can be packs of `elements`, counted in 32 bits from
// the row's first.
inline bool packs_fit(const RowOperand& o, const RowShape& shape, int elements) {
  const int64_t bytes = elements * static_cast<int64_t>(size_of(o.dtype));
  bool fit = o.stride[3] == 1 && shape.n[2] % elements == 0 &&
             reinterpret_cast<uintptr_t>(o.base) % bytes == 0;
  fit = fit && (shape.rows == 1 || o.stride[0] % elements == 0);
  int64_t span = shape.n[2];
  for (int d = 0; d < 2; ++d) {
    if (shape.n[d] == 1) continue;
    fit = fit && o.stride[1 + d] % elements == 0;
    span += (shape.n[d] - 1) * (o.stride[1 + d] < 0 ? -o.stride[1 + d] : o.stride[1 + d]);
  }
  return fit && span / elements < FK_SHORT_INDEX;
}

// As many threads a row as leave each several units, but no fewer than fill the device.
inline int stream_group(const LaunchContext& context, int64_t units, int64_t items) {
  int size = 1;
  while (size < warp_threads && size < units) size *= 2;
  const int64_t enough = int64_t(context.multiprocessors) * 32;
  while (size < block_threads && size * 2 <= units &&
         (units > int64_t(size) * 32 || items * (size / warp_threads) < enough))
    size *= 2;
  return size;
}

// The nest of a row in units of `unit` elements, and the units that each part gets.
template <class I>
Nest<I> nest_of(const RowShape& s, int64_t unit) {
  if (row_elements(s) == 0) return {{1, 1, 0}};  // nothing to divide by
  return {{static_cast<I>(s.n[0]), static_cast<I>(s.n[1]), static_cast<I>(s.n[2] / unit)}};
}
template <class I>
I units_a_part(const RowShape& s, int64_t unit, int64_t parts) {
  return static_cast<I>((row_elements(s) / unit + parts - 1) / parts);
}

// Blocks of thread groups for `items` work items.
inline int64_t blocks_of_groups(int group_size, int64_t items) {
  const int64_t groups = block_threads / group_size;
  return (items + groups - 1) / groups;
}

}  // namespace cuda
}  // namespace fk
