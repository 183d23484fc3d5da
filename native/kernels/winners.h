// Winners' gradients and unpooling: values go to the cells whose indices they carry.
//
// Windows are taken in row-major order, plane by plane, so overlapping windows add in one fixed
// order and the result has the same bits for any number of threads. Indices were checked before
// anything is written; a tap that lies outside the input names no cell, and goes nowhere.
#pragma once

#include "finish.h"
#include "scatter.h"

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

    // visit(index address, dy address) of the first output of every row, in order
    template <class Visit> void each_row(Visit&& visit) const {
        const Layout& layout = job.layout;
        for (std::int64_t d = 0; d < job.dy_size[0]; ++d)
            for (std::int64_t h = 0; h < job.dy_size[1]; ++h)
                visit(place.indices[0] + d * layout.i_axis[0] + h * layout.i_axis[1],
                      place.y[0] + d * layout.y_axis[0] + h * layout.y_axis[1]);
    }
    // visit(lane, index address, dy address) of every lane
    template <class Visit> void each(Visit&& visit) const {
        const Layout& layout = job.layout;
        each_row([&](const char* index, const char* dy) {
            for (std::int64_t w = 0; w < job.dy_size[2]; ++w)
                for (std::int64_t l = 0; l < place.lanes; ++l)
                    visit(l, index + w * layout.i_axis[2] + l * layout.i_lane,
                          dy + w * layout.y_axis[2] + l * layout.y_lane);
        });
    }
};

// Rows of dx become zeros shortly before something is added to them, while they stay in a cache.
class Zeros {
  public:
    explicit Zeros(const WinnersUnit& u) : u_(u) {
        const bool several = u.job.dx_size[0] > 1;  // slices: their rows come more than once
        if (!u.job.zero_first)
            done_ = u.job.dx_size[1];
        else if (several)
            up_to(u.job.dx_size[1]);
    }
    Zeros(const Zeros&) = delete;
    Zeros& operator=(const Zeros&) = delete;
    ~Zeros() { up_to(u_.job.dx_size[1]); }

    void up_to(std::int64_t row) {
        for (; done_ < smaller(row, u_.job.dx_size[1]); ++done_)
            for (std::int64_t d = 0; d < u_.job.dx_size[0]; ++d) clear(d, done_);
    }

  private:
    POOLWISE_APART void clear(std::int64_t d, std::int64_t h) const {
        const Layout& layout = u_.job.layout;
        const std::int64_t lanes = u_.place.lanes, columns = u_.job.dx_size[2],
                           item = size_of(u_.job.dtype);
        char* const row =
            const_cast<char*>(u_.place.x[0]) + d * layout.x_axis[0] + h * layout.x_axis[1];
        const bool dense =
            layout.x_axis[2] == lanes * item && (lanes == 1 || layout.x_lane == item);
        if (dense) {
            __builtin_memset(row, 0, static_cast<std::size_t>(columns * lanes * item));
            return;
        }
        for (std::int64_t w = 0; w < columns; ++w)
            for (std::int64_t l = 0; l < lanes; ++l)
                __builtin_memset(row + w * layout.x_axis[2] + l * layout.x_lane, 0,
                                 static_cast<std::size_t>(item));
    }

    const WinnersUnit& u_;
    std::int64_t done_ = 0;
};

// Rows of indices that lie side by side are looked at in vectors.
template <class I> bool in_range(const WinnersUnit& u, std::int64_t least, std::int64_t end) {
    const Layout& layout = u.job.layout;
    const std::int64_t lanes = u.place.lanes, columns = u.job.dy_size[2];
    const std::int64_t beside =
        lanes > 1 ? lanes * static_cast<std::int64_t>(sizeof(I)) : sizeof(I);
    const bool dense = layout.i_axis[2] == beside && (lanes == 1 || layout.i_lane == sizeof(I));
    bool good = true;
    if (!dense) {
        u.each([&](std::int64_t, const char* index, const char*) {
            const std::int64_t i = element<I>(index);
            good = good & (i >= least) & (i < end);
        });
        return good;
    }
    u.each_row([&](const char* indices, const char*) {
        const I* const row = reinterpret_cast<const I*>(indices);
        I lowest = 0, highest = 0;
        for (std::int64_t n = 0; n < columns * lanes; ++n) {
            lowest = smaller(lowest, row[n]);
            highest = larger(highest, row[n]);
        }
        good = good && lowest >= least && highest < end;
    });
    return good;
}

bool winners_in_range(const WinnersJob& job, std::int64_t unit) {
    const WinnersUnit u(job, unit);
    const std::int64_t least = job.may_be_none ? -1 : 0;
    switch (job.winners) {
        case WinnerForm::tap8: return true;  // seen to as they are used
        case WinnerForm::index32: return in_range<std::int32_t>(u, least, u.cells);
        default: return in_range<std::int64_t>(u, least, u.cells);
    }
}

// Values go to their taps' cells (see add_taps), where only the taps that `good` lists lie inside
// the input.
template <class T>
POOLWISE_APART int add_good(char* base, std::int64_t pitch,
                            const std::int64_t* POOLWISE_RESTRICT bytes,
                            const std::uint8_t* POOLWISE_RESTRICT good,
                            const std::uint8_t* POOLWISE_RESTRICT tap,
                            const T* POOLWISE_RESTRICT value, std::int64_t count) {
    int most = 0;
    T nowhere = 0;
    for (std::int64_t n = 0; n < count; ++n) {
        const int number = tap[n];
        most = larger(most, number);
        T* const cell = reinterpret_cast<T*>(base + n * pitch + bytes[number]);
        *(good[number] ? cell : &nowhere) += value[n];
    }
    return most;
}

// Adds (or, unpooling, assigns) one unit's values to the cells that their taps name.
template <class T> class TapScatter {
  public:
    explicit TapScatter(const WinnersUnit& u) : u_(u), job_(u.job), f_(*u.job.form) {}

    void run() {
        while (first_whole_ < f_.count[2] && !covers(2, first_whole_)) ++first_whole_;
        last_whole_ = first_whole_;
        while (last_whole_ < f_.count[2] && covers(2, last_whole_)) ++last_whole_;
        Zeros zeros(u_);
        for (std::int64_t d = 0; d < f_.count[0]; ++d)
            for (std::int64_t h = 0; h < f_.count[1]; ++h) {
                zeros.up_to(f_.first[1][h] + (f_.taps[1] - 1) * f_.dilation[1] + 1);
                const bool whole = covers(0, d) && covers(1, h);
                const std::int64_t from = whole ? first_whole_ : f_.count[2],
                                   to = whole ? last_whole_ : f_.count[2];
                put_row(false, d, h, 0, from);
                put_row(true, d, h, from, to);
                put_row(false, d, h, to, f_.count[2]);
            }
        if (most_ >= f_.cells()) __atomic_store_n(job_.bad, true, __ATOMIC_RELAXED);
    }

  private:
    bool covers(int axis, std::int64_t i) const {  // whether window i lies inside the input
        const std::int64_t first = f_.first[axis][i];
        return first >= 0 && first + (f_.taps[axis] - 1) * f_.dilation[axis] < f_.size[axis];
    }
    char* window(std::int64_t d, std::int64_t h, std::int64_t w) const {
        const std::int64_t* stride = job_.layout.x_axis;
        return const_cast<char*>(u_.place.x[0]) + f_.first[0][d] * stride[0] +
               f_.first[1][h] * stride[1] + f_.first[2][w] * stride[2];
    }
    const char* winner(std::int64_t d, std::int64_t h) const {
        return u_.place.indices[0] + d * job_.layout.i_axis[0] + h * job_.layout.i_axis[1];
    }
    const char* gradient(std::int64_t d, std::int64_t h) const {
        return u_.place.y[0] + d * job_.layout.y_axis[0] + h * job_.layout.y_axis[1];
    }
    void put_row(bool whole, std::int64_t d, std::int64_t h, std::int64_t from, std::int64_t to) {
        if (from >= to) return;
        if (job_.accumulate && f_.sliding && add_dense(whole, d, h, from, to)) return;
        if (job_.accumulate)
            whole ? put<true, true>(d, h, from, to) : put<false, true>(d, h, from, to);
        else
            whole ? put<true, false>(d, h, from, to) : put<false, false>(d, h, from, to);
    }

    // The usual layouts: windows, or lanes of a window, whose taps and values lie side by side.
    bool add_dense(bool whole, std::int64_t d, std::int64_t h, std::int64_t from, std::int64_t to) {
        const Layout& layout = job_.layout;
        const std::int64_t item = sizeof(T), lanes = u_.place.lanes;
        const bool flat = lanes == 1 && layout.i_axis[2] == 1 && layout.y_axis[2] == item;
        const bool beside = lanes > 1 && layout.i_lane == 1 && layout.y_lane == item;
        if (!(flat && whole) && !beside) return false;
        std::uint8_t good[256 + good_at_once];
        const std::int64_t runs = flat ? 1 : to - from, count = flat ? to - from : lanes;
        const std::int64_t apart = f_.stride[2] * layout.x_axis[2];
        for (std::int64_t r = 0; r < runs; ++r) {
            const std::int64_t w = from + r;
            const char* tap = winner(d, h) + w * layout.i_axis[2];
            const char* dy = gradient(d, h) + w * layout.y_axis[2];
            const auto* taps = reinterpret_cast<const std::uint8_t*>(tap);
            const T* values = reinterpret_cast<const T*>(dy);
            const std::int64_t pitch = flat ? apart : layout.x_lane;
            int most;
            if (whole) {
                char* const base = window(d, h, w);
                most = add_taps<T, 1>(&base, pitch, job_.taps->bytes, &taps, &values, count);
            } else {
                list_good(d, h, w, good);
                most =
                    add_good(window(d, h, w), pitch, job_.taps->bytes, good, taps, values, count);
            }
            most_ = larger<std::int64_t>(most_, most);
        }
        return true;
    }

    // Which taps of a window lie inside the input; numbers beyond its taps stand at the first one.
    static constexpr std::int64_t good_at_once = 16;
    void list_good(std::int64_t d, std::int64_t h, std::int64_t w, std::uint8_t* good) const {
        const std::int64_t first[3] = {f_.first[0][d], f_.first[1][h], f_.first[2][w]};
        const std::int64_t taps = f_.taps[2];
        std::uint8_t row[256 + good_at_once], nothing[good_at_once] = {};
        for (std::int64_t k = 0; k < taps; ++k) {
            const std::int64_t cw = first[2] + k * f_.dilation[2];
            row[k] = cw >= 0 && cw < f_.size[2];
        }
        std::int64_t n = 0;
        for (std::int64_t kd = 0; kd < f_.taps[0]; ++kd)
            for (std::int64_t kh = 0; kh < f_.taps[1]; ++kh, n += taps) {
                const std::int64_t cd = first[0] + kd * f_.dilation[0],
                                   ch = first[1] + kh * f_.dilation[1];
                const bool inside = cd >= 0 && cd < f_.size[0] && ch >= 0 && ch < f_.size[1];
                for (std::int64_t k = 0; k < taps; k += good_at_once)
                    __builtin_memcpy(good + n + k, inside ? row + k : nothing, good_at_once);
            }
        for (; n < 256; ++n) good[n] = good[0];
    }

    // Whole windows lie inside the input: a look-up and an addition each. Of others a tap may lie
    // in the padding, and goes nowhere. Everything is a local: a store to dx might change any
    // member, for all the compiler knows.
    template <bool Whole, bool Add>
    void put(std::int64_t d, std::int64_t h, std::int64_t from, std::int64_t to) {
        const Layout& layout = job_.layout;
        const std::int64_t tap_step = layout.i_axis[2], dy_step = layout.y_axis[2],
                           dx_step = layout.x_axis[2], tap_lane = layout.i_lane,
                           dy_lane = layout.y_lane, dx_lane = layout.x_lane;
        const std::int64_t lanes = u_.place.lanes;
        const TapTable& table = *job_.taps;
        const std::int64_t *first = f_.first[2], *bytes = table.bytes, *step_d = table.step[0],
                           *step_h = table.step[1], *step_w = table.step[2];
        const std::int64_t d0 = f_.first[0][d], h0 = f_.first[1][h];
        const std::int64_t size_d = f_.size[0], size_h = f_.size[1], size_w = f_.size[2];
        const char *tap = winner(d, h) + from * tap_step, *dy = gradient(d, h) + from * dy_step;
        char* const row = window(d, h, 0) - first[0] * dx_step;
        int most = 0;
        for (std::int64_t w = from; w < to; ++w, tap += tap_step, dy += dy_step) {
            const std::int64_t w0 = first[w];
            char* const base = row + w0 * dx_step;
            for (std::int64_t l = 0; l < lanes; ++l) {
                const int number = element<std::uint8_t>(tap + l * tap_lane);
                most = larger(most, number);
                if constexpr (!Whole) {
                    const bool in_d = static_cast<std::uint64_t>(d0 + step_d[number]) <
                                      static_cast<std::uint64_t>(size_d);
                    const bool in_h = static_cast<std::uint64_t>(h0 + step_h[number]) <
                                      static_cast<std::uint64_t>(size_h);
                    const bool in_w = static_cast<std::uint64_t>(w0 + step_w[number]) <
                                      static_cast<std::uint64_t>(size_w);
                    if (!(in_d & in_h & in_w)) continue;
                }
                T& cell = *reinterpret_cast<T*>(base + bytes[number] + l * dx_lane);
                const T v = element<T>(dy + l * dy_lane);
                if constexpr (Add)
                    cell = static_cast<T>(cell + v);
                else
                    cell = v;
            }
        }
        most_ = larger<std::int64_t>(most_, most);
    }

    const WinnersUnit& u_;
    const WinnersJob& job_;
    const WindowForm& f_;
    std::int64_t most_ = 0;
    std::int64_t first_whole_ = 0, last_whole_ = 0;  // columns [first, last) are whole
};

// Lanes beside each other, one by one to cells whose lanes lie `pitch` bytes apart.
template <class T, class I>
POOLWISE_APART void add_lanes(char* base, std::int64_t pitch, const I* POOLWISE_RESTRICT index,
                              const T* POOLWISE_RESTRICT value, std::int64_t lanes) {
    for (std::int64_t l = 0; l < lanes; ++l)
        if (index[l] >= 0)
            reinterpret_cast<T*>(base + static_cast<std::int64_t>(index[l]) * pitch)[l] += value[l];
}

// Places of lanes beside each other: what they name of dx is made zeros first.
template <class T, class I> void add_places(const WinnersUnit& u) {
    const Layout& layout = u.job.layout;
    const std::int64_t lanes = u.place.lanes;
    Zeros zeros(u);
    u.each_row([&](const char* places, const char* values) {
        I farthest = -1;
        for (std::int64_t w = 0; w < u.job.dy_size[2]; ++w) {
            const I* const index = reinterpret_cast<const I*>(places + w * layout.i_axis[2]);
            for (std::int64_t l = 0; l < lanes; ++l) farthest = larger(farthest, index[l]);
        }
        if (farthest >= 0) zeros.up_to(farthest / u.job.dx_size[2] + 1);
        for (std::int64_t w = 0; w < u.job.dy_size[2]; ++w)
            add_lanes(const_cast<char*>(u.place.x[0]), layout.x_axis[2],
                      reinterpret_cast<const I*>(places + w * layout.i_axis[2]),
                      reinterpret_cast<const T*>(values + w * layout.y_axis[2]), lanes);
    });
}

template <class T, class I> void scatter_indices(const WinnersUnit& u) {
    const WinnersJob& job = u.job;
    const Layout& layout = job.layout;
    if constexpr (floating<T>) {
        const bool beside = u.flat && job.accumulate && layout.x_lane == sizeof(T) &&
                            layout.y_lane == sizeof(T) && layout.i_lane == sizeof(I);
        if (beside) return add_places<T, I>(u);
    }
    Zeros(u).up_to(job.dx_size[1]);
    u.each([&](std::int64_t lane, const char* index, const char* value) {
        const std::int64_t i = element<I>(index);
        if (i < 0) return;
        char* at = u.target(i) + lane * layout.x_lane;
        const T v = element<T>(value);
        set_element<T>(at, job.accumulate ? static_cast<T>(element<T>(at) + v) : v);
    });
}

template <class T> void scatter_as(const WinnersJob& job, std::int64_t unit, char* scratch) {
    if constexpr (floating<T>) {
        if (job.several) return PlanesScatter<T>(job, unit, scratch).run();
    }
    const WinnersUnit u(job, unit);
    switch (job.winners) {
        case WinnerForm::tap8: return TapScatter<T>(u).run();
        case WinnerForm::index32: return scatter_indices<T, std::int32_t>(u);
        default: return scatter_indices<T, std::int64_t>(u);
    }
}

void scatter_winners(const WinnersJob& job, std::int64_t unit, char* scratch) {
    switch (job.dtype) {
        case Dtype::float32: return scatter_as<float>(job, unit, scratch);
        case Dtype::float64: return scatter_as<double>(job, unit, scratch);
        default: break;
    }
    switch (size_of(job.dtype)) {  // only assigned: the bits are what matters
        case 1: return scatter_as<std::uint8_t>(job, unit, scratch);
        case 2: return scatter_as<std::uint16_t>(job, unit, scratch);
        case 4: return scatter_as<std::uint32_t>(job, unit, scratch);
        default: return scatter_as<std::uint64_t>(job, unit, scratch);
    }
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
