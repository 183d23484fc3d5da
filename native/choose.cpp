#include "choose.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace poolwise {

namespace {

// Where values of a dtype are compared: rarer integers share the kernels of the next wider ones.
Choice choose_extreme(Operation operation, Dtype dtype) {
    switch (dtype) {
        case Dtype::float64: return {operation, Accumulator::float64, 8, 0};
        case Dtype::int8:
        case Dtype::int16: return {operation, Accumulator::int16, 2, 0};
        case Dtype::uint16:
        case Dtype::int32: return {operation, Accumulator::int32, 4, 0};
        case Dtype::uint32:
        case Dtype::int64: return {operation, Accumulator::int64, 8, 0};
        case Dtype::uint8:
        case Dtype::boolean: return {operation, Accumulator::uint8, 1, 0};
        case Dtype::uint64: return {operation, Accumulator::uint64, 8, 0};
        default: return {operation, Accumulator::float32, 4, 0};
    }
}

Choice choose_winner(Operation operation, Dtype x, std::int64_t cells) {
    const bool short_index = cells <= std::numeric_limits<std::int32_t>::max();
    if (is_floating(x)) {
        if (x != Dtype::float64 && short_index) return {operation, Accumulator::float32, 4, 4};
        return {operation, Accumulator::float64, 8, 8};
    }
    if (x == Dtype::uint64) return {operation, Accumulator::uint64, 8, 8};
    if (item_size(x) == 8 || x == Dtype::uint32 || !short_index)
        return {operation, Accumulator::int64, 8, 8};
    return {operation, Accumulator::int32, 4, 4};
}

Choice choose_sum(const Reducer& reducer, Dtype x, Dtype y, std::int64_t window) {
    const ReducerKind kind = reducer.kind;
    if (is_floating(x)) {
        const bool wide = x == Dtype::float64 || y == Dtype::float64;
        return {Operation::sum, wide ? Accumulator::float64 : Accumulator::float32, wide ? 8 : 4,
                0};
    }
    // Integers are summed exactly: in float32 where that is the result's type and no sum, and no
    // divisor, leaves the integers it has (then the quotient is rounded once, too); in 32 bits
    // where the window cannot overflow them, in 128 where 64 bits could.
    const std::int64_t whole = std::int64_t(1) << 24, most = item_size(x) == 1 ? 255 : 65535;
    if (item_size(x) <= 2 && y == Dtype::float32 && window <= whole / most &&
        reducer.divisor < whole)
        return {Operation::sum, Accumulator::float32, 4, 0};
    if (item_size(x) <= 2 && window <= 32767) return {Operation::sum, Accumulator::int32, 4, 0};
    const bool wraps = kind == ReducerKind::sum && !is_floating(y);  // as NumPy's sum(dtype=…) does
    const bool fits = item_size(x) <= 4 && window < (std::int64_t(1) << 31);
    if (wraps || fits) return {Operation::sum, Accumulator::int64, 8, 0};
    return {Operation::sum, Accumulator::int128, 16, 0};
}

}  // namespace

std::int64_t item_size(Dtype dtype) {
    switch (dtype) {
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

std::int64_t winner_bytes(WinnerForm form) {
    return form == WinnerForm::tap8 ? 1 : form == WinnerForm::index32 ? 4 : 8;
}

bool is_floating(Dtype dtype) { return dtype <= Dtype::float64; }
bool is_sixteen_bit_float(Dtype dtype) {
    return dtype == Dtype::float16 || dtype == Dtype::bfloat16;
}

bool lp_powers_are_safe(std::int64_t item_bytes, double p) {
    return item_bytes <= 4 && p >= least_power && p <= 6;
}

Choice choose(const Reducer& reducer, Dtype x, Dtype y, bool indexed, std::int64_t cells,
              std::int64_t window) {
    switch (reducer.kind) {
        case ReducerKind::max:
        case ReducerKind::min: {
            const bool least = reducer.kind == ReducerKind::min;
            if (indexed)
                return choose_winner(least ? Operation::argmin : Operation::argmax, x, cells);
            return choose_extreme(least ? Operation::min : Operation::max, x);
        }
        case ReducerKind::lp: {  // Σ|x|^p, or max |x|, in double
            const Operation operation = std::isinf(reducer.p) ? Operation::max : Operation::sum;
            return {operation, Accumulator::float64, 8, 0};
        }
        default: return choose_sum(reducer, x, y, window);
    }
}

}  // namespace poolwise
