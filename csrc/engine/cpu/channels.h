// The channels that a coupling only copies.
#pragma once

#include "../../args/map.h"
#include "map.h"

FK_BEGIN
namespace loops {

template <class U>
void copy_channels_as(const MapArgs& a, int64_t begin, int64_t end) {
  const RowOperand &from = a.kept_x, &to = a.kept_y;
  const U* source = static_cast<const U*>(from.base);
  U* target = static_cast<U*>(to.base);
  const int64_t in = from.stride[3], out = to.stride[3];
  const bool runs = in == 1 && out == 1;
  const MapBlocks blocks(a.kept, a.parts, begin, end, /*widest_shared_line=*/chunk_size);
  if (runs && blocks.rows() > 0 && blocks.rows_are_lines())
    return copy_segments(source + begin * from.stride[0], from.stride[0],
                         target + begin * to.stride[0], to.stride[0],
                         static_cast<int>(blocks.width()), end - begin);
  blocks.for_each([&](const MapBlock& b) {
    blocks.for_lines(b, 0, b.n,
                     [&](int64_t row, int64_t i, int64_t j, int64_t place, int, int lines, int n) {
                       const U* p = source + line_offset(from, row, i, j) + place * in;
                       U* q = target + line_offset(to, row, i, j) + place * out;
                       if (runs) return copy_segments(p, from.stride[2], q, to.stride[2], n, lines);
                       for (int l = 0; l < lines; ++l)
                         for (int k = 0; k < n; ++k)
                           q[l * to.stride[2] + k * out] = p[l * from.stride[2] + k * in];
                     });
  });
}

// Those of work items [begin, end) of rows * parts; both operands have one dtype.
inline void copy_kept_channels(const MapArgs& a, int64_t begin, int64_t end) {
  if (a.kept.n[0] * a.kept.n[1] * a.kept.n[2] == 0) return;
  switch (size_of(a.kept_x.dtype)) {
    case 2:
      return copy_channels_as<uint16_t>(a, begin, end);
    case 4:
      return copy_channels_as<uint32_t>(a, begin, end);
    default:
      return copy_channels_as<uint64_t>(a, begin, end);
  }
}

}  // namespace loops
FK_END
