// Rows of a few vectors or of any length: vectors run along each row.
//
// Of medium rows, the coefficients of as many as a vector has lanes are computed together.
// Longer rows are divided into chunks and handled one at a time, or by fours where their
// gradients may be added up.
#pragma once

#include <stdlib.h>

#include "row_inputs.h"

FK_BEGIN
namespace loops {

template <class P, class E, bool divided>
class GroupRows : public GroupInputs<P, E, divided> {
  using T = compute_t<E>;
  using V = Vec<T>;
  using Base = GroupInputs<P, E, divided>;
  using Base::at_once, Base::rows, Base::in_compute, Base::inputs;
  using Base::count_, Base::row_, Base::point_, Base::n_, Base::in_, Base::from_, Base::step_;
  static constexpr int outputs = P::outputs, lanes = lanes_v<V>;
  static constexpr int places = outputs > 0 ? outputs : 1;
  // The last outputs are stored in the compute type.
  template <int k>
  using Output = typename Choose<(k >= outputs - P::compute_outputs), T, E>::type;

 public:
  using typename Base::Value;

  explicit GroupRows(const typename P::Args& a) : Base(a) {
    for_outputs([&]<int k>() {
      out_[k] = P::output(a, k);
      direct_out_[k] = Base::template is_direct<Output<k>>(out_[k].view) && !out_[k].non_temporal;
      non_temporal_ = non_temporal_ || out_[k].non_temporal;
    });
    for (int k = 0; k < inputs; ++k) all_direct_ = all_direct_ && Base::direct_in_[k];
    for (int k = 0; k < outputs; ++k)
      all_direct_ = all_direct_ && (direct_out_[k] || out_[k].sums_rows);
    if constexpr (divided && requires { P::points(a); })
      if (P::points(a) > 1) keep_rows();
    const int64_t fitting = n_ > 0 ? group_elements / n_ / 4 * 4 : rows;
    group_ = divided ? at_once : static_cast<int>(fitting < rows ? fitting : rows);
  }

  ~GroupRows() {
    for (T* m : memory_) free(m);
  }
  GroupRows(const GroupRows&) = delete;
  GroupRows& operator=(const GroupRows&) = delete;

  int group() const { return group_; }
  // Rows whose gradients are added up, or as many as there are.
  int64_t block() const {
    const RowOutput& last = out_[places - 1];
    return last.sums_rows ? last.block_rows : int64_t{1} << 62;
  }
  void begin_block(int64_t row) {
    row_ = row;
    for_outputs([&]<int k>() {
      if (out_[k].sums_rows)
        memset(sums_of<k>(), 0, static_cast<size_t>(n_ + out_[k].end) * sizeof(Output<k>));
    });
  }
  FK_HD void move_to(int64_t row, int count) {
    row_ = row;
    count_ = count;
    point_ = 0;
    for (int k = 0; k < inputs; ++k) Base::load_rows(k);
  }
  // From here on, operands that have points are those of point j.
  FK_HD void point(int64_t j) {
    if (j == point_) return;
    for_outputs([&]<int k>() FK_INLINE_LAMBDA {
      if (out_[k].view.point_stride != 0) finish<k>();
    });
    point_ = j;
    for (int k = 0; k < inputs; ++k)
      if (in_[k].view.point_stride != 0) Base::load_rows(k);
  }
  FK_HD void end_group() {
    for_outputs([&]<int k>() FK_INLINE_LAMBDA { finish<k>(); });
  }
  void end() const {
    if (non_temporal_) end_non_temporal();
  }

  FK_HD void set_end(int output, Value value) {
    for_outputs([&]<int k>() FK_INLINE_LAMBDA {
      if (k == output) set_end_of<k>(value);
    });
  }

  template <template <class> class S, template <class> class C, class F>
  FK_HD S<Value> map(const C<Value>& c, F f) {
    return map_group<S>(c, f, false);
  }
  template <template <class> class C, class F>
  FK_HD void map(const C<Value>& c, F f) {
    add(false, c, f);
  }
  // Adds to what the outputs hold already, if `adds`.
  template <template <class> class C, class F>
  FK_HD void add(bool adds, const C<Value>& c, F f) {
    const auto elements = [&](const auto& mine, const auto& in, auto& out, auto&)
                              FK_INLINE_LAMBDA { f(mine, in, out); };
    map_group<NoSums>(c, elements, adds);
  }

 private:
  template <template <class> class S, template <class> class C, class F>
  FK_HD S<Value> map_group(const C<Value>& c, F f, bool adds) {
    const Lanes<C, Value> coefficients(c);
    T totals[fields_of<S<V>, V> + 1][rows] = {};
    int r = 0;
    const int count = count_;
    if constexpr (P::compute_outputs > 0 && at_once == 4) {
      if (shares_last())
        for (; r + 4 <= count; r += 4) map_rows<4, S>(r, coefficients, f, totals, adds);
    }
    for (; r < count; ++r) map_rows<1, S>(r, coefficients, f, totals, adds);
    return Base::template values_of<S<Value>>(totals);
  }

  // Whether the rows share the last output, or would if it were asked for.
  FK_HD bool shares_last() const {
    const RowOutput& o = out_[outputs - 1];
    return o.sums_rows || (o.view.base == nullptr && in_[outputs - 1].view.row_stride == 0);
  }
  template <class Body>
  static FK_HD void for_outputs(Body body) {
    static_assert(outputs <= 2);
    if constexpr (outputs > 0) body.template operator()<0>();
    if constexpr (outputs > 1) body.template operator()<1>();
  }

  // ---- writing ----

  template <int k>
  FK_HD Output<k>* written(int r) {
    return reinterpret_cast<Output<k>*>(written_[r * places + k]);
  }
  template <int k>
  FK_HD Output<k>* sums_of() const {
    const RowOutput& o = out_[k];
    return static_cast<Output<k>*>(o.view.base) + row_ / o.block_rows * o.view.row_stride;
  }
  // Where the results of row r go from element i on; null where nothing asks for them.
  template <int k>
  FK_HD Output<k>* result(int r, int64_t i) {
    const PointView& o = out_[k].view;
    if (out_[k].sums_rows) return sums_of<k>() + i;
    if (direct_out_[k])
      return o.base == nullptr ? nullptr : Base::template row_of<Output<k>>(o, row_ + r) + i;
    if constexpr (divided) {
      if (in_compute && keeps_rows_) return whole_row<k>() + i;
      return target<Output<k>>(to_sink<k>(), at<k>(r, i), o.stride, written<k>(r % at_once));
    }
    return written<k>(0) + r * (n_ + out_[k].end) + i;
  }
  template <int k>
  FK_HD int64_t at(int r, int64_t i) const {
    const PointView& o = out_[k].view;
    return (row_ + r) * o.row_stride + point_ * o.point_stride + i * o.stride;
  }
  template <int k>
  Sink to_sink() const {
    return sink(out_[k].view, out_[k].non_temporal);
  }
  template <int k>
  FK_HD void set_end_of(Value value) {
    if (out_[k].view.base == nullptr) return;
    T values[rows];
    store<Value>(values, value);
    if (k >= outputs - P::compute_outputs && out_[k].sums_rows) {
      Output<k>& sum = sums_of<k>()[n_];
      T total = to_compute(sum);
      for (int r = 0; r < count_; ++r) total += values[r];
      sum = to_storage<Output<k>>(total);
    } else if (divided && !direct_out_[k]) {
      Base::write_each(out_[k].view, at<k>(0, n_), count_, values);
    } else {
      for (int r = 0; r < count_; ++r) *result<k>(r, n_) = to_storage<Output<k>>(values[r]);
    }
  }
  template <int k>
  FK_HD Output<k>* whole_row() {
    return reinterpret_cast<Output<k>*>(memory_[k]);
  }
  // Longer rows to which points are added.
  void keep_rows() {
    keeps_rows_ = true;
    for (int k = 0; k < outputs; ++k)
      if (!direct_out_[k]) memory_[k] = static_cast<T*>(malloc(n_ * sizeof(T)));
  }
  template <int k>
  FK_HD void finish() {
    if (direct_out_[k] || out_[k].sums_rows) return;
    if constexpr (!divided) {
      flush_rows<k>();
    } else if (keeps_rows_) {
      flush<Output<k>>(to_sink<k>(), at<k>(0, 0), out_[k].view.stride, n_, whole_row<k>());
    }
  }
  // A group's results, or chunks of them.
  template <int k>
  __attribute__((noinline)) void flush_rows() {
    const PointView& o = out_[k].view;
    const int width = static_cast<int>(n_) + out_[k].end;
    if (o.row_stride == width && o.stride == 1)
      return flush<Output<k>>(to_sink<k>(), at<k>(0, 0), 1, count_ * width, written<k>(0));
    for (int r = 0; r < count_; ++r)
      flush<Output<k>>(to_sink<k>(), at<k>(r, 0), o.stride, width, written<k>(0) + r * width);
  }
  template <int k>
  __attribute__((noinline)) void flush_chunk(int r, int64_t first, int n) {
    flush<Output<k>>(to_sink<k>(), at<k>(r, first), out_[k].view.stride, n,
                     written<k>(r % at_once));
  }

  // The elements of R rows from r on.  Where the last output is a sum over rows, it is read and
  // written once for all of them, and so is the input whose gradient it is.
  template <int R, template <class> class S, template <class> class C, class F>
  FK_HD void map_rows(int r, const Lanes<C, Value>& coefficients, F f, T (*totals)[rows],
                      bool accumulates) {
    constexpr bool no_sums = __is_empty(S<V>);
    constexpr int last = outputs - 1;
    C<V> mine[R];
    for (int q = 0; q < R; ++q) mine[q] = coefficients.template spread<V>(r + q);
    const bool adds = P::compute_outputs > 0 && out_[last].sums_rows;
    S<V> s[R];
    for (auto& sums : s) sums = zeros<S<V>, V>();
    const auto segment = [&](int n, const auto& from, const auto& to) FK_INLINE_LAMBDA {
      const auto step = [&](int i, int m) FK_INLINE_LAMBDA {
        V in[inputs], out[places], sum;
        if (adds) sum = load_lanes<V>(to.template at<last>(0) + i, m);
        for (int q = 0; q < R; ++q) {
          for (int k = 0; k < inputs; ++k)
            if (q == 0 || k != last) in[k] = load_lanes<V>(from[q][k] + i, m);
          f(mine[q], in, out, s[q]);
          for_outputs([&]<int k>() FK_INLINE_LAMBDA {
            if (k == last && adds) {
              sum += out[k];
            } else if (k < outputs - P::compute_outputs || to.template at<k>(q) != nullptr) {
              if constexpr (in_compute)
                if (accumulates) out[k] += load_lanes<V>(to.template at<k>(q) + i, m);
              store_lanes<V>(to.template at<k>(q) + i, out[k], m);
            }
          });
        }
        if (adds) store_lanes<V>(to.template at<last>(0) + i, sum, m);
      };
      int i = 0;
      for (; i + lanes <= n; i += lanes) step(i, lanes);
      if (i == n) return;
      // The last vector may cover elements that are written already: not where it adds to them.
      if (no_sums && !adds && !accumulates && n >= lanes) i = n - lanes;
      step(i, n - i);
    };
    const E* from[R][inputs];
    Targets<R> to;
    const auto set_targets = [&](int64_t first) FK_INLINE_LAMBDA {
      for (int q = 0; q < R; ++q)
        for_outputs([&]<int k>()
                        FK_INLINE_LAMBDA { to.template at<k>(q) = result<k>(r + q, first); });
    };
    if constexpr (!divided) {
      for (int q = 0; q < R; ++q)
        for (int k = 0; k < inputs; ++k) from[q][k] = from_[k] + (r + q) * step_[k];
      set_targets(0);
      segment(static_cast<int>(n_), from, to);
    } else {
      Base::for_pieces(
          all_direct_ ? longest_sum : chunk_size, [&](int64_t first, int n) FK_INLINE_LAMBDA {
            for (int q = 0; q < R; ++q)
              for (int k = 0; k < inputs; ++k)
                from[q][k] = Base::piece(k, r + q, first, n, Base::buffer(q * inputs + k));
            set_targets(first);
            segment(n, from, to);
            for_outputs([&]<int k>() FK_INLINE_LAMBDA {
              if (direct_out_[k] || out_[k].sums_rows || keeps_rows_) return;
              for (int q = 0; q < R; ++q) flush_chunk<k>(r + q, first, n);
            });
          });
    }
    for (int q = 0; q < R; ++q)
      for_fields<V>(s[q], [&](int k, const V& v) FK_INLINE_LAMBDA { totals[k][r + q] = hsum(v); });
  }

  // Pointers of R rows to each output.
  template <int R>
  struct Targets {
    Output<0>* first[R];
    Output<1>* second[R];
    template <int k>
    FK_HD auto& at(int q) {
      if constexpr (k == 0) return first[q];
      if constexpr (k == 1) return second[q];
    }
    template <int k>
    FK_HD auto at(int q) const {
      if constexpr (k == 0) return first[q];
      if constexpr (k == 1) return second[q];
    }
  };

  int group_ = 1;
  bool direct_out_[places] = {}, non_temporal_ = false;
  RowOutput out_[places];
  bool all_direct_ = true;
  bool keeps_rows_ = false;
  T* memory_[places] = {};
  alignas(line_bytes) T written_[Base::buffers * places][Base::room];
};

}  // namespace loops
FK_END
