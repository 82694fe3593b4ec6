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
#include "mlp_cpu.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace {

using at::TensorList;
using c10::DispatchKey;
using c10::DispatchKeySet;

constexpr const char* op = "mlp";

// ---- arguments ---------------------------------------------------------------------

bool layer_fits(const Tensor& x, const Tensor& weight, const Tensor& bias,
                const c10::SymInt& width) {
  const auto is_like_x = [&](const Tensor& t) {
    return t.device() == x.device() && (t.scalar_type() == x.scalar_type() ||
                                        at::autocast::is_autocast_enabled(x.device().type()));
  };
  return weight.dim() == 2 && weight.sym_size(1) == width && bias.dim() == 1 &&
         bias.sym_size(0) == weight.sym_size(0) && is_like_x(weight) && is_like_x(bias);
}

// Names are made where there is something to say: a call per layer of a flow comes by here.
void refuse_layer(const Tensor& x, const Tensor& weight, const Tensor& bias,
                  const c10::SymInt& width, size_t layer) {
  const std::string w = c10::str("weights[", layer, "]"), b = c10::str("biases[", layer, "]");
  TORCH_CHECK_VALUE(weight.dim() == 2 && weight.sym_size(1) == width, op, ": `", w,
                    "` must have shape (out, ", width, "), got ", weight.sym_sizes());
  TORCH_CHECK_VALUE(bias.dim() == 1 && bias.sym_size(0) == weight.sym_size(0), op, ": `", b,
                    "` must have shape (", weight.sym_size(0), "), got ", bias.sym_sizes());
  check_same_device(op, w.c_str(), weight, "x", x);
  check_same_device(op, b.c_str(), bias, "x", x);
  check_same_dtype(op, w.c_str(), weight, "x", x);
  check_same_dtype(op, b.c_str(), bias, "x", x);
}

void check(const Tensor& x, TensorList weights, TensorList biases) {
  check_floating(op, "x", x);
  TORCH_CHECK_VALUE(!weights.empty(), op, ": `weights` must hold at least one matrix, got none");
  TORCH_CHECK_VALUE(biases.size() == weights.size(), op, ": `biases` must hold ", weights.size(),
                    " vectors, one for each of `weights`, got ", biases.size());
  TORCH_CHECK_VALUE(x.dim() >= 1, op, ": `x` must have shape (*batch, features), got a scalar");
  c10::SymInt width = x.sym_size(-1);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!layer_fits(x, weights[i], biases[i], width))
      refuse_layer(x, weights[i], biases[i], width, i);
    width = weights[i].sym_size(0);
  }
}

// ---- plain torch ---------------------------------------------------------------------

// The definition; differentiable in every mode.
Tensor layer_by_layer(const Tensor& x, TensorList weights, TensorList biases) {
  Tensor h = x;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (i > 0) h = h.relu();
    h = at::linear(h, weights[i], biases[i]);
  }
  return h;
}

Tensor flat(const Tensor& x) { return x.reshape({-1, x.size(-1)}); }

// The same, for rows and without a graph; `hidden`, if any, receives what layers read.
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
                        const Node& node, ReluBackward relu_backward) {
  const size_t layers = weights.size();
  variable_list gradients(1 + 2 * layers);
  for (size_t i = layers; i-- > 0;) {
    if (node.task_should_compute_output(1 + i)) gradients[1 + i] = at::mm(grad.t(), hidden[i]);
    if (node.task_should_compute_output(1 + layers + i)) gradients[1 + layers + i] = grad.sum(0);
    if (i > 0) {
      grad = relu_backward(at::mm(grad, weights[i]), hidden[i]);
    } else if (node.task_should_compute_output(0)) {
      gradients[0] = at::mm(grad, weights[0]).reshape(x_sizes);
    }
  }
  return gradients;
}

// ---- one node --------------------------------------------------------------------------

struct MlpBackward : Node {
  SavedVariable x;
  std::vector<SavedVariable> weights, biases, hidden;
  bool has_kernels;  // `hidden` is then theirs

  std::string name() const override { return "mlp_backward"; }
  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    x.reset_data();
    for (auto* list : {&weights, &biases, &hidden})
      for (SavedVariable& saved : *list) saved.reset_data();
  }

  static std::vector<Tensor> unpack(std::vector<SavedVariable>& list) {
    std::vector<Tensor> tensors;
    tensors.reserve(list.size() + 1);
    for (SavedVariable& saved : list) tensors.push_back(saved.unpack());
    return tensors;
  }

  variable_list apply(variable_list&& grads) override;
};

// Neither a subclass nor in a transform: torch's kernels take it as it is.
bool is_plain(const Tensor& t) {
  constexpr DispatchKeySet other({DispatchKey::Python, DispatchKey::FuncTorchBatched,
                                  DispatchKey::FuncTorchGradWrapper, DispatchKey::Batched,
                                  DispatchKey::Functionalize});
  return t.layout() == at::kStrided && !t.key_set().has_any(other) && !has_tangent(t);
}
// No mode that wants to see the operations.
bool nobody_watches() {
  constexpr DispatchKeySet modes({DispatchKey::Python, DispatchKey::PythonTLSSnapshot,
                                  DispatchKey::Tracer, DispatchKey::Functionalize,
                                  DispatchKey::FuncTorchDynamicLayerFrontMode});
  return !c10::impl::tls_local_dispatch_key_set().included_.has_any(modes);
}
bool takes_one_node(const Tensor& x, TensorList weights, TensorList biases) {
  if (!nobody_watches() || at::autocast::is_autocast_enabled(x.device().type())) return false;
  bool plain = is_plain(x);
  for (const Tensor& w : weights) plain = plain && is_plain(w);
  for (const Tensor& b : biases) plain = plain && is_plain(b);
  return plain;
}

variable_list MlpBackward::apply(variable_list&& grads) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const size_t layers = weights.size();
  if (!grads[0].defined()) return variable_list(1 + 2 * layers);
  const Tensor input = x.unpack();
  const std::vector<Tensor> w = unpack(weights);
  const Tensor grad = grads[0].reshape({-1, w.back().size(0)});
  // A derivative of the gradients also goes through what the layers read.
  if (at::GradMode::is_enabled() || !is_plain(grad) || !nobody_watches()) {
    const std::vector<Tensor> b = unpack(biases);
    std::vector<Tensor> read{flat(input)};
    for (size_t i = 0; i + 1 < layers; ++i) read.push_back(at::linear(read[i], w[i], b[i]).relu());
    return pull_back(grad, input.sizes(), read, w, *this, [](const Tensor& g, const Tensor& h) {
      return at::threshold_backward(g, h, 0);
    });
  }
  at::AutoDispatchBelowADInplaceOrView below;
  std::vector<Tensor> read = unpack(hidden);
  if (has_kernels) {
    std::vector<bool> wanted;
    for (size_t i = 0; i < 1 + 2 * layers; ++i) wanted.push_back(task_should_compute_output(i));
    variable_list gradients(wanted.size());
    mlp_backward_cpu(grad, flat(input), read, w, wanted, gradients);
    if (wanted[0]) gradients[0] = gradients[0].view(input.sizes());
    return gradients;
  }
  read.insert(read.begin(), flat(input));
  return pull_back(grad, input.sizes(), read, w, *this, [](Tensor g, const Tensor& h) {
    at::threshold_backward_out(g, g, h, 0);
    return g;
  });
}

Tensor in_one_node(const Tensor& x, TensorList weights, TensorList biases) {
  variable_list inputs{x};
  inputs.insert(inputs.end(), weights.begin(), weights.end());
  inputs.insert(inputs.end(), biases.begin(), biases.end());
  const bool tracked = at::GradMode::is_enabled() &&
                       std::any_of(inputs.begin(), inputs.end(), tracks_gradient<Tensor>);

  const bool has_kernels = mlp_has_kernels(x, weights);
  std::vector<Tensor> hidden;
  Tensor h;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    h = has_kernels ? mlp_forward_cpu(flat(x), weights, biases, tracked ? &hidden : nullptr)
                    : by_products(flat(x), weights, biases, tracked ? &hidden : nullptr);
    std::vector<int64_t> sizes = x.sizes().vec();
    sizes.back() = h.size(1);
    h = h.view(sizes);
  }
  if (!tracked) return h;

  auto node = make_node<MlpBackward>();
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  node->x = SavedVariable(x, false);
  node->has_kernels = has_kernels;
  for (const Tensor& t : hidden) node->hidden.emplace_back(t, false);
  for (const Tensor& w : weights) node->weights.emplace_back(w, false);
  for (const Tensor& b : biases) node->biases.emplace_back(b, false);
  torch::autograd::set_history(h, node);
  return h;
}

Tensor mlp(const Tensor& x, TensorList weights, TensorList biases) {
  check(x, weights, biases);
  return takes_one_node(x, weights, biases) ? in_one_node(x, weights, biases)
                                            : layer_by_layer(x, weights, biases);
}

}  // namespace

FK_LIBRARY_FRAGMENT(m) {
  m.def("mlp(Tensor x, Tensor[] weights, Tensor[] biases) -> Tensor", {at::Tag::pt2_compliant_tag});
  m.impl("mlp", c10::DispatchKey::CompositeImplicitAutograd, &mlp);
}
TORCH_LIBRARY_IMPL(flowkernels, FuncTorchBatchedDecomposition, m) { m.impl("mlp", &mlp); }

void bind_mlp(pybind11::module_& m) {
  // Not through the dispatcher: the op consists of others, which find their way themselves.
  m.def(
      op,
      [](const Tensor& x, const std::vector<Tensor>& weights, const std::vector<Tensor>& biases) {
        return mlp(x, weights, biases);
      },
      pybind11::call_guard<pybind11::gil_scoped_release>());
}

}  // namespace bindings
}  // namespace fk
