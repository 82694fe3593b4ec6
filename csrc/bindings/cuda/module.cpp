// flowkernels._C_cuda: importing it registers the CUDA kernels; facts of the build.
#include <cuda_runtime_api.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/version.h>

namespace {

pybind11::dict build_info() {
  pybind11::dict info;
  info["torch"] = TORCH_VERSION;
  info["cuda"] = CUDART_VERSION;
  return info;
}

}  // namespace

PYBIND11_MODULE(_C_cuda, m) {
  m.doc() = "CUDA kernels of flowkernels; use flowkernels.ops.";
  m.def("build_info", &build_info);
}
