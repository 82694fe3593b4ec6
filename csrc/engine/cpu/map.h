// Maps of elements that add to their row's log-det, a block of elements at a time.
//
// A block is several short rows, several short lines of a row or a piece of a long line.  Its
// elements are one dense run for the op's formula: an operand that lies so in memory, in the
// type of the computation, is used where it is; any other is collected into a buffer and
// written back.  Blocks begin where a row or a part of one does, so that results depend neither
// on threads nor on other rows.
#pragma once

#include "../../args/rows.h"
#include "chunk.h"

FK_BEGIN
namespace loops {

// The longest rows that share a block with others.
constexpr int widest_shared = 128;

inline int64_t line_offset(const RowOperand& o, int64_t row, int64_t i, int64_t j) {
  return row * o.stride[0] + i * o.stride[1] + j * o.stride[2];
}

// n elements from element `place` of row `row` on, in the order of the row's lines: it is element
// `in_line` of line (i, j).
struct MapBlock {
  int64_t item, row;
  int n;
  int rows;        // so many whole rows; 0 for a part of one
  bool ends_item;  // a part of a row: the last of its work item
  int64_t place = 0, i = 0, j = 0, in_line = 0;
};

// The elements of work items [begin, end) of rows * parts, as blocks.
class MapBlocks {
 public:
  // Lines of a long row that are longer than `widest_shared_line` have blocks of their own, which
  // leaves vectors at their ends idle and saves a copy.
  MapBlocks(const RowShape& s, int64_t parts, int64_t begin, int64_t end, int widest_shared_line)
      : shape_(s), parts_(parts), begin_(begin), end_(end) {
    const int64_t lines = s.n[0] * s.n[1], line = s.n[2];
    width_ = lines * line;
    if (width_ == 0) return;
    if (parts == 1 && width_ <= widest_shared) {
      const int64_t most = chunk_size / width_;
      rows_ = static_cast<int>(end - begin < most ? end - begin : most);
    } else if (line <= widest_shared_line) {
      unit_ = chunk_size / line * line;
      units_ = (width_ + unit_ - 1) / unit_;
    } else {
      unit_ = chunk_size;
      units_a_line_ = (line + unit_ - 1) / unit_;
      units_ = lines * units_a_line_;
    }
  }

  const RowShape& shape() const { return shape_; }
  int64_t width() const { return width_; }
  // Rows of a block, or 0 where blocks are parts of rows.
  int rows() const { return rows_; }
  bool rows_are_lines() const { return shape_.n[0] * shape_.n[1] == 1; }
  // Whether all elements of all rows lie one stride apart.
  bool is_one_run(const RowOperand& o) const {
    return rows_are_lines() && (o.stride[0] == width_ * o.stride[3] || shape_.rows == 1);
  }
  // Elements from the block's first to the last of all blocks.
  int64_t left(const MapBlock& b) const {
    const int64_t last = end_ / parts_ * width_ + place_of_part(end_ % parts_);
    return last - (b.row * width_ + b.place);
  }

  template <class Body>
  void for_each(Body body) const {
    for (int64_t item = begin_; item < end_;) {
      MapBlock b{item, item / parts_, 0, 0, false};
      int64_t last = 0;
      if (rows_ > 0) {
        b.rows = end_ - item < rows_ ? static_cast<int>(end_ - item) : rows_;
        b.n = static_cast<int>(b.rows * width_);
      } else {
        last = place_of_part(item % parts_ + 1);
        move_to(b, place_of_part(item % parts_));
      }
      for (;;) {
        if (rows_ == 0) extend(b, last);
        body(b);
        if (rows_ > 0 || b.ends_item) break;
        advance(b);
      }
      item += rows_ > 0 ? b.rows : 1;
    }
  }

  // Calls body(row, i, j, place, at, lines, count) for the block's elements [from, from + n) as
  // groups of whole lines (i, j), (i, j + 1), ... of `count` elements, or as a part of one line:
  // the first is element `at` of the n and `place` of its line.
  template <class Body>
  void for_lines(const MapBlock& b, int from, int n, Body body) const {
    if (n == 0) return;
    const int64_t line = shape_.n[2];
    int64_t row = b.row, i = b.i, j = b.j, place = b.in_line;
    if (from > 0) {
      const int64_t in_row = (b.place + from) % width_;
      row += (b.place + from) / width_;
      i = in_row / line / shape_.n[1];
      j = in_row / line % shape_.n[1];
      place = in_row % line;
    }
    for (int at = 0; at < n;) {
      const int64_t left = n - at, whole = left / line;
      int64_t lines = 1, count = line;
      if (place > 0 || whole == 0) {
        count = line - place < left ? line - place : left;
      } else {
        lines = whole < shape_.n[1] - j ? whole : shape_.n[1] - j;
      }
      body(row, i, j, place, at, static_cast<int>(lines), static_cast<int>(count));
      at += static_cast<int>(lines * count);
      place += count;
      if (place < line) return;
      place = 0;
      j += lines;
      if (j == shape_.n[1]) j = 0, ++i;
      if (i == shape_.n[0]) i = 0, ++row;
    }
  }
  // The same as body(offset, at, count) for runs of an operand whose elements lie stride[3] apart.
  template <class Body>
  void for_runs(const RowOperand& o, const MapBlock& b, int from, int n, Body body) const {
    if (rows_are_lines() && (b.rows == 0 || is_one_run(o)))
      return body(b.row * o.stride[0] + (b.place + from) * o.stride[3], 0, n);
    for_lines(b, from, n,
              [&](int64_t row, int64_t i, int64_t j, int64_t place, int at, int lines, int count) {
                const int64_t offset = line_offset(o, row, i, j) + place * o.stride[3];
                for (int k = 0; k < lines; ++k)
                  body(offset + k * o.stride[2], at + k * count, count);
              });
  }

 private:
  // Parts of a row consist of units: pieces of lines, or several lines each.
  int64_t place_of_part(int64_t part) const {
    if (part == 0) return 0;
    if (part == parts_) return width_;
    const int64_t unit = units_ * part / parts_;
    if (units_a_line_ == 0) return unit * unit_;
    return unit / units_a_line_ * shape_.n[2] + unit % units_a_line_ * unit_;
  }
  void move_to(MapBlock& b, int64_t place) const {
    if (place == 0) return;
    b.place = place;
    b.in_line = place % shape_.n[2];
    b.i = place / shape_.n[2] / shape_.n[1];
    b.j = place / shape_.n[2] % shape_.n[1];
  }
  // To one unit, or to the end of the part.
  void extend(MapBlock& b, int64_t last) const {
    int64_t n = last - b.place;
    if (n > unit_) n = unit_;
    if (units_a_line_ > 0 && n > shape_.n[2] - b.in_line) n = shape_.n[2] - b.in_line;
    b.n = static_cast<int>(n);
    b.ends_item = b.place + n == last;
  }
  void advance(MapBlock& b) const {
    b.place += b.n;
    if (units_a_line_ == 0) return move_to(b, b.place);
    b.in_line += b.n;
    if (b.in_line < shape_.n[2]) return;
    b.in_line = 0;
    if (++b.j < shape_.n[1]) return;
    b.j = 0;
    ++b.i;
  }

  const RowShape& shape_;
  int64_t parts_, begin_, end_;
  int64_t width_ = 0;
  int rows_ = 0;
  int64_t units_ = 0, unit_ = 0, units_a_line_ = 0;
};

// ---- operands ------------------------------------------------------------------------------

// One operand, read or written block by block.
template <class E>
class MapOperand {
 public:
  // Where it is not used, nothing is prepared for it.
  MapOperand(const MapBlocks& blocks, const RowOperand& o, bool used = true)
      : blocks_(blocks), operand_(o) {
    const bool lines = blocks.rows_are_lines();
    if (lines && (blocks.rows() <= 1 || blocks.is_one_run(o))) {
      layout_ = Layout::line;
    } else if (blocks.rows() == 0) {
      layout_ = Layout::lines;
    } else if (lines && is_plain()) {
      layout_ = Layout::segments;
    } else if (used && fits_index(o)) {
      layout_ = Layout::scattered;
      int k = 0;
      const RowShape& s = blocks.shape();
      for (int row = 0; row < blocks.rows(); ++row)
        for (int64_t i = 0; i < s.n[0]; ++i)
          for (int64_t j = 0; j < s.n[1]; ++j)
            for (int64_t l = 0; l < s.n[2]; ++l)
              index_[k++] = static_cast<int32_t>(line_offset(o, row, i, j) + l * o.stride[3]);
    }
  }

  const E* read(const MapBlock& b) {
    if (is_run(b)) return fetch<E>(source(operand_), run_at(b), operand_.stride[3], b.n, buffer_);
    collect_block(b);
    return buffer_;
  }
  // Where the block's results go, until `written`.
  E* place(const MapBlock& b) {
    return is_run(b) ? target<E>(sink(operand_), run_at(b), operand_.stride[3], buffer_) : buffer_;
  }
  void written(const MapBlock& b) {
    if (is_run(b)) return flush<E>(sink(operand_), run_at(b), operand_.stride[3], b.n, buffer_);
    distribute_block(b);
  }
  E* buffer() { return buffer_; }

 private:
  // A block's elements: one stride apart; contiguous rows some way apart; at any positions that are
  // the same from the first row of each block on; on several lines.
  enum class Layout { line, segments, scattered, lines };

  static bool fits_index(const RowOperand& o) {
    for (const int64_t stride : o.stride)
      if (stride > (int64_t(1) << 31) / (4 * chunk_size)) return false;
    return true;
  }
  bool is_plain() const { return operand_.dtype == dtype_of<E> && operand_.stride[3] == 1; }
  // Whether the block's elements lie one stride apart, and from where on.
  FK_HD bool is_run(const MapBlock& b) const {
    return layout_ == Layout::line ||
           (layout_ == Layout::lines && b.in_line + b.n <= blocks_.shape().n[2]);
  }
  FK_HD int64_t run_at(const MapBlock& b) const {
    return line_offset(operand_, b.row, b.i, b.j) + b.in_line * operand_.stride[3];
  }

  __attribute__((noinline)) void collect_block(const MapBlock& b) {
    if (layout_ == Layout::scattered)
      return gather<E>(source(operand_), b.row * operand_.stride[0], index_, b.n, buffer_);
    if (is_plain())
      return for_segments(b, [&](E* segments, int64_t stride, E* buffer, int width, int count) {
        copy_segments(segments, stride, buffer, width, width, count);
      });
    blocks_.for_runs(operand_, b, 0, b.n, [&](int64_t offset, int at, int count) {
      collect(source(operand_), offset, operand_.stride[3], count, buffer_ + at);
    });
  }
  __attribute__((noinline)) void distribute_block(const MapBlock& b) {
    if (layout_ == Layout::scattered)
      return scatter<E>(sink(operand_), b.row * operand_.stride[0], index_, b.n, buffer_);
    if (is_plain())
      return for_segments(b, [&](E* segments, int64_t stride, E* buffer, int width, int count) {
        copy_segments(buffer, width, segments, stride, width, count);
      });
    blocks_.for_runs(operand_, b, 0, b.n, [&](int64_t offset, int at, int count) {
      distribute(sink(operand_), offset, operand_.stride[3], count, buffer_ + at);
    });
  }
  // Calls body(segments, stride, buffer, width, count) for contiguous segments of the block.
  template <class Body>
  void for_segments(const MapBlock& b, Body body) {
    E* const base = static_cast<E*>(operand_.base);
    if (layout_ == Layout::segments) {
      const int width = static_cast<int>(blocks_.width());
      return body(base + b.row * operand_.stride[0], operand_.stride[0], buffer_, width, b.rows);
    }
    blocks_.for_lines(
        b, 0, b.n,
        [&](int64_t row, int64_t i, int64_t j, int64_t place, int at, int lines, int count) {
          body(base + line_offset(operand_, row, i, j) + place, operand_.stride[2], buffer_ + at,
               count, lines);
        });
  }

  const MapBlocks& blocks_;
  const RowOperand& operand_;
  Layout layout_ = Layout::lines;
  int32_t index_[chunk_size];
  alignas(line_bytes) E buffer_[chunk_size];
};

// ---- log-dets --------------------------------------------------------------------------------

// Numbers of elements: summed for each work item, or left as they are.
template <class T>
class LogDets {
 public:
  LogDets(const MapBlocks& blocks, const RowOperand& o, bool sums_rows)
      : log_det_(sink(o)), sums_rows_(sums_rows), each_(blocks, o, !sums_rows) {}

  // Where the block's numbers go; null where their sum is all that is wanted.
  T* place(const MapBlock& b) {
    if (!sums_rows_) return each_.place(b);
    return b.rows > 0 ? each_.buffer() : nullptr;
  }
  void written(const MapBlock& b, T sum) {
    if (!sums_rows_) return each_.written(b);
    if (b.rows > 0) {
      T sums[chunk_size];
      T* const to = target<T>(log_det_, b.row, 1, sums);
      sum_segments(each_.buffer(), b.n / b.rows, b.rows, to);
      return flush<T>(log_det_, b.row, 1, b.rows, to);
    }
    sum_ += sum;
    if (!b.ends_item) return;
    put(log_det_, b.item, sum_);
    sum_ = 0;
  }

 private:
  Sink log_det_;
  bool sums_rows_;
  double sum_ = 0;
  MapOperand<T> each_;
};

// Their gradients: one for all of a block, or one for each element.
template <class T>
struct LogDetGradient {
  const T* each;
  T one;  // where `each` is null

  // Of n elements from i on.
  FK_HD Vec<T> at(int i, int n) const {
    return each != nullptr ? load_lanes<Vec<T>>(each + i, n) : Vec<T>(one);
  }
};
template <class T>
class LogDetGradients {
 public:
  LogDetGradients(const MapBlocks& blocks, const RowOperand& o, bool sums_rows)
      : operand_(o), sums_rows_(sums_rows), each_(blocks, o, !sums_rows) {}

  LogDetGradient<T> read(const MapBlock& b) {
    if (!sums_rows_) return {each_.read(b), T(0)};
    const int64_t stride = operand_.stride[0], offset = b.row * stride;
    if (b.rows == 0) {
      T one;
      return {nullptr, *fetch<T>(source(operand_), offset, 1, 1, &one)};
    }
    T of_rows[chunk_size];
    spread_segments(fetch<T>(source(operand_), offset, stride, b.rows, of_rows), b.n / b.rows,
                    b.rows, each_.buffer());
    return {each_.buffer(), T(0)};
  }

 private:
  const RowOperand& operand_;
  bool sums_rows_;
  MapOperand<T> each_;
};

// The sum of vectors of which the first n lanes count.
template <class V>
struct LanesSum {
  V total = V(scalar_t<V>(0));

  FK_HD void add(V v, int n) {
    if (n < lanes_v<V>) {
      scalar_t<V> lanes[lanes_v<V>];
      store<V>(lanes, v);
      v = load_n<V>(lanes, n);
    }
    total += v;
  }
};

}  // namespace loops
FK_END
