// Storage types and accesses of global memory.
//
// The kernels use nothing of CUDA beyond device.h, group.h and launch.h, so that tests/cuda
// can also run them on a CPU.
#pragma once

#include <cuda_runtime.h>

#include "../../args/dtype.h"
#include "../../math/half.h"

#define FK_DEVICE __device__ __forceinline__

namespace fk {
namespace cuda {

#if !defined(FK_BLOCK_THREADS)
#define FK_BLOCK_THREADS 128
#endif
constexpr int block_threads = FK_BLOCK_THREADS;
constexpr int warp_threads = 32;
constexpr int block_warps = block_threads / warp_threads;

// Blocks of a kernel that share a multiprocessor at least: bounds its registers.
template <class T>
constexpr int resident_blocks = sizeof(T) == 8 ? 4 : 6;

// ---- storage -------------------------------------------------------------------

struct Half {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

FK_DEVICE float widen(float v) { return v; }
FK_DEVICE double widen(double v) { return v; }
FK_DEVICE float widen(Half v) { return from_f16(v.bits); }
FK_DEVICE float widen(Bfloat16 v) { return from_bf16(v.bits); }

template <class S>
struct storage_traits {
  using compute = float;
};
template <>
struct storage_traits<double> {
  using compute = double;
};
template <class S>
struct storage_traits<const S>;  // not float, whatever S is
// The type a kernel computes in for elements stored as S.
template <class S>
using compute_t = typename storage_traits<S>::compute;

template <class S>
FK_DEVICE S narrow(compute_t<S> v) {
  if constexpr (sizeof(S) >= 4) {
    return v;
  } else if constexpr (__is_same(S, Half)) {
    return {to_f16(v)};
  } else {
    return {to_bf16(v)};
  }
}

// N elements moved by one instruction.
template <class S, int N>
struct alignas(sizeof(S) * N) Pack {
  S at[N];
};
template <class S>
constexpr int pack_elements = 16 / sizeof(S);

// N elements in registers, halves two to a register until they are needed.  They are
// widened and narrowed in groups of G, which bounds what is alive at once.
template <class S, int N>
struct Values {
  static constexpr int G = N < 4 ? N : 4;
  S at[N];

  FK_DEVICE void get(int group, compute_t<S> (&v)[G]) const {
#pragma unroll
    for (int m = 0; m < G; ++m) v[m] = at[group * G + m];
  }
  FK_DEVICE void put(int group, const compute_t<S> (&v)[G]) {
#pragma unroll
    for (int m = 0; m < G; ++m) at[group * G + m] = v[m];
  }
};

template <class S, int N>
struct HalfValues {
  static constexpr int G = 4;
  uint32_t at[N / 2];

  FK_DEVICE void get(int group, float (&v)[G]) const {
#pragma unroll
    for (int m = 0; m < G; m += 2) {
      const uint32_t two = at[(group * G + m) / 2];
      v[m] = widen(S{static_cast<uint16_t>(two)});
      v[m + 1] = widen(S{static_cast<uint16_t>(two >> 16)});
    }
  }
  FK_DEVICE void put(int group, const float (&v)[G]) {
#pragma unroll
    for (int m = 0; m < G; m += 2)
      at[(group * G + m) / 2] =
          narrow<S>(v[m]).bits | static_cast<uint32_t>(narrow<S>(v[m + 1]).bits) << 16;
  }
};
// One half alone, in 32 bits: what shares a register would wait for what it is joined with.
template <class S>
struct OneHalf {
  static constexpr int G = 1;
  uint32_t at[1];
  FK_DEVICE void get(int, float (&v)[1]) const { v[0] = widen(S{static_cast<uint16_t>(at[0])}); }
  FK_DEVICE void put(int, const float (&v)[1]) { at[0] = narrow<S>(v[0]).bits; }
};
template <>
struct Values<Half, 1> : OneHalf<Half> {};
template <>
struct Values<Bfloat16, 1> : OneHalf<Bfloat16> {};
template <int N>
struct Values<Half, N> : HalfValues<Half, N> {};
template <int N>
struct Values<Bfloat16, N> : HalfValues<Bfloat16, N> {};

// One access for all of `v`.  The compiler takes a struct's or a uint4's apart into four
// narrow ones where its parts come from different computations.  What is loaded so is
// written by nobody while the kernel runs, so that loads may be moved across stores.
#if defined(__CUDA_ARCH__)
FK_DEVICE void load_words(const void* from, float (&v)[4]) {
  asm("ld.global.nc.v4.f32 {%0, %1, %2, %3}, [%4];"
      : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3])
      : "l"(from));
}
FK_DEVICE void load_words(const void* from, double (&v)[2]) {
  asm("ld.global.nc.v2.f64 {%0, %1}, [%2];" : "=d"(v[0]), "=d"(v[1]) : "l"(from));
}
FK_DEVICE void load_words(const void* from, uint32_t (&v)[4]) {
  asm("ld.global.nc.v4.b32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
      : "l"(from));
}
FK_DEVICE void load_words(const void* from, uint32_t (&v)[2]) {
  asm("ld.global.nc.v2.b32 {%0, %1}, [%2];" : "=r"(v[0]), "=r"(v[1]) : "l"(from));
}
FK_DEVICE void store_words(void* to, const float (&v)[4]) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v[0]), "f"(v[1]),
               "f"(v[2]), "f"(v[3]));
}
FK_DEVICE void store_words(void* to, const double (&v)[2]) {
  asm volatile("st.global.v2.f64 [%0], {%1, %2};" ::"l"(to), "d"(v[0]), "d"(v[1]));
}
FK_DEVICE void store_words(void* to, const uint32_t (&v)[4]) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v[0]), "r"(v[1]),
               "r"(v[2]), "r"(v[3]));
}
FK_DEVICE void store_words(void* to, const uint32_t (&v)[2]) {
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(to), "r"(v[0]), "r"(v[1]));
}
#else
template <class Word, int N>
FK_DEVICE void load_words(const void* from, Word (&v)[N]) {
  const auto words = *static_cast<const Pack<Word, N>*>(from);
  for (int i = 0; i < N; ++i) v[i] = words.at[i];
}
template <class Word, int N>
FK_DEVICE void store_words(void* to, const Word (&v)[N]) {
  Pack<Word, N> words;
  for (int i = 0; i < N; ++i) words.at[i] = v[i];
  *static_cast<Pack<Word, N>*>(to) = words;
}
#endif

template <class T>
FK_DEVICE void load_one(const T* from, T& v) {
  v = *from;
}
template <class S>
FK_DEVICE void load_one(const S* from, uint32_t& v) {
#if defined(__CUDA_ARCH__)
  // What v held before the load stays a value of its own: where a branch skips the load, the
  // register is set before it, not after, which would wait for it.
  asm("ld.global.nc.u16 %0, [%1];" : "+r"(v) : "l"(from));
#else
  v = from->bits;
#endif
}

template <class S, int N>
FK_DEVICE void load_pack(const S* from, Values<S, N>& v) {
  if constexpr (N == 1) {
    load_one(from, v.at[0]);
  } else {
    load_words(from, v.at);
  }
}
template <class S, int N>
FK_DEVICE void store_pack(S* to, const Values<S, N>& v) {
  if constexpr (N == 1 && sizeof(S) == 2) {
    *to = {static_cast<uint16_t>(v.at[0])};
  } else if constexpr (N == 1) {
    *to = v.at[0];
  } else {
    store_words(to, v.at);
  }
}
// The same number everywhere.
template <class S, int N>
FK_DEVICE void fill(Values<S, N>& v, compute_t<S> x) {
  constexpr int G = Values<S, N>::G;
  compute_t<S> group[G];
#pragma unroll
  for (int m = 0; m < G; ++m) group[m] = x;
#pragma unroll
  for (int g = 0; g < N / G; ++g) v.put(g, group);
}

// One element of a dtype known at run time; T is float for all but float64.
template <class T>
FK_DEVICE T load_element(const void* base, DType dtype, int64_t i) {
  if constexpr (sizeof(T) == 8) {
    return static_cast<const double*>(base)[i];
  } else if (dtype == DType::f32) {
    return static_cast<const float*>(base)[i];
  } else {
    const uint16_t bits = static_cast<const uint16_t*>(base)[i];
    return dtype == DType::f16 ? from_f16(bits) : from_bf16(bits);
  }
}
template <class T>
FK_DEVICE void store_element(void* base, DType dtype, int64_t i, T v) {
  if constexpr (sizeof(T) == 8) {
    static_cast<double*>(base)[i] = v;
  } else if (dtype == DType::f32) {
    static_cast<float*>(base)[i] = v;
  } else {
    static_cast<uint16_t*>(base)[i] = dtype == DType::f16 ? to_f16(v) : to_bf16(v);
  }
}

}  // namespace cuda
}  // namespace fk
