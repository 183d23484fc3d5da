// Winners' gradients and unpooling: values go to the cells whose indices they carry.
//
// Windows are taken in row-major order, plane by plane, so overlapping windows add in one fixed
// order and the result has the same bits for any number of threads. Indices were checked before
// anything is written; a tap that lies outside the input names no cell, and goes nowhere.
#pragma once

#include "finish.h"

namespace poolwise::POOLWISE_ISA {
namespace {

struct WinnersUnit {
    const WinnersJob& job;
    Place place;
    std::int64_t cells;
    bool flat;  // an index times one stride is an address

    WinnersUnit(const WinnersJob& j, std::int64_t unit) : job(j) {
        place.locate(j.layout, j.dx, const_cast<char*>(j.dy), const_cast<char*>(j.indices), unit, 0,
                     j.layout.lanes);
        const std::int64_t* size = j.dx_size;
        const std::int64_t* stride = j.layout.x_axis;
        cells = size[0] * size[1] * size[2];
        flat = (size[1] == 1 || stride[1] == stride[2] * size[2]) &&
               (size[0] == 1 || stride[0] == stride[2] * size[2] * size[1]);
    }

    char* target(std::int64_t index) const {
        char* base = const_cast<char*>(place.x[0]);
        const std::int64_t* stride = job.layout.x_axis;
        if (flat) return base + index * stride[2];
        const std::int64_t w = index % job.dx_size[2], rest = index / job.dx_size[2];
        return base + rest / job.dx_size[1] * stride[0] + rest % job.dx_size[1] * stride[1] +
               w * stride[2];
    }

    // visit(lane, index address, dy address) for every output in order
    template <class Visit> void each(Visit&& visit) const {
        const Layout& layout = job.layout;
        for (std::int64_t d = 0; d < job.dy_size[0]; ++d)
            for (std::int64_t h = 0; h < job.dy_size[1]; ++h) {
                const char* i_row = place.indices[0] + d * layout.i_axis[0] + h * layout.i_axis[1];
                const char* y_row = place.y[0] + d * layout.y_axis[0] + h * layout.y_axis[1];
                for (std::int64_t w = 0; w < job.dy_size[2]; ++w)
                    for (std::int64_t l = 0; l < place.lanes; ++l)
                        visit(l, i_row + w * layout.i_axis[2] + l * layout.i_lane,
                              y_row + w * layout.y_axis[2] + l * layout.y_lane);
            }
    }
};

template <class I> bool in_range(const WinnersUnit& u, std::int64_t least, std::int64_t end) {
    bool good = true;
    u.each([&](std::int64_t, const char* index, const char*) {
        const std::int64_t i = element<I>(index);
        good = good & (i >= least) & (i < end);
    });
    return good;
}

bool winners_in_range(const WinnersJob& job, std::int64_t unit) {
    const WinnersUnit u(job, unit);
    const std::int64_t least = job.may_be_none ? -1 : 0;
    switch (job.winners) {
        case WinnerForm::tap8: return in_range<std::uint8_t>(u, 0, job.form->cells());
        case WinnerForm::index32: return in_range<std::int32_t>(u, least, u.cells);
        default: return in_range<std::int64_t>(u, least, u.cells);
    }
}

// Where a tap lies, seen from its window's first cell.
struct TapPlace {
    std::int64_t step[3], bytes;
};

// Adds (or, unpooling, assigns) one unit's values to the cells that their taps name.
template <class T> void scatter_taps(const WinnersUnit& u) {
    const WinnersJob& job = u.job;
    const WindowForm& f = *job.form;
    const Layout& layout = job.layout;
    TapPlace places[256];
    const std::int64_t cells = f.cells();
    for (std::int64_t tap = 0; tap < cells; ++tap) {
        TapPlace& p = places[tap];
        p.step[2] = tap % f.taps[2] * f.dilation[2];
        p.step[1] = tap / f.taps[2] % f.taps[1] * f.dilation[1];
        p.step[0] = tap / f.taps[2] / f.taps[1] * f.dilation[0];
        p.bytes = 0;
        for (int a = 0; a < 3; ++a) p.bytes += p.step[a] * layout.x_axis[a];
    }
    const auto covers = [&](int axis, std::int64_t i) {  // whether window i lies inside the input
        const std::int64_t first = f.first[axis][i];
        return first >= 0 && first + (f.taps[axis] - 1) * f.dilation[axis] < f.size[axis];
    };
    char* const dx = const_cast<char*>(u.place.x[0]);
    for (std::int64_t d = 0; d < f.count[0]; ++d)
        for (std::int64_t h = 0; h < f.count[1]; ++h) {
            const char* winner = u.place.indices[0] + d * layout.i_axis[0] + h * layout.i_axis[1];
            const char* dy = u.place.y[0] + d * layout.y_axis[0] + h * layout.y_axis[1];
            char* const row =
                dx + f.first[0][d] * layout.x_axis[0] + f.first[1][h] * layout.x_axis[1];
            const bool whole_row = covers(0, d) && covers(1, h);
            for (std::int64_t w = 0; w < f.count[2]; ++w) {
                const bool whole = whole_row && covers(2, w);
                const std::int64_t first[3] = {f.first[0][d], f.first[1][h], f.first[2][w]};
                char* const window = row + first[2] * layout.x_axis[2];
                for (std::int64_t l = 0; l < u.place.lanes; ++l) {
                    const auto tap =
                        element<std::uint8_t>(winner + w * layout.i_axis[2] + l * layout.i_lane);
                    const TapPlace& p = places[tap];
                    bool inside = true;
                    for (int a = 0; a < 3 && !whole; ++a)
                        inside =
                            inside && first[a] + p.step[a] >= 0 && first[a] + p.step[a] < f.size[a];
                    if (!inside) continue;
                    char* const at = window + p.bytes + l * layout.x_lane;
                    const T v = element<T>(dy + w * layout.y_axis[2] + l * layout.y_lane);
                    set_element<T>(at, job.accumulate ? static_cast<T>(element<T>(at) + v) : v);
                }
            }
        }
}

template <class T, class I> void scatter_indices(const WinnersUnit& u) {
    const WinnersJob& job = u.job;
    u.each([&](std::int64_t lane, const char* index, const char* value) {
        const std::int64_t i = element<I>(index);
        if (i < 0) return;
        char* at = u.target(i) + lane * job.layout.x_lane;
        const T v = element<T>(value);
        set_element<T>(at, job.accumulate ? static_cast<T>(element<T>(at) + v) : v);
    });
}

template <class T> void scatter_as(const WinnersJob& job, std::int64_t unit) {
    const WinnersUnit u(job, unit);
    const Layout& layout = job.layout;
    if (job.zero_first) {
        for (std::int64_t d = 0; d < job.dx_size[0]; ++d)
            for (std::int64_t h = 0; h < job.dx_size[1]; ++h) {
                char* row =
                    const_cast<char*>(u.place.x[0]) + d * layout.x_axis[0] + h * layout.x_axis[1];
                const std::int64_t bytes = sizeof(T);
                if (layout.x_axis[2] == u.place.lanes * bytes &&
                    (u.place.lanes == 1 || layout.x_lane == bytes)) {
                    __builtin_memset(
                        row, 0, static_cast<std::size_t>(job.dx_size[2] * u.place.lanes * bytes));
                    continue;
                }
                for (std::int64_t w = 0; w < job.dx_size[2]; ++w)
                    for (std::int64_t l = 0; l < u.place.lanes; ++l)
                        set_element<T>(row + w * layout.x_axis[2] + l * layout.x_lane, T{});
            }
    }
    switch (job.winners) {
        case WinnerForm::tap8: return scatter_taps<T>(u);
        case WinnerForm::index32: return scatter_indices<T, std::int32_t>(u);
        default: return scatter_indices<T, std::int64_t>(u);
    }
}

void scatter_winners(const WinnersJob& job, std::int64_t unit, char*) {
    switch (job.dtype) {
        case Dtype::float32: return scatter_as<float>(job, unit);
        case Dtype::float64: return scatter_as<double>(job, unit);
        default: break;
    }
    switch (size_of(job.dtype)) {  // only assigned: the bits are what matters
        case 1: return scatter_as<std::uint8_t>(job, unit);
        case 2: return scatter_as<std::uint16_t>(job, unit);
        case 4: return scatter_as<std::uint32_t>(job, unit);
        default: return scatter_as<std::uint64_t>(job, unit);
    }
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
