// Choosing, once per process, among the kernels compiled for each instruction set.
//
// A kernel is declared in its op's header with FK_DECLARE_KERNEL and registered
// with FK_REGISTER_KERNEL in its .cpp, which setup.py compiles once per
// instruction set.  Calling the slot runs the copy for the best instruction set
// that this processor has (FLOWKERNELS_CPU_ISA lowers the choice, for tests).
#pragma once

#include "../args/dtype.h"
#include "../args/export.h"

namespace fk {
namespace cpu {

using fk::DType;

enum class Isa : int { baseline, avx2, avx512, count };

// The instruction set in use, its name, and the names of those compiled in.
FK_EXPORT Isa isa();
FK_EXPORT const char* isa_name(Isa isa);
FK_EXPORT bool isa_compiled(Isa isa);
// Called by each per-instruction-set build when the library is loaded.
FK_EXPORT bool note_compiled(Isa isa);

template <class F>
struct KernelSlot;

template <class R, class... A>
struct KernelSlot<R(A...)> {
  R (*copies[static_cast<int>(Isa::count)])(A...) = {};

  bool add(Isa isa, R (*f)(A...)) {
    copies[static_cast<int>(isa)] = f;
    return note_compiled(isa);
  }
  R operator()(A... args) const { return copies[static_cast<int>(isa())](args...); }
};

}  // namespace cpu
}  // namespace fk

// One slot for all of the package's libraries.
#define FK_DECLARE_KERNEL(name, ...) FK_EXPORT inline constinit KernelSlot<__VA_ARGS__> name

// FK_ISA names the inline namespace and the enumerator alike.
#define FK_REGISTER_KERNEL(slot, function)          \
  [[maybe_unused]] static const bool slot##_added = \
      ::fk::cpu::slot.add(::fk::cpu::Isa::FK_ISA, function)
