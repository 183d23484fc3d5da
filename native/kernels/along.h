// Windows along rows of the input as they lie: no copy, no phases in memory.
//
// At stride 1 tap t of the windows from q on is the vector at q + t. At strides 2 and 3 the vectors
// of `stride` neighbours hold `stride` taps of one vector of windows, picked out in registers. So a
// row costs one load per tap (and stride - 1 moves), and what is made of it one store. Windows of
// several rows are joined row by row in the same registers.
#pragma once

#include "outputs.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// Lanes picked out of neighbouring vectors. What one instruction does within each 16 bytes of a
// register is put in order only once, at the end.
template <class T, int Stride> struct Picked {
    using V = Vec<T>;
    using N = Vec<TapInt<T>>;
    static constexpr int lanes = vector_lanes<T>;

    V neighbours[Stride];

    // Cells from `at` on, of the array's own type S. `gate` (null: none) shuts out what lies beyond
    // the row's ends.
    template <class Op, class S> POOLWISE_INLINE inline void load(const S* at, const T* gate) {
        for (int n = 0; n < Stride; ++n) {
            neighbours[n] = Op::load(at + n * lanes);
            if (gate) neighbours[n] = Op::shut(neighbours[n], load_vector<V>(gate + n * lanes));
        }
    }
    template <int Phase> POOLWISE_INLINE inline V phase() const {
        if constexpr (Stride == 1) {
            return neighbours[0];
        } else if constexpr (Stride == 2) {
            N pick{};
            for (int l = 0; l < lanes; ++l) {
                const int each = sizeof(T) < 4 ? lanes : 16 / static_cast<int>(sizeof(T));
                const int block = l / each, within = l % each;
                const int from = 2 * (within % (each / 2)) + Phase;
                pick[l] =
                    static_cast<TapInt<T>>(block * each + from + (within < each / 2 ? 0 : lanes));
            }
            return __builtin_shuffle(neighbours[0], neighbours[1], pick);
        } else {
            // Lanes are a power of two and the stride is odd: each lane of the result comes from
            // another lane of some neighbour, so they can be blended first and permuted once.
            // (3 * 43 is 1, counted modulo any number of lanes there is.)
            N first{}, second{}, order{};
            for (int l = 0; l < lanes; ++l) {
                const int cell = (l - Phase + lanes) * 43 % lanes * Stride + Phase;
                first[l] = static_cast<TapInt<T>>(cell / lanes == 1 ? lanes + l : l);
                second[l] = static_cast<TapInt<T>>(cell / lanes == 2 ? lanes + l : l);
                order[l] = static_cast<TapInt<T>>((l * Stride + Phase) % lanes);
            }
            const V blended = __builtin_shuffle(
                __builtin_shuffle(neighbours[0], neighbours[1], first), neighbours[2], second);
            return __builtin_shuffle(blended, order);
        }
    }
    static inline V in_order(V v) {
        if constexpr (Stride != 2 || sizeof(T) < 4) return v;
        N order{};
        constexpr int each = 8 / static_cast<int>(sizeof(T)), blocks = lanes / each;
        for (int l = 0; l < lanes; ++l) {
            const int block = l / each;
            const int from = block < blocks / 2 ? 2 * block : 2 * (block - blocks / 2) + 1;
            order[l] = static_cast<TapInt<T>>(from * each + l % each);
        }
        return __builtin_shuffle(v, order);
    }
};

// One vector of windows of `taps` cells, or of Known, along one row from `at` on. Gates, one for
// every `Stride` taps, lie like the cells; `at` is `place` cells into them.
template <class Op, int Stride, int Known, class S, class T>
POOLWISE_INLINE inline Vec<T> join_along(const S* at, int taps, T* const* gates,
                                         std::int64_t place) {
    if (Known) taps = Known;
    Vec<T> all{};
    for (int t = 0; t < taps; t += Stride) {
        const T* const gate = gates && gates[t / Stride] ? gates[t / Stride] + place : nullptr;
        Picked<T, Stride> cells;
        cells.template load<Op>(at + t, gate);
        const Vec<T> first = cells.template phase<0>();
        all = t == 0 ? first : Op::template join<false>(all, first);
        if constexpr (Stride > 1) {
            if (t + 1 < taps) all = Op::template join<false>(all, cells.template phase<1>());
        }
        if constexpr (Stride > 2) {
            if (t + 2 < taps) all = Op::template join<false>(all, cells.template phase<2>());
        }
    }
    return all;
}

// out[0, count) = the windows that begin at cells 0, Stride, … of every row, count at least a
// vector. Reads the cells of those windows, their number rounded up to a multiple of the stride.
template <class Op, int Stride, int Known, class After, class T = typename Op::Value>
POOLWISE_APART void join_rows_along(T* out, const T* const* rows, int row_count, int taps,
                                    std::int64_t count, const After& after, std::int64_t column,
                                    NaNWatch<T>& watch) {
    using V = Vec<T>;
    constexpr int lanes = vector_lanes<T>;
    T* const* const no_gates = nullptr;
    Suspects<Op> seen;
    const auto block = [&](auto width, std::int64_t q) {
        constexpr int wide = decltype(width)::value;
        V all[wide];
        for (int r = 0; r < row_count; ++r) {
            ask_for<0>(reinterpret_cast<const char*>(rows[r] + q * Stride) + read_ahead,
                       wide * Stride * vector_bytes);
            // The first taps are watched: the others are those of windows on.
            seen.template run<wide * Stride>(rows[r] + q * Stride);
            for (int w = 0; w < wide; ++w) {
                const T* at = rows[r] + (q + w * lanes) * Stride;
                const V row = join_along<Op, Stride, Known>(at, taps, no_gates, 0);
                all[w] = r == 0 ? row : Op::template join<false>(all[w], row);
            }
        }
        for (int w = 0; w < wide; ++w) {
            const std::int64_t n = q + w * lanes;
            store_vector(out + n, after(Picked<T, Stride>::in_order(all[w]), column + n));
        }
    };
    std::int64_t q = 0;
    for (; q + 2 * lanes <= count; q += 2 * lanes) block(Width<2>{}, q);
    for (; q + lanes <= count; q += lanes) block(Width<1>{}, q);
    if (q < count) block(Width<1>{}, count - lanes);
    watch.seen |= seen.lanes;
}

template <class Op, class After, class T = typename Op::Value>
auto along_joiner(int stride, int taps) {
    switch (stride) {
        case 1:
            return taps == 3 ? join_rows_along<Op, 1, 3, After> : join_rows_along<Op, 1, 0, After>;
        case 2:
            if (taps == 2) return join_rows_along<Op, 2, 2, After>;
            return taps == 3 ? join_rows_along<Op, 2, 3, After> : join_rows_along<Op, 2, 0, After>;
        default:
            return taps == 3 ? join_rows_along<Op, 3, 3, After> : join_rows_along<Op, 3, 0, After>;
    }
}
constexpr std::int64_t most_along_stride = 3, most_along_taps = 5;

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
