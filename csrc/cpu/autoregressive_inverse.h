// The inverse of an autoregressive map and its pullback, a block of rows at a time.
//
// z_p = f(x_p; h_p(x_<p)) is solved for x_0, x_1, ... in turn.  The pullback solves the transposed
// triangular system: from the last feature to the first, each gradient is complete once those of
// the features and units that depend on it are.
//
// `Feature` is what happens to one feature given the network's outputs for it, which lie one after
// the other, each for all rows of the block:
//
//   solve(z, outputs, x, log_det)    x of z, adding log|dx/dz| to log_det
//   pull(z, outputs, grad_x, grad_log_det, grad_z, grad_outputs)
#pragma once

#include "autoregressive_block.h"
#include "panel.h"

FK_BEGIN
namespace loops {

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

// Blocks or chunks [begin, end) of a call.
template <template <class> class Feature, class Args>
void autoregressive_forward(const Args& a, void* scratch, int64_t begin, int64_t end) {
  const auto run = [&](auto t) {
    using T = decltype(t);
    Inverse<T, Feature>(a, Feature<T>(a.options), static_cast<T*>(scratch)).forward(begin, end);
  };
  a.float64 ? run(double()) : run(float());
}
template <template <class> class Feature, class Args>
void autoregressive_backward(const Args& a, void* scratch, int64_t begin, int64_t end) {
  const auto run = [&](auto t) {
    using T = decltype(t);
    Inverse<T, Feature>(a, Feature<T>(a.options), static_cast<T*>(scratch)).backward(begin, end);
  };
  a.float64 ? run(double()) : run(float());
}

}  // namespace loops
FK_END
