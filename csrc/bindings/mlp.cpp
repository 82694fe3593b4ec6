// mlp: a ReLU network as one graph node.
//
// Narrow networks on the CPU have kernels (mlp_cpu.h); the others take torch's matrix
// products, and save what lies between them: Python, dispatch and a graph node per layer.
#include <ATen/Functions.h>
#include <ATen/autocast_mode.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <mutex>

#include "check.h"
#include "mlp.h"
#include "mlp_cpu.h"
#include "module.h"
#include "plain.h"

namespace fk {
namespace bindings {
namespace mlp {

// ---- arguments ---------------------------------------------------------------------

namespace {

// On a type of device that has no autocast (meta) torch raises when asked.
bool autocasts(const Tensor& x) {
  const at::DeviceType device = x.device().type();
  return at::autocast::is_autocast_available(device) && at::autocast::is_autocast_enabled(device);
}

bool layer_fits(const Tensor& x, const Tensor& weight, const Tensor& bias,
                const c10::SymInt& width) {
  const auto is_like_x = [&](const Tensor& t) {
    return t.layout() == at::kStrided && t.device() == x.device() &&
           (t.scalar_type() == x.scalar_type() || autocasts(x));
  };
  return weight.dim() == 2 && weight.sym_size(1) == width && bias.dim() == 1 &&
         bias.sym_size(0) == weight.sym_size(0) && is_like_x(weight) && is_like_x(bias);
}

// Names are made where there is something to say: a call per layer of a flow comes by here.
void refuse_layer(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  const c10::SymInt& width, size_t layer) {
  const std::string w = c10::str("weights[", layer, "]"), b = c10::str("biases[", layer, "]");
  check_dense(op, w.c_str(), weight);
  check_dense(op, b.c_str(), bias);
  TORCH_CHECK_VALUE(weight.dim() == 2 && weight.sym_size(1) == width, op, ": `", w,
                    "` must have shape (out, ", width, "), got ", weight.sym_sizes());
  TORCH_CHECK_VALUE(bias.dim() == 1 && bias.sym_size(0) == weight.sym_size(0), op, ": `", b,
                    "` must have shape (", weight.sym_size(0), "), got ", bias.sym_sizes());
  check_same_device(op, w.c_str(), weight, "x", x);
  check_same_device(op, b.c_str(), bias, "x", x);
  check_same_dtype(op, w.c_str(), weight, "x", x);
  check_same_dtype(op, b.c_str(), bias, "x", x);
}

// Rows of x, which may have no elements: their number is not left to torch to find.
Tensor flat(const Tensor& x) {
  const at::IntArrayRef batch = x.sizes().slice(0, x.dim() - 1);
  return x.reshape({c10::multiply_integers(batch), x.size(-1)});
}

// Rows through the network without a graph; `hidden`, if any, receives what layers read.
Tensor by_products(Tensor h, TensorList weights, TensorList biases, std::vector<Tensor>* hidden) {
  for (size_t i = 0; i < weights.size(); ++i) {
    if (i > 0) h.relu_();
    if (i > 0 && hidden != nullptr) hidden->push_back(h);
    h = at::addmm(biases[i], h, weights[i].t());
  }
  return h;
}

// The gradients of x, weights and biases, in this order, from those of the rows of the
// output; hidden[i] is what layer i reads.
template <class ReluBackward>
variable_list pull_back(Tensor grad, at::IntArrayRef x_sizes, TensorList hidden, TensorList weights,
                        const std::vector<bool>& wanted, ReluBackward relu_backward) {
  const size_t layers = weights.size();
  variable_list gradients(1 + 2 * layers);
  for (size_t i = layers; i-- > 0;) {
    if (wanted[1 + i]) gradients[1 + i] = at::mm(grad.t(), hidden[i]);
    if (wanted[1 + layers + i]) gradients[1 + layers + i] = grad.sum(0);
    if (i > 0) {
      grad = relu_backward(at::mm(grad, weights[i]), hidden[i]);
    } else if (wanted[0]) {
      gradients[0] = at::mm(grad, weights[0]).reshape(x_sizes);
    }
  }
  return gradients;
}

void save(std::vector<SavedVariable>& list, TensorList tensors) {
  list.reserve(tensors.size());
  for (const Tensor& t : tensors) list.emplace_back(t, false);
}
std::vector<Tensor> unpack(std::vector<SavedVariable>& list) {
  std::vector<Tensor> tensors;
  tensors.reserve(list.size() + 1);
  for (SavedVariable& saved : list) tensors.push_back(saved.unpack());
  return tensors;
}

}  // namespace

void check(const char* op, const Tensor& x, c10::SymInt width, TensorList weights,
           TensorList biases) {
  check_floating(op, "x", x);
  TORCH_CHECK_VALUE(!weights.empty(), op, ": `weights` must hold at least one matrix, got none");
  TORCH_CHECK_VALUE(biases.size() == weights.size(), op, ": `biases` must hold ", weights.size(),
                    " vectors, one for each of `weights`, got ", biases.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!layer_fits(x, weights[i], biases[i], width))
      refuse_layer(op, x, weights[i], biases[i], width, i);
    width = weights[i].sym_size(0);
  }
}

Tensor layer_by_layer(const Tensor& x, TensorList weights, TensorList biases) {
  Tensor h = x;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (i > 0) h = h.relu();
    h = at::linear(h, weights[i], biases[i]);
  }
  return h;
}

bool takes_one_node(const Tensor& x, TensorList weights, TensorList biases) {
  if (!nobody_watches() || autocasts(x)) return false;
  bool plain = is_plain(x);
  for (const Tensor& w : weights) plain = plain && is_plain(w);
  for (const Tensor& b : biases) plain = plain && is_plain(b);
  return plain;
}

// ---- what the gradient needs -----------------------------------------------------------

Tensor Tape::record(const Tensor& x, TensorList weights, TensorList biases, bool keep) {
  has_kernels_ = mlp_has_kernels(x, weights);
  std::vector<Tensor> hidden;
  Tensor h = has_kernels_ ? mlp_forward_cpu(flat(x), weights, biases, keep ? &hidden : nullptr)
                          : by_products(flat(x), weights, biases, keep ? &hidden : nullptr);
  if (keep) {
    save(hidden_, hidden);
    save(weights_, weights);
    save(biases_, biases);
  }
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = h.size(1);
  return h.view(sizes);
}

void Tape::release() {
  for (auto* list : {&weights_, &biases_, &hidden_})
    for (SavedVariable& saved : *list) saved.reset_data();
}

Tensor Tape::again(const Tensor& x) { return layer_by_layer(x, unpack(weights_), unpack(biases_)); }

variable_list Tape::pull(const Tensor& x, const Tensor& grad_y, const std::vector<bool>& wanted,
                         const Tensor& sum) {
  const size_t layers = weights_.size();
  const std::vector<Tensor> w = unpack(weights_);
  const Tensor grad = flat(grad_y);
  // A derivative of the gradients also goes through what the layers read.
  if (!runs_plainly(grad)) {
    const std::vector<Tensor> b = unpack(biases_);
    std::vector<Tensor> read{flat(x)};
    for (size_t i = 0; i + 1 < layers; ++i) read.push_back(at::linear(read[i], w[i], b[i]).relu());
    return pull_back(grad, x.sizes(), read, w, wanted, [](const Tensor& g, const Tensor& h) {
      return at::threshold_backward(g, h, 0);
    });
  }
  at::AutoDispatchBelowADInplaceOrView below;
  std::vector<Tensor> read = unpack(hidden_);
  variable_list gradients(wanted.size());
  if (has_kernels_) {
    if (sum.defined()) gradients[0] = flat(sum);
    mlp_backward_cpu(grad, flat(x), read, w, wanted, gradients);
    if (wanted[0]) gradients[0] = sum.defined() ? sum : gradients[0].view(x.sizes());
    return gradients;
  }
  read.insert(read.begin(), flat(x));
  gradients = pull_back(grad, x.sizes(), read, w, wanted, [](Tensor g, const Tensor& h) {
    at::threshold_backward_out(g, g, h, 0);
    return g;
  });
  if (sum.defined()) gradients[0] = sum.add_(gradients[0]);
  return gradients;
}

variable_list inputs_of(const Tensor& x, TensorList weights, TensorList biases) {
  variable_list inputs{x};
  inputs.reserve(1 + 2 * weights.size());
  inputs.insert(inputs.end(), weights.begin(), weights.end());
  inputs.insert(inputs.end(), biases.begin(), biases.end());
  return inputs;
}

bool is_tracked(const variable_list& inputs) {
  return at::GradMode::is_enabled() &&
         std::any_of(inputs.begin(), inputs.end(), tracks_gradient<Tensor>);
}

std::vector<bool> wanted_of(const Node& node) {
  std::vector<bool> wanted(node.num_outputs());
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = node.task_should_compute_output(i);
  return wanted;
}

// ---- one node --------------------------------------------------------------------------

namespace {

constexpr const char* op = "mlp";

struct MlpBackward : Node {
  SavedVariable x;
  Tape tape;

  std::string name() const override { return "mlp_backward"; }
  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    x.reset_data();
    tape.release();
  }
  variable_list apply(variable_list&& grads) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!grads[0].defined()) return variable_list(num_outputs());
    return tape.pull(x.unpack(), grads[0], wanted_of(*this));
  }
};

Tensor in_one_node(const Tensor& x, TensorList weights, TensorList biases) {
  const variable_list inputs = inputs_of(x, weights, biases);
  const bool tracked = is_tracked(inputs);
  Tape tape;
  Tensor y = [&] {
    at::AutoDispatchBelowADInplaceOrView below;
    return tape.record(x, weights, biases, tracked);
  }();
  if (!tracked) return y;
  auto node = make_node<MlpBackward>();
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  node->x = SavedVariable(x, false);
  node->tape = std::move(tape);
  torch::autograd::set_history(y, node);
  return y;
}

}  // namespace

Tensor run(const Tensor& x, TensorList weights, TensorList biases) {
  check_dense(op, "x", x);
  TORCH_CHECK_VALUE(x.dim() >= 1, op, ": `x` must have shape (*batch, features), got a scalar");
  check(op, x, x.sym_size(-1), weights, biases);
  return takes_one_node(x, weights, biases) ? in_one_node(x, weights, biases)
                                            : layer_by_layer(x, weights, biases);
}

}  // namespace mlp

using Tensors = std::vector<Tensor>;
FK_COMPOSITE_OP("mlp", "mlp(Tensor x, Tensor[] weights, Tensor[] biases) -> Tensor", &mlp::run,
                ([](const Tensor& x, const Tensors& weights, const Tensors& biases) {
                  return mlp::run(x, weights, biases);
                }))

}  // namespace bindings
}  // namespace fk
