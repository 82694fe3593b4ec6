// Rows in tiles: where in shared memory a row's operands lie.
#pragma once

#include "rows.h"
#include "tile.h"

namespace fk {
namespace cuda {

// Whole rows of one tensor, without gaps.
struct TileRows {
  void* base = nullptr;
  int width = 0;
  int region = 0;  // in shared memory
};

// An operand's elements within such rows.
struct TileElements {
  int first = 0;
  int stride[3] = {};
};

template <class S>
FK_DEVICE TileAccess::Operand<S> in_row(S* tile, const TileRows& rows, const TileElements& e,
                                        int row) {
  return {tile + row * rows.width + e.first, {e.stride[0], e.stride[1], e.stride[2]}};
}

template <class S>
FK_DEVICE S* load_rows(const TileRows& t, int64_t first, int rows) {
  return tile_in(shared_memory() + t.region, static_cast<const S*>(t.base) + first * t.width,
                 rows * t.width);
}
template <class S>
FK_DEVICE S* place_rows(const TileRows& t, int64_t first) {
  return tile_for(shared_memory() + t.region, static_cast<const S*>(t.base) + first * t.width);
}
template <class S>
FK_DEVICE void store_rows(const TileRows& t, int64_t first, int rows, const S* tile) {
  tile_out(static_cast<S*>(t.base) + first * t.width, tile, rows * t.width);
}

// Calls body(first row, rows) for the tiles of a block.
template <class Body>
FK_DEVICE void for_tiles(int64_t tiles, int tile_rows, int64_t rows, Body body) {
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t first = tile * tile_rows;
    body(first, rows - first < tile_rows ? static_cast<int>(rows - first) : tile_rows);
  }
}

// Calls body(block, first row, rows) for tiles of blocks of `block_rows` rows: a block's tiles
// come one after the other.
template <class Body>
FK_DEVICE void for_blocks(int64_t blocks, int block_rows, int tile_rows, int64_t all, Body body) {
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t begin = block * block_rows, left = all - begin;
    const int rows = left < block_rows ? static_cast<int>(left) : block_rows;
    for (int at = 0; at < rows; at += tile_rows)
      body(block, begin + at, rows - at < tile_rows ? rows - at : tile_rows);
  }
}

// Calls body(row, mine) for the rows of a tile, a row to a thread group.
template <class Body>
FK_DEVICE void for_tile_rows(int rows, const ThreadGroup& threads, Body body) {
  for (int first = 0; first < rows; first += threads.count)
    body(first + threads.index, first + threads.index < rows);
}

// ---- on the host -------------------------------------------------------------------

// What lies where in the rows of a tensor, parts of which are its operands.
class RowLayout {
 public:
  void add(const RowOperand& o, const RowShape& shape) {
    const int64_t size = row_elements(shape);
    if (size == 0) return;
    char* base = static_cast<char*>(o.base);
    int64_t last = 0;
    for (int d = 0; d < 3; ++d) last += (shape.n[d] - 1) * o.stride[1 + d];
    char* end = base + (last + 1) * static_cast<int64_t>(size_of(o.dtype));
    begin_ = begin_ == nullptr || base < begin_ ? base : begin_;
    end_ = end > end_ ? end : end_;
    elements_ += size;
    bytes_ = size_of(o.dtype);
    pitch_ = shape.rows == 1 ? elements_ : o.stride[0];
  }
  // Rows follow each other without gaps.
  bool packed() const {
    return elements_ > 0 && pitch_ == elements_ && end_ - begin_ == elements_ * bytes_;
  }
  int64_t row_bytes() const { return elements_ * bytes_; }
  TileRows rows() const { return {begin_, static_cast<int>(elements_), 0}; }
  TileElements elements(const RowOperand& o) const {
    TileElements e;
    e.first = static_cast<int>((static_cast<char*>(o.base) - begin_) / bytes_);
    for (int d = 0; d < 3; ++d) e.stride[d] = static_cast<int>(o.stride[1 + d]);
    return e;
  }

 private:
  char *begin_ = nullptr, *end_ = nullptr;
  int64_t elements_ = 0, pitch_ = 0, bytes_ = 1;
};

inline bool same_strides(const RowOperand& a, const RowOperand& b) {
  return a.stride[1] == b.stride[1] && a.stride[2] == b.stride[2] && a.stride[3] == b.stride[3];
}

}  // namespace cuda
}  // namespace fk
