// The scales of a coupling for many elements.
#pragma once

#include "../engine/cpu/chunk.h"
#include "../math/affine_coupling.h"

FK_BEGIN
namespace loops {

// body(i, n, scale) for every vector, whose n lanes begin at i.  A processor overlaps neighbouring
// vectors only as far as it looks ahead: where the work on one is long, the first of its functions
// is taken of many vectors before the others.
template <ScaleFn F, bool needs_log, class V, class E, class Body>
FK_HD void for_scales(const E* raw, int all, const CouplingConstants<V>& constants, Body body) {
  if constexpr (!coupling_is_long(F, needs_log)) {
    for_lanes<V>(all, [&](int i, int n) FK_INLINE_LAMBDA {
      body(i, n, coupling_scale<F>(load_lanes<V>(raw + i, n), constants));
    });
  } else {
    constexpr int most = 256;
    V first[most / lanes_v<V>];
    for (int begin = 0; begin < all; begin += most) {
      const int count = all - begin < most ? all - begin : most;
      for_lanes<V>(count, [&](int i, int n) FK_INLINE_LAMBDA {
        first[i / lanes_v<V>] = coupling_first<F>(load_lanes<V>(raw + begin + i, n), constants);
      });
      for_lanes<V>(count, [&](int i, int n) FK_INLINE_LAMBDA {
        const V given = load_lanes<V>(raw + begin + i, n);
        body(begin + i, n, coupling_scale<F>(given, first[i / lanes_v<V>], constants));
      });
    }
  }
}

}  // namespace loops
FK_END
