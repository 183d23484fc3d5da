// What every kernel file needs: the instruction set's namespace, loop hints, and integer helpers.
//
// Kernels are compiled once per instruction set with POOLWISE_ISA naming the namespace. They use
// plain loops over contiguous rows; POOLWISE_LANES tells the compiler that rows of one loop never
// overlap in a way that matters (they are equal or apart), which is all it needs to vectorise.
#pragma once

#include "table.h"

#ifndef POOLWISE_ISA
#error "POOLWISE_ISA must name the namespace this file is compiled into"
#endif

#if defined(__clang__)
#define POOLWISE_LANES _Pragma("clang loop vectorize(assume_safety)")
#else
#define POOLWISE_LANES _Pragma("GCC ivdep")
#endif
#define POOLWISE_RESTRICT __restrict__
// Loops over whole rows cost far more than a call: kept apart, each is compiled once, not at every
// use.
#define POOLWISE_APART __attribute__((noinline))
// What is made of a register has to stay in registers.
#define POOLWISE_INLINE __attribute__((always_inline))

namespace poolwise::POOLWISE_ISA {

// Each kernel file adds its functions to the table.
void fill_table(KernelTable& table);
void offer_small_windows(KernelTable& table);
void offer_small_extremes(KernelTable& table);
void offer_small_sums(KernelTable& table);
void offer_small_winners(KernelTable& table);
void offer_gradients(KernelTable& table);
void offer_large_windows(KernelTable& table);

namespace {

__extension__ typedef __int128 Int128;

template <class T> constexpr T smaller(T a, T b) { return b < a ? b : a; }
template <class T> constexpr T larger(T a, T b) { return a < b ? b : a; }

// The instruction set this translation unit was really compiled for: not a name passed in, so that
// a test can catch a build that lost its flags.
inline const char* compiled_isa() {
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
    return "avx512";
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
    return "avx2";
#else
    return "baseline";
#endif
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
