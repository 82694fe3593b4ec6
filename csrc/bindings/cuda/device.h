// Where a call's kernels run: the device of its tensors and that device's current stream.
#pragma once

#include <ATen/core/Tensor.h>

#include "../../engine/cuda/context.h"

#if defined(FK_EMULATED)  // the kernels on a CPU: tests/cuda
#define FK_CUDA_KEY CPU
#else
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <array>
#include <atomic>
#define FK_CUDA_KEY CUDA
#endif

namespace fk {
namespace bindings {

#if defined(FK_EMULATED)

class Device {
 public:
  explicit Device(const at::Tensor&) {}
  cuda::LaunchContext context() const { return {nullptr, 2}; }
  void check_launch() const {}
};

#else

inline int multiprocessors(c10::DeviceIndex device) {
  static std::array<std::atomic<int>, 128> known{};
  int count = known.at(device).load(std::memory_order_relaxed);
  if (count == 0) {
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
    known.at(device).store(count, std::memory_order_relaxed);
  }
  return count;
}

// Makes a tensor's device the current one for as long as it lives.  A tensor that is on no
// GPU, beside others that are, is left for the op's checks to refuse by name.
class Device {
 public:
  explicit Device(const at::Tensor& t) {
    if (t.is_cuda()) guard_.set_device(t.device());
  }
  cuda::LaunchContext context() const {
    const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
    return {stream.stream(), multiprocessors(stream.device_index())};
  }
  void check_launch() const { C10_CUDA_KERNEL_LAUNCH_CHECK(); }

 private:
  c10::cuda::OptionalCUDAGuard guard_;
};

#endif

}  // namespace bindings
}  // namespace fk
