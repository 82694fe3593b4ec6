// Densities and responsibilities of mixtures: a point a thread, so that neighbouring threads read
// neighbouring products.
#include "../ops/vmf_mixture.h"

#include "../engine/cuda/launch.h"

namespace fk {
namespace cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(block_threads, 8)
    mixture(const __grid_constant__ VmfMixtureArgs a) {
  const T* grad = static_cast<const T*>(a.grad);
  const T* weights = static_cast<const T*>(a.weights);
  T* log_prob = static_cast<T*>(a.log_prob);
  const int64_t threads = int64_t(gridDim.x) * block_threads;
  for (int64_t at = int64_t(blockIdx.x) * block_threads + threadIdx.x; at < a.points;
       at += threads) {
    T result[1] = {grad == nullptr ? T(0) : grad[at]};
    T weight[1] = {weights == nullptr ? T(0) : weights[at]};
    VmfMixturePoints<T, 1>{a, at}.run(result, weight);
    if (log_prob != nullptr) log_prob[at] = result[0];
    if (weights != nullptr) static_cast<T*>(a.grad_weights)[at] = weight[0];
  }
}

}  // namespace

void vmf_mixture(const VmfMixtureArgs& a, const LaunchContext& context) {
  const int64_t blocks = (a.points + block_threads - 1) / block_threads;
  if (a.wide == DType::f64) {
    launch<mixture<double>>(context, blocks, 0, a);
  } else {
    launch<mixture<float>>(context, blocks, 0, a);
  }
}

}  // namespace cuda
}  // namespace fk
