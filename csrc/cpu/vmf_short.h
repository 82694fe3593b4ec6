// The vMF densities of short rows: columns, in vectors across the rows.
#pragma once

#include "vmf_rows.h"
#include "wide.h"

FK_BEGIN
namespace loops {

template <class T>
class ShortVmf {
  using V = Vec<T>;
  static_assert(block_rows == vmf_block_rows);

 public:
  static constexpr int longest = 48;  // of x

  explicit ShortVmf(const VmfArgs& args)
      : a_(args),
        plan_(*static_cast<const BesselPlan<T>*>(args.plan)),
        length_(static_cast<int>(args.stereographic ? args.dim - 1 : args.dim)) {
    // Lanes past the last row are computed with.
    memset(x_, 0, static_cast<size_t>(length_) * sizeof(x_[0]));
    memset(loc_, 0, static_cast<size_t>(args.dim) * sizeof(loc_[0]));
    for (int r = 0; r < block_rows; ++r) factor_[r] = T(1);
    if (loc_is_shared()) {
      for (int i = 0; i < args.dim; ++i) {
        const T value = element<T>(args.loc, 0, i);
        for (int r = 0; r < block_rows; ++r) loc_[i][r] = value;
      }
    }
  }

  bool forward(int64_t begin, int64_t end) {
    Concentrations<T, Peak> k(a_, Peak{plan_});
    for_blocks(begin, end, [&](int64_t, int64_t first, int rows) {
      k.move_to(first, rows);
      read(first, rows);
      for (int r = 0; r < rows; r += lanes_v<V>) {
        const V factor = load<V>(factor_ + r), rest = last_difference(r);
        V square = rest * rest;
        for (int i = 0; i < length_; ++i) {
          const V e = difference(i, r, factor * load<V>(x_[i] + r));
          square = fma(e, e, square);
        }
        V out = V(static_cast<T>(a_.log_uniform)) +
                (load<V>(k.value + r) - load<V>(k.kappa + r) * (square * real<V>(0.5)));
        if (a_.stereographic) out = fma(V(T(length_)), load<V>(log_rho_ + r), out);
        put_rows(a_.out, first, r, rows, out);
      }
    });
    return k.all_valid();
  }

  bool backward(int64_t begin, int64_t end) {
    Concentrations<T, Complement> k(a_, Complement{plan_});
    for_blocks(begin, end, [&](int64_t block, int64_t first, int rows) {
      k.move_to(first, rows);
      read(first, rows);
      T g[block_rows] = {};  // rows past the last add nothing to a sum
      load_elements<T>(a_.grad, first, 0, rows, g);
      make_lines(first, rows, g, k.kappa, k.value);
      map_columns(rows);
      store_columns<T>({a_.grad_x, a_.x.dtype}, first * length_, rows, length_, x_);
      if (a_.grad_loc == nullptr) return;
      T* const grad_loc = static_cast<T*>(a_.grad_loc);
      if (a_.sum_grad_loc) {
        memcpy(grad_loc + block * a_.dim, loc_sums_, static_cast<size_t>(a_.dim) * sizeof(T));
      } else {
        store_columns<T>({grad_loc, dtype_of<T>}, first * a_.dim, rows, static_cast<int>(a_.dim),
                         loc_);
      }
    });
    return k.all_valid();
  }

 private:
  struct Peak {
    const BesselPlan<T>& plan;
    FK_HD V operator()(V k) const { return bessel_peak(plan, k); }
  };
  struct Complement {
    const BesselPlan<T>& plan;
    FK_HD V operator()(V k) const { return bessel_ratio_complement(plan, k); }
  };

  template <class Body>
  FK_HD void for_blocks(int64_t begin, int64_t end, Body body) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * block_rows, left = a_.rows - first;
      body(block, first, static_cast<int>(left < block_rows ? left : block_rows));
    }
  }
  bool loc_is_shared() const { return a_.loc.row_stride == 0; }

  void read(int64_t first, int rows) {
    const auto columns = [&](const RowView& o, int width, Columns<T> to) {
      load_columns<T>(source(o), first * o.row_stride, o.row_stride, o.stride, rows, width, to);
    };
    columns(a_.x, length_, x_);
    if (!loc_is_shared()) columns(a_.loc, static_cast<int>(a_.dim), loc_);
    if (a_.stereographic) project_rows(first, rows);
  }

  void project_rows(int64_t first, int rows) {
    T square[block_rows], excess[block_rows];
    constexpr double largest = sizeof(T) == 4 ? 1e30 : 1e280;
    auto outside = Wide{} > largest;
    for (int r = 0; r < block_rows; r += wide_lanes) {
      Wide sum{};
      for (int i = 0; i < length_; ++i) {
        const Wide v = load_wide(x_[i] + r);
        sum += v * v;
      }
      outside |= ~(sum < largest);
      store_narrow(square + r, sum);
      store_narrow(excess + r, sum - 1);
    }
    for (int r = 0; r < rows; r += lanes_v<V>) {
      StereographicRow<V> row = {};
      row.scale = real<V>(1.0);
      row.square = load<V>(square + r);
      row.excess = load<V>(excess + r);
      const StereographicPoint<V> p = stereographic_point(row);
      store<V>(factor_ + r, p.factor);
      store<V>(rho_ + r, p.rho);
      store<V>(last_ + r, p.last);
      store<V>(log_rho_ + r, p.log_rho);
    }
    bool regular = true;
    for (int k = 0; k < wide_lanes; ++k) regular &= outside[k] == 0;
    if (!regular) project_far_rows(first, rows, square, static_cast<T>(largest));
  }

  // Rows that need a scale, or have no length.
  void project_far_rows(int64_t first, int rows, const T* square, T largest) {
    for (int r = 0; r < rows; ++r) {
      if (square[r] < largest) continue;
      const Point<T> p = project<T>(a_, first + r);
      for (int i = 0; i < length_; ++i) x_[i][r] *= p.scale;
      factor_[r] = p.factor;
      rho_[r] = p.rho;
      last_[r] = p.last;
      log_rho_[r] = p.log_rho;
    }
  }

  FK_HD V difference(int i, int r, V s) const { return s - load<V>(loc_[i] + r); }
  FK_HD V last_difference(int r) const {
    return a_.stereographic ? difference(length_, r, load<V>(last_ + r)) : V(T(0));
  }

  // The coefficients of grad_x = gain e + slope s, and the gradient in kappa.
  void make_lines(int64_t first, int rows, const T* grad, const T* kappa, const T* complement) {
    for (int r = 0; r < rows; r += lanes_v<V>) {
      const V factor = load<V>(factor_ + r), rest = last_difference(r);
      V square = rest * rest, dot(T(0));
      for (int i = 0; i < length_; ++i) {
        const V s = factor * load<V>(x_[i] + r), e = difference(i, r, s);
        square = fma(e, e, square);
        dot = fma(s, e, dot);
      }
      const V g = load<V>(grad + r), c = g * load<V>(kappa + r);
      V gain = -c, slope(T(0));
      if (a_.stereographic) {
        // rho g + s (rho g_last - s.g - d g_logdet) with g = -c e
        const V rho = load<V>(rho_ + r);
        slope = c * dot - c * rho * rest - V(T(length_)) * g;
        gain = -c * rho;
      }
      store<V>(weight_ + r, c);
      store<V>(gain_ + r, gain);
      store<V>(slope_ + r, slope);
      put_rows(a_.grad_kappa, first, r, rows,
               g * (load<V>(complement + r) - square * real<V>(0.5)));
    }
  }

  // The gradients take the place of x and, where loc has rows, of loc.
  void map_columns(int rows) {
    const bool want_loc = a_.grad_loc != nullptr;
    for (int i = 0; i < length_; ++i) {
      V sum(T(0));
      for (int r = 0; r < rows; r += lanes_v<V>) {
        const V s = load<V>(factor_ + r) * load<V>(x_[i] + r), e = difference(i, r, s);
        store<V>(x_[i] + r, fma(load<V>(gain_ + r), e, load<V>(slope_ + r) * s));
        if (want_loc) sum += weigh(i, r, e);
      }
      if (want_loc) loc_sums_[i] = hsum(sum);
    }
    if (!want_loc || !a_.stereographic) return;
    V sum(T(0));
    for (int r = 0; r < rows; r += lanes_v<V>) sum += weigh(length_, r, last_difference(r));
    loc_sums_[length_] = hsum(sum);
  }
  // Element i of the gradient in loc.
  FK_HD V weigh(int i, int r, V e) {
    const V weighted = load<V>(weight_ + r) * e;
    if (!a_.sum_grad_loc) store<V>(loc_[i] + r, weighted);
    return weighted;
  }

  static FK_HD void put_rows(void* out, int64_t first, int r, int rows, V value) {
    const int left = rows - r;
    store_lanes<V>(static_cast<T*>(out) + first + r, value, left < lanes_v<V> ? left : lanes_v<V>);
  }

  const VmfArgs& a_;
  const BesselPlan<T>& plan_;
  const int length_;
  T x_[longest][block_rows], loc_[longest + 1][block_rows];
  T factor_[block_rows], rho_[block_rows], last_[block_rows], log_rho_[block_rows];
  T weight_[block_rows], gain_[block_rows], slope_[block_rows], loc_sums_[longest + 1];
};

}  // namespace loops
FK_END
