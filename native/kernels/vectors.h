// Registers as values: one vector type per element type, as wide as the instruction set, and the
// few moves that plain loops leave to chance: rows in and out without a tail, stride phases,
// transposes.
//
// Compiler vectors, not intrinsics: the same text is AVX-512, AVX2, SSE2 or NEON.
#pragma once

#include "lanes.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace poolwise::POOLWISE_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class T, int Bytes> struct VectorOf {
    typedef T Type __attribute__((vector_size(Bytes), aligned(alignof(T)), may_alias));
};
template <class T, int Bytes = vector_bytes> using Vec = typename VectorOf<T, Bytes>::Type;
template <class T> inline constexpr int vector_lanes = vector_bytes / static_cast<int>(sizeof(T));

template <class V, class T> inline V load_vector(const T* at) {
    return *reinterpret_cast<const V*>(at);
}
template <class V, class T> inline void store_vector(T* at, V v) { *reinterpret_cast<V*>(at) = v; }

// `count` elements, fewer than a vector holds, and zeros behind them.
template <class T, int Lanes> struct Piece {
    T elements[Lanes];
    explicit Piece(const T* source, std::int64_t count) {
#if defined(__AVX512BW__)
        const auto some = (std::uint64_t(1) << count) - 1;
        if constexpr (sizeof(T) == 1 && Lanes == 64) {
            _mm512_storeu_si512(elements, _mm512_maskz_loadu_epi8(some, source));
            return;
        } else if constexpr (sizeof(T) == 2 && Lanes == 32) {
            _mm512_storeu_si512(elements,
                                _mm512_maskz_loadu_epi16(static_cast<__mmask32>(some), source));
            return;
        } else if constexpr (sizeof(T) == 4 && Lanes == 16) {
            _mm512_storeu_si512(elements,
                                _mm512_maskz_loadu_epi32(static_cast<__mmask16>(some), source));
            return;
        } else if constexpr (sizeof(T) == 8 && Lanes == 8) {
            _mm512_storeu_si512(elements,
                                _mm512_maskz_loadu_epi64(static_cast<__mmask8>(some), source));
            return;
        }
#endif
        for (T& element : elements) element = T{};
        __builtin_memcpy(elements, source, static_cast<std::size_t>(count) * sizeof(T));
    }
};

// Past the caches, to an address that the vector's size divides: lines that nobody will soon read
// need not be fetched to be written. `drain_streams` before anybody is told that they are there.
template <class V> inline void stream_vector(void* at, V v) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64)
        return _mm512_stream_si512(static_cast<__m512i*>(at), reinterpret_cast<__m512i>(v));
#endif
#if defined(__AVX__)
    if constexpr (sizeof(V) == 32)
        return _mm256_stream_si256(static_cast<__m256i*>(at), reinterpret_cast<__m256i>(v));
#endif
#if defined(__SSE2__)
    if constexpr (sizeof(V) == 16)
        return _mm_stream_si128(static_cast<__m128i*>(at), reinterpret_cast<__m128i>(v));
#endif
    store_vector(static_cast<V*>(at), v);
}
inline void drain_streams() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

// A value in every lane, -0.0 too.
template <class V, class T> inline V broadcast(T value) {
    V v;
    for (unsigned l = 0; l < sizeof(V) / sizeof(T); ++l) v[l] = value;
    return v;
}
// (By value: a vector whose address is taken lives in memory, and loops that add to it wait for
// it.)
template <class M> inline bool any_lane(M mask) {
#if defined(__AVX512F__)
    if constexpr (sizeof(M) == 64)
        return _mm512_test_epi64_mask(reinterpret_cast<__m512i>(mask),
                                      reinterpret_cast<__m512i>(mask)) != 0;
#endif
    const auto words = reinterpret_cast<Vec<std::int64_t, sizeof(M)>>(mask);
    std::int64_t all = words[0];
    for (unsigned l = 1; l < sizeof(M) / sizeof(all); ++l) all |= words[l];
    return all != 0;
}

// Lanes in which one or the other is NaN: one comparison for both.
template <class T> inline auto unordered(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    if constexpr (sizeof(T) == 4)
        return reinterpret_cast<Vec<std::int32_t>>(
            _mm512_movm_epi32(_mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q)));
    else
        return reinterpret_cast<Vec<std::int64_t>>(
            _mm512_movm_epi64(_mm512_cmp_pd_mask(a, b, _CMP_UNORD_Q)));
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4)
        return reinterpret_cast<Vec<std::int32_t>>(_mm256_cmp_ps(a, b, _CMP_UNORD_Q));
    else
        return reinterpret_cast<Vec<std::int64_t>>(_mm256_cmp_pd(a, b, _CMP_UNORD_Q));
#elif defined(__SSE2__)
    if constexpr (sizeof(T) == 4)
        return reinterpret_cast<Vec<std::int32_t>>(_mm_cmpunord_ps(a, b));
    else
        return reinterpret_cast<Vec<std::int64_t>>(_mm_cmpunord_pd(a, b));
#else
    return (a != a) | (b != b);
#endif
}

// The signed integer as wide as T: what comparisons of T give, and what counts taps beside it.
template <int Bytes> struct LaneInteger;
template <> struct LaneInteger<1> {
    typedef std::int8_t Type;
};
template <> struct LaneInteger<2> {
    typedef std::int16_t Type;
};
template <> struct LaneInteger<4> {
    typedef std::int32_t Type;
};
template <> struct LaneInteger<8> {
    typedef std::int64_t Type;
};
template <class T> using TapInt = typename LaneInteger<sizeof(T)>::Type;
// The numbers of the lanes, counted from `first` on.
template <class T> POOLWISE_INLINE inline Vec<TapInt<T>> lanes_from(std::int64_t first) {
    Vec<TapInt<T>> order{};
    for (int l = 0; l < vector_lanes<T>; ++l) order[l] = static_cast<TapInt<T>>(l);
    return order + static_cast<TapInt<T>>(first);
}

// A vector of integers from narrower ones (or as narrow), with the instruction there is for it:
// compilers make it of several, or of bytes one by one.
template <class To, class From> inline Vec<To> widened(const From* at) {
    constexpr int lanes = vector_lanes<To>, bytes = lanes * static_cast<int>(sizeof(From));
    const auto narrow = load_vector<Vec<From, bytes>>(at);
    if constexpr (sizeof(To) == sizeof(From)) return reinterpret_cast<const Vec<To>&>(narrow);
#if defined(__AVX2__)
    typedef long long Words __attribute__((vector_size(16)));
    constexpr bool is_signed = From(-1) < From(0);
    constexpr int from = sizeof(From), to = sizeof(To);
    [[maybe_unused]] const auto low = [&] {
        Words words{};
        __builtin_memcpy(&words, &narrow, bytes < 16 ? bytes : 16);
        return words;
    };
#if defined(__AVX512F__)
    if constexpr (from == 1 && to == 4 && !is_signed)
        return reinterpret_cast<Vec<To>>(_mm512_cvtepu8_epi32(low()));
    if constexpr (from == 1 && to == 8 && !is_signed)
        return reinterpret_cast<Vec<To>>(_mm512_cvtepu8_epi64(low()));
    if constexpr (from == 2 && to == 4) {
        const auto half = reinterpret_cast<__m256i>(narrow);
        return reinterpret_cast<Vec<To>>(is_signed ? _mm512_cvtepi16_epi32(half)
                                                   : _mm512_cvtepu16_epi32(half));
    }
    if constexpr (from == 4 && to == 8 && is_signed)
        return reinterpret_cast<Vec<To>>(_mm512_cvtepi32_epi64(reinterpret_cast<__m256i>(narrow)));
#else
    if constexpr (from == 1 && to == 4 && !is_signed)
        return reinterpret_cast<Vec<To>>(_mm256_cvtepu8_epi32(low()));
    if constexpr (from == 1 && to == 8 && !is_signed)
        return reinterpret_cast<Vec<To>>(_mm256_cvtepu8_epi64(low()));
    if constexpr (from == 2 && to == 4)
        return reinterpret_cast<Vec<To>>(is_signed ? _mm256_cvtepi16_epi32(low())
                                                   : _mm256_cvtepu16_epi32(low()));
    if constexpr (from == 4 && to == 8 && is_signed)
        return reinterpret_cast<Vec<To>>(_mm256_cvtepi32_epi64(low()));
#endif
#endif
    if constexpr (sizeof(From) == 1) {
        typedef typename LaneInteger<2>::Type Twice;
        return __builtin_convertvector(__builtin_convertvector(narrow, Vec<Twice, 2 * bytes>),
                                       Vec<To>);
    } else {
        return __builtin_convertvector(narrow, Vec<To>);
    }
}

// target[0, n) = source[0, n), touching nothing beyond: the last vector overlaps the one before it,
// and runs shorter than a vector take two overlapping halves. visit(vector) sees every element.
template <int Bytes, class T, class Visit>
inline bool copy_by(T* target, const T* source, std::int64_t n, Visit&& visit) {
    constexpr int lanes = Bytes / static_cast<int>(sizeof(T));
    if (n < lanes) return false;
    using V = Vec<T, Bytes>;
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        const V v = load_vector<V>(source + i);
        visit(v);
        store_vector(target + i, v);
    }
    if (i < n) {
        const V v = load_vector<V>(source + n - lanes);
        visit(v);
        store_vector(target + n - lanes, v);
    }
    return true;
}

template <class T, class Visit>
inline void copy_run(T* target, const T* source, std::int64_t n, Visit&& visit) {
    if (copy_by<vector_bytes>(target, source, n, visit)) return;
    if constexpr (vector_bytes > 32)
        if (copy_by<32>(target, source, n, visit)) return;
    if constexpr (vector_bytes > 16)
        if (copy_by<16>(target, source, n, visit)) return;
    if constexpr (sizeof(T) == 4)
        if (copy_by<8>(target, source, n, visit)) return;
    for (std::int64_t i = 0; i < n; ++i) {
        visit(Vec<T, sizeof(T)>{source[i]});
        target[i] = source[i];
    }
}

template <class T> inline void copy_run(T* target, const T* source, std::int64_t n) {
    copy_run(target, source, n, [](auto) {});
}

// Whether NaN were among the elements it was shown: one unordered comparison per vector, of
// whatever size, and the result looked at once.
template <class T> struct NaNWatch {
    Vec<TapInt<T>> seen{};
    Vec<TapInt<T>, 32> seen_half{};
    Vec<TapInt<T>, 16> seen_short{};
    bool rest = false;
    template <class V> inline void operator()(V v) {
        if constexpr (sizeof(V) == vector_bytes) {
            seen |= v != v;
        } else if constexpr (sizeof(V) == 32) {
            seen_half |= v != v;
        } else if constexpr (sizeof(V) == 16) {
            seen_short |= v != v;
        } else {
            for (unsigned l = 0; l < sizeof(V) / sizeof(T); ++l) rest = rest | (v[l] != v[l]);
        }
    }
    inline void add(const NaNWatch& other) {
        seen |= other.seen;
        seen_half |= other.seen_half;
        seen_short |= other.seen_short;
        rest = rest | other.rest;
    }
    inline bool any() const {
        return rest | any_lane(seen) | any_lane(seen_half) | any_lane(seen_short);
    }
};

// Shows every element of a run to the watch, some of them twice. (Into registers of its own: what
// is loaded might be the watch, for all the compiler knows.)
template <class T>
POOLWISE_APART void scan_run(const T* source, std::int64_t n, NaNWatch<T>& watch) {
    using V = Vec<T>;
    constexpr std::int64_t lanes = vector_lanes<T>;
    if (n < lanes) {
        for (std::int64_t i = 0; i < n; ++i) watch(Vec<T, sizeof(T)>{source[i]});
        return;
    }
    Vec<TapInt<T>> seen{};
    std::int64_t i = 0;
    for (; i + 2 * lanes <= n; i += 2 * lanes)
        seen |= unordered<T>(load_vector<V>(source + i), load_vector<V>(source + i + lanes));
    if (i < n) {
        const std::int64_t rest = i + lanes <= n ? i : n - lanes;
        seen |= unordered<T>(load_vector<V>(source + rest), load_vector<V>(source + n - lanes));
    }
    watch.seen |= seen;
}

// A row split by stride: phases[r][q] = row[q * stride + r], so that every tap of every strided
// window is a unit-stride load. Whole vectors, so phases and row need a vector to spare.
template <class T> inline void split_pairs(const T* row, T* even, T* odd, std::int64_t count) {
    using V = Vec<T>;
    using I = Vec<TapInt<T>>;
    constexpr int lanes = vector_lanes<T>;
    I first{}, second{};
    for (int l = 0; l < lanes; ++l) {
        first[l] = 2 * l;
        second[l] = 2 * l + 1;
    }
    for (std::int64_t q = 0; q < count; q += lanes) {
        const V a = load_vector<V>(row + 2 * q), b = load_vector<V>(row + 2 * q + lanes);
        store_vector(even + q, __builtin_shuffle(a, b, first));
        store_vector(odd + q, __builtin_shuffle(a, b, second));
    }
}

// Only the first `wanted` phases are made.
template <class T>
inline void split_row(const T* row, T* const* phases, std::int64_t wanted, std::int64_t stride,
                      std::int64_t count) {
    if (stride == 2 && wanted == 2) return split_pairs(row, phases[0], phases[1], count);
    for (std::int64_t r = 0; r < wanted; ++r)
        for (std::int64_t q = 0; q < count; ++q) phases[r][q] = row[q * stride + r];
}

// The way back, two phases in registers: row[2 l] = even[l], row[2 l + 1] = odd[l].
template <class T> inline void merge_pair(T* row, Vec<T> even, Vec<T> odd) {
    constexpr int lanes = vector_lanes<T>;
    Vec<TapInt<T>> low{}, high{};
    for (int l = 0; l < lanes; ++l) {
        low[l] = l / 2 + (l % 2) * lanes;
        high[l] = lanes / 2 + l / 2 + (l % 2) * lanes;
    }
    store_vector(row, __builtin_shuffle(even, odd, low));
    store_vector(row + lanes, __builtin_shuffle(even, odd, high));
}
// And of whole rows, by any stride: row[q * stride + r] = phases[r][q].
template <class T>
inline void merge_row(T* row, const T* const* phases, std::int64_t stride, std::int64_t count) {
    for (std::int64_t r = 0; r < stride; ++r)
        for (std::int64_t q = 0; q < count; ++q) row[q * stride + r] = phases[r][q];
}

// As many rows as a vector has lanes become columns: blocks beside the diagonal change places, from
// the largest to single values. log2(lanes) moves per row.
template <int Half, class V> POOLWISE_INLINE inline void transpose_blocks(V* rows) {
    constexpr int lanes = static_cast<int>(sizeof(V) / sizeof(rows[0][0]));
    decltype(V{} == V{}) first{}, second{};
    for (int l = 0; l < lanes; ++l) {
        first[l] = (l & Half) ? lanes + l - Half : l;
        second[l] = (l & Half) ? lanes + l : l + Half;
    }
    for (int r = 0; r < lanes; ++r) {
        if (r & Half) continue;
        const V a = rows[r], b = rows[r + Half];
        rows[r] = __builtin_shuffle(a, b, first);
        rows[r + Half] = __builtin_shuffle(a, b, second);
    }
    if constexpr (Half > 1) transpose_blocks<Half / 2>(rows);
}
template <class V> POOLWISE_INLINE inline void transpose(V* rows) {
    transpose_blocks<static_cast<int>(sizeof(V) / sizeof(rows[0][0])) / 2>(rows);
}

// Rows of `lanes` planes <-> `count` columns of `lanes` values beside each other, in square blocks
// of vectors of `Bytes`; the last block of columns overlaps the one before it. Lanes are a multiple
// of a vector's, and columns at least as many as it has.
template <int Bytes, class T>
POOLWISE_APART void gather_by(const T* const* planes, std::int64_t count, std::int64_t lanes,
                              T* target) {
    using V = Vec<T, Bytes>;
    constexpr int side = Bytes / static_cast<int>(sizeof(T));
    for (std::int64_t l = 0; l < lanes; l += side)
        for (std::int64_t c = 0; c < count; c += side) {
            const std::int64_t at = c + side <= count ? c : count - side;
            V block[side];
            for (int i = 0; i < side; ++i) block[i] = load_vector<V>(planes[l + i] + at);
            transpose(block);
            for (int i = 0; i < side; ++i) store_vector(target + (at + i) * lanes + l, block[i]);
        }
}
template <int Bytes, class T>
POOLWISE_APART void scatter_by(const T* source, std::int64_t count, std::int64_t lanes,
                               T* const* planes) {
    using V = Vec<T, Bytes>;
    constexpr int side = Bytes / static_cast<int>(sizeof(T));
    for (std::int64_t l = 0; l < lanes; l += side)
        for (std::int64_t c = 0; c < count; c += side) {
            const std::int64_t at = c + side <= count ? c : count - side;
            V block[side];
            for (int i = 0; i < side; ++i) block[i] = load_vector<V>(source + (at + i) * lanes + l);
            transpose(block);
            for (int i = 0; i < side; ++i) store_vector(planes[l + i] + at, block[i]);
        }
}

// The same in the widest vectors that columns fill, four of them at the least.
inline constexpr std::int64_t least_turned = 4;
inline void gather_planes(const float* const* planes, std::int64_t count, std::int64_t lanes,
                          float* target) {
    if (vector_bytes > 32 && count >= vector_lanes<float>)
        return gather_by<vector_bytes>(planes, count, lanes, target);
    if (vector_bytes > 16 && count >= 8)
        return gather_by<smaller(vector_bytes, 32)>(planes, count, lanes, target);
    gather_by<16>(planes, count, lanes, target);
}
inline void scatter_planes(const float* source, std::int64_t count, std::int64_t lanes,
                           float* const* planes) {
    if (vector_bytes > 32 && count >= vector_lanes<float>)
        return scatter_by<vector_bytes>(source, count, lanes, planes);
    if (vector_bytes > 16 && count >= 8)
        return scatter_by<smaller(vector_bytes, 32)>(source, count, lanes, planes);
    scatter_by<16>(source, count, lanes, planes);
}

// Whole vectors of `Wide` registers over [0, count). The last one either runs over the end
// (`Slack`: every row has a vector to spare) or overlaps the one before it (then count is at least
// a vector).
template <int N> struct Width {
    static constexpr int value = N;
};
// Loaded once: the compiler would rather load a value again than keep it while it is used.
template <class V> POOLWISE_INLINE inline V held(V v) {
#if defined(__x86_64__)
    __asm__("" : "+v"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#endif
    return v;
}
// visit(Width<From>{}), … up to but not Width<To>{}: a loop that is unrolled for certain.
template <int From, int To, class Visit> POOLWISE_INLINE inline void each_width(Visit&& visit) {
    if constexpr (From < To) {
        visit(Width<From>{});
        each_width<From + 1, To>(visit);
    }
}
template <class T, bool Slack, class Block>
inline void each_block(std::int64_t count, Block&& block) {
    constexpr std::int64_t lanes = vector_lanes<T>;
    std::int64_t n = 0;
    for (; n + 4 * lanes <= count; n += 4 * lanes) block(Width<4>{}, n);
    for (; n + lanes <= count; n += lanes) block(Width<1>{}, n);
    if (n < count) block(Width<1>{}, Slack ? n : count - lanes);
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
