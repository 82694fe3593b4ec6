// The driver's device: CUDA's runtime, linked statically.
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

#include "device_api.h"

namespace driver {
namespace device {
namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  fail(std::string(what) + ": " + cudaGetErrorString(error));
}
cudaEvent_t event(void* e) { return static_cast<cudaEvent_t>(e); }

}  // namespace

Facts open() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0)
    fail(std::string("no CUDA device: ") + cudaGetErrorString(error));
  check(cudaSetDevice(0), "cudaSetDevice");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  return {properties.name, properties.multiProcessorCount, properties.l2CacheSize};
}

fk::cuda::LaunchContext context() {
  static const int count = [] {
    int n = 0;
    check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, 0), "cudaDeviceGetAttribute");
    return n;
  }();
  return {nullptr, count};
}

void* allocate(size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "cudaMalloc");
  return memory;
}
void release(void* memory) { check(cudaFree(memory), "cudaFree"); }
void upload(void* to, const void* from, size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copy to the device");
}
void download(void* to, const void* from, size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copy from the device");
}
void copy(void* to, const void* from, size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice), "copy on the device");
}
void fill(void* memory, int byte, size_t bytes) {
  check(cudaMemsetAsync(memory, byte, bytes), "cudaMemsetAsync");
}
void check_launch(const char* what) { check(cudaGetLastError(), what); }
void synchronize() { check(cudaDeviceSynchronize(), "cudaDeviceSynchronize"); }

Timer::Timer() {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  begin_ = begin;
  end_ = end;
}
Timer::~Timer() {
  cudaEventDestroy(event(begin_));
  cudaEventDestroy(event(end_));
}
void Timer::start() { check(cudaEventRecord(event(begin_)), "cudaEventRecord"); }
double Timer::stop() {
  check(cudaEventRecord(event(end_)), "cudaEventRecord");
  check(cudaEventSynchronize(event(end_)), "cudaEventSynchronize");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, event(begin_), event(end_)), "cudaEventElapsedTime");
  return milliseconds * 1e-3;
}

}  // namespace device
}  // namespace driver
