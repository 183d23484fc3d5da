// lp pooling, window by window: y = m (Σ (|x| / m)^p)^(1/p) with m the window's largest |x|.
//
// The scale is the window's own, so nothing overflows and small windows beside large values keep
// their digits. All of it is computed in double. Cost: one power per window cell.
#pragma once

#include "finish.h"

extern "C" double pow(double, double);
extern "C" double sqrt(double);

namespace poolwise::POOLWISE_ISA {
namespace {

inline double magnitude(double v) { return v < 0 ? -v : v; }

struct Powers {
    double p;
    bool infinite;
    explicit Powers(double exponent) : p(exponent), infinite(exponent == __builtin_inf()) {}
    double raise(double ratio) const {
        return p == 2 ? ratio * ratio : p == 1 ? ratio : pow(ratio, p);
    }
    double root(double sum) const { return p == 2 ? sqrt(sum) : p == 1 ? sum : pow(sum, 1.0 / p); }
    double slope(double ratio) const { return p == 2 ? ratio : p == 1 ? 1.0 : pow(ratio, p - 1); }
};

// One plane of the input as contiguous doubles.
inline void read_plane(const Layout& layout, const char* base, Dtype dtype,
                       const std::int64_t size[3], double* to) {
    const Loader<double> loader = loader_for<double>(dtype);
    for (std::int64_t d = 0; d < size[0]; ++d)
        for (std::int64_t h = 0; h < size[1]; ++h)
            loader.run(base + d * layout.x_axis[0] + h * layout.x_axis[1], layout.x_axis[2],
                       size[2], to + (d * size[1] + h) * size[2]);
}

// visit(cell) for every cell of window (o0, o1, o2), row-major
template <class Visit>
inline void each_cell(const LpJob& job, const std::int64_t o[3], Visit&& visit) {
    for (std::int64_t d = job.starts[0][o[0]]; d < job.stops[0][o[0]]; d += job.step[0])
        for (std::int64_t h = job.starts[1][o[1]]; h < job.stops[1][o[1]]; h += job.step[1])
            for (std::int64_t w = job.starts[2][o[2]]; w < job.stops[2][o[2]]; w += job.step[2])
                visit((d * job.input_size[1] + h) * job.input_size[2] + w);
}

struct WindowNorm {
    double norm, largest;
    std::int64_t winner;
};

inline WindowNorm window_norm(const LpJob& job, const Powers& powers, const double* x,
                              const std::int64_t o[3]) {
    double largest = 0, nan = 0;
    std::int64_t winner = -1;
    each_cell(job, o, [&](std::int64_t c) {
        const double a = magnitude(x[c]);
        if (a != a) nan = a;
        if (a > largest || winner < 0) {
            largest = a;
            winner = c;
        }
    });
    if (nan != 0) return {nan, nan, winner};
    if (largest == 0 || largest == __builtin_inf() || powers.infinite)
        return {largest, largest, winner};
    double sum = 0;
    each_cell(job, o, [&](std::int64_t c) { sum += powers.raise(magnitude(x[c]) / largest); });
    return {largest * powers.root(sum), largest, winner};
}

template <class Visit> inline void each_window(const LpJob& job, Visit&& visit) {
    std::int64_t o[3];
    for (o[0] = 0; o[0] < job.output_size[0]; ++o[0])
        for (o[1] = 0; o[1] < job.output_size[1]; ++o[1])
            for (o[2] = 0; o[2] < job.output_size[2]; ++o[2]) visit(o);
}

inline std::int64_t at_output(const Layout& layout, const std::int64_t o[3]) {
    return o[0] * layout.y_axis[0] + o[1] * layout.y_axis[1] + o[2] * layout.y_axis[2];
}

void lp_forward_unit(const LpJob& job, std::int64_t unit, char* scratch) {
    Arena arena{scratch};
    double* x = arena.take<double>(job.input_size[0] * job.input_size[1] * job.input_size[2]);
    Place place;
    place.locate(job.layout, job.x, job.y, nullptr, unit, 0, 1);
    read_plane(job.layout, place.x[0], job.x_dtype, job.input_size, x);
    const Powers powers(job.p);
    const Storer<double> storer = storer_for<double>(job.y_dtype);
    each_window(job, [&](const std::int64_t o[3]) {
        const double y = window_norm(job, powers, x, o).norm;
        storer.run(&y, 1, place.y[0] + at_output(job.layout, o), size_of(job.y_dtype));
    });
}

// dx = sign(x) Σ g (|x| / y)^(p-1), over the windows of every grid; 0 where y or x is 0. The ratio
// is at most 1: nothing overflows. The jobs share x and dx, so they number their planes alike.
void lp_backward_unit(const LpJob* jobs, int count, std::int64_t unit, char* scratch) {
    const LpJob& first = jobs[0];
    const std::int64_t* size = first.input_size;
    const std::int64_t cells = size[0] * size[1] * size[2];
    Arena arena{scratch};
    double* x = arena.take<double>(cells);
    double* dx = arena.take<double>(cells);
    for (std::int64_t c = 0; c < cells; ++c) dx[c] = 0;
    const Powers powers(first.p);
    const Loader<double> loader = loader_for<double>(first.x_dtype);
    Place place;
    for (int g = 0; g < count; ++g) {
        const LpJob& job = jobs[g];
        place.locate(job.layout, job.x, job.y, const_cast<char*>(job.dy), unit, 0, 1);
        if (g == 0) read_plane(job.layout, place.x[0], job.x_dtype, size, x);
        each_window(job, [&](const std::int64_t o[3]) {
            double gradient = 0;
            const std::int64_t* stride = job.layout.i_axis;
            loader.run(place.indices[0] + o[0] * stride[0] + o[1] * stride[1] + o[2] * stride[2],
                       size_of(job.x_dtype), 1, &gradient);
            const WindowNorm norm = window_norm(job, powers, x, o);
            if (norm.norm == 0 || norm.winner < 0) return;
            if (powers.infinite) {
                dx[norm.winner] += x[norm.winner] < 0 ? -gradient : gradient;
                return;
            }
            each_cell(job, o, [&](std::int64_t c) {
                if (x[c] == 0) return;
                const double slope = gradient * powers.slope(magnitude(x[c]) / norm.norm);
                dx[c] += x[c] < 0 ? -slope : slope;
            });
        });
    }
    const Storer<double> storer = storer_for<double>(first.x_dtype);
    const std::int64_t* stride = first.layout.y_axis;
    for (std::int64_t d = 0; d < size[0]; ++d)
        for (std::int64_t h = 0; h < size[1]; ++h)
            storer.run(dx + (d * size[1] + h) * size[2], size[2],
                       place.y[0] + d * stride[0] + h * stride[1], stride[2]);
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
