// Where kernels run.  Read by the bindings' compiler too, which knows no device code.
#pragma once

#include <cuda_runtime_api.h>

namespace fk {
namespace cuda {

struct LaunchContext {
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
};

}  // namespace cuda
}  // namespace fk
