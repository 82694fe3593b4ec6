// Operands of the coupling, and short rows of them, many to a tile.
#pragma once

#include "../args/affine_coupling.h"
#include "../engine/cpu/channels.h"

FK_BEGIN
namespace loops {

// One operand, read or written a block of rows at a time, dense in between.
template <class E>
class Block {
 public:
  Block(const CouplingShape& s, const CouplingOperand& o, int rows, int width)
      : operand_(o), width_(width) {
    const bool plain = o.dtype == dtype_of<E>, one_line = s.n[0] * s.n[1] == 1;
    if (one_line && (o.stride[0] == width * o.stride[3] || rows == 1)) {
      kind_ = Kind::line;
    } else if (one_line && plain && o.stride[3] == 1) {
      kind_ = Kind::runs;
    } else {
      kind_ = Kind::scattered;
      int k = 0;
      for (int row = 0; row < rows; ++row)
        for (int64_t i = 0; i < s.n[0]; ++i)
          for (int64_t j = 0; j < s.n[1]; ++j)
            for (int64_t l = 0; l < s.n[2]; ++l)
              index_[k++] = static_cast<int32_t>(line_offset(o, row, i, j) + l * o.stride[3]);
    }
  }

  const E* read(int64_t row, int rows) {
    const int64_t offset = row * operand_.stride[0];
    switch (kind_) {
      case Kind::line:
        return fetch<E>(source(operand_), offset, operand_.stride[3], rows * width_, buffer_);
      case Kind::runs:
        copy_segments(static_cast<const E*>(operand_.base) + offset, operand_.stride[0], buffer_,
                      width_, width_, rows);
        return buffer_;
      default:
        gather<E>(source(operand_), offset, index_, rows * width_, buffer_);
        return buffer_;
    }
  }
  E* place(int64_t row) {
    if (kind_ != Kind::line) return buffer_;
    return target<E>(sink(operand_), row * operand_.stride[0], operand_.stride[3], buffer_);
  }
  void written(int64_t row, int rows) {
    const int64_t offset = row * operand_.stride[0];
    switch (kind_) {
      case Kind::line:
        return flush<E>(sink(operand_), offset, operand_.stride[3], rows * width_, buffer_);
      case Kind::runs:
        return copy_segments(buffer_, width_, static_cast<E*>(operand_.base) + offset,
                             operand_.stride[0], width_, rows);
      default:
        return scatter<E>(sink(operand_), offset, index_, rows * width_, buffer_);
    }
  }

 private:
  // A uniform stride throughout; contiguous rows some way apart; anything else.
  enum class Kind { line, runs, scattered };

  const CouplingOperand& operand_;
  int width_;
  Kind kind_;
  int32_t index_[chunk_size];
  E buffer_[chunk_size];
};

}  // namespace loops
FK_END
