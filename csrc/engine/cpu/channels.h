// Rows of channels: their lines, tile by tile, and the channels that a coupling only copies.
#pragma once

#include "../../args/rows.h"
#include "chunk.h"

FK_BEGIN
namespace loops {

// The longest row of copied channels that is a segment among others.
constexpr int short_segment = 128;

inline int64_t line_offset(const RowOperand& o, int64_t row, int64_t i, int64_t j) {
  return row * o.stride[0] + i * o.stride[1] + j * o.stride[2];
}

// Calls body(row, i, j, first, n) for the tiles of a work item: the row's line (i, j),
// n elements from `first` on.
template <class Body>
void for_tiles(const RowShape& shape, int64_t parts, int64_t item, Body body) {
  const auto tile = [&](int64_t row, int64_t i, int64_t j, int64_t first) {
    const int64_t left = shape.n[2] - first;
    body(row, i, j, first, static_cast<int>(left < chunk_size ? left : chunk_size));
  };
  if (parts == 1) {
    for (int64_t i = 0; i < shape.n[0]; ++i)
      for (int64_t j = 0; j < shape.n[1]; ++j)
        for (int64_t first = 0; first < shape.n[2]; first += chunk_size) tile(item, i, j, first);
    return;
  }
  const int64_t row = item / parts, part = item % parts;
  const int64_t tiles_a_line = (shape.n[2] + chunk_size - 1) / chunk_size;
  const int64_t tiles = shape.n[0] * shape.n[1] * tiles_a_line;
  for (int64_t k = tiles * part / parts; k < tiles * (part + 1) / parts; ++k) {
    const int64_t line = k / tiles_a_line;
    tile(row, line / shape.n[1], line % shape.n[1], (k % tiles_a_line) * chunk_size);
  }
}

// Channels that are only copied, from one operand to another of the same dtype.
struct KeptChannels {
  const RowShape& shape;
  const RowOperand &from, &to;
  int64_t parts;

  // Work items [begin, end) of rows * parts.
  void copy(int64_t begin, int64_t end) const {
    if (shape.n[0] * shape.n[1] * shape.n[2] == 0) return;
    switch (size_of(from.dtype)) {
      case 2:
        return copy_as<uint16_t>(begin, end);
      case 4:
        return copy_as<uint32_t>(begin, end);
      default:
        return copy_as<uint64_t>(begin, end);
    }
  }

 private:
  template <class U>
  void copy_as(int64_t begin, int64_t end) const {
    const U* source = static_cast<const U*>(from.base);
    U* target = static_cast<U*>(to.base);
    const int64_t *in = from.stride, *out = to.stride;
    const bool runs = in[3] == 1 && out[3] == 1;
    if (runs && parts == 1 && shape.n[0] * shape.n[1] == 1 && shape.n[2] <= short_segment) {
      return copy_segments(source + begin * in[0], in[0], target + begin * out[0], out[0],
                           static_cast<int>(shape.n[2]), end - begin);
    }
    for (int64_t item = begin; item < end; ++item)
      for_tiles(shape, parts, item, [&](int64_t row, int64_t i, int64_t j, int64_t first, int n) {
        const U* p = source + line_offset(from, row, i, j) + first * in[3];
        U* q = target + line_offset(to, row, i, j) + first * out[3];
        if (runs) {
          memcpy(q, p, static_cast<size_t>(n) * sizeof(U));
        } else {
          for (int k = 0; k < n; ++k) q[k * out[3]] = p[k * in[3]];
        }
      });
  }
};

}  // namespace loops
FK_END
