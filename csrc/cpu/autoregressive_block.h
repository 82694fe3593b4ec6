// A block of rows of an autoregressive map: values and gradients of a masked network's units,
// one feature at a time.
//
// A masked network (arXiv 1502.03509) whose units are sorted by degree needs, for the next
// feature, the units of one degree: each layer is extended by them, from what the layers before
// have by then.  Solving for all features thus costs one pass of the network.  Vectors run across
// the rows: element r of unit i is at [i * block + r].
#pragma once

#include "../args/autoregressive.h"
#include "../engine/cpu/transpose.h"

FK_BEGIN
namespace loops {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int units_together = 4;
#else
constexpr int units_together = 2;
#endif

// Where the source has unit or input i.
FK_HD int64_t place(const int64_t* index, int64_t i) { return index == nullptr ? i : index[i]; }

template <class T>
struct MaskedBlock {
  using V = Vec<T>;
  static constexpr int lanes = lanes_v<V>;
  static constexpr int vectors = 4;
  static constexpr int rows = vectors * lanes;

  const AutoregressiveArgs& a;
  // Of the features and then of every layer's units.
  T* value;
  T* grad;
  const T* offset;  // what the first layer's units begin with, as the source has them

  static int64_t elements(const AutoregressiveArgs& a) {
    const AutoregressiveLayer& last = a.layer[a.layers - 1];
    return (a.features + last.before + last.units) * rows;
  }

  T* input_values(int64_t layer) const { return value + inputs_before(layer) * rows; }
  T* unit_values(int64_t layer) const { return value + units_before(layer) * rows; }
  T* unit_grads(int64_t layer) const { return grad + units_before(layer) * rows; }

  // What the network says of the feature that is solved for at step p.
  const T* outputs(int64_t p) const { return unit_values(a.layers - 1) + p * a.outputs * rows; }
  T* output_grads(int64_t p) const { return unit_grads(a.layers - 1) + p * a.outputs * rows; }

  // The units of degree p, of every layer.
  void extend(int64_t p) const {
    for (int64_t i = 0; i < a.layers; ++i) {
      const AutoregressiveLayer& l = a.layer[i];
      const int64_t begin = p > 0 ? l.end[p - 1] : 0, end = l.end[p];
      if (begin == end) continue;
      const T* const bias = static_cast<const T*>(l.bias_panel);
      T* const to = unit_values(i);
      const bool last = i + 1 == a.layers;
      combine(
          static_cast<const T*>(l.panel), l.inputs, input_values(i), l.seen[begin], begin, end,
          [=, this, &l](int64_t unit, int v) {
            return i == 0 ? load<V>(offset + place(l.row, unit) * rows + v * lanes) : V(bias[unit]);
          },
          [=](int64_t unit, int v, V sum) {
            store<V>(to + unit * rows + v * lanes, last ? sum : max(sum, V(T(0))));
          });
    }
  }

  // The gradient of the feature of step p: what reaches it through the first layer is added.
  void pull_feature(int64_t p) const {
    const AutoregressiveLayer& l = a.layer[0];
    const int64_t begin = l.end[p];
    T* const to = grad;
    combine(
        static_cast<const T*>(l.turned) + begin, l.units, unit_grads(0) + begin * rows,
        l.units - begin, p, p + 1,
        [=](int64_t feature, int v) { return load<V>(to + feature * rows + v * lanes); },
        [=](int64_t feature, int v, V sum) { store<V>(to + feature * rows + v * lanes, sum); });
  }

  // The gradients of the units of degree p, of every layer but the last, from those above.
  void pull_units(int64_t p) const {
    for (int64_t i = a.layers - 1; i-- > 0;) {
      const AutoregressiveLayer &l = a.layer[i], &above = a.layer[i + 1];
      const int64_t begin = p > 0 ? l.end[p - 1] : 0, end = l.end[p];
      const int64_t seeing = p > 0 ? above.end[p - 1] : 0;
      const T* const h = unit_values(i);
      T* const to = unit_grads(i);
      combine(
          static_cast<const T*>(above.turned) + seeing, above.units,
          unit_grads(i + 1) + seeing * rows, above.units - seeing, begin, end,
          [](int64_t, int) { return V(T(0)); },
          [=](int64_t unit, int v, V sum) {
            const int64_t at = unit * rows + v * lanes;
            store<V>(to + at, select(load<V>(h + at) <= V(T(0)), V(T(0)), sum));
          });
    }
  }

 private:
  int64_t units_before(int64_t layer) const { return a.features + a.layer[layer].before; }
  int64_t inputs_before(int64_t layer) const { return layer > 0 ? units_before(layer - 1) : 0; }

  // finish(i, v, start(i, v) + sum of weights[i, k] values[k]) for units i of [begin, end).
  template <class Start, class Finish>
  static void combine(const T* weights, int64_t stride, const T* values, int64_t count,
                      int64_t begin, int64_t end, Start start, Finish finish) {
    int64_t i = begin;
    for (; i + units_together <= end; i += units_together)
      tile<units_together>(weights + i * stride, stride, values, count, i, start, finish);
    if constexpr (units_together > 2)
      for (; i + 2 <= end; i += 2)
        tile<2>(weights + i * stride, stride, values, count, i, start, finish);
    for (; i < end; ++i) tile<1>(weights + i * stride, stride, values, count, i, start, finish);
  }

  template <int units, class Start, class Finish>
  static void tile(const T* weights, int64_t stride, const T* values, int64_t count, int64_t i,
                   Start start, Finish finish) {
    V sum[units][vectors];
    for (int u = 0; u < units; ++u)
      for (int v = 0; v < vectors; ++v) sum[u][v] = start(i + u, v);
    for (int64_t k = 0; k < count; ++k, values += rows) {
      V across[vectors];
      for (int v = 0; v < vectors; ++v) across[v] = load<V>(values + v * lanes);
      for (int u = 0; u < units; ++u) {
        const V weight(weights[u * stride + k]);
        for (int v = 0; v < vectors; ++v) sum[u][v] = fma(weight, across[v], sum[u][v]);
      }
    }
    for (int u = 0; u < units; ++u)
      for (int v = 0; v < vectors; ++v) finish(i + u, v, sum[u][v]);
  }
};

// ---- rows of memory ------------------------------------------------------------------------

// `count` rows of `width` elements become columns; the last row stands for those that are missing.
template <class T>
void load_block(const T* from, int64_t stride, int64_t count, int64_t width, T* to) {
  constexpr int rows = MaskedBlock<T>::rows;
  if (count == rows && width >= 4) {
    for (int r = 0; r < rows; r += 4)
      columns::for_fours(static_cast<int>(width), [=](int i) {
        columns::transpose4(from + r * stride + i, stride, to + i * rows + r, rows);
      });
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const T* const row = from + (r < count ? r : count - 1) * stride;
    for (int64_t i = 0; i < width; ++i) to[i * rows + r] = row[i];
  }
}

// Columns become `count` rows of `width` elements.
template <class T>
void store_block(const T* from, int64_t count, int64_t width, int64_t stride, T* to) {
  constexpr int rows = MaskedBlock<T>::rows;
  int64_t r = 0;
  if (width >= 4)
    for (; r + 4 <= count; r += 4)
      columns::for_fours(static_cast<int>(width), [=](int i) {
        columns::transpose4(from + i * rows + r, rows, to + r * stride + i, stride);
      });
  for (; r < count; ++r)
    for (int64_t i = 0; i < width; ++i) to[r * stride + i] = from[i * rows + r];
}

}  // namespace loops
FK_END
