// The inverse of an autoregressive map and its pullback, a block of rows at a time.
//
// z_p = f(x_p; h_p(x_<p)) is solved for x_0, x_1, ... in turn.  The pullback solves the transposed
// triangular system: from the last feature to the first, each gradient is complete once those of
// the features and units that depend on it are.
#include "autoregressive.h"

#include "autoregressive_block.h"
#include "panel.h"

FK_BEGIN
namespace loops {
namespace {

// ---- what happens to a feature ----------------------------------------------------------------

// The affine map: a feature's outputs are its shift and its raw scale.
template <class T>
struct AffineFeature {
  using V = Vec<T>;
  static constexpr int rows = MaskedBlock<T>::rows;
  CouplingOptions options;

  // x of z; log_det -= log s.
  void solve(const T* z, const T* outputs, T* x, T* log_det) const {
    with_scale(
        [=, this](V raw, auto scale_of, int i) FK_INLINE_LAMBDA {
          const auto scale = scale_of(raw);
          store<V>(x + i, coupling_apply(load<V>(z + i), load<V>(outputs + i), scale.s,
                                         options.shift_first, /*inverse=*/true));
          store<V>(log_det + i, load<V>(log_det + i) - scale.log_s);
        },
        outputs);
  }
  void pull(const T* z, const T* outputs, const T* grad_x, const T* grad_log_det, T* grad_z,
            T* grad_outputs) const {
    with_scale(
        [=, this](V raw, auto scale_of, int i) FK_INLINE_LAMBDA {
          const auto grad =
              coupling_pullback(load<V>(grad_x + i), load<V>(grad_log_det + i), load<V>(z + i),
                                load<V>(outputs + i), scale_of(raw), options.shift_first,
                                /*inverse=*/true);
          store<V>(grad_z + i, grad.x);
          store<V>(grad_outputs + i, grad.shift);
          store<V>(grad_outputs + rows + i, grad.raw);
        },
        outputs);
  }

 private:
  template <class Body>
  void with_scale(Body body, const T* outputs) const {
    const T b = static_cast<T>(options.bound);
    const V bound(b), inverse_bound(T(1) / b);
    switch (options.scale_fn) {
#define FK_CASE(F)                                                                          \
  case ScaleFn::F:                                                                          \
    for (int i = 0; i < rows; i += lanes_v<V>)                                              \
      body(                                                                                 \
          load<V>(outputs + rows + i),                                                      \
          [=](V raw) { return coupling_scale<ScaleFn::F>(raw, bound, inverse_bound); }, i); \
    break;
      FK_SCALE_FUNCTIONS(FK_CASE)
#undef FK_CASE
    }
  }
};

// ---- blocks of rows ---------------------------------------------------------------------------

template <class T, template <class> class Feature>
class Inverse {
  using V = Vec<T>;
  using Block = MaskedBlock<T>;
  static constexpr int rows = Block::rows;

 public:
  Inverse(const AutoregressiveArgs& a, const Feature<T>& feature, T* scratch)
      : a_(a), feature_(feature), units_(a.layer[0].units), block_{a, scratch, nullptr, nullptr} {
    T* p = scratch + Block::elements(a);
    const auto take = [&](int64_t count) {
      T* const taken = p;
      p += count * rows;
      return taken;
    };
    z_ = take(a.features);
    x_ = take(a.features);
    log_det_ = take(1);
    block_.offset = offset_ = take(units_);
    if (a.grad_x == nullptr) return;
    block_.grad = p;
    p += Block::elements(a);
    grad_log_det_ = take(1);
    grad_z_ = take(a.features);
    turned_ = take(widest_input(a));
  }
  static int64_t scratch(const AutoregressiveArgs& a, bool backward) {
    const int64_t forward = Block::elements(a) + (2 * a.features + 1 + a.layer[0].units) * rows;
    if (!backward) return forward;
    return forward + Block::elements(a) + (1 + a.features + widest_input(a)) * rows;
  }

  void forward(int64_t begin, int64_t end) const {
    for (int64_t row = begin * rows; row < a_.rows && row < end * rows; row += rows) {
      const int64_t count = rows_from(row);
      read(row, count);
      solve();
      store_block(x_, count, a_.features, a_.features, static_cast<T*>(a_.x) + row * a_.features);
      store_block(log_det_, count, 1, 1, static_cast<T*>(a_.log_det) + row);
    }
  }
  void backward(int64_t begin, int64_t end) const {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * a_.chunk * rows, last = first + a_.chunk * rows;
      for (int64_t row = first; row < a_.rows && row < last; row += rows) {
        const int64_t count = rows_from(row);
        read(row, count);
        solve();
        read_grads(row, count);
        pull();
        store_block(grad_z_, count, a_.features, a_.features,
                    static_cast<T*>(a_.grad_z) + row * a_.features);
        for (int64_t i = 0; i < units_; ++i)
          memcpy(offset_ + place(a_.layer[0].row, i) * rows, block_.unit_grads(0) + i * rows,
                 rows * sizeof(T));
        store_block(offset_, count, units_, units_, static_cast<T*>(a_.grad_offset) + row * units_);
        for (int64_t i = 0; i < a_.layers; ++i) add_sums(i, chunk, row == first);
      }
    }
  }

 private:
  static int64_t padded(int64_t width) {
    return (width + Block::lanes - 1) / Block::lanes * Block::lanes;
  }
  static int64_t widest_input(const AutoregressiveArgs& a) {
    int64_t widest = 0;
    for (int64_t i = 0; i < a.layers; ++i)
      widest = widest < padded(a.layer[i].inputs) ? padded(a.layer[i].inputs) : widest;
    return widest;
  }
  int64_t rows_from(int64_t row) const { return a_.rows - row < rows ? a_.rows - row : rows; }

  void read(int64_t row, int64_t count) const {
    load_block(static_cast<const T*>(a_.z) + row * a_.features, a_.features, count, a_.features,
               z_);
    load_block(static_cast<const T*>(a_.offset) + row * a_.offset_stride, a_.offset_stride, count,
               units_, offset_);
  }
  void solve() const {
    for (int i = 0; i < rows; ++i) log_det_[i] = T(0);
    for (int64_t p = 0; p < a_.features; ++p) {
      block_.extend(p);
      T* const x = x_ + a_.order[p] * rows;
      feature_.solve(z_ + a_.order[p] * rows, block_.outputs(p), x, log_det_);
      memcpy(block_.value + p * rows, x, rows * sizeof(T));
    }
  }

  // The rows that are missing have no gradient.
  void read_grads(int64_t row, int64_t count) const {
    load_block(static_cast<const T*>(a_.grad_x) + row * a_.features, a_.features, count,
               a_.features, x_);
    for (int64_t p = 0; p < a_.features; ++p) {
      T* const to = block_.grad + p * rows;
      memcpy(to, x_ + a_.order[p] * rows, rows * sizeof(T));
      for (int64_t r = count; r < rows; ++r) to[r] = T(0);
    }
    const T* const from = static_cast<const T*>(a_.grad_log_det) + row;
    for (int64_t r = 0; r < rows; ++r) grad_log_det_[r] = r < count ? from[r] : T(0);
  }
  void pull() const {
    for (int64_t p = a_.features; p-- > 0;) {
      const int64_t at = a_.order[p] * rows;
      block_.pull_feature(p);
      feature_.pull(z_ + at, block_.outputs(p), block_.grad + p * rows, grad_log_det_, grad_z_ + at,
                    block_.output_grads(p));
      block_.pull_units(p);
    }
  }

  // ---- gradients of weights and biases ----

  void add_sums(int64_t layer, int64_t chunk, bool first) const {
    const AutoregressiveLayer& l = a_.layer[layer];
    const int64_t width = padded(l.inputs);
    const T* const grads = block_.unit_grads(layer);
    store_block(block_.input_values(layer), rows, l.inputs, width, turned_);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = l.inputs; k < width; ++k) turned_[r * width + k] = T(0);
    T* const sums = static_cast<T*>(l.weight_sums) + chunk * l.units * width;
    for (int64_t i = 0; i < l.units; i += panel_rows) {
      const int64_t some = l.units - i < panel_rows ? l.units - i : panel_rows;
      T* const to = sums + i * width;
      // The last of the units sees most.
      Product<T>{grads + i * rows,
                 rows,
                 1,
                 turned_,
                 width,
                 static_cast<int>(some),
                 static_cast<int>(padded(l.seen[i + some - 1])),
                 rows}
          .run([=](int u, int k) { return first ? V(T(0)) : load<V>(to + u * width + k); },
               [=](int u, int k, V v) { store<V>(to + u * width + k, v); });
    }
    if (layer == 0) return;
    T* const of_biases = static_cast<T*>(l.bias_sums) + chunk * l.units;
    for (int64_t i = 0; i < l.units; ++i) {
      V sum = load<V>(grads + i * rows);
      for (int v = Block::lanes; v < rows; v += Block::lanes) sum += load<V>(grads + i * rows + v);
      of_biases[i] = (first ? T(0) : of_biases[i]) + hsum(sum);
    }
  }

  const AutoregressiveArgs& a_;
  Feature<T> feature_;
  int64_t units_;  // of the first layer
  Block block_;
  // By feature: element r of feature d is at [d * rows + r].
  T *z_, *x_, *grad_z_ = nullptr;
  T *log_det_, *grad_log_det_ = nullptr;
  T* offset_;
  T* turned_ = nullptr;  // what a layer reads, as rows
};

// ---- weights -----------------------------------------------------------------------------------

template <class T>
void pack_layer(const AutoregressiveLayer& l, bool backward) {
  const T *const weight = static_cast<const T*>(l.weight), *const bias =
                                                               static_cast<const T*>(l.bias);
  T *const panel = static_cast<T*>(l.panel), *const turned = static_cast<T*>(l.turned);
  for (int64_t i = 0; i < l.units; ++i) {
    const T* const from = weight + place(l.row, i) * l.inputs;
    T* const to = panel + i * l.inputs;
    if (l.column == nullptr) {
      memcpy(to, from, l.seen[i] * sizeof(T));
    } else {
      for (int64_t k = 0; k < l.seen[i]; ++k) to[k] = from[l.column[k]];
    }
    if (bias != nullptr) static_cast<T*>(l.bias_panel)[i] = bias[place(l.row, i)];
    if (backward)
      for (int64_t k = 0; k < l.seen[i]; ++k) turned[k * l.units + i] = to[k];
  }
}

// Zeros where the mask is.
template <class T>
void sum_layer(const AutoregressiveLayer& l, int64_t chunks) {
  constexpr int64_t lanes = lanes_v<Vec<T>>;
  const int64_t width = (l.inputs + lanes - 1) / lanes * lanes;
  const T* const sums = static_cast<const T*>(l.weight_sums);
  for (int64_t i = 0; i < l.units; ++i) {
    T* const to = static_cast<T*>(l.grad_weight) + place(l.row, i) * l.inputs;
    for (int64_t k = 0; k < l.inputs; ++k) {
      T sum(0);
      for (int64_t c = 0; k < l.seen[i] && c < chunks; ++c)
        sum += sums[(c * l.units + i) * width + k];
      to[place(l.column, k)] = sum;
    }
    if (l.bias == nullptr) continue;
    T sum(0);
    for (int64_t c = 0; c < chunks; ++c) sum += static_cast<const T*>(l.bias_sums)[c * l.units + i];
    static_cast<T*>(l.grad_bias)[place(l.row, i)] = sum;
  }
}

// ---- kernels -----------------------------------------------------------------------------------

template <class Body>
auto with_type(const AutoregressiveArgs& a, Body body) {
  return a.float64 ? body(double()) : body(float());
}

int64_t block(bool float64) {
  return float64 ? MaskedBlock<double>::rows : MaskedBlock<float>::rows;
}
int64_t lanes(bool float64) { return float64 ? lanes_v<Vec<double>> : lanes_v<Vec<float>>; }
int64_t scratch(const AutoregressiveArgs& a, bool backward) {
  return with_type(
      a, [&](auto t) { return Inverse<decltype(t), AffineFeature>::scratch(a, backward); });
}
void pack(const AutoregressiveArgs& a, bool backward) {
  with_type(a, [&](auto t) {
    for (int64_t i = 0; i < a.layers; ++i) pack_layer<decltype(t)>(a.layer[i], backward);
  });
}
void sum(const AutoregressiveArgs& a, int64_t chunks) {
  with_type(a, [&](auto t) {
    for (int64_t i = 0; i < a.layers; ++i) sum_layer<decltype(t)>(a.layer[i], chunks);
  });
}
template <class T>
auto affine_inverse(const AutoregressiveArgs& a, void* scratch) {
  return Inverse<T, AffineFeature>(a, AffineFeature<T>{a.coupling}, static_cast<T*>(scratch));
}
void affine_forward(const AutoregressiveArgs& a, void* scratch, int64_t begin, int64_t end) {
  with_type(a, [&](auto t) { affine_inverse<decltype(t)>(a, scratch).forward(begin, end); });
}
void affine_backward(const AutoregressiveArgs& a, void* scratch, int64_t begin, int64_t end) {
  with_type(a, [&](auto t) { affine_inverse<decltype(t)>(a, scratch).backward(begin, end); });
}

}  // namespace
}  // namespace loops
FK_END

namespace fk {
namespace cpu {
namespace impl = fk::FK_ISA::loops;
FK_REGISTER_KERNEL(autoregressive_block, impl::block);
FK_REGISTER_KERNEL(autoregressive_lanes, impl::lanes);
FK_REGISTER_KERNEL(autoregressive_scratch, impl::scratch);
FK_REGISTER_KERNEL(autoregressive_pack, impl::pack);
FK_REGISTER_KERNEL(autoregressive_sum, impl::sum);
FK_REGISTER_KERNEL(affine_autoregressive_inverse, impl::affine_forward);
FK_REGISTER_KERNEL(affine_autoregressive_inverse_backward, impl::affine_backward);
}  // namespace cpu
}  // namespace fk
