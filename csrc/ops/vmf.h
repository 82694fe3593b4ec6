// Log density of the von Mises-Fisher distribution, on the sphere and pulled back to R^d:
//
//   log p(x) = log C_p(0) + M(kappa) - kappa |x - loc|^2 / 2,   M = kappa - L (log_0f1.h)
//   log p(z) = log p(psi(z)) + d log rho                        (stereographic.h)
//
// |x - loc|^2 instead of 1 - x.loc, which would lose all digits near the mode.
#pragma once

#include "../args/vmf.h"
#include "../engine/program.h"
#include "../math/log_0f1.h"
#include "stereographic.h"

FK_BEGIN

// A point of the sphere by its row: s_i = factor (scale x_i); z's image has one more element.
template <class V>
struct VmfLine {
  V scale, factor;
};
// |s - loc|^2 and s.(s - loc) over the mapped elements.
template <class V>
struct VmfSquare {
  V square;
};
template <class V>
struct VmfSums {
  V square, dot;
};
// grad_x = gain (s - loc) + slope s, grad_loc = c (s - loc).
template <class V>
struct VmfGradientLine {
  V scale, factor, gain, slope, c;
};

// grad_loc = c (s - loc) on the sphere, grad_x its opposite.
template <class V>
struct VmfWeight {
  V c;
};

// A concentration and a function of it: made once where all rows share it.
template <class T, bool Backward>
class VmfConcentration {
 public:
  FK_HD VmfConcentration(const VmfArgs& a, const BesselPlan<T>& plan) : a_(a), plan_(plan) {}

  template <class Rows, class V>
  FK_HD void read(Rows& rows, V& kappa, V& value) {
    kappa = rows.number(a_.kappa);
    rows.refuse(kappa < real<V>(0.0));
    value = rows.shared(a_.kappa.row_stride == 0, kappa, [&](auto k) FK_INLINE_LAMBDA {
      if constexpr (Backward) return bessel_ratio_complement(plan_, k);
      if constexpr (!Backward) return bessel_peak(plan_, k);
    });
  }

 private:
  const VmfArgs& a_;
  const BesselPlan<T>& plan_;
};

template <class T, bool Latent, bool Backward>
struct VmfProgram {
  using Args = VmfArgs;
  using Table = BesselPlan<T>;
  enum Input { x, loc };
  enum Output { grad_x, grad_loc };
  static constexpr int inputs = 2, outputs = Backward ? 2 : 0, compute_outputs = Backward;

  static FK_HD bool float64(const Args& a) { return a.wide == DType::f64; }
  static FK_HD RowInput input(const Args& a, int i) {
    if (i == x) return {{a.x}};
    return {{a.loc}, Latent};
  }
  static FK_HD RowOutput output(const Args& a, int k) {
    if (k == grad_x) return {{{a.grad_x, a.x.dtype, elements(a), 1}}};
    RowOutput loc_sums{{{a.grad_loc, a.wide, a.dim, 1}}, Latent};
    loc_sums.sums_rows = a.grad_loc != nullptr && a.sum_grad_loc;
    loc_sums.block_rows = a.block_rows;
    return loc_sums;
  }
  static FK_HD int64_t elements(const Args& a) { return a.dim - Latent; }

  const Args& a;
  VmfConcentration<T, Backward> concentration;
  FK_HD VmfProgram(const Args& args, const Table& plan) : a(args), concentration(args, plan) {}

  template <class Rows>
  FK_HD void run(Rows& rows) {
    using V = typename Rows::Value;
    const V d(static_cast<T>(a.dim - 1)), half = real<V>(0.5);
    V kappa, value;
    concentration.read(rows, kappa, value);

    VmfLine<V> line{real<V>(1.0), real<V>(1.0)};
    StereographicPoint<V> p{};
    if constexpr (Latent) {
      const StereographicRow<V> row = stereographic_lengths<false, false>(rows, x);
      p = stereographic_point(row);
      line = {row.scale, p.factor};
    }
    V square{}, dot{};
    if constexpr (Latent && Backward) {
      const auto sums = rows.template sum<VmfSums>(
          line, [](const auto& c, const auto& in, auto& s) FK_INLINE_LAMBDA {
            const auto point = c.factor * (c.scale * in[x]), e = point - in[loc];
            s.square = fma(e, e, s.square);
            s.dot = fma(point, e, s.dot);
          });
      square = sums.square;
      dot = sums.dot;
    } else if constexpr (!Backward) {
      const auto sums = rows.template sum<VmfSquare>(
          line, [](const auto& c, const auto& in, auto& s) FK_INLINE_LAMBDA {
            const auto e = (Latent ? c.factor * (c.scale * in[x]) : in[x]) - in[loc];
            s.square = fma(e, e, s.square);
          });
      square = sums.square;
    }
    // The last element of the point less that of loc.
    V rest = real<V>(0.0);
    if constexpr (Latent) rest = p.last - rows.end_of(loc);

    if constexpr (!Backward) {
      square = fma(rest, rest, square);
      V out = V(static_cast<T>(a.log_uniform)) + (value - kappa * (square * half));
      if constexpr (Latent) out = fma(d, p.log_rho, out);
      rows.put(RowView{a.out, a.wide, 1, 0}, out);
    } else {
      const V g = rows.number(a.grad), c = g * kappa;
      if constexpr (Latent) {
        // rho G + s (rho G_last - s.G - d g) with G = -c (s - loc)
        const V slope = c * dot - c * p.rho * rest - d * g;
        rows.map(VmfGradientLine<V>{line.scale, line.factor, -(c * p.rho), slope, c},
                 [](const auto& l, const auto& in, auto& out) FK_INLINE_LAMBDA {
                   const auto point = l.factor * (l.scale * in[x]), e = point - in[loc];
                   out[grad_x] = fma(l.gain, e, l.slope * point);
                   out[grad_loc] = l.c * e;
                 });
        rows.set_end(grad_loc, c * rest);
      } else {
        const auto sums = rows.template map<VmfSquare>(
            VmfWeight<V>{c},
            [](const auto& w, const auto& in, auto& out, auto& s) FK_INLINE_LAMBDA {
              const auto e = in[x] - in[loc];
              s.square = fma(e, e, s.square);
              out[grad_loc] = w.c * e;
              out[grad_x] = -out[grad_loc];
            });
        square = sums.square;
      }
      square = fma(rest, rest, square);
      rows.put(RowView{a.grad_kappa, a.wide, 1, 0}, g * (value - square * half));
    }
  }
};

template <class T>
using VmfForward = VmfProgram<T, false, false>;
template <class T>
using VmfBackward = VmfProgram<T, false, true>;
template <class T>
using LatentVmfForward = VmfProgram<T, true, false>;
template <class T>
using LatentVmfBackward = VmfProgram<T, true, true>;

FK_END
