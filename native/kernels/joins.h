// Joining rows of values, or of winners: what a window's taps come to, several vectors at a time.
//
// A tap is a run of values that lies anywhere; one after another, in row-major order, they are
// joined into a run of outputs that never leaves its registers. Cost per output vector: a load and
// a join per tap.
#pragma once

#include "divide.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// What taps are joined by, for vectors and for single values. `Exact` may not lose a NaN; else
// `suspect` must say which values call for it. Vectors are loaded from, and stored as, elements of
// other types; `shut` lets a cell pass or makes it the identity, as a gate says.
template <class T> struct AsItIs {
    using Value = T;
    static constexpr bool indexed = false;
    template <class S> static inline Vec<T> load(const S* at) { return load_as<T>(at); }
    template <class D> static inline auto stored(Vec<T> v) { return POOLWISE_ISA::stored<D, T>(v); }
};
template <class T, bool Min> struct PickTaps : AsItIs<T> {
    static constexpr bool watched = floating<T>, least = Min;
    static constexpr T identity = Min ? Limits<T>::high : Limits<T>::low;
    static constexpr T open = Min ? Limits<T>::low : Limits<T>::high, closed = identity;
    template <bool Exact, class V> static inline V join(V earlier, V later) {
        if constexpr (Exact && floating<T>)
            return ((Min ? later < earlier : later > earlier) | (later != later)) ? later : earlier;
        else
            return extreme<T, Min>(earlier, later);
    }
    // (a gate wins over what lies beside the array, NaN or not)
    static inline Vec<T> shut(Vec<T> v, Vec<T> gate) { return extreme<T, !Min>(gate, v); }
    static inline auto suspect(Vec<T> v) { return v != v; }
    static inline auto suspect(Vec<T> a, Vec<T> b) { return unordered<T>(a, b); }
};

// Maxima of 16-bit floats without a conversion: their bits, but for the sign's turned over when
// they are negative, are integers of the same order. NaN and -0.0 are not, and call for care.
template <class B, bool Min> struct PickBits {
    using T = std::int16_t;
    using Value = T;
    static constexpr bool watched = true, indexed = false, least = Min;
    static constexpr T identity = Min ? INT16_MAX : INT16_MIN;
    static constexpr T open = Min ? INT16_MIN : INT16_MAX, closed = identity;
    static constexpr T infinity = same<B, Half> ? 0x7c00 : 0x7f80;
    static inline Vec<T> turned(Vec<T> v) { return v ^ ((v >> 15) & T(0x7fff)); }
    static inline Vec<T> load(const B* at) {
        return turned(load_vector<Vec<T>>(reinterpret_cast<const T*>(at)));
    }
    static inline Vec<T> load(const T* at) { return load_vector<Vec<T>>(at); }  // (are turned)
    template <class> static inline Vec<T> stored(Vec<T> v) { return turned(v); }
    // (one instruction here, and told as such (`extreme`) channels last took a tenth longer)
    template <bool, class V> static inline V join(V earlier, V later) {
        return (Min ? later < earlier : later > earlier) ? later : earlier;
    }
    static inline Vec<T> shut(Vec<T> v, Vec<T> gate) {
        return (Min ? v > gate : v < gate) ? v : gate;
    }
    static inline auto suspect(Vec<T> v) {
        return (v > infinity) | (v < T(~infinity)) | (v == T(-1));
    }
    static inline auto suspect(Vec<T> a, Vec<T> b) { return suspect(a) | suspect(b); }
};
// Which of the values it was shown call for care, lane by lane.
template <class Op> struct Suspects {
    using T = typename Op::Value;
    Vec<TapInt<T>> lanes{};
    inline void operator()(Vec<T> v) {
        if constexpr (Op::watched) lanes |= Op::suspect(v);
    }
    inline void operator()(Vec<T> a, Vec<T> b) {
        if constexpr (Op::watched) lanes |= Op::suspect(a, b);
    }
    // All of `count` vectors from `at` on, which are joined anyway.
    template <int Count, class S> POOLWISE_INLINE inline void run(const S* at) {
        constexpr int each = vector_lanes<T>;
        for (int v = 0; v + 2 <= Count; v += 2)
            (*this)(Op::load(at + v * each), Op::load(at + (v + 1) * each));
        if constexpr (Count % 2 == 1) (*this)(Op::load(at + (Count - 1) * each));
    }
};
template <class T> struct AddTaps : AsItIs<T> {
    static constexpr bool watched = false, least = false;
    static constexpr T identity = 0;
    static constexpr T open = __builtin_bit_cast(T, TapInt<T>(-1)), closed = 0;  // masks
    template <bool, class V> static inline V join(V earlier, V later) { return earlier + later; }
    template <class D> static inline auto stored(Vec<T> v) {
        return POOLWISE_ISA::stored<D, T, true>(v);
    }
    static inline Vec<T> shut(Vec<T> v, Vec<T> gate) {
        typedef Vec<TapInt<T>> Bits;
        return reinterpret_cast<Vec<T>>(reinterpret_cast<Bits>(v) & reinterpret_cast<Bits>(gate));
    }
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

template <class Op, bool Exact, bool Slack, class After = Keep, class T = typename Op::Value>
POOLWISE_APART void join_values(T* out, const Tap<T>* taps, int how_many, std::int64_t count,
                                const After& after = {}) {
    if (!Slack && count < vector_lanes<T>) {
        for (std::int64_t n = 0; n < count; ++n) {
            T all = taps[0].v[n];
            for (int t = 1; t < how_many; ++t) all = Op::template join<Exact>(all, taps[t].v[n]);
            out[n] = after(all, n);
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
        for (int w = 0; w < wide; ++w) {
            const std::int64_t at = n + w * vector_lanes<T>;
            store_vector(out + at, after(all[w], at));
        }
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
