// What the driver asks of a device: CUDA's runtime, or, for the kernels on a CPU, malloc.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <string>

#include "../../../csrc/engine/cuda/context.h"

namespace driver {
namespace device {

// Says so on the standard output and ends the program: nothing runs after an error of CUDA.
[[noreturn]] inline void fail(const std::string& what) {
  printf("{\"error\": \"%s\"}\n", what.c_str());
  fflush(stdout);
  exit(2);
}

struct Facts {
  std::string name;
  int multiprocessors = 1;
  int64_t cache_bytes = 0;
};
// Chooses the first device.
Facts open();
fk::cuda::LaunchContext context();

// Whether an allocation ends where the memory asked for does, and something watches its end.
constexpr bool has_exact_allocations =
#if defined(FK_DRIVER_ON_CPU)
    true;
#else
    false;
#endif

void* allocate(size_t bytes);
void release(void* memory);
void upload(void* to, const void* from, size_t bytes);
void download(void* to, const void* from, size_t bytes);
void copy(void* to, const void* from, size_t bytes);  // within the device, asynchronous
void fill(void* memory, int byte, size_t bytes);      // asynchronous
void check_launch(const char* what);
void synchronize();

// Seconds between two points of the context.
class Timer {
 public:
  Timer();
  ~Timer();
  void start();
  double stop();

 private:
  void *begin_ = nullptr, *end_ = nullptr;
};

}  // namespace device
}  // namespace driver
