// The associative operations a window is reduced by, and the few loops over rows that apply them.
//
// An operation joins an earlier and a later element and may be bracketed in any way as long as the
// order stays: maxima keep the first of equals (so -0.0 before 0.0 stays -0.0) and the last NaN,
// which is PyTorch's rule and is what makes "left to right, then top to bottom" row-major order.
#pragma once

#include "convert.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class T> struct Limits;
template <> struct Limits<float> {
    static constexpr float low = -__builtin_inff(), high = __builtin_inff();
};
template <> struct Limits<double> {
    static constexpr double low = -__builtin_inf(), high = __builtin_inf();
};
#define POOLWISE_LIMITS(T, LOW, HIGH)              \
    template <> struct Limits<T> {                 \
        static constexpr T low = LOW, high = HIGH; \
    };
POOLWISE_LIMITS(std::int8_t, INT8_MIN, INT8_MAX)
POOLWISE_LIMITS(std::int16_t, INT16_MIN, INT16_MAX)
POOLWISE_LIMITS(std::int32_t, INT32_MIN, INT32_MAX)
POOLWISE_LIMITS(std::int64_t, INT64_MIN, INT64_MAX)
POOLWISE_LIMITS(std::uint8_t, 0, UINT8_MAX)
POOLWISE_LIMITS(std::uint16_t, 0, UINT16_MAX)
POOLWISE_LIMITS(std::uint32_t, 0, UINT32_MAX)
POOLWISE_LIMITS(std::uint64_t, 0, UINT64_MAX)
#undef POOLWISE_LIMITS

// The smaller or larger of each two, of equals the earlier: of floats by a comparison, which loses
// a NaN that comes later, and which is one instruction. Small integers have to be told theirs: GCC
// 12 compares and blends them in three places of four.
template <class T, bool Min, class V> POOLWISE_INLINE inline V extreme(V earlier, V later) {
    constexpr bool bytes = same<T, std::uint8_t>, words = same<T, std::int16_t>;
    constexpr std::size_t wide = bytes || words ? sizeof(V) : 0;  // (0: nothing below serves it)
#if defined(__AVX512BW__)
    if constexpr (wide == 64) {
        const auto a = reinterpret_cast<__m512i>(earlier), b = reinterpret_cast<__m512i>(later);
        if constexpr (bytes)
            return reinterpret_cast<V>(Min ? _mm512_min_epu8(a, b) : _mm512_max_epu8(a, b));
        else
            return reinterpret_cast<V>(Min ? _mm512_min_epi16(a, b) : _mm512_max_epi16(a, b));
    }
#endif
#if defined(__AVX2__)
    if constexpr (wide == 32) {
        const auto a = reinterpret_cast<__m256i>(earlier), b = reinterpret_cast<__m256i>(later);
        if constexpr (bytes)
            return reinterpret_cast<V>(Min ? _mm256_min_epu8(a, b) : _mm256_max_epu8(a, b));
        else
            return reinterpret_cast<V>(Min ? _mm256_min_epi16(a, b) : _mm256_max_epi16(a, b));
    }
#endif
#if defined(__SSE2__)
    if constexpr (wide == 16) {
        const auto a = reinterpret_cast<__m128i>(earlier), b = reinterpret_cast<__m128i>(later);
        if constexpr (bytes)
            return reinterpret_cast<V>(Min ? _mm_min_epu8(a, b) : _mm_max_epu8(a, b));
        else
            return reinterpret_cast<V>(Min ? _mm_min_epi16(a, b) : _mm_max_epi16(a, b));
    }
#endif
    return (Min ? later < earlier : later > earlier) ? later : earlier;
}

template <class T, bool Min> inline bool later_wins(T earlier, T later) {
    const bool beyond = Min ? later < earlier : later > earlier;
    if constexpr (floating<T>) return beyond | (later != later);
    return beyond;
}

// max and min of values. `Quick` may lose a NaN: whoever uses it looks for them, and then begins
// again without.
template <class T, bool Min, bool Swift = false> struct Extreme {
    using Value = T;
    using Index = std::int64_t;  // unused
    using Quick = Extreme<T, Min, floating<T>>;
    static constexpr bool indexed = false, idempotent = true, watched = Swift;
    static constexpr T identity = Min ? Limits<T>::high : Limits<T>::low;
    struct Row {
        T* v = nullptr;
        Row at(std::int64_t n) const { return {v + n}; }
    };
    struct Element {
        T v;
    };
    static inline Element get(Row r, std::int64_t n) { return {r.v[n]}; }
    static inline void put(Row r, std::int64_t n, Element e) { r.v[n] = e.v; }
    static inline Element join(Element a, Element b) {
        if constexpr (Swift) return {(Min ? b.v < a.v : b.v > a.v) ? b.v : a.v};
        return {later_wins<T, Min>(a.v, b.v) ? b.v : a.v};
    }
    static inline Element join_unordered(Element a, Element b) { return join(a, b); }
    static inline Element nothing() { return {identity}; }
};

template <class T> struct Sum {
    using Value = T;
    using Index = std::int64_t;  // unused
    using Quick = Sum;
    static constexpr bool indexed = false, idempotent = false, watched = false;
    static constexpr T identity = 0;
    struct Row {
        T* v = nullptr;
        Row at(std::int64_t n) const { return {v + n}; }
    };
    struct Element {
        T v;
    };
    static inline Element get(Row r, std::int64_t n) { return {r.v[n]}; }
    static inline void put(Row r, std::int64_t n, Element e) { r.v[n] = e.v; }
    static inline Element join(Element a, Element b) { return {static_cast<T>(a.v + b.v)}; }
    static inline Element join_unordered(Element a, Element b) { return join(a, b); }
    static inline Element nothing() { return {0}; }
};

// max and min with the place they were found at
template <class T, class I, bool Min> struct Winner {
    using Value = T;
    using Index = I;
    using Quick = Winner;
    static constexpr bool indexed = true, idempotent = true, watched = false;
    static constexpr T identity = Min ? Limits<T>::high : Limits<T>::low;
    struct Row {
        T* v = nullptr;
        I* i = nullptr;
        Row at(std::int64_t n) const { return {v + n, i + n}; }
    };
    struct Element {
        T v;
        I i;
    };
    static inline Element get(Row r, std::int64_t n) { return {r.v[n], r.i[n]}; }
    static inline void put(Row r, std::int64_t n, Element e) {
        r.v[n] = e.v;
        r.i[n] = e.i;
    }
    static inline Element join(Element a, Element b) {
        const bool later = later_wins<T, Min>(a.v, b.v);
        return {later ? b.v : a.v, later ? b.i : a.i};
    }
    // When neither is known to come first, the indices say which does; -1 is no cell at all.
    static inline Element join_unordered(Element a, Element b) {
        if (a.i < 0) return b;
        if (b.i < 0) return a;
        return a.i <= b.i ? join(a, b) : join(b, a);
    }
    static inline Element nothing() { return {identity, -1}; }
};

// What looks for NaN where an operation may lose them.
struct NoWatch {
    inline bool any() const { return false; }
};
template <class Op, bool = Op::watched> struct WatchOf {
    typedef NoWatch Type;
};
template <class Op> struct WatchOf<Op, true> {
    typedef NaNWatch<typename Op::Value> Type;
};

// Runs a unit as quickly as its operation can be done, and again with care if NaN were seen.
template <template <class> class Unit, class Op, class Job>
void run_unit(const Job& job, std::int64_t unit, char* scratch) {
    if constexpr (Op::Quick::watched) {
        Unit<typename Op::Quick> quick(job, unit, scratch);
        quick.run();
        if (!quick.saw_nan()) return;
    }
    Unit<Op>(job, unit, scratch).run();
}

// target[n] = a joined over `Count` rows, in order; target may be one of the rows.
template <class Op, int Count>
POOLWISE_APART void join_rows(typename Op::Row target, const typename Op::Row* rows,
                              std::int64_t count) {
    typename Op::Row r[Count];
    for (int t = 0; t < Count; ++t) r[t] = rows[t];
    POOLWISE_LANES
    for (std::int64_t n = 0; n < count; ++n) {
        typename Op::Element e = Op::get(r[0], n);
        // Written out: a loop here would keep the compiler from vectorising the one around it.
        if constexpr (Count > 1) e = Op::join(e, Op::get(r[1], n));
        if constexpr (Count > 2) e = Op::join(e, Op::get(r[2], n));
        if constexpr (Count > 3) e = Op::join(e, Op::get(r[3], n));
        if constexpr (Count > 4) e = Op::join(e, Op::get(r[4], n));
        if constexpr (Count > 5) e = Op::join(e, Op::get(r[5], n));
        Op::put(target, n, e);
    }
}

template <class Op>
POOLWISE_APART void join_some(typename Op::Row target, const typename Op::Row* rows, int how_many,
                              std::int64_t count) {
    switch (how_many) {
        case 1: join_rows<Op, 1>(target, rows, count); break;
        case 2: join_rows<Op, 2>(target, rows, count); break;
        case 3: join_rows<Op, 3>(target, rows, count); break;
        case 4: join_rows<Op, 4>(target, rows, count); break;
        case 5: join_rows<Op, 5>(target, rows, count); break;
        default: join_rows<Op, 6>(target, rows, count); break;
    }
}

// How rows are joined: target = a joined over some of them, in order.
template <class Op> struct JoinSome {
    void operator()(typename Op::Row target, const typename Op::Row* rows, int how_many,
                    std::int64_t count) const {
        join_some<Op>(target, rows, how_many, count);
    }
};

// Collects rows one after the other and joins them into `target`, six at a time.
template <class Op, class Join = JoinSome<Op>> struct Joiner {
    typename Op::Row target;
    std::int64_t count;
    Join join;
    typename Op::Row pending[rows_joined];
    int held = 0;
    bool started = false;

    Joiner(typename Op::Row to, std::int64_t length, const Join& how = {})
        : target(to), count(length), join(how) {}

    void add(typename Op::Row row) {
        if (held == rows_joined) finish();
        if (held == 0 && started) pending[held++] = target;
        pending[held++] = row;
    }
    POOLWISE_APART void finish() {
        if (held == 0) return;
        if (!(held == 1 && pending[0].v == target.v)) join(target, pending, held, count);
        started = true;
        held = 0;
    }
};

template <class Op> POOLWISE_APART void fill_nothing(typename Op::Row target, std::int64_t count) {
    for (std::int64_t n = 0; n < count; ++n) Op::put(target, n, Op::nothing());
}

// The slot of a ring that a row shares with those a whole ring away. (Narrow division is the
// faster.)
inline std::int64_t wrapped(std::int64_t row, std::int64_t slots) {
    if (slots == 1) return 0;
    if (row <= INT32_MAX)
        return static_cast<std::uint32_t>(row) % static_cast<std::uint32_t>(slots);
    return row % slots;
}

// Scratch memory of one unit of work, handed out piece by piece. Rows start on a cache line, and a
// row more than asked keeps rows of a power of two from sharing their cache sets.
struct Arena {
    char* next;
    template <class T> T* take(std::int64_t count) {
        T* piece = reinterpret_cast<T*>(next);
        next += (count * static_cast<std::int64_t>(sizeof(T)) + 127) / 64 * 64;
        return piece;
    }
    template <class Op> typename Op::Row row(std::int64_t count) {
        typename Op::Row r;
        r.v = take<typename Op::Value>(count);
        if constexpr (Op::indexed) r.i = take<typename Op::Index>(count);
        return r;
    }
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
