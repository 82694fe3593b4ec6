// Maps whose elements have vectors of parameters: slices of a block as columns, so that vectors
// of the processor run across the elements.
#pragma once

#include <new>

#include "map.h"
#include "transpose.h"

FK_BEGIN
namespace loops {

// Elements of a slice.
constexpr int slice_elements = block_rows;

// The memory of a slice's vectors, asked for piece by piece while another slice is computed: the
// processor's own prefetching does not keep up with vectors that are read row by row.
class Prefetch {
 public:
  Prefetch() = default;
  Prefetch(const void* from, int64_t vector_bytes, int64_t n)
      : at_(static_cast<const char*>(from)), vector_bytes_(vector_bytes), left_(n * vector_bytes) {}

  // The vectors of the next elements.
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

// The vectors of an operand (VectorOperand), of one slice at a time.
template <class T, class Operand>
class MapVectors {
 public:
  using V = Vec<T>;

  MapVectors(const MapBlocks& blocks, const Operand& o, int parts)
      : blocks_(blocks), operand_(o), parts_(parts) {
    const size_t bytes = sizeof(T) * slice_elements * static_cast<size_t>(parts);
    columns_ = static_cast<Columns<T>>(::operator new(bytes, std::align_val_t(line_bytes)));
    // Vectors that follow each other.
    is_dense_ = o.part_stride == 1 && o.stride[3] == parts && blocks.is_one_run(o);
  }
  MapVectors(const MapVectors&) = delete;
  MapVectors& operator=(const MapVectors&) = delete;
  ~MapVectors() { ::operator delete(columns_, std::align_val_t(line_bytes)); }

  // Elements [from, from + n) of the block.  Lanes past the last compute on zeros.
  void read(const MapBlock& b, int from, int n) {
    blocks_.for_runs(operand_, b, from, n, [&](int64_t offset, int at, int count) {
      if (operand_.part_stride == 1) {
        for_slabs([&](int m, int parts) {
          load_columns<T>(source(operand_), offset + m, operand_.stride[3], 1, count, parts,
                          from_column(m, at));
        });
      } else {
        for (int m = 0; m < parts_; ++m)
          collect(source(operand_), offset + m * operand_.part_stride, operand_.stride[3], count,
                  columns_[m] + at);
      }
    });
    for (int m = 0; n < slice_elements && m < parts_; ++m)
      for (int i = n; i < slice_elements; ++i) columns_[m][i] = T(0);
  }
  void write(const MapBlock& b, int from, int n) {
    blocks_.for_runs(operand_, b, from, n, [&](int64_t offset, int at, int count) {
      if (operand_.part_stride == 1) {
        for_slabs([&](int m, int parts) {
          store_columns_apart<T>(sink(operand_), offset + m, operand_.stride[3], count, parts,
                                 from_column(m, at));
        });
      } else {
        for (int m = 0; m < parts_; ++m)
          distribute(sink(operand_), offset + m * operand_.part_stride, operand_.stride[3], count,
                     columns_[m] + at);
      }
    });
  }
  // The memory of at most a slice from element `from` of the block on, which may be beyond it.
  Prefetch memory(const MapBlock& b, int from) const {
    if (!is_dense_) return {};
    const int64_t left = blocks_.left(b) - from, bytes = parts_ * size_of(operand_.dtype);
    const int64_t first = b.row * blocks_.width() + b.place + from;
    return {static_cast<const char*>(operand_.base) + first * bytes, bytes,
            left < slice_elements ? left : slice_elements};
  }

  // Parameter m of the slice's elements from i on.
  FK_HD V get(int m, int i) const { return load<V>(columns_[m] + i); }
  FK_HD void set(int m, int i, V value) { store<V>(columns_[m] + i, value); }

 private:
  static constexpr int slab = 24;  // parts that are transposed together

  template <class Body>
  void for_slabs(Body body) const {
    for (int m = 0; m < parts_; m += slab) body(m, parts_ - m < slab ? parts_ - m : slab);
  }
  Columns<T> from_column(int m, int at) const {
    return reinterpret_cast<Columns<T>>(columns_[m] + at);
  }

  const MapBlocks& blocks_;
  const Operand& operand_;
  int parts_;
  bool is_dense_;
  Columns<T> columns_;
};

}  // namespace loops
FK_END
