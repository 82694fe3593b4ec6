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
#include "stereographic_program.h"

FK_BEGIN

// A point of the sphere by its row: s_i = factor (scale x_i); z's image has one more element.
template <class V>
struct VmfLine {
  V scale, factor;
};
template <class V>
struct VmfSums {
  V square, dot;  // |s - loc|^2 and s.(s - loc) over the mapped elements
};
// grad_x = gain (s - loc) + slope s, grad_loc = c (s - loc).
template <class V>
struct VmfGradientLine {
  V scale, factor, gain, slope, c;
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
  static constexpr int inputs = 2, outputs = Backward ? 2 : 0;

  static FK_HD PointView input(const Args& a, int i) { return {i == x ? a.x : a.loc}; }
  static FK_HD RowOutput output(const Args& a, int i) {
    RowOutput out;
    if (i == grad_x) {
      out.view = {{a.grad_x, a.x.dtype, a.dim - Latent, 1}};
    } else {
      out.view = {{a.grad_loc, a.wide, a.dim, 1}};
      out.sums_rows = a.sum_grad_loc;
      out.block_rows = a.block_rows;
    }
    return out;
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

    // The point, and its last element less loc's.
    VmfLine<V> line{real<V>(1.0), real<V>(1.0)};
    StereographicPoint<V> p{};
    V rest = real<V>(0.0);
    if constexpr (Latent) {
      const StereographicRow<V> row = stereographic_lengths<false>(rows, x);
      p = stereographic_point(row);
      line = {row.scale, p.factor};
      rest = p.last - rows.end_of(loc);
    }
    const VmfSums<V> sums = rows.template sum<VmfSums>(
        line, [](const auto& c, const auto& in, auto& s) FK_INLINE_LAMBDA {
          const auto point = Latent ? c.factor * (c.scale * in[x]) : in[x], e = point - in[loc];
          s.square = fma(e, e, s.square);
          if constexpr (Latent && Backward) s.dot = fma(point, e, s.dot);
        });
    const V square = fma(rest, rest, sums.square);
    if constexpr (!Backward) {
      V out = V(static_cast<T>(a.log_uniform)) + (value - kappa * (square * half));
      if constexpr (Latent) out = fma(d, p.log_rho, out);
      rows.put(RowView{a.out, a.wide, 1}, out);
    } else {
      const V g = rows.number(a.grad), c = g * kappa;
      VmfGradientLine<V> grad{line.scale, line.factor, -c, real<V>(0.0), c};
      if constexpr (Latent) {
        // rho G + s (rho G_last - s.G - d g) with G = -c (s - loc)
        grad.gain = -(c * p.rho);
        grad.slope = c * sums.dot - c * p.rho * rest - d * g;
      }
      rows.put(RowView{a.grad_kappa, a.wide, 1}, g * (value - square * half));
      rows.map(grad, [](const auto& l, const auto& in, auto& out) FK_INLINE_LAMBDA {
        const auto point = Latent ? l.factor * (l.scale * in[x]) : in[x], e = point - in[loc];
        out[grad_x] = Latent ? fma(l.gain, e, l.slope * point) : l.gain * e;
        out[grad_loc] = l.c * e;
      });
      if constexpr (Latent) rows.set_end(grad_loc, c * rest);
    }
  }
};

FK_END
