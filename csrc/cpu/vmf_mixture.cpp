// Mixtures in strips of points: a strip's products with the locations, its densities, and what it
// adds to sums or gradients, while it is in the cache.
#include "vmf_mixture.h"

#include "../engine/cpu/transpose.h"
#include "panel.h"

FK_BEGIN
namespace loops {
namespace {

constexpr int strip_points = mixture_strip, slab = mixture_slab;
static_assert(strip_points == block_rows);
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
        dim_(static_cast<int>(call.dim)),
        padded_(static_cast<int>(mixture_padded(call.dim))),
        copied_(mixture_copied(call.points.components, call.dim)) {
    T* at = static_cast<T*>(room);
    const auto take = [&at](int64_t elements) {
      T* taken = at;
      at += elements;
      return taken;
    };
    columns_ = take((dim_ < slab ? dim_ : slab) * int64_t{strip_points});
    products_ = take(int64_t(k_) * strip_points);
    out_ = take(int64_t(k_) * strip_points);
    grad_log_r_ = take(int64_t(k_) * strip_points);
    copy_ = take(copied_ * strip_points);
    with_x_ = take(int64_t(k_) * padded_);
  }

  void run(int64_t begin, int64_t end) {
    int64_t held = 0;
    for (int64_t first = begin; first < end; first += strip_points) {
      const int n = static_cast<int>(end - first < strip_points ? end - first : strip_points);
      strip(first, n, held == 0);
      held += n;
      if (held < flushed_points) continue;
      flush_sums();
      held = 0;
    }
    if (held > 0) flush_sums();
  }

 private:
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
    copy_rows(call_.x, first, n, dim_);
    multiply(n);
    densities(a, first, n);
    if (call_.log_r != nullptr)
      columns::store_rows_apart<T>(as_columns(out_), static_cast<T*>(call_.log_r) + first * k_, k_,
                                   n, k_);
    if (sums_ != nullptr) add(n, begins_sum);
    if (call_.grad_x != nullptr) pull_back_to_x(first, n);  // overwrites the copy of x
  }

  // The products with the locations, of so many elements at a time that they stay in the cache.
  void multiply(int n) {
    const T* locs = static_cast<const T*>(call_.locs);
    const int whole = (n + lanes - 1) / lanes * lanes;
    for (int at = 0; at < dim_; at += slab) {
      const int width = dim_ - at < slab ? dim_ - at : slab;
      columns::load_rows<T>(copy_ + at, copied_, n, width, as_columns(columns_));
      const auto product = [this](int i, int j)
                               FK_INLINE_LAMBDA { return products_ + i * strip_points + j; };
      Product<T, true>{locs + at, dim_, 1, columns_, strip_points, k_, whole, width}.run(
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
    a.grad = a.grad == nullptr ? nullptr : static_cast<const T*>(a.grad) + first;
    if (a.log_prob != nullptr) a.log_prob = static_cast<T*>(a.log_prob) + first;
    int at = 0;
    for (; n - at >= 4 * lanes; at += 4 * lanes) points<4>(a, at, 4 * lanes);
    for (; at < n; at += lanes) points<1>(a, at, n - at);
  }
  template <int U>
  static void points(const VmfMixtureArgs& a, int at, int n) {
    const T* grad = static_cast<const T*>(a.grad);
    T* log_prob = static_cast<T*>(a.log_prob);
    V result[U];
    const auto count = [n](int u) { return n - u * lanes < lanes ? n - u * lanes : lanes; };
    for (int u = 0; u < U; ++u)
      result[u] = grad == nullptr ? real<V>(0.0) : load_lanes<V>(grad + at + u * lanes, count(u));
    VmfMixturePoints<V, U>{a, at}.run(result);
    if (log_prob == nullptr) return;
    for (int u = 0; u < U; ++u) store_lanes<V>(log_prob + at + u * lanes, result[u], count(u));
  }

  // sum_k dz_k kappa_k loc_k
  void pull_back_to_x(int64_t first, int n) const {
    const Sink to{call_.grad_x, call_.x.dtype};
    const bool direct = to.dtype == dtype_of<T>;
    T* rows = direct ? static_cast<T*>(to.base) + first * dim_ : copy_;
    const int64_t stride = direct ? dim_ : copied_;
    Product<T>{out_, 1, strip_points, static_cast<const T*>(call_.scaled), padded_, n, padded_, k_}
        .run([](int, int) FK_INLINE_LAMBDA { return real<V>(0.0); },
             [&](int i, int j, V value) FK_INLINE_LAMBDA {
               const int left = dim_ - j;
               if (left > 0)
                 store_lanes<V>(rows + i * stride + j, value, left < lanes ? left : lanes);
             });
    if (direct) return;
    for (int i = 0; i < n; ++i) distribute(to, (first + i) * dim_, 1, dim_, copy_ + i * stride);
  }

  void add(int n, bool begins_sum) {
    for (int k = 0; k < k_; ++k) {
      sums_->counts[k] += sum(out_ + k * strip_points, n);
      if (sums_->along != nullptr) sums_->along[k] += sum(products_ + k * strip_points, n);
    }
    Product<T, true>{out_, strip_points, 1, copy_, copied_, k_, padded_, n}.run(
        [&](int i, int j) FK_INLINE_LAMBDA {
          return begins_sum ? real<V>(0.0) : load<V>(with_x_ + int64_t(i) * padded_ + j);
        },
        [&](int i, int j, V value)
            FK_INLINE_LAMBDA { store<V>(with_x_ + int64_t(i) * padded_ + j, value); });
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
  const int k_, dim_, padded_;
  const int64_t copied_;
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
