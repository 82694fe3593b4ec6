// The operands of a call: rows of elements in the device's memory, and some of them in float64
// on the host, where the reference works on them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../../../csrc/args/dtype.h"

namespace driver {

using fk::DType;

// Bytes on the device between two guards.
class Memory {
 public:
  explicit Memory(size_t bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  unsigned char* data() const { return base_ + guard_; }
  size_t bytes() const { return bytes_; }
  // Whether somebody wrote outside.
  bool is_overrun() const;

 private:
  size_t bytes_, guard_;
  unsigned char* base_;
};
// No guards: what checks accesses itself then sees the ends of every operand.
void allocate_exactly();

// In elements: before the first row, between the ends of neighbouring rows, from one element of a
// row to the next.
struct Layout {
  int64_t offset = 0, gap = 0, step = 1;
};

// Where a call's operands are.
enum class Where { device, host };

// Which rows the reference sees: all, or the first and the last of many.
struct Sample {
  int64_t rows, head, tail;
  static Sample of(int64_t rows, int64_t most, bool with_tail = true);
  int64_t count() const { return head + tail; }
  int64_t row(int64_t i) const { return i < head ? i : rows - tail + (i - head); }
};

// The values of a row; the same for the same row and seed.
using Fill = std::function<void(int64_t row, double* values, int64_t width)>;

struct Operand {
  void* base;
  DType dtype;
  int64_t row_stride, stride;

  // As the arguments of a kernel have it.
  template <class O>
  O as() const {
    return {base, dtype, row_stride, stride};
  }
};

class Matrix {
 public:
  Matrix(std::string name, DType dtype, int64_t width, Sample sample, Layout layout);
  // An input. Rows repeat after as many as take a moment to make.
  void set(const Fill& fill);
  // A result: what nobody writes is not a number.
  void poison();

  Operand at(Where where);
  // One row for all.
  Operand shared(Where where) {
    Operand o = at(where);
    o.row_stride = 0;
    return o;
  }
  int64_t rows(Where where) const {
    return where == Where::device ? sample_.rows : sample_.count();
  }
  int64_t width() const { return width_; }
  DType dtype() const { return dtype_; }
  const std::string& name() const { return name_; }
  size_t bytes() const { return size_t(sample_.rows) * size_t(width_) * fk::size_of(dtype_); }
  bool is_overrun() const { return memory_.is_overrun(); }
  // The sample's rows as the device has them; NaN where nothing was written.
  std::vector<double> read() const;
  std::vector<double>& host() { return host_; }

  // Results of which the sums over the rows count: how many rows there are is the device's affair.
  bool is_summed = false;
  double tolerance = 1;  // times that of its dtype
  // Sums of terms of either sign: their rounding is relative to the terms, not to what is left.
  double least_scale = 1e-30;

 private:
  size_t place(int64_t row, int64_t i) const {
    return size_t(layout_.offset + row * row_stride() + i * layout_.step);
  }
  int64_t row_stride() const { return width_ * layout_.step + layout_.gap; }
  size_t extent() const;

  std::string name_;
  DType dtype_;
  int64_t width_;
  Sample sample_;
  Layout layout_;
  Memory memory_;
  std::vector<double> host_;
};

// `value` as a `dtype` stores it.
double rounded(double value, DType dtype);
const char* name_of(DType dtype);
inline DType wide(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

// Fixed numbers that look random: of a seed, a row and an element.
double uniform(uint64_t seed, int64_t row, int64_t i);  // in (0, 1)
double normal(uint64_t seed, int64_t row, int64_t i);
Fill normals(uint64_t seed, double scale = 1);
Fill units(uint64_t seed);  // of length 1
Fill uniforms(uint64_t seed, double low, double high);

}  // namespace driver
