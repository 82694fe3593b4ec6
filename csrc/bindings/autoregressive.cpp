// Inverses of autoregressive maps: CPU dispatch.
#include "autoregressive.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <new>

#include "../cpu/autoregressive.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace autoregressive {
namespace {

// Multiply-adds that a task should at least have, so that small calls stay on one thread.
constexpr int64_t task_products = 1 << 20;
// Gradients are summed in parts, which depend on the shape alone: the result is the same whatever
// the number of threads. They take at most so many elements.
constexpr int64_t most_chunks = 32, most_sums = 1 << 22;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Delete {
  void operator()(char* p) const { ::operator delete(p, std::align_val_t(64)); }
};
// Memory of a task, aligned to vectors.
std::unique_ptr<char, Delete> scratch_of(const AutoregressiveArgs& a, bool backward) {
  const int64_t bytes =
      cpu::autoregressive_scratch(a, backward) * (a.float64 ? sizeof(double) : sizeof(float));
  return std::unique_ptr<char, Delete>(
      static_cast<char*>(::operator new(static_cast<size_t>(bytes), std::align_val_t(64))));
}

class OnCpu : public Call {
 public:
  using Call::Call;

  void pack(bool backward) {
    allocate([](const AutoregressiveLayer& l) { return l.units * l.inputs; },
             [](AutoregressiveLayer& l, void* p) { l.panel = p; });
    allocate([](const AutoregressiveLayer& l) { return l.units; },
             [](AutoregressiveLayer& l, void* p) { l.bias_panel = p; });
    if (backward)
      allocate([](const AutoregressiveLayer& l) { return l.units * l.inputs; },
               [](AutoregressiveLayer& l, void* p) { l.turned = p; });
    cpu::autoregressive_pack(args, backward);
  }
  // Where the sums of chunks of rows go; returns the number of chunks.
  int64_t divide() {
    const int64_t lanes = cpu::autoregressive_lanes(args.float64);
    const auto padded = [=](const AutoregressiveLayer& l) {
      return l.units * divide_up(l.inputs, lanes) * lanes;
    };
    int64_t total = 0;
    for (const AutoregressiveLayer& l : structure.layers) total += padded(l);
    const int64_t blocks = this->blocks();
    const int64_t parts =
        std::clamp<int64_t>(most_sums / std::max<int64_t>(total, 1), 1, most_chunks);
    args.chunk = divide_up(blocks, parts);
    const int64_t chunks = divide_up(blocks, args.chunk);
    allocate([=](const AutoregressiveLayer& l) { return chunks * padded(l); },
             [](AutoregressiveLayer& l, void* p) { l.weight_sums = p; });
    allocate([=](const AutoregressiveLayer& l) { return chunks * l.units; },
             [](AutoregressiveLayer& l, void* p) { l.bias_sums = p; });
    return chunks;
  }
  int64_t blocks() const { return divide_up(args.rows, cpu::autoregressive_block(args.float64)); }
  // Blocks to a task.
  int64_t grain() const {
    const int64_t products = structure.parameters() * cpu::autoregressive_block(args.float64);
    return std::max<int64_t>(1, task_products / std::max<int64_t>(products, 1));
  }

 private:
  // Memory of all layers; `size` tells how many elements a layer's takes.
  template <class Size, class Set>
  void allocate(Size size, Set set) {
    int64_t total = 0;
    for (const AutoregressiveLayer& l : structure.layers) total += size(l);
    memory_.push_back(empty({total}));
    char* p = static_cast<char*>(memory_.back().data_ptr());
    for (AutoregressiveLayer& l : structure.layers) {
      set(l, p);
      p += size(l) * static_cast<int64_t>(memory_.back().element_size());
    }
  }

  std::vector<Tensor> memory_;
};

template <class Map>
struct Kernels;
template <>
struct Kernels<autoregressive::Affine> {
  static constexpr auto& forward = cpu::affine_autoregressive_inverse;
  static constexpr auto& backward = cpu::affine_autoregressive_inverse_backward;
};
template <>
struct Kernels<autoregressive::Spline> {
  static constexpr auto& forward = cpu::spline_autoregressive_inverse;
  static constexpr auto& backward = cpu::spline_autoregressive_inverse_backward;
};

struct Cpu {
  template <class Spec, class... O>
  static std::tuple<Tensor, Tensor> forward(const Tensor& z, const Tensor& offset,
                                            const Tensor& parameters, at::IntArrayRef hidden,
                                            at::IntArrayRef degrees, at::IntArrayRef input_order,
                                            O... options) {
    using Map = typename autoregressive::MapOf<Spec>::type;
    const Map map(options...);
    OnCpu call(Spec::name, z, offset, parameters, hidden, degrees, input_order, map);
    const at::IntArrayRef batch = call.sizes.slice(0, call.sizes.size() - 1);
    Tensor log_det = call.empty(batch);
    if (call.is_empty()) return {at::empty(z.sizes(), z.options()), log_det.zero_()};
    Tensor x = call.empty(z.sizes());
    call.args.x = x.data_ptr();
    call.args.log_det = log_det.data_ptr();
    call.pack(/*backward=*/false);
    const typename Map::Args a{call.args, map.options};
    at::parallel_for(0, call.blocks(), call.grain(), [&](int64_t begin, int64_t end) {
      const auto scratch = scratch_of(a, /*backward=*/false);
      Kernels<Map>::forward(a, scratch.get(), begin, end);
    });
    return {in_dtype(x, z.scalar_type()), std::move(log_det)};
  }

  template <class Spec, class... O>
  static std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& grad_x,
                                                     const Tensor& grad_log_det, const Tensor& z,
                                                     const Tensor& offset, const Tensor& parameters,
                                                     at::IntArrayRef hidden,
                                                     at::IntArrayRef degrees,
                                                     at::IntArrayRef input_order, O... options) {
    using Map = typename autoregressive::MapOf<Spec>::type;
    const Map map(options...);
    OnCpu call(Spec::name, z, offset, parameters, hidden, degrees, input_order, map);
    check_gradient(Spec::name, "grad_x", grad_x, z.sizes(), z.scalar_type(), z);
    check_gradient(Spec::name, "grad_log_det", grad_log_det, z.sizes().slice(0, z.dim() - 1),
                   call.compute, z);
    if (call.is_empty()) {
      const auto zeros = [](const Tensor& t) { return at::zeros(t.sizes(), t.options()); };
      return {zeros(z), zeros(offset), zeros(parameters)};
    }
    const Tensor gx = call.rows_of(grad_x, call.args.rows);
    const Tensor gl = grad_log_det.contiguous();
    Tensor grad_z = call.empty(z.sizes()), grad_offset = call.empty(offset.sizes());
    Tensor grad_parameters = call.empty(parameters.sizes());
    call.args.grad_x = gx.data_ptr();
    call.args.grad_log_det = gl.data_ptr();
    call.args.grad_z = grad_z.data_ptr();
    call.args.grad_offset = grad_offset.data_ptr();
    place_gradients(call, grad_parameters);
    call.pack(/*backward=*/true);
    const int64_t chunks = call.divide();
    const typename Map::Args a{call.args, map.options};
    at::parallel_for(0, chunks, divide_up(call.grain(), 3 * a.chunk),
                     [&](int64_t begin, int64_t end) {
                       const auto scratch = scratch_of(a, /*backward=*/true);
                       Kernels<Map>::backward(a, scratch.get(), begin, end);
                     });
    cpu::autoregressive_sum(a, chunks);
    return {in_dtype(grad_z, z.scalar_type()), in_dtype(grad_offset, offset.scalar_type()),
            in_dtype(grad_parameters, parameters.scalar_type())};
  }

 private:
  // As the parameters lie.
  static void place_gradients(OnCpu& call, const Tensor& grad_parameters) {
    const char* const from = static_cast<const char*>(call.parameters.data_ptr());
    char* const to = static_cast<char*>(grad_parameters.data_ptr());
    for (AutoregressiveLayer& l : call.structure.layers) {
      l.grad_weight = to + (static_cast<const char*>(l.weight) - from);
      if (l.bias != nullptr) l.grad_bias = to + (static_cast<const char*>(l.bias) - from);
    }
  }
};

}  // namespace

FK_DIFFERENTIABLE_OP(AffineAutoregressiveInverse)
FK_KERNELS(AffineAutoregressiveInverse, CPU, Cpu)
FK_DIFFERENTIABLE_OP(SplineAutoregressiveInverse)
FK_KERNELS(SplineAutoregressiveInverse, CPU, Cpu)

}  // namespace autoregressive
}  // namespace bindings
}  // namespace fk
