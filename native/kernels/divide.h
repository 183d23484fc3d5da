// Sums to means: every division of the core, rounded once.
#pragma once

#include "operations.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// sum / divisor to the nearest integer, ties to even
template <class T> inline T divide_to_even(T sum, Int128 divisor) {
    const Int128 s = static_cast<Int128>(sum), d = divisor;
    Int128 quotient = s / d, rest = s % d;
    if (rest < 0) {
        rest += d;
        quotient -= 1;
    }
    if (rest > d - rest || (rest == d - rest && (quotient & 1) != 0)) quotient += 1;
    return static_cast<T>(quotient);
}

// sum / divisor, rounded once: a sum beyond double's 53 bits is divided as an integer with bits to
// spare, and what is left over only has to be seen to be there.
inline double divide_once(Int128 sum, Int128 divisor) {
    const Int128 limit = Int128(1) << 53;
    if (-limit <= sum && sum <= limit && divisor <= limit)
        return static_cast<double>(sum) / static_cast<double>(divisor);
    typedef unsigned __int128 Bits;
    Bits magnitude = sum < 0 ? -static_cast<Bits>(sum) : static_cast<Bits>(sum);
    double scale = 1;
    while (magnitude != 0 && (magnitude >> 126) == 0) {
        magnitude <<= 1;
        scale *= 0.5;
    }
    Bits quotient = magnitude / static_cast<Bits>(divisor);
    if (quotient * static_cast<Bits>(divisor) != magnitude) quotient |= 1;
    const double result = static_cast<double>(quotient) * scale;
    return sum < 0 ? -result : result;
}

// What becomes of results as they are stored: nothing, or a division, of a vector or of one value
// that stands at place n of its row.
struct Keep {
    template <class V> inline V operator()(V v, std::int64_t) const { return v; }
};
template <class T> struct TimesAll {
    T reciprocal;
    static constexpr bool divides = false;
    inline T factor(std::int64_t) const { return reciprocal; }
    template <class V> inline V operator()(V v, std::int64_t) const { return v * reciprocal; }
};
template <class T> struct OverAll {
    T by;
    static constexpr bool divides = true;
    inline T factor(std::int64_t) const { return by; }
    template <class V> inline V operator()(V v, std::int64_t) const { return v / by; }
};
// (loops of both kinds would take twice as long to compile)
template <class T> struct ByEach {
    const T* factors;
    bool over;  // divided by them, not multiplied
    inline Vec<T> operator()(Vec<T> v, std::int64_t n) const {
        const Vec<T> factor = load_vector<Vec<T>>(factors + n);
        return over ? v / factor : v * factor;
    }
};
template <class T> struct OverEach {
    T across;
    const T* along;
    static constexpr bool divides = true;
    inline T factor(std::int64_t n) const { return across * along[n]; }
    inline Vec<T> operator()(Vec<T> v, std::int64_t n) const {
        return v / (across * load_vector<Vec<T>>(along + n));
    }
    inline T operator()(T v, std::int64_t n) const { return v / (across * along[n]); }
};

// Divides rows of sums by the cells of their windows.
//
// A window's divisor is the product of three factors, one per axis. Where they are the same along
// the row one number serves it, and a power of two is multiplied by its exact reciprocal.
template <class T> class Divider {
  public:
    // Rows of `columns` windows with `lanes` values each; or, `pitch` given, of `planes` such rows
    // side by side, `pitch` windows apart. `room` holds a value for each, and a vector more;
    // integers need none.
    void prepare(const std::int64_t* const divisors[3], std::int64_t divisor_override,
                 std::int64_t column, std::int64_t columns, std::int64_t lanes, T* room,
                 std::int64_t planes = 1, std::int64_t pitch = 0) {
        for (int a = 0; a < 3; ++a) divisors_[a] = divisors[a];
        override_ = divisor_override;
        column_ = column;
        length_ = (planes - 1) * pitch + columns * lanes;
        uniform_ = true;
        if (override_ != 0) return;
        const std::int64_t* along = divisors[2] + column;
        uniform_ = columns == 0 || same_until(along, 0, columns) == columns;
        if constexpr (floating<T>) {
            if (uniform_) return;
            along_ = room;
            for (std::int64_t n = 0; n < length_ + vector_lanes<T>; ++n) along_[n] = 1;
            for (std::int64_t c = 0, end; c < columns; c = end) {
                end = same_until(along, c, columns);
                const T cells = static_cast<T>(larger<std::int64_t>(1, along[c]));
                for (std::int64_t p = 0; p < planes; ++p)
                    for (std::int64_t n = c * lanes; n < end * lanes; ++n)
                        along_[p * pitch + n] = cells;
            }
        }
    }

    // Windows may be wider than int64 can count cells; beyond 2^100 it no longer matters by how
    // much.
    Int128 of(std::int64_t plane, std::int64_t row, std::int64_t c) const {
        if (override_) return override_;
        const std::int64_t factors[3] = {divisors_[0][plane], divisors_[1][row],
                                         divisors_[2][column_ + c]};
        Int128 product = factors[0];
        product *= factors[1];
        const Int128 most = Int128(1) << 100;
        if (product > INT64_MAX && factors[2] > 1 && product > most / factors[2]) return most;
        product *= factors[2];
        if (product > most) return most;
        return product > 0 ? product : 1;  // a window of no cells: its sum is 0, and so is its mean
    }

    // visit(what becomes of the sums of this row); a window of no cells is a sum of 0 and stays
    // one.
    template <class Visit> void with(std::int64_t plane, std::int64_t row, Visit&& visit) const {
        if (uniform_) {
            const Int128 cells = of(plane, row, 0);
            const T by = static_cast<T>(cells);
            if ((cells & (cells - 1)) == 0) return visit(TimesAll<T>{1 / by});
            return visit(OverAll<T>{by});
        }
        const T across = static_cast<T>(static_cast<double>(divisors_[0][plane]) *
                                        static_cast<double>(divisors_[1][row]));
        visit(OverEach<T>{across > 0 ? across : 1, along_});
    }

    // Whether one number serves a row.
    bool uniform() const { return uniform_; }

    POOLWISE_APART void divide(std::int64_t plane, std::int64_t row, T* v) const {
        with(plane, row, [&](const auto& after) {
            POOLWISE_LANES
            for (std::int64_t n = 0; n < length_; ++n) v[n] = after(v[n], n);
        });
    }

  private:
    // Where the run of equal numbers ends that begins at `first`: of most rows, all but their ends
    // are one.
    static std::int64_t same_until(const std::int64_t* numbers, std::int64_t first,
                                   std::int64_t count) {
        typedef Vec<std::int64_t> Numbers;
        constexpr std::int64_t each = vector_lanes<std::int64_t>;
        const Numbers same = broadcast<Numbers>(numbers[first]);
        std::int64_t end = first + 1;
        while (end + each <= count && !any_lane(load_vector<Numbers>(numbers + end) != same))
            end += each;
        while (end < count && numbers[end] == numbers[first]) ++end;
        return end;
    }

    const std::int64_t* divisors_[3] = {nullptr, nullptr, nullptr};
    std::int64_t override_ = 0, column_ = 0, length_ = 0;
    T* along_ = nullptr;
    bool uniform_ = true;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
