// Maps of elements that have vectors of parameters, a block of elements at a time.
//
// The elements of all rows are numbered one after another.  A block of them is collected from
// operands of any strides and dtype, computed with vectors that run across the elements, and
// stored; blocks need not end where rows do.  What a map adds to its row's sum is added element
// by element in float64, so that a sum depends neither on blocks nor on threads.
#pragma once

#include <new>

#include "channels.h"
#include "transpose.h"

FK_BEGIN
namespace loops {

// Parts that are transposed together.
constexpr int slab = 24;

// Elements in order, with the place of each in an operand.
class ElementOrder {
 public:
  explicit ElementOrder(const RowShape& s) : shape_(s), row_(s.n[0] * s.n[1] * s.n[2]) {}

  int64_t row_elements() const { return row_; }
  // Whether all elements lie one stride apart.
  bool is_one_run(const RowOperand& o) const {
    return shape_.n[0] * shape_.n[1] == 1 &&
           (o.stride[0] == row_ * o.stride[3] || shape_.rows == 1);
  }

  // Calls body(offset, at, n) for runs of n elements that lie stride[3] apart: the first of a run
  // is element `at` of the block and lies at `offset`.
  template <class Body>
  void for_runs(const RowOperand& o, int64_t first, int n, Body body) const {
    if (is_one_run(o)) return body(first * o.stride[3], 0, n);
    int64_t row = first / row_, in_row = first % row_;
    for (int at = 0; at < n;) {
      const int64_t line = in_row / shape_.n[2], place = in_row % shape_.n[2];
      const int64_t left = shape_.n[2] - place;
      const int count = left < n - at ? static_cast<int>(left) : n - at;
      body(line_offset(o, row, line / shape_.n[1], line % shape_.n[1]) + place * o.stride[3], at,
           count);
      at += count;
      in_row += count;
      if (in_row == row_) {
        in_row = 0;
        ++row;
      }
    }
  }

 private:
  const RowShape& shape_;
  int64_t row_;
};

// ---- single elements ------------------------------------------------------------------

template <class T>
void read_elements(const ElementOrder& order, const RowOperand& o, int64_t first, int n, T* to) {
  order.for_runs(o, first, n, [&](int64_t offset, int at, int count) {
    collect(source(o), offset, o.stride[3], count, to + at);
  });
}
template <class T>
void write_elements(const ElementOrder& order, const RowOperand& o, int64_t first, int n,
                    const T* from) {
  order.for_runs(o, first, n, [&](int64_t offset, int at, int count) {
    distribute(sink(o), offset, o.stride[3], count, from + at);
  });
}

// ---- vectors of parameters ---------------------------------------------------------------

// The memory of a block's vectors, asked for slice by slice while another block is computed: the
// processor's own prefetching does not keep up with vectors that are read row by row.
class Prefetch {
 public:
  // Of elements [first, first + n) of an operand whose vectors follow each other; else of none.
  template <class Operand>
  Prefetch(const ElementOrder& order, const Operand& o, int parts, int64_t first, int n) {
    if (o.part_stride != 1 || o.stride[3] != parts || !order.is_one_run(o)) return;
    vector_bytes_ = parts * static_cast<int64_t>(size_of(o.dtype));
    at_ = static_cast<const char*>(o.base) + first * vector_bytes_;
    left_ = n * vector_bytes_;
  }
  // The next elements.
  template <bool for_writing>
  FK_HD void ask(int elements) {
    const int64_t bytes = elements * vector_bytes_;
    const char* const end = at_ + (bytes < left_ ? bytes : left_);
    left_ -= end - at_;
    for (; at_ < end; at_ += line_bytes) __builtin_prefetch(at_, for_writing, 3);
  }

 private:
  const char* at_ = nullptr;
  int64_t vector_bytes_ = 0, left_ = 0;
};

// From column `at` on.
template <class T>
Columns<T> columns_from(Columns<T> c, int at) {
  return reinterpret_cast<Columns<T>>(c[0] + at);
}

// Part m of element e becomes [m][e].
template <class T, class Operand>
void read_vectors(const ElementOrder& order, const Operand& o, int parts, int64_t first, int n,
                  Columns<T> to) {
  order.for_runs(o, first, n, [&](int64_t offset, int at, int count) {
    if (o.part_stride == 1) {
      for (int m = 0; m < parts; m += slab)
        load_columns<T>(source(o), offset + m, o.stride[3], 1, count,
                        parts - m < slab ? parts - m : slab, columns_from<T>(to + m, at));
    } else {
      for (int m = 0; m < parts; ++m)
        collect(source(o), offset + m * o.part_stride, o.stride[3], count, to[m] + at);
    }
  });
}
template <class T, class Operand>
void write_vectors(const ElementOrder& order, const Operand& o, int parts, int64_t first, int n,
                   const Columns<T> from) {
  order.for_runs(o, first, n, [&](int64_t offset, int at, int count) {
    if (o.part_stride == 1) {
      for (int m = 0; m < parts; m += slab)
        store_columns_apart<T>(sink(o), offset + m, o.stride[3], count,
                               parts - m < slab ? parts - m : slab, columns_from<T>(from + m, at));
    } else {
      for (int m = 0; m < parts; ++m)
        distribute(sink(o), offset + m * o.part_stride, o.stride[3], count, from[m] + at);
    }
  });
}

// Columns for so many parts.
template <class T>
class ColumnBuffer {
 public:
  explicit ColumnBuffer(int parts)
      : memory_(static_cast<T*>(::operator new(sizeof(T) * block_rows * static_cast<size_t>(parts),
                                               std::align_val_t(line_bytes)))) {}
  ColumnBuffer(const ColumnBuffer&) = delete;
  ColumnBuffer& operator=(const ColumnBuffer&) = delete;
  ~ColumnBuffer() { ::operator delete(memory_, std::align_val_t(line_bytes)); }

  Columns<T> columns() const { return reinterpret_cast<Columns<T>>(memory_); }

 private:
  T* memory_;
};

// ---- what rows share -----------------------------------------------------------------------

// The elements of work items [begin, end) of rows * parts, and the sums over each item.
class ItemElements {
 public:
  ItemElements(const ElementOrder& order, int64_t parts)
      : row_(order.row_elements()), parts_(parts) {}

  int64_t begin_of(int64_t item) const {
    return item / parts_ * row_ + row_ * (item % parts_) / parts_;
  }
  // Adds values of elements from `first` on to the sums of their items; calls put(item, sum) for
  // each item that ends.  `item` and `sum` are those that the elements before left.
  template <class T, class Put>
  void add(const T* values, int64_t first, int n, int64_t& item, double& sum, Put put) const {
    for (int at = 0; at < n;) {
      const int64_t left = begin_of(item + 1) - (first + at);
      const int count = left < n - at ? static_cast<int>(left) : n - at;
      for (int i = 0; i < count; ++i) sum += static_cast<double>(values[at + i]);
      at += count;
      if (count < left) return;
      put(item++, sum);
      sum = 0;
    }
  }
  // The value of its row for each element.
  template <class T>
  void spread(const RowOperand& o, int64_t first, int n, T* to) const {
    int64_t row = first / row_;
    for (int at = 0; at < n; ++row) {
      const int64_t left = (row + 1) * row_ - (first + at);
      const int count = left < n - at ? static_cast<int>(left) : n - at;
      T value;
      collect(source(o), row * o.stride[0], 0, 1, &value);
      for (int i = 0; i < count; ++i) to[at + i] = value;
      at += count;
    }
  }

 private:
  int64_t row_, parts_;
};

}  // namespace loops
FK_END
