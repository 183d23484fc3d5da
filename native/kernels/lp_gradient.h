// lp gradients: dx = sign(x) Σ g (|x| / y)^(p-1) over the windows that see x; 0 where x or y is 0.
//
// Where powers stay in double's range this is a sum over windows of g y^(1-p), run by the rows
// kernel between the two functions below. Elsewhere, and for p = infinity (all to the first of the
// largest), it is done window by window: |x| / y is at most 1. Cost of that: one power per window
// cell.
#pragma once

#include "finish.h"
#include "powers.h"

namespace poolwise::POOLWISE_ISA {
namespace {

void lp_scale_gradient(const char* gradient, Dtype dtype, std::int64_t stride, double* y,
                       std::int64_t count, double p) {
    const Loader<double> loader = loader_for<double>(dtype);
    for (std::int64_t i = 0; i < count; ++i) {
        double g = 0;
        loader.run(gradient + i * stride, stride, 1, &g);
        y[i] = y[i] == 0 ? 0 : p == 1 ? g : p == 2 ? g / y[i] : g * pow(y[i], 1 - p);
    }
}

void lp_apply_slope(char* x, Dtype dtype, std::int64_t stride, const double* sums,
                    std::int64_t count, double p) {
    const Loader<double> loader = loader_for<double>(dtype);
    const Storer<double> storer = storer_for<double>(dtype);
    const Powers powers(p);
    for (std::int64_t i = 0; i < count; ++i) {
        double v = 0;
        loader.run(x + i * stride, stride, 1, &v);
        const double slope = v == 0 ? 0 : powers.slope(magnitude(v)) * sums[i];
        const double result = v < 0 ? -slope : slope;
        storer.run(&result, 1, x + i * stride, stride);
    }
}

struct LpPlane {
    const LpJob& job;
    const double* x;

    // visit(cell) for every cell of window o, row-major
    template <class Visit> void each_cell(const std::int64_t o[3], Visit&& visit) const {
        const LpRule& r = job.rule;
        for (std::int64_t d = r.starts[0][o[0]]; d < r.stops[0][o[0]]; d += r.step[0])
            for (std::int64_t h = r.starts[1][o[1]]; h < r.stops[1][o[1]]; h += r.step[1])
                for (std::int64_t w = r.starts[2][o[2]]; w < r.stops[2][o[2]]; w += r.step[2])
                    visit((d * job.input_size[1] + h) * job.input_size[2] + w);
    }
    template <class Visit> void each_window(Visit&& visit) const {
        std::int64_t o[3];
        for (o[0] = 0; o[0] < job.output_size[0]; ++o[0])
            for (o[1] = 0; o[1] < job.output_size[1]; ++o[1])
                for (o[2] = 0; o[2] < job.output_size[2]; ++o[2]) visit(o);
    }

    void add_window(const std::int64_t o[3], const Powers& powers, double gradient,
                    double* dx) const {
        const WindowNorm found = window_norm(powers, [&](auto&& visit) {
            each_cell(o, [&](std::int64_t c) { visit(magnitude(x[c])); });
        });
        if (found.norm == 0) return;
        if (!powers.infinite) {
            each_cell(o, [&](std::int64_t c) {
                if (x[c] == 0) return;
                const double slope = gradient * powers.slope(magnitude(x[c]) / found.norm);
                dx[c] += x[c] < 0 ? -slope : slope;
            });
            return;
        }
        std::int64_t winner = -1;
        each_cell(o, [&](std::int64_t c) {
            const double a = magnitude(x[c]);
            if (winner < 0 && (a == found.largest || a != a)) winner = c;
        });
        dx[winner] += x[winner] < 0 ? -gradient : gradient;
    }
};

// The jobs, one per grid, share x and dx, so they number their planes alike.
void lp_backward_unit(const LpJob* jobs, int count, std::int64_t unit, char* scratch) {
    const LpJob& first = jobs[0];
    const std::int64_t* size = first.input_size;
    const std::int64_t cells = size[0] * size[1] * size[2];
    Arena arena{scratch};
    double* x = arena.take<double>(cells);
    double* dx = arena.take<double>(cells);
    const Powers powers(first.rule.p);
    const Loader<double> loader = loader_for<double>(first.dtype);
    const Storer<double> storer = storer_for<double>(first.dtype);
    Place place;
    const auto each_row = [&](auto&& visit) {
        for (std::int64_t d = 0; d < size[0]; ++d)
            for (std::int64_t h = 0; h < size[1]; ++h) visit(d, h, (d * size[1] + h) * size[2]);
    };
    for (int g = 0; g < count; ++g) {
        const LpJob& job = jobs[g];
        const std::int64_t* stride = job.layout.i_axis;
        place.locate(job.layout, job.x, job.dx, const_cast<char*>(job.dy), unit, 0, 1);
        if (g == 0) {
            const std::int64_t* from = job.layout.x_axis;
            each_row([&](std::int64_t d, std::int64_t h, std::int64_t at) {
                loader.run(place.x[0] + d * from[0] + h * from[1], from[2], size[2], x + at);
            });
            for (std::int64_t c = 0; c < cells; ++c) dx[c] = 0;
        }
        const LpPlane plane{job, x};
        plane.each_window([&](const std::int64_t o[3]) {
            double gradient = 0;
            loader.run(place.indices[0] + o[0] * stride[0] + o[1] * stride[1] + o[2] * stride[2],
                       size_of(job.dtype), 1, &gradient);
            plane.add_window(o, powers, gradient, dx);
        });
    }
    const std::int64_t* to = first.layout.y_axis;
    each_row([&](std::int64_t d, std::int64_t h, std::int64_t at) {
        storer.run(dx + at, size[2], place.y[0] + d * to[0] + h * to[1], to[2]);
    });
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
