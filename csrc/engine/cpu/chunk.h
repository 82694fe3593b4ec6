// Chunks: a bounded number of elements in the compute type, however they are stored.
//
// A kernel works on chunks of at most `chunk_size` elements.  Where an operand is
// already contiguous and stored in the kernel's element type, its chunk is the memory
// itself; otherwise fetch/gather convert and collect it into a buffer that stays
// in the first-level cache, and flush/scatter write results back.  The loops of
// an op are thereby written once, for every dtype and stride.
#pragma once

#include "element.h"
#include "non_temporal.h"

FK_BEGIN
namespace loops {

constexpr int chunk_size = 1024;

// A strided operand: element i is at base + (offset + i * stride) * size_of(dtype).
struct Source {
  const void* base;
  DType dtype;
};
struct Sink {
  void* base;
  DType dtype;
  bool non_temporal = false;
};

// Those of an op's operand.
template <class Operand>
Source source(const Operand& o) {
  return {o.base, o.dtype};
}
template <class Operand>
Sink sink(const Operand& o, bool non_temporal = false) {
  return {o.base, o.dtype, non_temporal};
}

// Runs body(read) with the element reader of `dtype`; bfloat16 is read as it is.
template <class T, class Body>
FK_HD void with_reader(Source s, Body body) {
  if constexpr (__is_same(T, BFloat16)) {
    const BFloat16* p = static_cast<const BFloat16*>(s.base);
    return body([p](int64_t i) { return p[i]; });
  } else
    switch (s.dtype) {
      case DType::f32: {
        const float* p = static_cast<const float*>(s.base);
        return body([p](int64_t i) { return T(p[i]); });
      }
      case DType::f64: {
        const double* p = static_cast<const double*>(s.base);
        return body([p](int64_t i) { return T(p[i]); });
      }
      case DType::f16: {
        const uint16_t* p = static_cast<const uint16_t*>(s.base);
        return body([p](int64_t i) { return T(from_f16(p[i])); });
      }
      case DType::bf16: {
        const uint16_t* p = static_cast<const uint16_t*>(s.base);
        return body([p](int64_t i) { return T(from_bf16(p[i])); });
      }
    }
}

template <class T, class Body>
FK_HD void with_writer(Sink s, Body body) {
  if constexpr (__is_same(T, BFloat16)) {
    BFloat16* p = static_cast<BFloat16*>(s.base);
    return body([p](int64_t i, BFloat16 v) { p[i] = v; });
  } else
    switch (s.dtype) {
      case DType::f32: {
        float* p = static_cast<float*>(s.base);
        return body([p](int64_t i, T v) { p[i] = static_cast<float>(v); });
      }
      case DType::f64: {
        double* p = static_cast<double*>(s.base);
        return body([p](int64_t i, T v) { p[i] = static_cast<double>(v); });
      }
      case DType::f16: {
        uint16_t* p = static_cast<uint16_t*>(s.base);
        return body([p](int64_t i, T v) { p[i] = to_f16(static_cast<float>(v)); });
      }
      case DType::bf16: {
        uint16_t* p = static_cast<uint16_t*>(s.base);
        return body([p](int64_t i, T v) { p[i] = to_bf16(static_cast<float>(v)); });
      }
    }
}

template <class T>
FK_HD void put(Sink s, int64_t i, T value) {
  with_writer<T>(s, [=](auto write) { write(i, value); });
}

// ---- chunks along a row -------------------------------------------------------

template <class T>
__attribute__((noinline)) void collect(Source s, int64_t offset, int64_t stride, int n, T* buffer) {
  with_reader<T>(s, [=](auto read) {
    if (stride == 1) {
      for (int i = 0; i < n; ++i) buffer[i] = read(offset + i);
    } else if (stride == 2) {
      for (int i = 0; i < n; ++i) buffer[i] = read(offset + 2 * i);
    } else {
      for (int i = 0; i < n; ++i) buffer[i] = read(offset + i * stride);
    }
  });
}
template <class T>
__attribute__((noinline)) void distribute(Sink s, int64_t offset, int64_t stride, int n,
                                          const T* buffer) {
  with_writer<T>(s, [=](auto write) {
    if (stride == 1) {
      for (int i = 0; i < n; ++i) write(offset + i, buffer[i]);
    } else {
      for (int i = 0; i < n; ++i) write(offset + i * stride, buffer[i]);
    }
  });
}

// n elements from `offset` on, `stride` apart: the memory itself or `buffer`.
template <class T>
inline const T* fetch(Source s, int64_t offset, int64_t stride, int n, T* buffer) {
  if (s.dtype == dtype_of<T> && stride == 1) return static_cast<const T*>(s.base) + offset;
  collect(s, offset, stride, n, buffer);
  return buffer;
}

// Where the n results go: the memory itself, or `buffer` until flush.
template <class T>
inline T* target(Sink s, int64_t offset, int64_t stride, T* buffer) {
  if (s.dtype == dtype_of<T> && stride == 1 && !s.non_temporal)
    return static_cast<T*>(s.base) + offset;
  return buffer;
}
template <class T>
inline void flush(Sink s, int64_t offset, int64_t stride, int n, const T* buffer) {
  if (s.dtype != dtype_of<T> || stride != 1) {
    distribute(s, offset, stride, n, buffer);
  } else if (s.non_temporal) {
    store_non_temporal(buffer, static_cast<T*>(s.base) + offset, n);
  }
}

// ---- chunks at given positions ---------------------------------------------------

template <class T>
inline void gather(Source s, int64_t offset, const int32_t* index, int n, T* buffer) {
  with_reader<T>(s, [=](auto read) {
    for (int i = 0; i < n; ++i) buffer[i] = read(offset + index[i]);
  });
}
template <class T>
inline void scatter(Sink s, int64_t offset, const int32_t* index, int n, const T* buffer) {
  with_writer<T>(s, [=](auto write) {
    for (int i = 0; i < n; ++i) write(offset + index[i], buffer[i]);
  });
}

// ---- many short segments ---------------------------------------------------------

template <int N>
struct Width {
  static constexpr int value = N;
};

// Runs body(Width<width>()) with the width known to the compiler, or Width<0> above 16.
template <class Body>
FK_HD void with_width(int width, Body body) {
#define FK_CASE(n) \
  case n:          \
    return body(Width<n>());
  switch (width) {
    FK_CASE(1)
    FK_CASE(2)
    FK_CASE(3)
    FK_CASE(4)
    FK_CASE(5)
    FK_CASE(6)
    FK_CASE(7)
    FK_CASE(8)
    FK_CASE(9)
    FK_CASE(10)
    FK_CASE(11)
    FK_CASE(12)
    FK_CASE(13)
    FK_CASE(14)
    FK_CASE(15)
    FK_CASE(16)
    default:
      return body(Width<0>());
  }
#undef FK_CASE
}

// Copies `rows` segments of `width` elements, whose beginnings are a stride apart.
template <class T>
inline void copy_segments(const T* from, int64_t from_stride, T* to, int64_t to_stride, int width,
                          int64_t rows) {
  with_width(width, [=](auto w) {
    const size_t bytes = (w.value ? w.value : width) * sizeof(T);
    for (int64_t r = 0; r < rows; ++r) memcpy(to + r * to_stride, from + r * from_stride, bytes);
  });
}

// sums[r] = the sum of segment r of `rows` dense segments of `width`.
template <class T>
inline void sum_segments(const T* from, int width, int rows, T* sums) {
  with_width(width, [=](auto w) {
    for (int r = 0; r < rows; ++r) {
      if constexpr (w.value > 0) {
        const T* segment = from + r * w.value;
        T sum = segment[0];
        for (int i = 1; i < w.value; ++i) sum += segment[i];
        sums[r] = sum;
      } else {
        const T* segment = from + r * width;
        Vec<T> total(T(0));
        int i = 0;
        for (; i + lanes_v<Vec<T>> <= width; i += lanes_v<Vec<T>>)
          total += load<Vec<T>>(segment + i);
        if (i < width) total += load_n<Vec<T>>(segment + i, width - i);
        sums[r] = hsum(total);
      }
    }
  });
}

// Fills segment r of `rows` dense segments of `width` with values[r].
template <class T>
inline void spread_segments(const T* values, int width, int rows, T* to) {
  with_width(width, [=](auto w) {
    const int n = w.value ? w.value : width;
    for (int r = 0; r < rows; ++r)
      for (int i = 0; i < n; ++i) to[r * n + i] = values[r];
  });
}

// Runs body(i, n) over [0, count) in steps of the vector width; n is the number
// of lanes in use (the width but for the last step).
template <class V, class Body>
FK_HD void for_lanes(int count, Body body) {
  int i = 0;
  for (; i + lanes_v<V> <= count; i += lanes_v<V>) body(i, lanes_v<V>);
  if (i < count) body(i, count - i);
}

}  // namespace loops
FK_END
