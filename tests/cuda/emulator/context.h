// Where a fiber has stopped, and how another goes on there.
//
// The C library's swapcontext asks the kernel for the signals each time, and the address sanitizer
// forgets then what it knows of the stack. Threads switch millions of times, so that on x86-64 the
// registers are exchanged here.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)

namespace emulator {

struct Context {
  void* stack = nullptr;  // on top of it the registers that a called function keeps
};

extern "C" void emulator_switch(void** from, void* to);
asm(R"(
  .pushsection .text
  .type emulator_switch, @function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size emulator_switch, . - emulator_switch
  .popsection
)");

inline void switch_context(Context& from, const Context& to) {
  emulator_switch(&from.stack, to.stack);
}

inline void prepare_context(Context& context, char* stack, size_t bytes, void (*body)()) {
  // `body` returns to nowhere. As it begins, the stack's address is 8 more than a multiple of 16.
  uintptr_t* top = reinterpret_cast<uintptr_t*>(stack + bytes) - 4;
  top[0] = reinterpret_cast<uintptr_t>(body);
  top[1] = 0;
  for (int i = 1; i <= 6; ++i) top[-i] = 0;
  context.stack = top - 6;
}

}  // namespace emulator

#else

#include <ucontext.h>

namespace emulator {

struct Context {
  ucontext_t registers;
};

inline void switch_context(Context& from, const Context& to) {
  swapcontext(&from.registers, &to.registers);
}

inline void prepare_context(Context& context, char* stack, size_t bytes, void (*body)()) {
  getcontext(&context.registers);
  context.registers.uc_stack.ss_sp = stack;
  context.registers.uc_stack.ss_size = bytes;
  context.registers.uc_link = nullptr;
  makecontext(&context.registers, body, 0);
}

}  // namespace emulator

#endif
