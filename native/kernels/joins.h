// Joining rows of values, or of winners: what a window's taps come to, several vectors at a time.
//
// A tap is a run of values that lies anywhere; one after another, in row-major order, they are
// joined into a run of outputs that never leaves its registers. Cost per output vector: a load and
// a join per tap.
#pragma once

#include "operations.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// What taps are joined by, for vectors and for single values. `Exact` may not lose a NaN.
template <class T, bool Min> struct PickTaps {
    using Value = T;
    static constexpr bool watched = true, indexed = false, least = Min;
    static constexpr T identity = Min ? Limits<T>::high : Limits<T>::low;
    template <bool Exact, class V> static inline V join(V earlier, V later) {
        const auto beyond = Min ? later < earlier : later > earlier;
        if constexpr (Exact) return (beyond | (later != later)) ? later : earlier;
        return beyond ? later : earlier;
    }
};
template <class T> struct AddTaps {
    using Value = T;
    static constexpr bool watched = false, indexed = false, least = false;
    static constexpr T identity = 0;
    template <bool, class V> static inline V join(V earlier, V later) { return earlier + later; }
};
template <class T, bool Min> struct WinTaps {
    using Value = T;
    static constexpr bool watched = false, indexed = true, least = Min;
    static constexpr T identity = Min ? Limits<T>::high : Limits<T>::low;
};

// Values, and for winners the number of the tap each came from.
template <class T> struct TapRow {
    T* v = nullptr;
    TapInt<T>* tap = nullptr;
};

// One thing to join: values, and for winners the taps they came from: tap[n] + base, or base alone.
template <class T> struct Tap {
    const T* v;
    const TapInt<T>* tap;
    TapInt<T> base;
};

template <class Op, bool Exact, bool Slack, class T = typename Op::Value>
POOLWISE_APART void join_values(T* out, const Tap<T>* taps, int how_many, std::int64_t count) {
    if (!Slack && count < vector_lanes<T>) {
        for (std::int64_t n = 0; n < count; ++n) {
            T all = taps[0].v[n];
            for (int t = 1; t < how_many; ++t) all = Op::template join<Exact>(all, taps[t].v[n]);
            out[n] = all;
        }
        return;
    }
    each_block<T, Slack>(count, [&](auto width, std::int64_t n) {
        using V = Vec<T>;
        constexpr int wide = decltype(width)::value;
        V all[wide];
        for (int w = 0; w < wide; ++w) all[w] = load_vector<V>(taps[0].v + n + w * vector_lanes<T>);
        for (int t = 1; t < how_many; ++t) {
            const T* tap = taps[t].v + n;
            for (int w = 0; w < wide; ++w)
                all[w] =
                    Op::template join<Exact>(all[w], load_vector<V>(tap + w * vector_lanes<T>));
        }
        for (int w = 0; w < wide; ++w) store_vector(out + n + w * vector_lanes<T>, all[w]);
    });
}

// Whole windows, `rows` times `columns` taps in row-major order: along rows, then down, as if by
// two calls of the above. Every element is shown to the watch.
template <class Op, bool Exact, class T = typename Op::Value>
POOLWISE_APART void join_windows(T* out, const Tap<T>* taps, int rows, int columns,
                                 std::int64_t count, NaNWatch<T>& watch) {
    constexpr bool watched = Op::watched && !Exact;
    if (count < vector_lanes<T>) {
        for (std::int64_t n = 0; n < count; ++n) {
            T all{};
            for (int r = 0; r < rows; ++r) {
                T row = taps[r * columns].v[n];
                if (watched) watch(Vec<T, sizeof(T)>{row});
                for (int c = 1; c < columns; ++c) {
                    const T next = taps[r * columns + c].v[n];
                    if (watched) watch(Vec<T, sizeof(T)>{next});
                    row = Op::template join<Exact>(row, next);
                }
                all = r == 0 ? row : Op::template join<Exact>(all, row);
            }
            out[n] = all;
        }
        return;
    }
    NaNWatch<T> seen;
    each_block<T, false>(count, [&](auto width, std::int64_t n) {
        using V = Vec<T>;
        constexpr int wide = decltype(width)::value;
        const auto load = [&](const Tap<T>& tap, int w) {
            const V v = load_vector<V>(tap.v + n + w * vector_lanes<T>);
            if constexpr (watched) seen(v);
            return v;
        };
        V all[wide], row[wide];
        for (int r = 0; r < rows; ++r) {
            const Tap<T>* const first = taps + r * columns;
            for (int w = 0; w < wide; ++w) row[w] = load(first[0], w);
            for (int c = 1; c < columns; ++c)
                for (int w = 0; w < wide; ++w)
                    row[w] = Op::template join<Exact>(row[w], load(first[c], w));
            for (int w = 0; w < wide; ++w)
                all[w] = r == 0 ? row[w] : Op::template join<Exact>(all[w], row[w]);
        }
        for (int w = 0; w < wide; ++w) store_vector(out + n + w * vector_lanes<T>, all[w]);
    });
    watch.add(seen);
}

template <class Op, bool Slack, class T = typename Op::Value>
POOLWISE_APART void join_winners(TapRow<T> out, const Tap<T>* taps, int how_many,
                                 std::int64_t count) {
    using I = TapInt<T>;
    if (!Slack && count < vector_lanes<T>) {
        for (std::int64_t n = 0; n < count; ++n) {
            T v = taps[0].v[n];
            I tap = taps[0].base + (taps[0].tap ? taps[0].tap[n] : 0);
            for (int t = 1; t < how_many; ++t) {
                const bool later = later_wins<T, Op::least>(v, taps[t].v[n]);
                v = later ? taps[t].v[n] : v;
                tap = later ? taps[t].base + (taps[t].tap ? taps[t].tap[n] : 0) : tap;
            }
            out.v[n] = v;
            out.tap[n] = tap;
        }
        return;
    }
    each_block<T, Slack>(count, [&](auto width, std::int64_t n) {
        using V = Vec<T>;
        using N = Vec<I>;
        constexpr int wide = decltype(width)::value;
        V v[wide];
        N number[wide];
        const auto number_of = [](const Tap<T>& tap, std::int64_t at) {
            return tap.tap ? load_vector<N>(tap.tap + at) + tap.base : N{} + tap.base;
        };
        for (int w = 0; w < wide; ++w) {
            v[w] = load_vector<V>(taps[0].v + n + w * vector_lanes<T>);
            number[w] = number_of(taps[0], n + w * vector_lanes<T>);
        }
        for (int t = 1; t < how_many; ++t)
            for (int w = 0; w < wide; ++w) {
                const std::int64_t at = n + w * vector_lanes<T>;
                const V next = load_vector<V>(taps[t].v + at);
                const N later = (Op::least ? next < v[w] : next > v[w]) | (next != next);
                v[w] = later ? next : v[w];
                number[w] = later ? number_of(taps[t], at) : number[w];
            }
        for (int w = 0; w < wide; ++w) {
            store_vector(out.v + n + w * vector_lanes<T>, v[w]);
            store_vector(out.tap + n + w * vector_lanes<T>, number[w]);
        }
    });
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
