// Powers and roots for lp pooling, all in double.
#pragma once

#include "convert.h"

extern "C" double pow(double, double);
extern "C" double sqrt(double);

namespace poolwise::POOLWISE_ISA {
namespace {

inline double magnitude(double v) { return v < 0 ? -v : v; }

struct Powers {
    double p;
    bool infinite;

    explicit Powers(double exponent) : p(exponent), infinite(exponent == __builtin_inf()) {}
    double raise(double a) const {
        return p == 2 ? a * a : p == 1 ? a : p == 3 ? a * a * a : pow(a, p);
    }
    double root(double sum) const { return p == 2 ? sqrt(sum) : p == 1 ? sum : pow(sum, 1.0 / p); }
    double slope(double a) const { return p == 2 ? a : p == 1 ? 1.0 : pow(a, p - 1); }
};

// v becomes |v|^p, or |v| when p is infinite.
POOLWISE_APART void raise_all(double* v, std::int64_t count, double p) {
    const Powers powers(p);
    POOLWISE_LANES
    for (std::int64_t n = 0; n < count; ++n) v[n] = magnitude(v[n]);
    if (powers.infinite || p == 1) return;
    if (p == 2) {
        POOLWISE_LANES
        for (std::int64_t n = 0; n < count; ++n) v[n] *= v[n];
        return;
    }
    for (std::int64_t n = 0; n < count; ++n) v[n] = powers.raise(v[n]);
}

// One window's norm, scaled by its own largest |x|: y = m (Σ (|x| / m)^p)^(1/p). Nothing overflows,
// and small windows beside large values keep their digits. `each_cell(visit)` visits |x| of every
// cell.
struct WindowNorm {
    double norm = 0, largest = 0;
};
template <class EachCell>
inline WindowNorm window_norm(const Powers& powers, EachCell&& each_cell) {
    WindowNorm result;
    bool nan = false;
    each_cell([&](double a) {
        nan = nan | (a != a);
        if (a > result.largest) result.largest = a;
    });
    result.norm = result.largest;
    if (nan) result.norm = __builtin_nan("");
    if (nan || result.largest == 0 || result.largest == __builtin_inf() || powers.infinite)
        return result;
    double sum = 0;
    each_cell([&](double a) { sum += powers.raise(a / result.largest); });
    result.norm = result.largest * powers.root(sum);
    return result;
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
