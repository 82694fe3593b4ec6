// Sums in float64 of elements of either type.
#pragma once

#include "../math/simd.h"

FK_BEGIN
namespace loops {

// As many doubles as make a vector, but no fewer than one vector has floats.
constexpr int wide_lanes = FK_VECTOR_BYTES == 16 ? 4 : FK_VECTOR_BYTES / 8;
typedef double Wide __attribute__((vector_size(wide_lanes * 8)));
template <class T>
struct Narrow {
  typedef T type __attribute__((vector_size(wide_lanes * sizeof(T))));
};

template <class T>
FK_HD Wide load_wide(const T* p) {
  typename Narrow<T>::type v;
  memcpy(&v, p, sizeof(v));
  return __builtin_convertvector(v, Wide);
}
template <class T>
FK_HD void store_narrow(T* p, Wide w) {
  const typename Narrow<T>::type v = __builtin_convertvector(w, typename Narrow<T>::type);
  memcpy(p, &v, sizeof(v));
}

}  // namespace loops
FK_END
