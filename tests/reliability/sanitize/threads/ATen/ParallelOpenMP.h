// Stands in for torch's header of this name under the thread sanitizer.
//
// The sanitizer cannot see how the OpenMP runtime synchronizes, and would report every loop. Here
// the same loop runs in std::threads, which it understands; nothing else of the bindings changes.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#define INTRA_OP_PARALLEL

namespace at::internal {

template <typename F>
inline void invoke_parallel(int64_t begin, int64_t end, int64_t grain_size, const F& f) {
  int64_t count = at::get_num_threads();
  if (grain_size > 0) count = std::min(count, divup(end - begin, grain_size));
  const int64_t chunk = divup(end - begin, count);
  std::atomic_flag failed = ATOMIC_FLAG_INIT;
  std::exception_ptr error;
  const auto work = [&](int64_t rank) {
    const int64_t first = begin + rank * chunk;
    if (first >= end) return;
    try {
      ThreadIdGuard guard(static_cast<int>(rank));
      f(first, std::min(end, first + chunk));
    } catch (...) {
      if (!failed.test_and_set()) error = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (int64_t rank = 1; rank < count; ++rank) threads.emplace_back(work, rank);
  work(0);
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace at::internal
