// A multilayer perceptron, a block of rows through all its layers at a time.
#include "mlp.h"

#include "../math/elementary.h"
#include "panel.h"

FK_BEGIN
namespace loops {
namespace {

template <class T>
class Network {
  using V = Vec<T>;

 public:
  explicit Network(const MlpArgs& args) : a_(args) {}

  // ---- panels ----

  void pack(bool backward) const {
    for (int64_t i = 0; i < a_.layers; ++i) backward ? pack_backward(i) : pack_forward(i);
  }

  // ---- rows ----

  void forward(int64_t begin, int64_t end) const {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t row = block * mlp_block;
      const int rows = rows_from(row);
      T buffer[2][most], stream[most];  // the residual stream
      const T* read = buffer[0];
      copy_rows(static_cast<const T*>(a_.x) + row * a_.x_stride[0], a_.x_stride, rows,
                a_.layer[0].in, a_.layer[0].padded_in, buffer[0]);
      for (int64_t i = 0; i < a_.layers; ++i) {
        const MlpLayer& l = a_.layer[i];
        if (i + 1 == a_.layers) {
          map_forward(l, read, rows,
                      Result{static_cast<T*>(a_.y) + row * l.out, l.out, {l.out, 1}, false});
        } else {
          T* const kept = static_cast<T*>(a_.layer[i + 1].input);
          T* const to = kept != nullptr ? kept + row * l.padded_out : buffer[(i + 1) % 2];
          hidden(i, read, rows, to, stream);
          read = to;
        }
      }
    }
  }

  void backward(int64_t begin, int64_t end) const {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * a_.chunk;
      const int64_t last = first + a_.chunk < a_.rows ? first + a_.chunk : a_.rows;
      for (int64_t row = first; row < last; row += mlp_block) pull_back(chunk, row, row == first);
    }
  }

  void sum(int64_t chunks) const {
    for (int64_t i = 0; i < a_.layers; ++i) {
      const MlpLayer& l = a_.layer[i];
      if (l.grad_bias != nullptr)
        sum_chunks(l.bias_sums, chunks, l.padded_out, 1, l.out, l.grad_bias);
      if (l.grad_weight != nullptr)
        sum_chunks(l.weight_sums, chunks, l.padded_in, l.out, l.in, l.grad_weight);
    }
  }

 private:
  static constexpr int64_t most = mlp_block * mlp_widest;  // elements of a block

  int rows_from(int64_t row) const {
    const int64_t left = a_.rows - row;
    return static_cast<int>(left < mlp_block ? left : mlp_block);
  }

  // ---- copies with zeros behind ----

  static void copy_rows(const T* from, const int64_t* stride, int64_t rows, int64_t width,
                        int64_t padded, T* to) {
    for (int64_t r = 0; r < rows; ++r, from += stride[0], to += padded) {
      if (stride[1] == 1) {
        for (int64_t i = 0; i < width; ++i) to[i] = from[i];
      } else {
        for (int64_t i = 0; i < width; ++i) to[i] = from[i * stride[1]];
      }
      for (int64_t i = width; i < padded; ++i) to[i] = T(0);
    }
  }
  void pack_forward(int64_t i) const {
    const MlpLayer& l = a_.layer[i];
    const int64_t turned[2] = {l.weight_stride[1], l.weight_stride[0]};
    T* const panel = static_cast<T*>(l.forward_panel);
    copy_rows(static_cast<const T*>(l.weight), turned, l.in, l.out, l.padded_out, panel);
    const int64_t stride[2] = {0, l.bias_stride};
    copy_rows(static_cast<const T*>(l.bias), stride, 1, l.out, l.padded_out,
              panel + l.in * l.padded_out);
  }
  void pack_backward(int64_t i) const {
    const MlpLayer& l = a_.layer[i];
    if (i > 0 || a_.grad_x != nullptr)
      copy_rows(static_cast<const T*>(l.weight), l.weight_stride, l.out, l.in, l.padded_in,
                static_cast<T*>(l.backward_panel));
  }

  // ---- between the layers ----

  // What layer i + 1 reads.
  void hidden(int64_t i, const T* read, int rows, T* to, T* stream) const {
    const MlpLayer& l = a_.layer[i];
    const int64_t width = l.padded_out;
    if (a_.residual && i % 2 == 0) {
      map_forward(l, read, rows, Result{stream, width, {width, 1}, i > 0});
      activate(stream, rows * width, a_.reads_activated(i + 1, a_.layers), to);
    } else if (a_.activation == Activation::relu) {
      map_forward(l, read, rows, Relu{to, width});
    } else {
      map_forward(l, read, rows, Result{to, width, {width, 1}, false});
      activate(to, rows * width, true, to);
    }
  }

  // n values are whole vectors; those of padding are 0 and stay so.
  template <class Function>
  static void for_vectors(int64_t n, Function function) {
    for (int64_t i = 0; i < n; i += lanes_v<V>) function(i);
  }
  void activate(const T* from, int64_t n, bool activated, T* to) const {
    const auto map = [=](auto function) {
      for_vectors(n, [=](int64_t i) { store<V>(to + i, function(load<V>(from + i))); });
    };
    const V zero(T(0)), slope(static_cast<T>(a_.negative_slope));
    if (!activated) return map([](V v) { return v; });
    switch (a_.activation) {
      case Activation::relu:
        return map([=](V v) { return max(v, zero); });
      case Activation::leaky_relu:
        return map([=](V v) { return select(v > zero, v, slope * v); });
      case Activation::elu:
        return map([=](V v) { return select(v > zero, v, expm1(min(v, zero))); });
      case Activation::tanh:
        return map([](V v) { return tanh(v); });
    }
  }
  // Multiplies gradients by the slopes where the activation returned h.
  void pull_activation(const T* h, int64_t n, T* grad) const {
    const auto map = [=](auto slope_of) {
      for_vectors(
          n, [=](int64_t i) { store<V>(grad + i, load<V>(grad + i) * slope_of(load<V>(h + i))); });
    };
    const V zero(T(0)), one(T(1)), slope(static_cast<T>(a_.negative_slope));
    switch (a_.activation) {
      case Activation::relu:
        return map([=](V h) { return select(h > zero, one, zero); });
      case Activation::leaky_relu:
        return map([=](V h) { return select(h > zero, one, slope); });
      case Activation::elu:
        return map([=](V h) { return select(h > zero, one, h + one); });
      case Activation::tanh:
        return map([=](V h) { return (one - h) * (one + h); });
    }
  }

  // ---- what becomes of a product's rows ----

  struct Relu {
    T* to;
    int64_t width;
    FK_HD void operator()(int i, int j, V v) const {
      store<V>(to + i * width + j, max(v, V(T(0))));
    }
  };
  struct Result {  // of any strides; added to what is there, or not
    T* to;
    int64_t width, stride[2];
    bool adds;
    FK_HD void operator()(int i, int j, V v) const {
      const int64_t left = width - j;
      const int n = left < lanes_v<V> ? static_cast<int>(left) : lanes_v<V>;
      T* const p = to + i * stride[0] + j * stride[1];
      if (stride[1] == 1) {
        store_lanes<V>(p, adds ? v + load_lanes<V>(p, n) : v, n);
        return;
      }
      alignas(V) T values[lanes_v<V>];
      store<V>(values, v);
      for (int k = 0; k < n; ++k) {
        T& at = p[k * stride[1]];
        at = adds ? at + values[k] : values[k];
      }
    }
  };
  struct ReluPullback {  // h is what the ReLU returned
    T* to;
    const T* h;
    int64_t width;
    FK_HD void operator()(int i, int j, V v) const {
      const V gate = load<V>(h + i * width + j);
      store<V>(to + i * width + j, select(gate <= V(T(0)), V(T(0)), v));
    }
  };

  template <class Finish>
  void map_forward(const MlpLayer& l, const T* read, int rows, Finish finish) const {
    const T* const panel = static_cast<const T*>(l.forward_panel);
    const T* const bias = panel + l.in * l.padded_out;
    Product<T>{read,
               l.padded_in,
               1,
               panel,
               l.padded_out,
               rows,
               static_cast<int>(l.padded_out),
               static_cast<int>(l.in)}
        .run([=](int, int j) { return load<V>(bias + j); }, finish);
  }

  // ---- gradients ----

  void pull_back(int64_t chunk, int64_t row, bool first) const {
    T x[most], buffer[2][most], stream[most];  // the gradient of the residual stream
    const int rows = rows_from(row);
    const MlpLayer &top = a_.layer[a_.layers - 1], &bottom = a_.layer[0];
    copy_rows(static_cast<const T*>(a_.grad_y) + row * a_.grad_y_stride[0], a_.grad_y_stride, rows,
              top.out, top.padded_out, buffer[0]);
    if (bottom.grad_weight != nullptr)
      copy_rows(static_cast<const T*>(a_.x) + row * a_.x_stride[0], a_.x_stride, rows, bottom.in,
                bottom.padded_in, x);
    const T* g = buffer[0];
    for (int64_t i = a_.layers; i-- > 0;) {
      const MlpLayer& l = a_.layer[i];
      const T* const h = i > 0 ? static_cast<const T*>(l.input) + row * l.padded_in : x;
      add_sums(l, chunk, g, h, rows, first);
      T* const next = buffer[(a_.layers - i) % 2];
      if (i > 0) {
        pull_hidden(i, g, h, rows, next);
      } else if (a_.grad_x != nullptr) {
        T* const to = static_cast<T*>(a_.grad_x) + row * a_.grad_x_stride[0];
        map_backward(
            l, g, rows,
            Result{to, l.in, {a_.grad_x_stride[0], a_.grad_x_stride[1]}, a_.adds_to_grad_x});
      }
      g = next;
      if (a_.residual && i % 2 == 1) {
        const bool sets = i == a_.layers - 1;
        for_vectors(rows * l.padded_in, [&](int64_t k) {
          const V v = load<V>(next + k);
          store<V>(stream + k, sets ? v : v + load<V>(stream + k));
        });
        g = stream;
      }
    }
  }

  // The gradient of what layer i - 1 returned, from that of what layer i did, which read h.
  void pull_hidden(int64_t i, const T* g, const T* h, int rows, T* to) const {
    const MlpLayer& l = a_.layer[i];
    const int64_t width = l.padded_in;
    const bool activated = a_.reads_activated(i, a_.layers);
    if (activated && a_.activation == Activation::relu)
      return map_backward(l, g, rows, ReluPullback{to, h, width});
    map_backward(l, g, rows, Result{to, width, {width, 1}, false});
    if (activated) pull_activation(h, rows * width, to);
  }

  template <class Finish>
  void map_backward(const MlpLayer& l, const T* g, int rows, Finish finish) const {
    Product<T>{g,
               l.padded_out,
               1,
               static_cast<const T*>(l.backward_panel),
               l.padded_in,
               rows,
               static_cast<int>(l.padded_in),
               static_cast<int>(l.out)}
        .run([](int, int) { return V(T(0)); }, finish);
  }

  void add_sums(const MlpLayer& l, int64_t chunk, const T* g, const T* h, int rows,
                bool first) const {
    if (l.grad_weight != nullptr) {
      T* const sums = static_cast<T*>(l.weight_sums) + chunk * l.out * l.padded_in;
      const int64_t width = l.padded_in;
      Product<T>{g,   1, l.padded_out, h, width, static_cast<int>(l.out), static_cast<int>(width),
                 rows}
          .run([=](int i, int j) { return first ? V(T(0)) : load<V>(sums + i * width + j); },
               [=](int i, int j, V v) { store<V>(sums + i * width + j, v); });
    }
    if (l.grad_bias != nullptr) {
      T* const sums = static_cast<T*>(l.bias_sums) + chunk * l.padded_out;
      for (int64_t j = 0; j < l.padded_out; j += lanes_v<V>) {
        V sum = first ? V(T(0)) : load<V>(sums + j);
        for (int r = 0; r < rows; ++r) sum += load<V>(g + r * l.padded_out + j);
        store<V>(sums + j, sum);
      }
    }
  }

  static void sum_chunks(const void* sums, int64_t chunks, int64_t padded, int64_t rows,
                         int64_t width, void* to) {
    const T* from = static_cast<const T*>(sums);
    T* out = static_cast<T*>(to);
    for (int64_t r = 0; r < rows; ++r, from += padded, out += width) {
      for (int64_t j = 0; j < width; j += lanes_v<V>) {
        V sum = load<V>(from + j);
        for (int64_t c = 1; c < chunks; ++c) sum += load<V>(from + c * rows * padded + j);
        const int64_t left = width - j;
        store_lanes<V>(out + j, sum, left < lanes_v<V> ? static_cast<int>(left) : lanes_v<V>);
      }
    }
  }

  const MlpArgs& a_;
};

template <class Run>
void with_network(const MlpArgs& a, Run run) {
  a.float64 ? run(Network<double>(a)) : run(Network<float>(a));
}

int64_t lanes(bool float64) { return float64 ? lanes_v<Vec<double>> : lanes_v<Vec<float>>; }
void pack(const MlpArgs& a, bool backward) {
  with_network(a, [=](const auto& network) { network.pack(backward); });
}
void forward(const MlpArgs& a, int64_t begin, int64_t end) {
  with_network(a, [=](const auto& network) { network.forward(begin, end); });
}
void backward(const MlpArgs& a, int64_t begin, int64_t end) {
  with_network(a, [=](const auto& network) { network.backward(begin, end); });
}
void sum(const MlpArgs& a, int64_t chunks) {
  with_network(a, [=](const auto& network) { network.sum(chunks); });
}

}  // namespace
}  // namespace loops
FK_END

namespace fk {
namespace cpu {
namespace impl = fk::FK_ISA::loops;
FK_REGISTER_KERNEL(mlp_lanes, impl::lanes);
FK_REGISTER_KERNEL(mlp_pack, impl::pack);
FK_REGISTER_KERNEL(mlp_forward, impl::forward);
FK_REGISTER_KERNEL(mlp_backward, impl::backward);
FK_REGISTER_KERNEL(mlp_sum, impl::sum);
}  // namespace cpu
}  // namespace fk
