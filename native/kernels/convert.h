// Elements in and out: strided runs of any dtype to contiguous accumulators and back.
//
// float16 and bfloat16 have no arithmetic here: they are widened on load and rounded once on store,
// by bit operations the compiler vectorises at every level (round to nearest, ties to even; NaN
// stays NaN).
#pragma once

#include "vectors.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace poolwise::POOLWISE_ISA {
namespace {

struct Half {
    std::uint16_t bits;
};
struct Brain {
    std::uint16_t bits;
};

inline float from_bits(std::uint32_t bits) {
    float f;
    __builtin_memcpy(&f, &bits, 4);
    return f;
}
inline std::uint32_t to_bits(float f) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, &f, 4);
    return bits;
}

// Re-bias the exponent by a multiplication, which also normalises subnormals; infinities and NaN
// are what lands at or above 2^16 and get the full exponent.
inline float widen(Half h) {
    const std::uint32_t magnitude = (h.bits & 0x7fffu) << 13;
    const float scaled = from_bits(magnitude) * 0x1p112f;
    const std::uint32_t special = magnitude >= (0x7c00u << 13) ? 0x7f800000u : 0u;
    return from_bits((to_bits(scaled) | special) | ((h.bits & 0x8000u) << 16));
}
inline float widen(Brain b) { return from_bits(static_cast<std::uint32_t>(b.bits) << 16); }

inline Half narrow_half(float f) {
    const std::uint32_t bits = to_bits(f), magnitude = bits & 0x7fffffffu;
    // Subnormal results: adding 0.5 puts the rounding of the float unit where float16's last bit
    // is.
    const std::uint32_t subnormal = to_bits(from_bits(magnitude) + 0.5f) - 0x3f000000u;
    const std::uint32_t normal = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;
    const std::uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
    const std::uint32_t payload = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    const std::uint32_t special = magnitude > 0x7f800000u ? payload : 0x7c00u;
    const std::uint32_t rounded = magnitude >= 0x47800000u ? special : finite;
    return {static_cast<std::uint16_t>(rounded | ((bits >> 16) & 0x8000u))};
}
inline Brain narrow_brain(float f) {
    const std::uint32_t bits = to_bits(f);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const std::uint32_t nan = (bits >> 16) | 0x40u;
    return {static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}
// float64 goes to 16 bits through float32 rounded to odd, so that the value is rounded once.
inline float round_to_odd(double d) {
    const float f = static_cast<float>(d);
    const double back = static_cast<double>(f);
    if (back == d || d != d) return f;
    std::uint32_t bits = to_bits(f);
    if (bits & 1u) return f;
    const bool away = (back < 0 ? -back : back) > (d < 0 ? -d : d);
    return from_bits(away ? bits - 1 : bits + 1);
}

template <class Acc, class In> inline Acc read_as(In v) { return static_cast<Acc>(v); }
template <> inline float read_as<float, Half>(Half v) { return widen(v); }
template <> inline float read_as<float, Brain>(Brain v) { return widen(v); }
template <> inline double read_as<double, Half>(Half v) { return widen(v); }
template <> inline double read_as<double, Brain>(Brain v) { return widen(v); }

template <class Out, class Acc> struct Write {
    static Out as(Acc v) { return static_cast<Out>(v); }
};
template <> struct Write<Half, float> {
    static Half as(float v) { return narrow_half(v); }
};
template <> struct Write<Brain, float> {
    static Brain as(float v) { return narrow_brain(v); }
};
template <class Acc> struct Write<Half, Acc> {
    static Half as(Acc v) { return narrow_half(round_to_odd(static_cast<double>(v))); }
};
template <class Acc> struct Write<Brain, Acc> {
    static Brain as(Acc v) { return narrow_brain(round_to_odd(static_cast<double>(v))); }
};

template <class T> inline T element(const char* at) {
    T v;
    __builtin_memcpy(&v, at, sizeof v);
    return v;
}
template <class T> inline void set_element(char* at, T v) { __builtin_memcpy(at, &v, sizeof v); }

template <class A, class B> inline constexpr bool same = false;
template <class A> inline constexpr bool same<A, A> = true;
template <class T> inline constexpr bool floating = same<T, float> || same<T, double>;

// ---- vectors of accumulators from and to elements of another type

typedef Vec<std::uint16_t, vector_lanes<float> * 2> HalfBits;
#if defined(__AVX512F__)
inline Vec<float> widen_halves(const Half* at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}
inline HalfBits narrow_halves(Vec<float> v) {
    return reinterpret_cast<HalfBits>(_mm512_cvtps_ph(v, 0));
}
#elif defined(__F16C__) && defined(__AVX2__)
inline Vec<float> widen_halves(const Half* at) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}
inline HalfBits narrow_halves(Vec<float> v) {
    return reinterpret_cast<HalfBits>(_mm256_cvtps_ph(v, 0));
}
#else
inline Vec<float> widen_halves(const Half* at) {
    Vec<float> v;
    for (int l = 0; l < vector_lanes<float>; ++l) v[l] = widen(at[l]);
    return v;
}
inline HalfBits narrow_halves(Vec<float> v) {
    HalfBits bits;
    for (int l = 0; l < vector_lanes<float>; ++l) bits[l] = narrow_half(v[l]).bits;
    return bits;
}
#endif

template <class T, class S> inline Vec<T> load_as(const S* at) {
    if constexpr (same<T, S>) {
        return load_vector<Vec<T>>(at);
    } else if constexpr (same<S, Half>) {
        return widen_halves(at);
    } else if constexpr (same<S, Brain>) {
        const auto wide = widened<std::uint32_t>(reinterpret_cast<const std::uint16_t*>(at)) << 16;
        return reinterpret_cast<const Vec<T>&>(wide);
    } else {
        return __builtin_convertvector(widened<std::int32_t>(at), Vec<T>);
    }
}
// A vector of accumulators as elements of type D, rounded once: what is stored, as a vector. `Sums`
// of brains need not be looked at for NaN: one among them is a brain's, or the processor's own,
// with nothing in the half that is cut off, and so rounding leaves it one.
template <class D, class T, bool Sums = false> inline auto stored(Vec<T> v) {
    if constexpr (same<T, D>) {
        return v;
    } else if constexpr (same<D, Half>) {
        return narrow_halves(v);
    } else {  // as narrow_brain does
        static_assert(same<D, Brain> && same<T, float>);
        typedef Vec<std::uint32_t> Bits;
        const Bits bits = reinterpret_cast<const Bits&>(v);
        const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        if (Sums) return __builtin_convertvector(rounded, HalfBits);
        const Bits nan = (bits >> 16) | 0x40u;
        const Bits told = (bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded;
        return __builtin_convertvector(told, HalfBits);
    }
}
template <class T, class D> inline void store_as(D* at, Vec<T> v) {
    store_vector(at, stored<D, T>(v));
}

// ---- runs: `count` elements `stride` bytes apart <-> contiguous accumulators

template <class Acc, class In>
void load_run(const char* source, std::int64_t stride, std::int64_t count,
              Acc* POOLWISE_RESTRICT target) {
    if (stride == static_cast<std::int64_t>(sizeof(In))) {
        const In* POOLWISE_RESTRICT dense = reinterpret_cast<const In*>(source);
        std::int64_t i = 0;
        if constexpr (same<Acc, float> && (same<In, Half> || same<In, Brain>)) {
            constexpr int lanes = vector_lanes<Acc>;
            for (; i + lanes <= count; i += lanes)
                store_vector(target + i, load_as<Acc>(dense + i));
        }
        for (; i < count; ++i) target[i] = read_as<Acc, In>(dense[i]);
    } else {
        for (std::int64_t i = 0; i < count; ++i)
            target[i] = read_as<Acc, In>(element<In>(source + i * stride));
    }
}

template <class Acc, class Out>
void store_run(const Acc* POOLWISE_RESTRICT source, std::int64_t count, char* target,
               std::int64_t stride) {
    if (stride == static_cast<std::int64_t>(sizeof(Out))) {
        Out* POOLWISE_RESTRICT dense = reinterpret_cast<Out*>(target);
        std::int64_t i = 0;
        if constexpr (same<Acc, float> && (same<Out, Half> || same<Out, Brain>)) {
            constexpr int lanes = vector_lanes<Acc>;
            for (; i + lanes <= count; i += lanes)
                store_as<Acc>(dense + i, load_vector<Vec<Acc>>(source + i));
        }
        for (; i < count; ++i) dense[i] = Write<Out, Acc>::as(source[i]);
    } else {
        for (std::int64_t i = 0; i < count; ++i)
            set_element<Out>(target + i * stride, Write<Out, Acc>::as(source[i]));
    }
}

// Up to sixteen planes side by side: element i of plane l goes to target[i * lanes + l].
constexpr int most_planes = 16;

template <class Acc, class In>
void load_planes(const char* const* planes, std::int64_t offset, std::int64_t stride,
                 std::int64_t count, std::int64_t lanes, Acc* POOLWISE_RESTRICT target) {
    if constexpr (same<Acc, float> && same<In, float>) {
        if (stride == 4 && lanes == most_planes && count >= least_turned) {
            const float* rows[most_planes];
            for (int l = 0; l < most_planes; ++l)
                rows[l] = reinterpret_cast<const float*>(planes[l] + offset);
            return gather_planes(rows, count, lanes, target);
        }
    }
    for (std::int64_t l = 0; l < lanes; ++l) {
        const char* source = planes[l] + offset;
        for (std::int64_t i = 0; i < count; ++i)
            target[i * lanes + l] = read_as<Acc, In>(element<In>(source + i * stride));
    }
}

template <class Acc, class Out>
void store_planes(const Acc* POOLWISE_RESTRICT source, std::int64_t count, std::int64_t lanes,
                  char* const* planes, std::int64_t offset, std::int64_t stride) {
    if constexpr (same<Acc, float> && same<Out, float>) {
        if (stride == 4 && lanes == most_planes && count >= least_turned) {
            float* rows[most_planes];
            for (int l = 0; l < most_planes; ++l)
                rows[l] = reinterpret_cast<float*>(planes[l] + offset);
            return scatter_planes(source, count, lanes, rows);
        }
    }
    for (std::int64_t l = 0; l < lanes; ++l) {
        char* target = planes[l] + offset;
        for (std::int64_t i = 0; i < count; ++i)
            set_element<Out>(target + i * stride, Write<Out, Acc>::as(source[i * lanes + l]));
    }
}

template <class Acc> struct Loader {
    void (*run)(const char*, std::int64_t, std::int64_t, Acc*);
    void (*planes)(const char* const*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                   Acc*);
    bool in_place;  // the array's elements are accumulators already
};
template <class Acc> struct Storer {
    void (*run)(const Acc*, std::int64_t, char*, std::int64_t);
    void (*planes)(const Acc*, std::int64_t, std::int64_t, char* const*, std::int64_t,
                   std::int64_t);
    bool in_place;  // the array's elements are accumulators already
};

template <class Acc, class In> inline Loader<Acc> loader_of() {
    return {load_run<Acc, In>, load_planes<Acc, In>, same<Acc, In>};
}

template <class Acc> inline Loader<Acc> loader_for(Dtype dtype) {
    if constexpr (floating<Acc>) {
        switch (dtype) {
            case Dtype::float16: return loader_of<Acc, Half>();
            case Dtype::bfloat16: return loader_of<Acc, Brain>();
            case Dtype::float32: return loader_of<Acc, float>();
            // means of small integers
            case Dtype::boolean:
            case Dtype::uint8: return loader_of<Acc, std::uint8_t>();
            case Dtype::int8: return loader_of<Acc, std::int8_t>();
            case Dtype::int16: return loader_of<Acc, std::int16_t>();
            case Dtype::uint16: return loader_of<Acc, std::uint16_t>();
            default: break;
        }
        if constexpr (same<Acc, double>) {
            if (dtype == Dtype::float64) return loader_of<Acc, double>();
        }
    }
    if constexpr (!same<Acc, float>) {
        if constexpr (!floating<Acc>) {
            switch (dtype) {
                case Dtype::boolean:
                case Dtype::uint8: return loader_of<Acc, std::uint8_t>();
                case Dtype::int8: return loader_of<Acc, std::int8_t>();
                default: break;
            }
        }
        if constexpr (sizeof(Acc) >= 2 && !floating<Acc>) {
            if (dtype == Dtype::int16) return loader_of<Acc, std::int16_t>();
            if (dtype == Dtype::uint16) return loader_of<Acc, std::uint16_t>();
        }
        if constexpr (sizeof(Acc) >= 4) {
            if (dtype == Dtype::int32) return loader_of<Acc, std::int32_t>();
            if (dtype == Dtype::uint32) return loader_of<Acc, std::uint32_t>();
        }
        if constexpr (sizeof(Acc) >= 8) {
            if (dtype == Dtype::int64) return loader_of<Acc, std::int64_t>();
            if (dtype == Dtype::uint64) return loader_of<Acc, std::uint64_t>();
        }
    }
    return {nullptr, nullptr, false};
}

template <class Acc, class Out> inline Storer<Acc> storer_of() {
    return {store_run<Acc, Out>, store_planes<Acc, Out>, same<Acc, Out>};
}

template <class Acc> inline Storer<Acc> storer_for(Dtype dtype) {
    switch (dtype) {
        case Dtype::float16: return storer_of<Acc, Half>();
        case Dtype::bfloat16: return storer_of<Acc, Brain>();
        case Dtype::float32: return storer_of<Acc, float>();
        case Dtype::float64: return storer_of<Acc, double>();
        default: break;
    }
    if constexpr (!floating<Acc>) {
        switch (dtype) {
            case Dtype::int8: return storer_of<Acc, std::int8_t>();
            case Dtype::int16: return storer_of<Acc, std::int16_t>();
            case Dtype::int32: return storer_of<Acc, std::int32_t>();
            case Dtype::int64: return storer_of<Acc, std::int64_t>();
            case Dtype::uint8:
            case Dtype::boolean: return storer_of<Acc, std::uint8_t>();
            case Dtype::uint16: return storer_of<Acc, std::uint16_t>();
            case Dtype::uint32: return storer_of<Acc, std::uint32_t>();
            case Dtype::uint64: return storer_of<Acc, std::uint64_t>();
            default: break;
        }
    }
    return {nullptr, nullptr, false};
}

inline bool is_float(Dtype d) { return d <= Dtype::float64; }

inline std::int64_t size_of(Dtype d) {
    switch (d) {
        case Dtype::int8:
        case Dtype::uint8:
        case Dtype::boolean: return 1;
        case Dtype::float16:
        case Dtype::bfloat16:
        case Dtype::int16:
        case Dtype::uint16: return 2;
        case Dtype::float32:
        case Dtype::int32:
        case Dtype::uint32: return 4;
        default: return 8;
    }
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
