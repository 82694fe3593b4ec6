// slerp and its pullback: sums over a pair's elements, coefficients over the points of a
// block of pairs, one line through each result.
#include "slerp.h"

#include "slerp_medium.h"
#include "slerp_short.h"

FK_BEGIN
namespace loops {
namespace {

// Elements of a block of rows: read several times, from the cache but for the first.
constexpr int64_t block_elements = 2048;

template <class T>
class LongSlerp {
  using V = Vec<T>;
  using P = SlerpPoints<T>;
  using Pair = SlerpPairSums<T>;

 public:
  explicit LongSlerp(const SlerpArgs& args)
      : a_(args), points_(args.points > block_rows ? args.points : block_rows) {}

  void forward(int64_t begin, int64_t end) {
    for_blocks(begin, end, [&](int64_t row, int rows) {
      sum_pairs<false>(row, rows);
      points_.make_points(rows * a_.points);
      for (int r = 0; r < rows; ++r)
        for (int64_t j = 0; j < a_.points; ++j) write_point(row + r, r, j);
    });
  }

  void backward(int64_t begin, int64_t end) {
    for_blocks(begin, end, [&](int64_t row, int rows) {
      sum_pairs<true>(row, rows);
      points_.make_pullbacks(rows * a_.points, a_.d == 2);
      for (int r = 0; r < rows; ++r) write_gradients(row + r, r);
      memcpy(static_cast<T*>(a_.grad_t.base) + row * a_.points, points_[P::grad_t],
             static_cast<size_t>(rows * a_.points) * sizeof(T));
    });
  }

 private:
  // ---- rows, tile by tile ----

  struct Tile {
    const T *a, *b;  // r = b - step a
    V step;
    int n;
    FK_HD V at(int i, int lanes) const { return load_lanes<V>(a + i, lanes); }
    FK_HD V r(int i, int lanes) const {
      return slerp_residual(step, at(i, lanes), load_lanes<V>(b + i, lanes));
    }
  };

  // Calls body(first, tile) along a row.
  template <class Body>
  FK_HD void for_tiles(int64_t row, const Pair& pair, Body body) const {
    T ba[tile_size], bb[tile_size];
    for (int64_t first = 0; first < a_.d; first += tile_size) {
      const int n = a_.d - first < tile_size ? static_cast<int>(a_.d - first) : tile_size;
      const T* a = read(a_.a, row, 0, first, n, ba);
      const T* b = read(a_.b, row, 0, first, n, bb);
      if (pair.kind == Pair::regular) {
        body(first, Tile{a, b, V(pair.step), n});
      } else {
        for (int i = 0; i < n; ++i) bb[i] = pair.residual(first + i, a[i], b[i]);
        body(first, Tile{a, bb, V(T(0)), n});
      }
    }
  }
  const T* read(const PointView& o, int64_t row, int64_t point, int64_t first, int n,
                T* buffer) const {
    return fetch<T>(source(o), at(o, row, point, first), o.stride, n, buffer);
  }
  static int64_t at(const PointView& o, int64_t row, int64_t point, int64_t first) {
    return row * o.row_stride + point * o.point_stride + first * o.stride;
  }

  template <class Body>
  void for_blocks(int64_t begin, int64_t end, Body body) {
    int64_t block = block_elements / a_.d + 1;
    if (block * a_.points > block_rows) block = block_rows / a_.points;
    if (block < 1) block = 1;
    for (int64_t row = begin; row < end; row += block)
      body(row, static_cast<int>(end - row < block ? end - row : block));
  }

  // ---- sums ----

  // K sums over a tile: body(i, lanes, sums) adds a vector's part.
  template <int K, class Body>
  static FK_HD void add_sums(int n, double* totals, Body body) {
    constexpr int chains = K < 4 ? 4 : 2;  // hide the additions' latency
    V part[chains][K];
    for (int c = 0; c < chains; ++c)
      for (int k = 0; k < K; ++k) part[c][k] = V(T(0));
    int i = 0;
    for (; i + chains * lanes_v<V> <= n; i += chains * lanes_v<V>)
      for (int c = 0; c < chains; ++c) body(i + c * lanes_v<V>, lanes_v<V>, part[c]);
    for_lanes<V>(n - i, [&](int j, int lanes) { body(i + j, lanes, part[0]); });
    for (int k = 0; k < K; ++k) {
      V sum = part[0][k];
      for (int c = 1; c < chains; ++c) sum += part[c][k];
      totals[k] += hsum(sum);
    }
  }

  // a.a, a.b, b.b.
  void sum_products(int64_t row, double (&sums)[3]) const {
    for_tiles(row, Pair{}, [&](int64_t, const Tile& tile) {
      add_sums<3>(tile.n, sums, [&](int i, int lanes, V* s) {
        const V x = tile.at(i, lanes), y = tile.r(i, lanes);
        s[0] = fma(x, x, s[0]);
        s[1] = fma(x, y, s[1]);
        s[2] = fma(y, y, s[2]);
      });
    });
  }
  // The same, then G.a and G.b for the only point.
  void sum_products(int64_t row, double (&sums)[5]) const {
    T bg[tile_size];
    for_tiles(row, Pair{}, [&](int64_t first, const Tile& tile) {
      const T* gradient = read(a_.grad_y, row, 0, first, tile.n, bg);
      add_sums<5>(tile.n, sums, [&](int i, int lanes, V* s) {
        const V x = tile.at(i, lanes), y = tile.r(i, lanes);
        const V g = load_lanes<V>(gradient + i, lanes);
        s[0] = fma(x, x, s[0]);
        s[1] = fma(x, y, s[1]);
        s[2] = fma(y, y, s[2]);
        s[3] = fma(g, x, s[3]);
        s[4] = fma(g, y, s[4]);
      });
    });
  }
  void sum_residual(int64_t row, Pair& pair) const {
    double sums[2] = {};
    for_tiles(row, pair, [&](int64_t, const Tile& tile) {
      add_sums<2>(tile.n, sums, [&](int i, int lanes, V* s) {
        const V r = tile.r(i, lanes);
        s[0] = fma(r, tile.at(i, lanes), s[0]);
        s[1] = fma(r, r, s[1]);
      });
    });
    pair.sums.ar = static_cast<T>(sums[0]);
    pair.sums.rr = static_cast<T>(sums[1]);
  }
  void sum_gradient(int64_t row, int r, int64_t point) {
    T bg[tile_size];
    double sums[2] = {};
    for_tiles(row, pairs_[r], [&](int64_t first, const Tile& tile) {
      const T* gradient = read(a_.grad_y, row, point, first, tile.n, bg);
      add_sums<2>(tile.n, sums, [&](int i, int lanes, V* s) {
        const V g = load_lanes<V>(gradient + i, lanes);
        s[0] = fma(g, tile.at(i, lanes), s[0]);
        s[1] = fma(g, tile.r(i, lanes), s[1]);
      });
    });
    set_gradient(r * a_.points + point, sums[0], sums[1]);
  }
  void set_gradient(int64_t point, double ga, double gr) {
    points_[P::ga][point] = static_cast<T>(ga);
    points_[P::gr][point] = static_cast<T>(gr);
  }

  int64_t smallest(int64_t row, const Pair& pair, T& value) const {
    int64_t axis = -1;
    for_tiles(row, pair, [&](int64_t first, const Tile& tile) {
      for (int i = 0; i < tile.n; ++i) {
        if (axis >= 0 && !(abs(tile.a[i]) < abs(value))) continue;
        value = tile.a[i];
        axis = first + i;
      }
    });
    return axis;
  }

  // The pairs' sums and fractions, point by point, and their gradients' sums.
  template <bool gradients>
  void sum_pairs(int64_t row, int rows) {
    for (int r = 0; r < rows; ++r) {
      const bool complete = gradients && a_.points == 1
                                ? sum_pair<5>(row + r, r,
                                              [&](double* s, double step) {
                                                set_gradient(r, s[3], s[4] - step * s[3]);
                                              })
                                : sum_pair<3>(row + r, r, [](double*, double) {});
      for (int64_t j = 0; j < a_.points; ++j) {
        points_.set_pair(r * a_.points + j, pairs_[r]);
        if (gradients && !(complete && a_.points == 1)) sum_gradient(row + r, r, j);
      }
    }
    points_.fetch_fractions(a_, row, rows);
  }
  // True where one pass over the vectors was enough; then `finish` has the sums.
  template <int K, class Finish>
  bool sum_pair(int64_t row, int r, Finish finish) {
    Pair& pair = pairs_[r] = Pair{};
    double sums[K] = {};
    sum_products(row, sums);
    pair.sums.aa = static_cast<T>(sums[0]);
    pair.sums.ab = static_cast<T>(sums[1]);
    pair.step = slerp_step(pair.sums.aa, pair.sums.ab);
    pair.sums.rr = static_cast<T>(sums[2] - pair.step * sums[1]);
    if (slerp_oblique(static_cast<T>(sums[2]), pair.sums.rr)) {
      finish(sums, pair.step);
      return true;
    }
    sum_residual(row, pair);
    if (slerp_degenerate(pair.sums))
      settle(
          pair, [&](Pair& p) { sum_residual(row, p); },
          [&](T& value) { return smallest(row, pair, value); });
    return false;
  }

  // ---- results ----

  Sink result(const PointView& o) const { return sink(o, a_.past_cache); }

  void write_point(int64_t row, int r, int64_t point) const {
    T by[tile_size];
    const V along(points_[P::along_a][r * a_.points + point]);
    const V across(points_[P::across_a][r * a_.points + point]);
    for_tiles(row, pairs_[r], [&](int64_t first, const Tile& tile) {
      const int64_t offset = at(a_.y, row, point, first);
      T* y = target<T>(result(a_.y), offset, 1, by);
      for_lanes<V>(tile.n, [&](int i, int lanes) {
        store_lanes<V>(y + i, fma(across, tile.r(i, lanes), along * tile.at(i, lanes)), lanes);
      });
      flush<T>(result(a_.y), offset, 1, tile.n, by);
    });
  }

  T total(typename P::Field field, int r) const {
    double sum = 0;
    for (int64_t j = r * a_.points; j < (r + 1) * a_.points; ++j) sum += points_[field][j];
    return static_cast<T>(sum);
  }
  void write_gradients(int64_t row, int r) const {
    T bg[tile_size], bx[tile_size], by[tile_size];
    const V along_a(total(P::along_a, r)), across_a(total(P::across_a, r));
    const V along_b(total(P::along_b, r)), across_b(total(P::across_b, r));
    for_tiles(row, pairs_[r], [&](int64_t first, const Tile& tile) {
      const int64_t at_a = at(a_.grad_a, row, 0, first), at_b = at(a_.grad_b, row, 0, first);
      T* x = target<T>(result(a_.grad_a), at_a, 1, bx);
      T* y = target<T>(result(a_.grad_b), at_b, 1, by);
      const T* g = read(a_.grad_y, row, 0, first, tile.n, bg);
      const V weight_a(points_[P::weight_a][r * a_.points]);
      const V weight_b(points_[P::weight_b][r * a_.points]);
      for_lanes<V>(tile.n, [&](int i, int lanes) {
        const V v = tile.at(i, lanes), residual = tile.r(i, lanes);
        const V grad = load_lanes<V>(g + i, lanes);
        store_lanes<V>(x + i, fma(weight_a, grad, fma(along_a, v, across_a * residual)), lanes);
        store_lanes<V>(y + i, fma(weight_b, grad, fma(along_b, v, across_b * residual)), lanes);
      });
      for (int64_t j = 1; j < a_.points; ++j) {
        g = read(a_.grad_y, row, j, first, tile.n, bg);
        add_gradient(g, r * a_.points + j, tile.n, x, y);
      }
      flush<T>(result(a_.grad_a), at_a, 1, tile.n, bx);
      flush<T>(result(a_.grad_b), at_b, 1, tile.n, by);
    });
  }
  void add_gradient(const T* g, int64_t point, int n, T* x, T* y) const {
    const V weight_a(points_[P::weight_a][point]), weight_b(points_[P::weight_b][point]);
    for_lanes<V>(n, [&](int i, int lanes) {
      const V v = load_lanes<V>(g + i, lanes);
      store_lanes<V>(x + i, fma(weight_a, v, load_lanes<V>(x + i, lanes)), lanes);
      store_lanes<V>(y + i, fma(weight_b, v, load_lanes<V>(y + i, lanes)), lanes);
    });
  }

  const SlerpArgs& a_;
  P points_;
  Pair pairs_[block_rows];
};

template <class T, class Run>
void with_loops(const SlerpArgs& a, bool pullback, Run run) {
  if (a.d <= ShortSlerp<T>::longest && a.points == 1) return run(ShortSlerp<T>(a));
  LongSlerp<T> any_rows(a);
  if (is_medium_slerp<T>(a, pullback)) {
    run(MediumSlerp<T, LongSlerp<T>>(a, any_rows));
  } else {
    run(any_rows);
  }
  if (a.past_cache) end_of_streams();
}

void slerp_forward(const SlerpArgs& a, int64_t begin, int64_t end) {
  const auto run = [=](auto&& loops) { loops.forward(begin, end); };
  a.float64 ? with_loops<double>(a, false, run) : with_loops<float>(a, false, run);
}
void slerp_backward(const SlerpArgs& a, int64_t begin, int64_t end) {
  const auto run = [=](auto&& loops) { loops.backward(begin, end); };
  a.float64 ? with_loops<double>(a, true, run) : with_loops<float>(a, true, run);
}

}  // namespace
}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(slerp_forward, fk::FK_ISA::loops::slerp_forward);
FK_REGISTER_KERNEL(slerp_backward, fk::FK_ISA::loops::slerp_backward);
}  // namespace cpu
}  // namespace fk
