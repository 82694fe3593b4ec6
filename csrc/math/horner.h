// Horner's rule, and constants in the precision of a value type.
#pragma once

#include "simd.h"

FK_BEGIN

// c0 + c1 x + ... by Horner's rule; constants are rounded to V's scalar type.
template <class V, class C>
FK_HD V horner(V, C c) {
  return V(c);
}
template <class V, class C, class... D>
FK_HD V horner(V x, C c, D... rest) {
  return fma(horner(x, rest...), x, V(c));
}

template <class V>
constexpr bool is_single = sizeof(scalar_t<V>) == 4;

// Shorthand for a constant of V's precision.
template <class V>
FK_HD V real(double c) {
  return V(scalar_t<V>(c));
}

FK_END
