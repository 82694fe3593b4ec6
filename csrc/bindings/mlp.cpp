// mlp: a multilayer perceptron as one graph node.
//
// Narrow networks on the CPU have kernels (mlp_cpu.h); the others take torch's matrix
// products, and save what lies between them: Python, dispatch and a graph node per layer.
#include <ATen/Functions.h>
#include <ATen/autocast_mode.h>

#include <algorithm>
#include <mutex>

#include "check.h"
#include "mlp.h"
#include "mlp_cpu.h"
#include "module.h"
#include "option.h"
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

Tensor activate(const Tensor& h, const MlpOptions& o) {
  switch (o.activation) {
    case Activation::relu:
      return h.relu();
    case Activation::leaky_relu:
      return at::leaky_relu(h, o.negative_slope);
    case Activation::elu:
      return at::elu(h);
    case Activation::tanh:
      return h.tanh();
  }
  return h;
}
// Of a gradient, where the activation returned h.
Tensor pull_activation(const Tensor& grad, const Tensor& h, const MlpOptions& o) {
  switch (o.activation) {
    case Activation::relu:
      return at::threshold_backward(grad, h, 0);
    case Activation::leaky_relu:
      return at::leaky_relu_backward(grad, h, o.negative_slope, /*self_is_result=*/true);
    case Activation::elu:
      return at::elu_backward(grad, 1, 1, 1, /*is_result=*/true, h);
    case Activation::tanh:
      return at::tanh_backward(grad, h);
  }
  return grad;
}

// The network with `linear(h, weight, bias)` for its layers; `keep` receives what each but the
// first reads.
template <class Linear, class Keep>
Tensor through_layers(const Tensor& x, TensorList weights, TensorList biases, const MlpOptions& o,
                      Linear linear, Keep keep) {
  const auto n = static_cast<int64_t>(weights.size());
  Tensor h = x, stream;
  for (int64_t i = 0; i < n; ++i) {
    if (i > 0) {
      if (o.reads_activated(i, n)) h = activate(h, o);
      keep(h);
    }
    h = linear(h, weights[i], biases[i]);
    if (o.ends_block(i, n)) h = stream + h;
    if (i % 2 == 0) stream = h;
  }
  return h;
}

// The gradients of x, weights and biases, in this order, from those of the rows of the
// output; read[i] is what layer i reads.
variable_list pull_back(Tensor grad, at::IntArrayRef x_sizes, TensorList read, TensorList weights,
                        const MlpOptions& o, const std::vector<bool>& wanted) {
  const size_t layers = weights.size();
  const auto n = static_cast<int64_t>(layers);
  variable_list gradients(1 + 2 * layers);
  Tensor stream;
  for (size_t i = layers; i-- > 0;) {
    if (wanted[1 + i]) gradients[1 + i] = at::mm(grad.t(), read[i]);
    if (wanted[1 + layers + i]) gradients[1 + layers + i] = grad.sum(0);
    if (i == 0) {
      if (wanted[0]) gradients[0] = at::mm(grad, weights[0]).reshape(x_sizes);
      break;
    }
    grad = at::mm(grad, weights[i]);
    if (o.reads_activated(static_cast<int64_t>(i), n)) grad = pull_activation(grad, read[i], o);
    if (o.residual && i % 2 == 1) {
      if (i + 1 < layers) grad = stream + grad;
      stream = grad;
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

MlpOptions parse(const char* op, std::string_view activation, double negative_slope,
                 bool residual) {
  TORCH_CHECK_VALUE(negative_slope > 0 && negative_slope <= 1, op,
                    ": `negative_slope` must be a number above 0, at most 1, got ", negative_slope);
  return {parse_option<Activation>(op, "activation", activation), negative_slope, residual};
}

void check(const char* op, const Tensor& x, c10::SymInt width, TensorList weights,
           TensorList biases, const MlpOptions& options) {
  check_floating(op, "x", x);
  TORCH_CHECK_VALUE(!weights.empty(), op, ": `weights` must hold at least one matrix, got none");
  TORCH_CHECK_VALUE(biases.size() == weights.size(), op, ": `biases` must hold ", weights.size(),
                    " vectors, one for each of `weights`, got ", biases.size());
  TORCH_CHECK_VALUE(!options.residual || weights.size() % 2 == 0, op,
                    ": `weights` of a residual network must be a first layer, pairs of layers and "
                    "a last one, an even number of matrices, got ",
                    weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!layer_fits(x, weights[i], biases[i], width))
      refuse_layer(op, x, weights[i], biases[i], width, i);
    width = weights[i].sym_size(0);
    TORCH_CHECK_VALUE(
        !options.ends_block(static_cast<int64_t>(i), static_cast<int64_t>(weights.size())) ||
            width == weights[0].sym_size(0),
        op, ": `weights[", i, "]`, the second of a residual block, must have shape (",
        weights[0].sym_size(0), ", in), as many as the block reads, got ", weights[i].sym_sizes());
  }
}

Tensor layer_by_layer(const Tensor& x, TensorList weights, TensorList biases,
                      const MlpOptions& options) {
  return through_layers(
      x, weights, biases, options,
      [](const Tensor& h, const Tensor& w, const Tensor& b) { return at::linear(h, w, b); },
      [](const Tensor&) {});
}

bool takes_one_node(const Tensor& x, TensorList weights, TensorList biases) {
  if (!nobody_watches() || autocasts(x)) return false;
  bool plain = is_plain(x);
  for (const Tensor& w : weights) plain = plain && is_plain(w);
  for (const Tensor& b : biases) plain = plain && is_plain(b);
  return plain;
}

// ---- what the gradient needs -----------------------------------------------------------

Tensor Tape::record(const Tensor& x, TensorList weights, TensorList biases,
                    const MlpOptions& options, bool keep) {
  options_ = options;
  std::vector<Tensor> hidden;
  const auto saved = [&] {
    if (!keep) return;
    save(hidden_, hidden);
    save(weights_, weights);
    save(biases_, biases);
  };
  if (traced_) {
    Tensor y;
    std::tie(y, hidden) = rows(x, weights, biases, options, keep);
    saved();
    return y;
  }
  has_kernels_ = mlp_has_kernels(x, weights);
  Tensor h = has_kernels_
                 ? mlp_forward_cpu(flat(x), weights, biases, options, keep ? &hidden : nullptr)
                 : through_layers(
                       flat(x), weights, biases, options,
                       [](const Tensor& in, const Tensor& w, const Tensor& b) {
                         return at::addmm(b, in, w.t());
                       },
                       [&](const Tensor& in) {
                         if (keep) hidden.push_back(in);
                       });
  saved();
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = h.size(1);
  return h.view(sizes);
}

void Tape::release() {
  for (auto* list : {&weights_, &biases_, &hidden_})
    for (SavedVariable& saved : *list) saved.reset_data();
}

Tensor Tape::again(const Tensor& x) {
  return layer_by_layer(x, unpack(weights_), unpack(biases_), options_);
}

variable_list Tape::pull(const Tensor& x, const Tensor& grad_y, const std::vector<bool>& wanted,
                         const Tensor& sum) {
  const std::vector<Tensor> w = unpack(weights_);
  if (traced_ && !at::GradMode::is_enabled()) {
    at::AutoDispatchBelowADInplaceOrView below;
    variable_list gradients = rows_backward(grad_y, x, unpack(hidden_), w, options_);
    for (size_t i = 0; i < wanted.size(); ++i)
      if (!wanted[i]) gradients[i] = Tensor();
    return gradients;
  }
  const Tensor grad = flat(grad_y);
  // A derivative of the gradients also goes through what the layers read.
  if (!runs_plainly(grad)) {
    std::vector<Tensor> read{flat(x)};
    through_layers(
        read[0], w, unpack(biases_), options_,
        [](const Tensor& h, const Tensor& weight, const Tensor& b) {
          return at::linear(h, weight, b);
        },
        [&](const Tensor& h) { read.push_back(h); });
    return pull_back(grad, x.sizes(), read, w, options_, wanted);
  }
  at::AutoDispatchBelowADInplaceOrView below;
  std::vector<Tensor> read = unpack(hidden_);
  variable_list gradients(wanted.size());
  if (has_kernels_) {
    if (sum.defined()) gradients[0] = flat(sum);
    mlp_backward_cpu(grad, flat(x), read, w, options_, wanted, gradients);
    if (wanted[0]) gradients[0] = sum.defined() ? sum : gradients[0].view(x.sizes());
    return gradients;
  }
  read.insert(read.begin(), flat(x));
  gradients = pull_back(grad, x.sizes(), read, w, options_, wanted);
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

Tensor in_one_node(const Tensor& x, TensorList weights, TensorList biases,
                   const MlpOptions& options, bool traced) {
  const variable_list inputs = inputs_of(x, weights, biases);
  const bool tracked = is_tracked(inputs);
  Tape tape(traced);
  Tensor y = [&] {
    at::AutoDispatchBelowADInplaceOrView below;
    return tape.record(x, weights, biases, options, tracked);
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

MlpOptions checked(const char* op, const Tensor& x, TensorList weights, TensorList biases,
                   std::string_view activation, double negative_slope, bool residual) {
  const MlpOptions options = parse(op, activation, negative_slope, residual);
  check_dense(op, "x", x);
  TORCH_CHECK_VALUE(x.dim() >= 1, op, ": `x` must have shape (*batch, features), got a scalar");
  check(op, x, x.sym_size(-1), weights, biases, options);
  return options;
}

Tensor run(const Tensor& x, TensorList weights, TensorList biases, std::string_view activation,
           double negative_slope, bool residual) {
  const MlpOptions o = checked(op, x, weights, biases, activation, negative_slope, residual);
  return takes_one_node(x, weights, biases) ? in_one_node(x, weights, biases, o, false)
                                            : layer_by_layer(x, weights, biases, o);
}

// Of networks that have CPU kernels, which the compiler's graph calls as they are: faster than
// its own code for the layers. Transforms and tangents take the layers.
Tensor run_compiled(const Tensor& x, TensorList weights, TensorList biases,
                    std::string_view activation, double negative_slope, bool residual) {
  const MlpOptions o =
      checked("mlp_compiled", x, weights, biases, activation, negative_slope, residual);
  bool transformed = x.dim() != 2 || in_transform(x);
  for (const TensorList list : {weights, biases})
    for (const Tensor& t : list) transformed = transformed || in_transform(t);
  return transformed ? layer_by_layer(x, weights, biases, o)
                     : in_one_node(x, weights, biases, o, true);
}

}  // namespace mlp

FK_COMPOSITE_OP("mlp",
                "mlp(Tensor x, Tensor[] weights, Tensor[] biases, str activation, "
                "float negative_slope, bool residual) -> Tensor",
                &mlp::run)

FK_LIBRARY_FRAGMENT(m) {
  m.def(
      "mlp_compiled(Tensor x, Tensor[] weights, Tensor[] biases, str activation, "
      "float negative_slope, bool residual) -> Tensor",
      {at::Tag::pt2_compliant_tag});
  m.impl("mlp_compiled", c10::DispatchKey::CompositeImplicitAutograd, &mlp::run_compiled);
}
TORCH_LIBRARY_IMPL(flowkernels, FuncTorchBatchedDecomposition, m) {
  m.impl("mlp_compiled", &mlp::run_compiled);
}

}  // namespace bindings
}  // namespace fk
