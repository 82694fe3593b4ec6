#include "matrix.h"

#include <math.h>
#include <string.h>

#include <algorithm>

#include "../../../csrc/math/half.h"
#include "device_api.h"

namespace driver {
namespace {

constexpr int guard_byte = 0xA5, poison_byte = 0xFF;  // all ones is a NaN in every format
constexpr size_t guard_bytes = 512;
bool exact = device::has_exact_allocations;

void store(unsigned char* to, DType dtype, double value) {
  switch (dtype) {
    case DType::f64:
      memcpy(to, &value, 8);
      return;
    case DType::f32: {
      const float f = static_cast<float>(value);
      memcpy(to, &f, 4);
      return;
    }
    case DType::f16:
    case DType::bf16: {
      const float f = static_cast<float>(value);
      const uint16_t bits = dtype == DType::f16 ? fk::to_f16(f) : fk::to_bf16(f);
      memcpy(to, &bits, 2);
      return;
    }
  }
}

double load(const unsigned char* from, DType dtype) {
  switch (dtype) {
    case DType::f64: {
      double d;
      memcpy(&d, from, 8);
      return d;
    }
    case DType::f32: {
      float f;
      memcpy(&f, from, 4);
      return f;
    }
    case DType::f16:
    case DType::bf16: {
      uint16_t bits;
      memcpy(&bits, from, 2);
      return dtype == DType::f16 ? fk::from_f16(bits) : fk::from_bf16(bits);
    }
  }
  return 0;
}

uint64_t mixed(uint64_t x) {  // splitmix64, Steele et al. (2014)
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

// ---- memory ------------------------------------------------------------------------

void allocate_exactly() { exact = true; }

Memory::Memory(size_t bytes) : bytes_(bytes), guard_(exact ? 0 : guard_bytes) {
  base_ = static_cast<unsigned char*>(device::allocate(bytes_ + 2 * guard_));
  if (guard_ == 0) return;
  device::fill(base_, guard_byte, guard_);
  device::fill(data() + bytes_, guard_byte, guard_);
}
Memory::~Memory() { device::release(base_); }

bool Memory::is_overrun() const {
  std::vector<unsigned char> seen(2 * guard_);
  if (guard_ == 0) return false;
  device::download(seen.data(), base_, guard_);
  device::download(seen.data() + guard_, data() + bytes_, guard_);
  return std::any_of(seen.begin(), seen.end(), [](unsigned char b) { return b != guard_byte; });
}

// ---- matrices ----------------------------------------------------------------------

Sample Sample::of(int64_t rows, int64_t most, bool with_tail) {
  if (rows <= most) return {rows, rows, 0};
  const int64_t tail = with_tail ? most / 2 : 0;
  return {rows, most - tail, tail};
}

Matrix::Matrix(std::string name, DType dtype, int64_t width, Sample sample, Layout layout)
    : name_(std::move(name)),
      dtype_(dtype),
      width_(width),
      sample_(sample),
      layout_(layout),
      memory_(extent() * fk::size_of(dtype)),
      host_(size_t(sample.count()) * size_t(width)) {}

size_t Matrix::extent() const {
  if (sample_.rows == 0 || width_ == 0) return 0;
  return place(sample_.rows - 1, width_ - 1) + 1;
}

void Matrix::set(const Fill& fill) {
  const size_t size = fk::size_of(dtype_);
  const int64_t enough = std::max<int64_t>(64, (int64_t(1) << 16) / std::max<int64_t>(width_, 1));
  const int64_t distinct = std::min(sample_.rows, enough);
  if (distinct == 0 || width_ == 0) return;
  std::vector<double> row(static_cast<size_t>(width_));
  const size_t lead = size_t(layout_.offset), period = size_t(distinct * row_stride());
  std::vector<unsigned char> bytes(std::min(extent(), lead + period) * size, poison_byte);
  std::vector<double> values(size_t(distinct * width_));
  for (int64_t r = 0; r < distinct; ++r) {
    fill(r, row.data(), width_);
    for (int64_t i = 0; i < width_; ++i) {
      values[size_t(r * width_ + i)] = rounded(row[size_t(i)], dtype_);
      store(&bytes[place(r, i) * size], dtype_, row[size_t(i)]);
    }
  }
  device::upload(memory_.data(), bytes.data(), bytes.size());
  unsigned char* const first = memory_.data() + lead * size;
  size_t done = bytes.size() - lead * size;
  const size_t all = (extent() - lead) * size;
  while (done < all) {  // whole blocks of rows, twice as many each time
    const size_t part = std::min(done, all - done);
    device::copy(first + done, first, part);
    done += part;
  }
  for (int64_t s = 0; s < sample_.count(); ++s) {
    const double* from = &values[size_t(sample_.row(s) % distinct * width_)];
    std::copy(from, from + width_, &host_[size_t(s * width_)]);
  }
}

void Matrix::poison() {
  if (memory_.bytes() > 0) device::fill(memory_.data(), poison_byte, memory_.bytes());
}

Operand Matrix::at(Where where) {
  if (where == Where::host) return {host_.data(), DType::f64, width_, 1};
  const size_t offset = extent() == 0 ? 0 : place(0, 0);
  return {memory_.data() + offset * fk::size_of(dtype_), dtype_, row_stride(), layout_.step};
}

std::vector<double> Matrix::read() const {
  std::vector<double> values(size_t(sample_.count() * width_));
  const size_t size = fk::size_of(dtype_);
  const size_t length = width_ == 0 ? 0 : size_t((width_ - 1) * layout_.step + 1) * size;
  const auto read_rows = [&](int64_t first, int64_t count) {
    if (count == 0 || length == 0) return;
    const int64_t row = sample_.row(first);
    const size_t bytes = size_t(count - 1) * size_t(row_stride()) * size + length;
    std::vector<unsigned char> block(bytes);
    device::download(block.data(), memory_.data() + place(row, 0) * size, bytes);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < width_; ++i)
        values[size_t((first + r) * width_ + i)] =
            load(&block[size_t(r * row_stride() + i * layout_.step) * size], dtype_);
  };
  read_rows(0, sample_.head);
  read_rows(sample_.head, sample_.tail);
  return values;
}

// ---- numbers -----------------------------------------------------------------------

double rounded(double value, DType dtype) {
  unsigned char bytes[8];
  store(bytes, dtype, value);
  return load(bytes, dtype);
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f64:
      return "float64";
    case DType::f16:
      return "float16";
    case DType::bf16:
      return "bfloat16";
  }
  return "";
}

double uniform(uint64_t seed, int64_t row, int64_t i) {
  const uint64_t bits = mixed(mixed(seed * 0x2545F4914F6CDD1Du + uint64_t(row)) + uint64_t(i));
  return (double(bits >> 11) + 0.5) * 0x1p-53;
}
double normal(uint64_t seed, int64_t row, int64_t i) {
  const double u = uniform(seed, row, 2 * i), v = uniform(seed, row, 2 * i + 1);
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);  // Box and Muller (1958)
}

Fill normals(uint64_t seed, double scale) {
  return [=](int64_t row, double* values, int64_t width) {
    for (int64_t i = 0; i < width; ++i) values[i] = scale * normal(seed, row, i);
  };
}
Fill units(uint64_t seed) {
  return [=](int64_t row, double* values, int64_t width) {
    double square = 0;
    for (int64_t i = 0; i < width; ++i) {
      values[i] = normal(seed, row, i);
      square += values[i] * values[i];
    }
    for (int64_t i = 0; i < width; ++i) values[i] /= sqrt(square);
  };
}
Fill uniforms(uint64_t seed, double low, double high) {
  return [=](int64_t row, double* values, int64_t width) {
    for (int64_t i = 0; i < width; ++i) values[i] = low + (high - low) * uniform(seed, row, i);
  };
}

}  // namespace driver
