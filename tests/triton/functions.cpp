// Functions of csrc/math of numbers on the standard input, for comparison with Triton's.
//
//   functions NAME float|double    pairs (a, b) in binary; one result for each
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../../csrc/math/log_0f1.h"
#include "../../csrc/math/log_gamma.h"

namespace {

template <class T>
T sine(T a) {
  T s, c;
  fk::sincos(a, s, c);
  return s;
}
template <class T>
T cosine(T a) {
  T s, c;
  fk::sincos(a, s, c);
  return c;
}

template <class T>
T apply(const char* name, T a, T b) {
  const auto is = [name](const char* other) { return std::strcmp(name, other) == 0; };
  if (is("exp")) return fk::exp(a);
  if (is("log")) return fk::log(a);
  if (is("log1p")) return fk::log1p(a);
  if (is("log1p_nonnegative")) return fk::log1p_nonnegative(a);
  if (is("tanh")) return fk::tanh(a);
  if (is("atan")) return fk::atan(a);
  if (is("atan2")) return fk::atan2(a, b);
  if (is("atan2_quadrant")) return fk::atan2_quadrant(a, b);
  if (is("sine")) return sine(a);
  if (is("cosine")) return cosine(a);
  if (is("log_gamma_1p")) return fk::log_gamma_1p(a);
  std::fprintf(stderr, "no function %s\n", name);
  std::exit(2);
}

template <class T>
int run(const char* name) {
  T pair[2];
  while (std::fread(pair, sizeof(T), 2, stdin) == 2) {
    const T result = apply(name, pair[0], pair[1]);
    std::fwrite(&result, sizeof(T), 1, stdout);
  }
  return 0;
}

}  // namespace

int main(int, char** argv) {
  return std::strcmp(argv[2], "float") == 0 ? run<float>(argv[1]) : run<double>(argv[1]);
}
