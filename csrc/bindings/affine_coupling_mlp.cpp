// affine_coupling_mlp: a coupling and the network that conditions it, as one graph node.
#include <mutex>

#include "affine_coupling.h"
#include "identity_split.h"
#include "mlp.h"
#include "module.h"
#include "plain.h"

namespace fk {
namespace bindings {
namespace affine_coupling_mlp {
namespace {

using at::TensorList;
using std::string_view;

constexpr const char* op = "affine_coupling_mlp";
using Coupling = Op<AffineCoupling>;

struct Options {
  std::string scale_fn;
  double bound, gain;
  std::string layout, order;
  bool inverse;
  std::string transform;

  template <class Function>
  auto pass_to(Function function) const {
    return function(scale_fn, bound, gain, layout, order, inverse, transform, "row");
  }
  std::tuple<Tensor, Tensor> couple(const Tensor& x, const Tensor& params) const {
    return pass_to([&](auto&&... o) { return Coupling::call(x, params, o...); });
  }
};

struct AffineCouplingMlpBackward : Node {
  SavedVariable x, params;
  mlp::Tape network;
  Options options;
  Channels kept;  // which the network reads

  std::string name() const override { return std::string(op) + "_backward"; }
  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    x.reset_data();
    params.reset_data();
    network.release();
  }
  variable_list apply(variable_list&& grads) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; i < 2; ++i)
      if (!grads[i].defined()) grads[i] = input_metadata(i).zeros_like();
    const std::vector<bool> wanted = mlp::wanted_of(*this);
    if (runs_plainly(grads[0], grads[1])) {
      at::AutoDispatchBelowADInplaceOrView below;
      return in_place(grads, wanted);
    }
    const Tensor whole = x.unpack(), given = channels_of(whole, kept);
    // A derivative of the gradients also goes through the network's output.
    const Tensor raw = at::GradMode::is_enabled() ? network.again(given) : params.unpack();
    auto [grad_x, grad_params] = pull_coupling(grads, whole, raw);
    variable_list gradients = network.pull(given, grad_params, wanted);
    gradients[0] = add_channels(std::move(grad_x), gradients[0], kept, whole.sym_sizes());
    return gradients;
  }

 private:
  // The network's gradient is added to the coupling's.
  variable_list in_place(const variable_list& grads, const std::vector<bool>& wanted) {
    const Tensor whole = x.unpack();
    const auto [grad_x, grad_params] = pull_coupling(grads, whole, params.unpack());
    const Tensor sum = wanted[0] ? channels_of(grad_x, kept) : Tensor();
    variable_list gradients = network.pull(channels_of(whole, kept), grad_params, wanted, sum);
    if (wanted[0]) gradients[0] = grad_x;
    return gradients;
  }
  Coupling::Gradients pull_coupling(const variable_list& grads, const Tensor& whole,
                                    const Tensor& raw) const {
    return options.pass_to([&](auto&&... o) {
      return Coupling::Grads::backward().call(grads[0], grads[1], whole, raw, o...);
    });
  }
};

std::tuple<Tensor, Tensor> in_one_node(const Tensor& x, TensorList weights, TensorList biases,
                                       const MlpOptions& layers, Options options,
                                       const Channels& kept) {
  const variable_list inputs = mlp::inputs_of(x, weights, biases);
  const bool tracked = mlp::is_tracked(inputs);
  mlp::Tape network;
  Tensor params, y, log_det;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    params = network.record(channels_of(x, kept), weights, biases, layers, tracked);
    std::tie(y, log_det) = options.couple(x, params);
  }
  if (tracked) {
    auto node = make_node<AffineCouplingMlpBackward>();
    node->set_next_edges(torch::autograd::collect_next_edges(inputs));
    node->x = SavedVariable(x, false);
    node->params = SavedVariable(params, false);
    node->network = std::move(network);
    node->options = std::move(options);
    node->kept = kept;
    torch::autograd::set_history(y, node);
    torch::autograd::set_history(log_det, node);
  }
  return {std::move(y), std::move(log_det)};
}

std::tuple<Tensor, Tensor> run(const Tensor& x, TensorList weights, TensorList biases,
                               string_view scale_fn, double bound, double gain, string_view layout,
                               string_view order, bool inverse, string_view transform,
                               string_view activation, double negative_slope, bool residual) {
  const MlpOptions network = mlp::parse(op, activation, negative_slope, residual);
  check_dense(op, "x", x);
  TORCH_CHECK_VALUE(x.dim() == 2, op, ": `x` must have shape (B, C), got ", x.sym_sizes());
  TORCH_CHECK_VALUE(!weights.empty(), op, ": `weights` must hold at least one matrix, got none");
  const Tensor& last = weights.back();
  TORCH_CHECK_VALUE(
      last.dim() == 2 && last.sym_size(0) % 2 == 0 && last.sym_size(0) / 2 <= x.sym_size(1), op,
      ": `weights[", weights.size() - 1, "]` must have shape (2 k, in) with k at most the ",
      x.sym_size(1), " channels of `x`, got ", last.sym_sizes());
  const c10::SymInt coupled = last.sym_size(0) / 2;
  const auto kept = kept_channels(op, x, coupled, transform);
  mlp::check(op, x, x.sym_size(1) - coupled, weights, biases, network);

  Options options{
      std::string(scale_fn), bound, gain, std::string(layout), std::string(order), inverse,
      std::string(transform)};
  if (mlp::takes_one_node(x, weights, biases))
    return in_one_node(x, weights, biases, network, std::move(options), expect_int(kept));
  const auto [given, whole] = identity_split(x, coupled, transform);
  return options.couple(whole, mlp::layer_by_layer(given, weights, biases, network));
}

}  // namespace

FK_COMPOSITE_OP(op,
                "affine_coupling_mlp(Tensor x, Tensor[] weights, Tensor[] biases, str scale_fn, "
                "float bound, float gain, str layout, str order, bool inverse, str transform, "
                "str activation, float negative_slope, bool residual) -> (Tensor, Tensor)",
                &run)

}  // namespace affine_coupling_mlp
}  // namespace bindings
}  // namespace fk
