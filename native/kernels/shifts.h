// Neighbours joined in registers: rows are loaded where they were stored, and shifted.
//
// A load of what two stores wrote waits until both are in the cache, behind every output that is
// still on its way to memory; a load of what one store wrote does not. So where an instruction
// shifts two registers by any number of elements (AVX-512), what begins beside a line is made of
// the two registers that hold it: a load and a shift per term and vector, where a load across lines
// would cost as much as two.
//
// Maxima of up to two registers of cells need one load alone: M2[i] = M1[i] ∘ M1[i+1],
// M4[i] = M2[i] ∘ M2[i+2], …, and the window is the widest of them and itself, shifted. What a
// register lacks is in the next one, so every level is a register behind the one before.
#pragma once

#include "pairs.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class T> inline constexpr bool shifts = vector_bytes == 64;

// Bytes go by whole words, and what is left by bits: no instruction of every AVX-512 takes single
// bytes across a register.
struct ByteShift {
    Vec<std::int32_t> words;
    std::int64_t bits;
    template <class V> POOLWISE_INLINE inline V operator()(V v, V next) const {
#if defined(__AVX512F__)
        typedef Vec<std::int32_t> Words;
        const auto from = reinterpret_cast<Words>(v), then = reinterpret_cast<Words>(next);
        const __m128i low = _mm_cvtsi64_si128(bits), high = _mm_cvtsi64_si128(32 - bits);
        const auto first = reinterpret_cast<__m512i>(__builtin_shuffle(from, then, words)),
                   second = reinterpret_cast<__m512i>(__builtin_shuffle(from, then, words + 1));
        return reinterpret_cast<V>(
            _mm512_or_si512(_mm512_srl_epi32(first, low), _mm512_sll_epi32(second, high)));
#else
        return v;  // (never asked for: see `shifts`)
#endif
    }
};

// How far behind v's beginning the register begins that shifted(v, next) makes, lane by lane.
template <class T, bool Bytes = sizeof(T) == 1> struct Shift {
    typedef Vec<TapInt<T>> Type;
};
template <class T> struct Shift<T, true> {
    typedef ByteShift Type;
};
template <class T> using ShiftOf = typename Shift<T>::Type;

template <class T> POOLWISE_INLINE inline ShiftOf<T> shift_of(std::int64_t by) {
    if constexpr (sizeof(T) == 1)
        return ShiftOf<T>{lanes_from<std::int32_t>(by / 4), by % 4 * 8};
    else
        return lanes_from<T>(by);
}
template <class T> POOLWISE_INLINE inline Vec<T> shifted(Vec<T> v, Vec<T> next, ShiftOf<T> by) {
    if constexpr (sizeof(T) == 1)
        return by(v, next);
    else
        return __builtin_shuffle(v, next, by);
}
template <class T> POOLWISE_INLINE inline Pair<T> shifted(Pair<T> v, Pair<T> next, ShiftOf<T> by) {
    return {shifted<T>(v.value, next.value, by), shifted<TapInt<T>>(v.cell, next.cell, by)};
}

// How many elements an address lies behind the beginning of its line.
template <class T> inline std::int64_t beyond_line(const T* at) {
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(at) / sizeof(T)) %
           vector_lanes<T>;
}

// target[n] = terms[0][n] ∘ (terms[1][n] ∘ …) for n < count; reads up to two vectors beyond them.
// Cells are counted from `first` on.
template <class Op, int Count, bool Counts>
POOLWISE_APART void join_shifted(typename Op::Row target, const typename Op::Row* terms,
                                 std::int64_t count, TapInt<typename Op::Value> first) {
    using T = typename Op::Value;
    constexpr std::int64_t lanes = vector_lanes<T>;
    typename Op::Row line[Count];
    typename Op::Register held[Count];
    ShiftOf<T> by[Count];
    for (int t = 0; t < Count; ++t) {
        const std::int64_t beyond = beyond_line(terms[t].v);
        line[t] = terms[t].at(-beyond);
        by[t] = shift_of<T>(beyond);
        held[t] = line[t].get(0);
    }
    for (std::int64_t n = 0; n < count; n += lanes) {
        typename Op::Register all{};
        each_width<0, Count>([&](auto k) POOLWISE_INLINE {
            constexpr int t = Count - 1 - decltype(k)::value;
            const auto next = line[t].get(n + lanes), term = shifted<T>(held[t], next, by[t]);
            held[t] = next;
            all = t == Count - 1 ? term : Op::joined(term, all);
        });
        if constexpr (Counts) all.cell += first;
        target.put(n, all);
    }
}

// ---- maxima of `kernel` neighbours

template <class T> inline bool doubles_up(std::int64_t kernel) {
    return kernel >= 4 && kernel <= smaller<std::int64_t>(32, 2 * vector_lanes<T>);
}
template <class Op, int Levels>
POOLWISE_APART void double_up(typename Op::Row target, typename Op::Row from, std::int64_t kernel,
                              std::int64_t count, TapInt<typename Op::Value> first) {
    using T = typename Op::Value;
    constexpr std::int64_t lanes = vector_lanes<T>, behind = Levels + 1;
    const auto last = shift_of<T>(kernel - (1 << Levels));
    typename Op::Register level[Levels + 1] = {};
    for (std::int64_t n = -behind * lanes; n < count; n += lanes) {
        // What comes next of each level, made of what came before and comes next of the last.
        auto next = from.get(n + behind * lanes);
        each_width<0, Levels>([&](auto l) POOLWISE_INLINE {
            constexpr int at = decltype(l)::value;
            const auto before = level[at];
            level[at] = next;
            next = Op::joined(before, shifted<T>(before, next, shift_of<T>(1 << at)));
        });
        const auto before = level[Levels];
        level[Levels] = next;
        if (n < 0) continue;
        auto all = Op::joined(before, shifted<T>(before, next, last));
        if constexpr (Op::indexed) all.cell += first;
        target.put(n, all);
    }
}
template <class Op>
void double_up(typename Op::Row target, typename Op::Row from, std::int64_t kernel,
               std::int64_t count, TapInt<typename Op::Value> first) {
    if (kernel <= 8) return double_up<Op, 2>(target, from, kernel, count, first);
    if (kernel <= 16) return double_up<Op, 3>(target, from, kernel, count, first);
    double_up<Op, 4>(target, from, kernel, count, first);
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
