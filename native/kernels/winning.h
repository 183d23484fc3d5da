// Winners of small windows, joined where they lie: no copy, no ring, no pass of its own.
//
// A vector of outputs holds the values that have won so far and, beside them, the number of the
// cell each came from; every tap is a load, a comparison and two selections. Cells are numbered as
// `Tap::base` says, counted on along the row. Exact: the later of two wins if it is beyond, or NaN.
#pragma once

#include "beside.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class T, bool Min> struct Winning {
    using V = Vec<T>;
    using N = Vec<TapInt<T>>;
    V value;
    N cell;
    POOLWISE_INLINE inline void begin(V first, TapInt<T> number) {
        value = first;
        cell = N{} + number;
    }
    POOLWISE_INLINE inline void add(V next, TapInt<T> number) {
        const auto later = (Min ? next < value : next > value) | (next != next);
        value = later ? next : value;
        cell = later ? N{} + number : cell;
    }
};

// out[0, count): the windows that begin at cells 0, Stride, … of every row, count at least a
// vector. Reads as join_rows_along does.
template <class T, bool Min, int Stride, int Known>
POOLWISE_APART void win_along(TapRow<T> out, const Tap<T>* rows, int row_count, int taps,
                              std::int64_t count) {
    constexpr std::int64_t lanes = vector_lanes<T>;
    using I = TapInt<T>;
    if (Known) taps = Known;
    for (std::int64_t q = 0; q < count; q += lanes) {
        const std::int64_t n = smaller(q, count - lanes);
        Winning<T, Min> won;
        for (int r = 0; r < row_count; ++r) {
            const T* const at = rows[r].v + n * Stride;
            ask_for<0>(reinterpret_cast<const char*>(at) + read_ahead, Stride * lanes * sizeof(T));
            for (int t = 0; t < taps; t += Stride) {
                Picked<T, Stride> cells;
                cells.template load<PickTaps<T, Min>>(at + t, nullptr);
                const I number = static_cast<I>(rows[r].base + t);
                if (r == 0 && t == 0)
                    won.begin(cells.template phase<0>(), number);
                else
                    won.add(cells.template phase<0>(), number);
                if constexpr (Stride > 1) {
                    if (t + 1 < taps) won.add(cells.template phase<1>(), number + 1);
                }
                if constexpr (Stride > 2) {
                    if (t + 2 < taps) won.add(cells.template phase<2>(), number + 2);
                }
            }
        }
        store_vector(out.v + n, Picked<T, Stride>::in_order(won.value));
        store_vector(out.tap + n, Picked<I, Stride>::in_order(won.cell));
    }
}
template <class T, bool Min> auto along_winner(int stride, int taps) {
    if (stride == 1) return taps == 3 ? win_along<T, Min, 1, 3> : win_along<T, Min, 1, 0>;
    if (stride == 3) return taps == 3 ? win_along<T, Min, 3, 3> : win_along<T, Min, 3, 0>;
    if (taps == 2) return win_along<T, Min, 2, 2>;
    return taps == 3 ? win_along<T, Min, 2, 3> : win_along<T, Min, 2, 0>;
}

// The same for channels beside each other, at least a vector of them: `outputs` windows of
// `columns` cells each; row r's cells are numbered from bases[r] on.
template <class T, bool Min>
POOLWISE_APART void win_beside(TapRow<T> out, const LaneRows<T>& in, const TapInt<T>* bases,
                               int columns, std::int64_t first, std::int64_t outputs) {
    using V = Vec<T>;
    constexpr std::int64_t each = vector_lanes<T>;
    const std::int64_t lanes = in.lanes;
    for (std::int64_t w = 0; w < outputs; ++w) {
        in.ask_ahead(first + w);
        for (std::int64_t l = 0; l < lanes; l += each) {
            const std::int64_t n = smaller(l, lanes - each);
            Winning<T, Min> won;
            for (int r = 0; r < in.count; ++r) {
                const T* const cells = in.row[r] + w * in.step + n;
                for (int c = 0; c < columns; ++c) {
                    const V next = load_vector<V>(cells + c * lanes);
                    const auto number = static_cast<TapInt<T>>(bases[r] + c);
                    if (r == 0 && c == 0)
                        won.begin(next, number);
                    else
                        won.add(next, number);
                }
            }
            store_vector(out.v + w * lanes + n, won.value);
            store_vector(out.tap + w * lanes + n, won.cell);
        }
    }
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
