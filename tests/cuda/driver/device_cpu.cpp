// The driver's device where the kernels run on a CPU (tests/cuda/emulator): malloc, whose ends
// the address sanitizer guards.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chrono>

#include "device_api.h"

extern "C" int64_t emulator_executed(uintptr_t* offsets, int64_t capacity);

namespace driver {
namespace device {
namespace {

// Notes where the kernels that have run lie in this program, in the file that
// FLOWKERNELS_DRIVER_RAN names.
void note_executed() {
  const char* path = getenv("FLOWKERNELS_DRIVER_RAN");
  FILE* file = path != nullptr ? fopen(path, "w") : nullptr;
  if (file == nullptr) return;
  uintptr_t offsets[4096];
  const int64_t count = emulator_executed(offsets, 4096);
  for (int64_t i = 0; i < count && i < 4096; ++i) fprintf(file, "%zx\n", size_t(offsets[i]));
  fclose(file);
}

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

}  // namespace

Facts open() {
  atexit(note_executed);
  return {"a CPU", 2, 1 << 10};
}
fk::cuda::LaunchContext context() { return {nullptr, 2}; }
void* allocate(size_t bytes) { return malloc(bytes); }
void release(void* memory) { free(memory); }
void upload(void* to, const void* from, size_t bytes) { memcpy(to, from, bytes); }
void download(void* to, const void* from, size_t bytes) { memcpy(to, from, bytes); }
void copy(void* to, const void* from, size_t bytes) { memcpy(to, from, bytes); }
void fill(void* memory, int byte, size_t bytes) { memset(memory, byte, bytes); }
void check_launch(const char*) {}
void synchronize() {}

Timer::Timer() { begin_ = new double(0); }
Timer::~Timer() { delete static_cast<double*>(begin_); }
void Timer::start() { *static_cast<double*>(begin_) = now(); }
double Timer::stop() { return now() - *static_cast<double*>(begin_) + 1e-9; }

}  // namespace device
}  // namespace driver
