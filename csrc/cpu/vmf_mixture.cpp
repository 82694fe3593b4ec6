// Mixtures in strips of points: a strip's products with the locations, its densities, and what it
// adds to sums or gradients, while it is in the cache.
//
// Points are transposed, so that vectors run across points; long ones with few components, which
// need every element once, are multiplied along their rows, where they are.
#include "vmf_mixture.h"

#include "../engine/cpu/transpose.h"
#include "panel.h"

FK_BEGIN
namespace loops {
namespace {

constexpr int strip_points = mixture_strip, slab = mixture_slab;
static_assert(strip_points == block_rows);
// Bytes of a strip of long points: it and its gradients stay in the second-level cache.
constexpr int64_t strip_bytes = int64_t{1} << 18;
// Points that are added up in the dtype of the computation before they go to float64.
constexpr int64_t flushed_points = 1024;

template <class T>
class Mixture {
  using V = Vec<T>;
  static constexpr int lanes = lanes_v<V>;

 public:
  Mixture(const VmfMixtureCall& call, const VmfMixtureSums* sums, void* room)
      : call_(call),
        sums_(sums),
        k_(static_cast<int>(call.points.components)),
        rows_(static_cast<int>(call.rows())),
        dim_(static_cast<int>(call.dim)),
        padded_(static_cast<int>(mixture_padded(call.dim))),
        copied_(call.copied()),
        along_rows_(call.along_rows()),
        in_place_(call.in_place()),
        step_(along_rows_ ? step_of(call.dim) : strip_points) {
    T* at = static_cast<T*>(room);
    const auto take = [&at](int64_t elements) {
      T* taken = at;
      at += elements;
      return taken;
    };
    columns_ = take((dim_ < slab ? dim_ : slab) * int64_t{strip_points});
    products_ = take(int64_t(rows_) * strip_points);
    out_ = take(int64_t(rows_) * strip_points);
    grad_log_r_ = take(int64_t(k_) * strip_points);
    copy_ = take(copied_ * strip_points);
    with_x_ = take(int64_t(k_) * padded_);
  }

  void run(int64_t begin, int64_t end) {
    int64_t held = 0;
    for (int64_t first = begin; first < end; first += step_) {
      const int n = static_cast<int>(end - first < step_ ? end - first : step_);
      strip(first, n, held == 0);
      held += n;
      if (held < flushed_points) continue;
      flush_sums();
      held = 0;
    }
    if (held > 0) flush_sums();
  }

 private:
  static int step_of(int64_t dim) {
    const int64_t fit = strip_bytes / (dim * int64_t{sizeof(T)}) / lanes * lanes;
    return static_cast<int>(fit < lanes ? lanes : fit < strip_points ? fit : strip_points);
  }

  // A strip's rows of `width` elements, copied: rows of x may lie a power of two apart, so that the
  // cache would hold few of them.
  void copy_rows(const RowView& from, int64_t first, int n, int width) {
    for (int r = 0; r < n; ++r) {
      const int64_t begins = (first + r) * from.row_stride;
      T* to = copy_ + r * copied_;
      if (from.dtype == dtype_of<T> && from.stride == 1) {
        memcpy(to, static_cast<const T*>(from.base) + begins, width * sizeof(T));
      } else {
        collect(source(from), begins, from.stride, width, to);
      }
    }
  }
  Columns<T> as_columns(T* matrix) const { return reinterpret_cast<Columns<T>>(matrix); }

  void strip(int64_t first, int n, bool begins_sum) {
    VmfMixtureArgs a = call_.points;
    if (a.grad_log_r != nullptr) {
      copy_rows(call_.grad_log_r, first, n, k_);
      columns::load_rows<T>(copy_, copied_, n, k_, as_columns(grad_log_r_));
      a.grad_log_r = grad_log_r_;
    }
    if (in_place_) {
      x_ = static_cast<const T*>(call_.x.base) + first * call_.x.row_stride;
      x_row_ = call_.x.row_stride;
    } else {
      copy_rows(call_.x, first, n, dim_);
      x_ = copy_;
      x_row_ = copied_;
    }
    multiply(n);
    densities(a, first, n);
    if (call_.log_r != nullptr)
      columns::store_rows_apart<T>(as_columns(out_), static_cast<T*>(call_.log_r) + first * k_, k_,
                                   n, k_);
    if (sums_ != nullptr) add(n, begins_sum);
    if (call_.grad_x != nullptr) pull_back_to_x(first, n);  // overwrites the copy of x
  }

  // The products with the locations.
  void multiply(int n) {
    const T* locs = static_cast<const T*>(call_.locs);
    const int whole = (n + lanes - 1) / lanes * lanes;
    const auto product = [this](int i, int j)
                             FK_INLINE_LAMBDA { return products_ + i * strip_points + j; };
    if (along_rows_) {
      for (int k = 0; k < rows_; ++k)
        for (int j = n; j < whole; ++j) *product(k, j) = T(0);
      Dots<T>{x_, x_row_, n, locs, dim_, rows_, dim_}.run(
          [&](int i, int j, T value) FK_INLINE_LAMBDA { *product(j, i) = value; });
      return;
    }
    // Of so many elements at a time that they stay in the cache.
    for (int at = 0; at < dim_; at += slab) {
      const int width = dim_ - at < slab ? dim_ - at : slab;
      columns::load_rows<T>(copy_ + at, copied_, n, width, as_columns(columns_));
      Product<T, true>{locs + at, dim_, 1, columns_, strip_points, rows_, whole, width}.run(
          [&](int i, int j)
              FK_INLINE_LAMBDA { return at == 0 ? real<V>(0.0) : load<V>(product(i, j)); },
          [&](int i, int j, V value) FK_INLINE_LAMBDA { store<V>(product(i, j), value); });
    }
  }

  void densities(VmfMixtureArgs& a, int64_t first, int n) const {
    a.points = n;
    a.stride = strip_points;
    a.products = products_;
    a.out = a.grad != nullptr || call_.log_r != nullptr ? out_ : nullptr;
    if (sums_ != nullptr && sums_->along != nullptr) a.along = products_;
    a.grad = from(a.grad, first);
    a.weights = from(a.weights, first);
    a.log_prob = from(a.log_prob, first);
    a.grad_weights = from(a.grad_weights, first);
    int at = 0;
    for (; n - at >= 4 * lanes; at += 4 * lanes) points<4>(a, at, 4 * lanes);
    for (; at < n; at += lanes) points<1>(a, at, n - at);
  }
  // A tensor's elements from `first` on, or null.
  static const void* from(const void* t, int64_t first) {
    return t == nullptr ? nullptr : static_cast<const T*>(t) + first;
  }
  static void* from(void* t, int64_t first) {
    return t == nullptr ? nullptr : static_cast<T*>(t) + first;
  }
  template <int U>
  static void points(const VmfMixtureArgs& a, int at, int n) {
    V result[U], weight[U];
    const auto count = [n](int u) { return n - u * lanes < lanes ? n - u * lanes : lanes; };
    const auto read = [&](const void* t, V(&to)[U]) {
      for (int u = 0; u < U; ++u)
        to[u] = t == nullptr ? real<V>(0.0)
                             : load_lanes<V>(static_cast<const T*>(t) + at + u * lanes, count(u));
    };
    const auto write = [&](void* t, const V(&values)[U]) {
      if (t == nullptr) return;
      for (int u = 0; u < U; ++u)
        store_lanes<V>(static_cast<T*>(t) + at + u * lanes, values[u], count(u));
    };
    read(a.grad, result);
    read(a.weights, weight);
    VmfMixturePoints<V, U>{a, at}.run(result, weight);
    write(a.log_prob, result);
    write(a.grad_weights, weight);
  }

  // sum_k dz_k kappa_k loc_k, and with the statistics' gradients sum_k s r_k G_k
  void pull_back_to_x(int64_t first, int n) const {
    const Sink to{call_.grad_x, call_.x.dtype};
    const bool direct = to.dtype == dtype_of<T>;
    T* rows = direct ? static_cast<T*>(to.base) + first * dim_ : copy_;
    const int64_t stride = direct ? dim_ : copied_;
    // Long rows are written one after the other.
    const int together = along_rows_ ? panel_rows : n;
    for (int first_row = 0; first_row < n; first_row += together) {
      const int some = n - first_row < together ? n - first_row : together;
      Product<T, true>{out_ + first_row, 1,    strip_points, static_cast<const T*>(call_.scaled),
                       padded_,          some, padded_,      rows_}
          .run([](int, int) FK_INLINE_LAMBDA { return real<V>(0.0); },
               [&](int i, int j, V value) FK_INLINE_LAMBDA {
                 const int left = dim_ - j;
                 if (left > 0)
                   store_lanes<V>(rows + (first_row + i) * stride + j, value,
                                  left < lanes ? left : lanes);
               });
    }
    if (direct) return;
    for (int i = 0; i < n; ++i) distribute(to, (first + i) * dim_, 1, dim_, copy_ + i * stride);
  }

  void add(int n, bool begins_sum) {
    for (int k = 0; k < k_; ++k) {
      sums_->counts[k] += sum(out_ + k * strip_points, n);
      if (sums_->along != nullptr) sums_->along[k] += sum(products_ + k * strip_points, n);
    }
    // Vectors end with the rows of the copy, but not with those of x.
    const int within = in_place_ ? dim_ / lanes * lanes : padded_;
    add_columns(x_, x_row_, n, 0, within, begins_sum);
    if (within >= dim_) return;
    T last[strip_points * lanes];
    for (int r = 0; r < n; ++r)
      store<V>(last + r * lanes, load_lanes<V>(x_ + r * x_row_ + within, dim_ - within));
    add_columns(last, lanes, n, within, lanes, begins_sum);
  }
  void add_columns(const T* x, int64_t x_row, int n, int at, int width, bool begins_sum) {
    const auto place = [&](int i, int j)
                           FK_INLINE_LAMBDA { return with_x_ + int64_t(i) * padded_ + at + j; };
    Product<T, true>{out_, strip_points, 1, x, x_row, k_, width, n}.run(
        [&](int i, int j)
            FK_INLINE_LAMBDA { return begins_sum ? real<V>(0.0) : load<V>(place(i, j)); },
        [&](int i, int j, V value) FK_INLINE_LAMBDA { store<V>(place(i, j), value); });
  }
  static T sum(const T* values, int n) {
    V total(T(0));
    for_lanes<V>(n, [&](int i, int count) { total += load_lanes<V>(values + i, count); });
    return hsum(total);
  }
  void flush_sums() {
    if (sums_ == nullptr) return;
    for (int64_t i = 0; i < int64_t(k_) * padded_; ++i) sums_->with_x[i] += with_x_[i];
  }

  const VmfMixtureCall& call_;
  const VmfMixtureSums* sums_;
  const int k_, rows_, dim_, padded_;
  const int64_t copied_;
  const bool along_rows_, in_place_;
  const int step_;
  const T* x_ = nullptr;  // the strip's points, and from one to the next
  int64_t x_row_ = 0;
  T *columns_, *products_, *out_, *grad_log_r_, *copy_, *with_x_;
};

void mixture(const VmfMixtureCall& call, int64_t begin, int64_t end, const VmfMixtureSums* sums,
             void* room) {
  call.points.wide == DType::f64 ? Mixture<double>(call, sums, room).run(begin, end)
                                 : Mixture<float>(call, sums, room).run(begin, end);
}

}  // namespace
}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(vmf_mixture, fk::FK_ISA::loops::mixture);
}  // namespace cpu
}  // namespace fk
