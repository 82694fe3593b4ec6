// Affine coupling on the CPU: one pass over memory in each direction.
#include "affine_coupling.h"

#include "../engine/cpu/channels.h"
#include "coupling_scales.h"

FK_BEGIN
namespace loops {

// ---- one tile -----------------------------------------------------------------

template <class E>
struct ForwardTile {
  using T = compute_t<E>;
  const CouplingOptions& options;
  const E *x, *shift, *raw;
  E* y;
  T* log_s;  // per element, or null where only the sum is wanted
  int n;
};

template <class E>
struct BackwardTile {
  using T = compute_t<E>;
  const CouplingOptions& options;
  // Where the pullback does not depend on the shift, `shift` is x: it is loaded and not used.
  const E *x, *shift, *raw, *grad_y;
  LogDetGradient<T> grad_log_det;
  E *grad_x, *grad_shift, *grad_raw;
  int n;
};

template <class E, ScaleFn F, bool inverse>
compute_t<E> forward_tile(const ForwardTile<E>& tile) {
  using T = compute_t<E>;
  using V = Vec<T>;
  const auto constants = coupling_constants<V>(tile.options);
  const auto before = coupling_shifts_before<V>(tile.options, inverse);
  LanesSum<V> sum;
  for_scales<F, true>(
      tile.raw, tile.n, constants, [&](int i, int n, const auto& scale) FK_INLINE_LAMBDA {
        const V x = load_lanes<V>(tile.x + i, n), t = load_lanes<V>(tile.shift + i, n);
        const V y = coupling_apply(x, t, scale.s, before, inverse);
        const V log_s = inverse ? -scale.log_s : scale.log_s;
        store_lanes<V>(tile.y + i, y, n);
        if (tile.log_s != nullptr) {
          store_lanes<V>(tile.log_s + i, log_s, n);
        } else {
          sum.add(log_s, n);
        }
      });
  return hsum(sum.total);
}

template <class E, ScaleFn F, bool inverse>
void backward_tile(const BackwardTile<E>& tile) {
  using T = compute_t<E>;
  using V = Vec<T>;
  const LogDetGradient<T> grad_log = tile.grad_log_det;
  const auto constants = coupling_constants<V>(tile.options);
  const auto before = coupling_shifts_before<V>(tile.options, inverse);
  for_scales<F, false>(
      tile.raw, tile.n, constants, [&](int i, int n, const auto& scale) FK_INLINE_LAMBDA {
        const V x = load_lanes<V>(tile.x + i, n), g = load_lanes<V>(tile.grad_y + i, n);
        const V t = load_lanes<V>(tile.shift + i, n);
        const auto grad = coupling_pullback(g, grad_log.at(i, n), x, t, scale, before, inverse);
        store_lanes<V>(tile.grad_x + i, grad.x, n);
        store_lanes<V>(tile.grad_shift + i, grad.shift, n);
        store_lanes<V>(tile.grad_raw + i, grad.raw, n);
      });
}

// ---- choosing the tile function -------------------------------------------------

template <class E>
struct TileFunctions {
  compute_t<E> (*forward)(const ForwardTile<E>&);
  void (*backward)(const BackwardTile<E>&);
};

template <class E, ScaleFn F, bool inverse>
TileFunctions<E> tile_functions() {
  return {forward_tile<E, F, inverse>, backward_tile<E, F, inverse>};
}
template <class E>
TileFunctions<E> tile_functions(const AffineCouplingArgs& a) {
  switch (a.scale_fn) {
#define FK_TILE_FUNCTIONS(F)                                 \
  case ScaleFn::F:                                           \
    return a.inverse ? tile_functions<E, ScaleFn::F, true>() \
                     : tile_functions<E, ScaleFn::F, false>();
    FK_SCALE_FUNCTIONS(FK_TILE_FUNCTIONS)
#undef FK_TILE_FUNCTIONS
  }
  return {};
}

// ---- block by block ---------------------------------------------------------------

constexpr int widest_shared_line = 32;

template <class E>
void forward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  using T = compute_t<E>;
  const auto tile_function = tile_functions<E>(a).forward;
  const MapBlocks blocks(a.coupled, a.parts, begin, end, widest_shared_line);
  MapOperand<E> x(blocks, a.x), shift(blocks, a.shift), raw(blocks, a.raw), y(blocks, a.y);
  LogDets<T> log_det(blocks, a.log_det, a.sums_rows);
  blocks.for_each([&](const MapBlock& b) {
    const T sum = tile_function(
        {a, x.read(b), shift.read(b), raw.read(b), y.place(b), log_det.place(b), b.n});
    y.written(b);
    log_det.written(b, sum);
  });
  copy_kept_channels(a, begin, end);
}

template <class E>
void backward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  using T = compute_t<E>;
  const auto tile_function = tile_functions<E>(a).backward;
  const bool needs_shift = coupling_shifts_before(a.shift_first, a.inverse);
  const MapBlocks blocks(a.coupled, a.parts, begin, end, widest_shared_line);
  MapOperand<E> x(blocks, a.x), shift(blocks, a.shift, needs_shift), raw(blocks, a.raw);
  MapOperand<E> grad_y(blocks, a.grad_y), grad_x(blocks, a.grad_x);
  MapOperand<E> grad_shift(blocks, a.grad_shift), grad_raw(blocks, a.grad_raw);
  LogDetGradients<T> grad_log_det(blocks, a.grad_log_det, a.sums_rows);
  blocks.for_each([&](const MapBlock& b) {
    const E* const in = x.read(b);
    tile_function({a, in, needs_shift ? shift.read(b) : in, raw.read(b), grad_y.read(b),
                   grad_log_det.read(b), grad_x.place(b), grad_shift.place(b), grad_raw.place(b),
                   b.n});
    grad_x.written(b);
    grad_shift.written(b);
    grad_raw.written(b);
  });
  copy_kept_channels(a, begin, end);
}

// Gradients have the dtypes of what they are gradients of.
void affine_coupling_forward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  with_element(
      a.float64, [&](auto e) { forward<decltype(e)>(a, begin, end); }, a.x.dtype, a.raw.dtype);
}
void affine_coupling_backward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  with_element(
      a.float64, [&](auto e) { backward<decltype(e)>(a, begin, end); }, a.x.dtype, a.raw.dtype);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(affine_coupling_forward, fk::FK_ISA::loops::affine_coupling_forward);
FK_REGISTER_KERNEL(affine_coupling_backward, fk::FK_ISA::loops::affine_coupling_backward);
}  // namespace cpu
}  // namespace fk
