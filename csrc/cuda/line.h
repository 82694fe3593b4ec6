// The elements of a row without inner dimensions.
#pragma once

#include "../engine/cuda/group.h"

namespace fk {
namespace cuda {

// In global memory, dtype known at run time; T is the compute type.
template <class T>
struct GlobalLine {
  void* base;
  DType dtype;
  int64_t offset, stride;

  FK_DEVICE T get(int64_t i) const { return load_element<T>(base, dtype, offset + i * stride); }
  FK_DEVICE void set(int64_t i, T v) const {
    store_element<T>(base, dtype, offset + i * stride, v);
  }
};

// In a tile in shared memory.
template <class S>
struct TileLine {
  S* row;

  FK_DEVICE compute_t<S> get(int i) const { return widen(row[i]); }
  FK_DEVICE void set(int i, compute_t<S> v) const { row[i] = narrow<S>(v); }
};

}  // namespace cuda
}  // namespace fk
