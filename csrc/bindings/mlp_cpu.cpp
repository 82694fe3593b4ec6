#include "mlp_cpu.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "../cpu/mlp.h"

namespace fk {
namespace bindings {
namespace {

using at::Tensor;
using at::TensorList;

// Multiply-adds that a task should at least have, so that small calls stay on one thread.
constexpr int64_t task_products = 1 << 20;
// Gradients are summed in at most this many parts, which depend on the shape alone: the
// result is the same whatever the number of threads.
constexpr int64_t most_chunks = 32;

// The kernels' arguments and the memory they point into.
class Call {
 public:
  Call(const Tensor& x, TensorList weights, const MlpOptions& options) : options_(x.options()) {
    static_cast<MlpOptions&>(args) = options;
    args.float64 = x.scalar_type() == at::kDouble;
    args.layers = static_cast<int64_t>(weights.size());
    args.rows = x.size(0);
    args.x = x.data_ptr();
    args.x_stride[0] = x.stride(0);
    args.x_stride[1] = x.stride(1);
    for (const Tensor& w : weights) {
      MlpLayer l = {};
      l.in = w.size(1);
      l.out = w.size(0);
      l.padded_in = mlp_padded(x, l.in);
      l.padded_out = mlp_padded(x, l.out);
      l.weight = w.data_ptr();
      l.weight_stride[0] = w.stride(0);
      l.weight_stride[1] = w.stride(1);
      products_ += l.padded_in * l.padded_out;
      layers.push_back(l);
    }
    args.layer = layers.data();
  }

  // Panels of all layers; `size` tells how many elements a layer's takes.
  template <class Size, class Set>
  void allocate(Size size, Set set) {
    int64_t total = 0;
    for (const MlpLayer& l : layers) total += size(l);
    memory_.push_back(at::empty({total}, options_));
    char* p = static_cast<char*>(memory_.back().data_ptr());
    for (MlpLayer& l : layers) {
      set(l, p);
      p += size(l) * static_cast<int64_t>(options_.dtype().itemsize());
    }
  }

  // Rows to a task, in units of `rows`.
  int64_t grain(int64_t rows) const {
    return std::max<int64_t>(1, task_products / (rows * products_));
  }
  Tensor empty(at::IntArrayRef sizes) const { return at::empty(sizes, options_); }

  MlpArgs args = {};
  std::vector<MlpLayer> layers;

 private:
  at::TensorOptions options_;
  int64_t products_ = 0;
  std::vector<Tensor> memory_;
};

}  // namespace

int64_t mlp_padded(const Tensor& x, int64_t width) {
  const int64_t lanes = cpu::mlp_lanes(x.scalar_type() == at::kDouble);
  return (width + lanes - 1) / lanes * lanes;
}

bool mlp_has_kernels(const Tensor& x, TensorList weights) {
  const auto dtype = x.scalar_type();
  if (!x.is_cpu() || (dtype != at::kFloat && dtype != at::kDouble) || x.numel() == 0) return false;
  return std::all_of(weights.begin(), weights.end(), [](const Tensor& w) {
    return w.numel() > 0 && w.size(0) <= mlp_widest && w.size(1) <= mlp_widest;
  });
}

Tensor mlp_forward_cpu(const Tensor& x, TensorList weights, TensorList biases,
                       const MlpOptions& options, std::vector<Tensor>* hidden) {
  Call call(x, weights, options);
  MlpArgs& a = call.args;
  for (size_t i = 0; i < biases.size(); ++i) {
    MlpLayer& l = call.layers[i];
    l.bias = biases[i].data_ptr();
    l.bias_stride = biases[i].stride(0);
    if (i == 0 || hidden == nullptr) continue;
    hidden->push_back(call.empty({a.rows, l.padded_in}));
    l.input = hidden->back().data_ptr();
  }
  call.allocate([](const MlpLayer& l) { return (l.in + 1) * l.padded_out; },
                [](MlpLayer& l, void* p) { l.forward_panel = p; });
  Tensor y = call.empty({a.rows, call.layers.back().out});
  a.y = y.data_ptr();
  cpu::mlp_pack(a, false);
  at::parallel_for(0, (a.rows + mlp_block - 1) / mlp_block, call.grain(mlp_block),
                   [&](int64_t begin, int64_t end) { cpu::mlp_forward(a, begin, end); });
  return y;
}

void mlp_backward_cpu(const Tensor& grad_y, const Tensor& x, TensorList hidden, TensorList weights,
                      const MlpOptions& options, const std::vector<bool>& wanted,
                      std::vector<Tensor>& gradients) {
  Call call(x, weights, options);
  MlpArgs& a = call.args;
  const size_t layers = weights.size();
  a.grad_y = grad_y.data_ptr();
  a.grad_y_stride[0] = grad_y.stride(0);
  a.grad_y_stride[1] = grad_y.stride(1);
  const auto place = [&](size_t i, at::IntArrayRef sizes) -> void* {
    if (!wanted[i]) return nullptr;
    if (!gradients[i].defined()) gradients[i] = call.empty(sizes);
    return gradients[i].data_ptr();
  };
  a.adds_to_grad_x = gradients[0].defined();
  a.grad_x = place(0, x.sizes());
  if (wanted[0]) {
    a.grad_x_stride[0] = gradients[0].stride(0);
    a.grad_x_stride[1] = gradients[0].stride(1);
  }
  for (size_t i = 0; i < layers; ++i) {
    MlpLayer& l = call.layers[i];
    l.grad_weight = place(1 + i, {l.out, l.in});
    l.grad_bias = place(1 + layers + i, {l.out});
    if (i > 0) l.input = hidden[i - 1].data_ptr();
  }
  const int64_t blocks = (a.rows + mlp_block - 1) / mlp_block;
  a.chunk = (blocks + most_chunks - 1) / most_chunks * mlp_block;
  const int64_t chunks = (a.rows + a.chunk - 1) / a.chunk;
  call.allocate([](const MlpLayer& l) { return l.out * l.padded_in; },
                [](MlpLayer& l, void* p) { l.backward_panel = p; });
  call.allocate([=](const MlpLayer& l) { return chunks * l.out * l.padded_in; },
                [](MlpLayer& l, void* p) { l.weight_sums = p; });
  call.allocate([=](const MlpLayer& l) { return chunks * l.padded_out; },
                [](MlpLayer& l, void* p) { l.bias_sums = p; });
  cpu::mlp_pack(a, true);
  at::parallel_for(0, chunks, call.grain(3 * a.chunk),
                   [&](int64_t begin, int64_t end) { cpu::mlp_backward(a, begin, end); });
  cpu::mlp_sum(a, chunks);
}

}  // namespace bindings
}  // namespace fk
