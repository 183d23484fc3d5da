// Sending each value to its winner, in several planes at once.
//
// Neighbouring windows often have the same winner, and an addition to memory waits for the one
// before it where both are of one cell. Those of another plane never are: four planes take turns.
// Within a plane windows are taken in row-major order all the same.
#pragma once

#include "outputs.h"
#include "place.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// Value n of a run goes to the cell of its tap in a window that starts at base + n * pitch bytes.
// Returns the largest number among the taps.
template <class T, int Planes>
POOLWISE_APART int add_taps(char* const* bases, std::int64_t pitch,
                            const std::int64_t* POOLWISE_RESTRICT bytes,
                            const std::uint8_t* const* taps, const T* const* values,
                            std::int64_t count) {
    char* base[Planes];
    const std::uint8_t* POOLWISE_RESTRICT tap[Planes];
    const T* POOLWISE_RESTRICT value[Planes];
    for (int p = 0; p < Planes; ++p) {
        base[p] = bases[p];
        tap[p] = taps[p];
        value[p] = values[p];
    }
    int most = 0;
    for (std::int64_t n = 0; n < count; ++n)
        for (int p = 0; p < Planes; ++p) {
            const int number = tap[p][n];
            most = larger(most, number);
            *reinterpret_cast<T*>(base[p] + bytes[number]) += value[p][n];
            base[p] += pitch;
        }
    return most;
}

// Value n goes to cell index[n]; -1 is none.
template <class T, class I, int Planes>
POOLWISE_APART void add_indices(T* const* planes, const I* const* indices, const T* const* values,
                                std::int64_t count) {
    T* plane[Planes];
    const I* POOLWISE_RESTRICT index[Planes];
    const T* POOLWISE_RESTRICT value[Planes];
    for (int p = 0; p < Planes; ++p) {
        plane[p] = planes[p];
        index[p] = indices[p];
        value[p] = values[p];
    }
    for (std::int64_t n = 0; n < count; ++n)
        for (int p = 0; p < Planes; ++p)
            if (index[p][n] >= 0) plane[p][index[p][n]] += value[p][n];
}

// Some planes of gradients whose rows, and whose winners', lie side by side.
template <class T> class PlanesScatter {
  public:
    PlanesScatter(const WinnersJob& job, std::int64_t unit, char* scratch)
        : job_(job), scratch_(scratch) {
        const std::int64_t first = unit * job.planes_per_unit;
        count_ = static_cast<int>(smaller(job.planes_per_unit, job.layout.planes - first));
        for (int p = 0; p < count_; ++p)
            place_[p].locate(job.layout, job.dx, const_cast<char*>(job.dy),
                             const_cast<char*>(job.indices), first + p, 0, 1);
    }

    void run() {
        if (count_ == beside) return run_some<beside>(0);
        for (int p = 0; p < count_; ++p) run_some<1>(p);
    }

  private:
    static constexpr int beside = planes_scattered;

    template <int Planes> void run_some(int first) {
        switch (job_.winners) {
            case WinnerForm::tap8: return run_padded<Planes>(first);
            case WinnerForm::index32: return run_indices<std::int32_t, Planes>(first);
            default: return run_indices<std::int64_t, Planes>(first);
        }
    }

    // Into planes that have their padding, where every window is whole; then the input's part of
    // them is copied out. What lands in the padding is dropped with it.
    template <int Planes> void run_padded(int first) {
        const TapTable& table = *job_.taps;
        const WindowForm& f = *job_.form;
        const std::int64_t item = sizeof(T), row = table.padded[2] * item,
                           slice = table.padded[1] * row, plane = table.padded[0] * slice;
        __builtin_memset(scratch_, 0, static_cast<std::size_t>(Planes * plane));
        int most = 0;
        for (std::int64_t d = 0; d < f.count[0]; ++d)
            for (std::int64_t h = 0; h < f.count[1]; ++h) {
                char* base[Planes];
                const std::uint8_t* tap[Planes];
                const T* value[Planes];
                for (int p = 0; p < Planes; ++p) {
                    base[p] =
                        scratch_ + p * plane + d * f.stride[0] * slice + h * f.stride[1] * row;
                    tap[p] = reinterpret_cast<const std::uint8_t*>(winners(first + p, d, h));
                    value[p] = values(first + p, d, h);
                }
                const int number = add_taps<T, Planes>(base, f.stride[2] * item, table.padded_bytes,
                                                       tap, value, f.count[2]);
                most = larger(most, number);
            }
        if (most >= f.cells()) __atomic_store_n(job_.bad, true, __ATOMIC_RELAXED);
        const std::int64_t* to = job_.layout.x_axis;
        Copies<T> outputs;  // (through the caches)
        for (int p = 0; p < Planes; ++p)
            for (std::int64_t d = 0; d < f.size[0]; ++d)
                for (std::int64_t h = 0; h < f.size[1]; ++h) {
                    const char* from = scratch_ + p * plane + (d + f.pad[0]) * slice +
                                       (h + f.pad[1]) * row + f.pad[2] * item;
                    char* const at = target(first + p) + d * to[0] + h * to[1];
                    const T* const row_of = reinterpret_cast<const T*>(from);
                    if (to[2] == item)
                        write_copy(outputs, reinterpret_cast<T*>(at), row_of, f.size[2]);
                    else
                        store_run<T, T>(row_of, f.size[2], at, to[2]);
                }
    }

    template <class I, int Planes> void run_indices(int first) {
        const std::int64_t* size = job_.dx_size;
        const auto bytes = static_cast<std::size_t>(size[0] * size[1] * size[2]) * sizeof(T);
        for (int p = 0; p < Planes && job_.zero_first; ++p)
            __builtin_memset(target(first + p), 0, bytes);
        for (std::int64_t d = 0; d < job_.dy_size[0]; ++d)
            for (std::int64_t h = 0; h < job_.dy_size[1]; ++h) {
                T* plane[Planes];
                const I* index[Planes];
                const T* value[Planes];
                for (int p = 0; p < Planes; ++p) {
                    plane[p] = reinterpret_cast<T*>(target(first + p));
                    index[p] = reinterpret_cast<const I*>(winners(first + p, d, h));
                    value[p] = values(first + p, d, h);
                }
                add_indices<T, I, Planes>(plane, index, value, job_.dy_size[2]);
            }
    }

    char* target(int plane) const { return const_cast<char*>(place_[plane].x[0]); }
    const char* winners(int plane, std::int64_t d, std::int64_t h) const {
        return place_[plane].indices[0] + d * job_.layout.i_axis[0] + h * job_.layout.i_axis[1];
    }
    const T* values(int plane, std::int64_t d, std::int64_t h) const {
        return reinterpret_cast<const T*>(place_[plane].y[0] + d * job_.layout.y_axis[0] +
                                          h * job_.layout.y_axis[1]);
    }

    const WinnersJob& job_;
    char* scratch_;
    int count_;
    Place place_[beside];
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
