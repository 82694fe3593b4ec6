// Affine coupling: one pass over memory in each direction.
#include "affine_coupling.h"

#include "../engine/cuda/sum_parts.h"
#include "affine_coupling_stream.h"
#include "affine_coupling_tiles.h"

namespace fk {
namespace cuda {
namespace {

// Runs body(x, params) with the storage types, where there are kernels for the pair.
template <class Body>
bool with_storage(DType x, DType params, Body body) {
  if (x == params) {
    switch (x) {
      case DType::f32:
        return body(Stored<float>(), Stored<float>());
      case DType::f64:
        return body(Stored<double>(), Stored<double>());
      case DType::f16:
        return body(Stored<Half>(), Stored<Half>());
      case DType::bf16:
        return body(Stored<Bfloat16>(), Stored<Bfloat16>());
    }
  }
  // As autocast makes them.
  if (x == DType::f32 && params == DType::f16) return body(Stored<float>(), Stored<Half>());
  if (x == DType::f32 && params == DType::bf16) return body(Stored<float>(), Stored<Bfloat16>());
  return false;
}

bool all_fit_packs(const AffineCouplingArgs& a, bool backward) {
  const int n = static_cast<int>(16 / size_of(a.x.dtype));
  const auto fit = [&](const RowOperand& o) { return packs_fit(o, a.coupled, n); };
  const bool kept = row_elements(a.kept) == 0 ||
                    (packs_fit(a.kept_x, a.kept, n) && packs_fit(a.kept_y, a.kept, n));
  const int64_t packs = row_elements(a.coupled) / n;
  const bool inputs = packs > 0 && packs < FK_SHORT_INDEX &&
                      row_elements(a.kept) / n < FK_SHORT_INDEX && fit(a.x) && fit(a.shift) &&
                      fit(a.raw);
  if (!backward) return kept && inputs && fit(a.y);
  return kept && inputs && fit(a.grad_y) && fit(a.grad_x) && fit(a.grad_shift) && fit(a.grad_raw);
}

template <bool Backward>
void run(const AffineCouplingArgs& a, const LaunchContext& context) {
  if (a.coupled.rows == 0) return;
  if (!a.sums_rows) return launch_strided<EachAccess, Backward>(a, context);
  const bool packs = all_fit_packs(a, Backward);
  // Runs too short for packs do better in tiles.
  const bool long_runs = packs && a.coupled.n[2] * size_of(a.x.dtype) >= 128;
  if (!long_runs && a.parts == 1) {
    const TileLaunch tiles = tile_launch(a, context, Backward);
    if (tiles.possible && with_storage(a.x.dtype, a.shift.dtype, [&](auto x, auto params) {
          using X = typename decltype(x)::type;
          using P = typename decltype(params)::type;
          launch<Backward ? affine_coupling_backward_tiles<X, P>
                          : affine_coupling_forward_tiles<X, P>>(context, tiles.args.tiles,
                                                                 tiles.shared_bytes, tiles.args);
          return true;
        }))
      return;
  }
  if (packs && with_storage(a.x.dtype, a.shift.dtype, [&](auto x, auto params) {
        using X = typename decltype(x)::type;
        using P = typename decltype(params)::type;
        constexpr int n = pack_elements<X>;
        const auto is_flat = [](const RowShape& s) { return s.n[0] * s.n[1] == 1; };
        if (is_flat(a.coupled) && (is_flat(a.kept) || row_elements(a.kept) == 0)) {
          launch_stream<PackAccess<n, true>, X, P, Backward>(a, context, n);
        } else {
          launch_stream<PackAccess<n>, X, P, Backward>(a, context, n);
        }
        return true;
      }))
    return;
  launch_strided<StridedAccess, Backward>(a, context);
}

}  // namespace

int64_t affine_coupling_parts(const AffineCouplingArgs& a, const LaunchContext& context) {
  return parts_for(context, a.coupled.rows, row_elements(a.coupled));
}

void affine_coupling_forward(const AffineCouplingArgs& a, void* log_det,
                             const LaunchContext& context) {
  run<false>(a, context);
  if (a.parts == 1 || !a.sums_rows) return;
  launch_sum_parts(context, a.float64 ? DType::f64 : DType::f32, a.log_det.base, a.coupled.rows,
                   a.parts, log_det);
}

void affine_coupling_backward(const AffineCouplingArgs& a, const LaunchContext& context) {
  run<true>(a, context);
}

}  // namespace cuda
}  // namespace fk
