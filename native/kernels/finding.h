// Winners of bins, looked up: the first cell that is what the bin's largest value is known to be.
//
// Reducing values alone is much cheaper than carrying places along, and the plane is still in the
// caches when it has been done. A bin is searched in row-major order, a vector of cells at a time,
// and is left at the first that matches: half of it on average. Of NaN the last one wins.
#pragma once

#include "finish.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class T> class FindingUnit {
    using V = Vec<T>;
    static constexpr std::int64_t lanes = vector_lanes<T>;

  public:
    FindingUnit(const SegmentsJob& job, std::int64_t unit) : job_(job), plane_(unit) {
        for (int a = 0; a < 3; ++a) size_[a] = job.axes[a].size;
    }

    void run() const {
        for (int t = 0; t < job_.target_count; ++t) find_all(job_.targets[t]);
    }

  private:
    void find_all(const SegmentsTarget& target) const {
        Place place;
        place.locate(target.layout, job_.x, target.y, target.indices, plane_, 0, 1);
        const Layout& layout = target.layout;
        const std::int64_t* count = target.grid->output_size;
        for (std::int64_t d = 0; d < count[0]; ++d)
            for (std::int64_t h = 0; h < count[1]; ++h)
                for (std::int64_t w = 0; w < count[2]; ++w) {
                    const std::int64_t at[3] = {d, h, w};
                    std::int64_t y = 0, i = 0;
                    for (int a = 0; a < 3; ++a) {
                        y += at[a] * layout.y_axis[a];
                        i += at[a] * layout.i_axis[a];
                    }
                    const Bin bin = bin_of(*target.grid, at);
                    put(target, place.indices[0] + i, at,
                        find(layout, place.x[0], bin, element<T>(place.y[0] + y)));
                }
    }

    struct Bin {  // cells [from, to) along each axis
        std::int64_t from[3], to[3];
    };
    Bin bin_of(const SegmentGrid& grid, const std::int64_t at[3]) const {
        Bin bin;
        for (int a = 0; a < 3; ++a) {
            bin.from[a] = job_.axes[a].edges[grid.first[a][at[a]]];
            bin.to[a] = job_.axes[a].edges[grid.last[a][at[a]]];
        }
        return bin;
    }

    void put(const SegmentsTarget& target, char* to, const std::int64_t at[3],
             std::int64_t index) const {
        switch (job_.winners) {
            case WinnerForm::tap8:
                return set_element<std::uint8_t>(
                    to,
                    static_cast<std::uint8_t>(tap_of(*target.form, at[0], at[1], at[2], index)));
            case WinnerForm::index32:
                return set_element<std::int32_t>(to, static_cast<std::int32_t>(index));
            default: return set_element<std::int64_t>(to, index);
        }
    }

    std::int64_t find(const Layout& layout, const char* x, const Bin& bin, T value) const {
        if (value != value) return find_last_nan(layout, x, bin);
        for (std::int64_t d = bin.from[0]; d < bin.to[0]; ++d)
            for (std::int64_t h = bin.from[1]; h < bin.to[1]; ++h) {
                const auto* row =
                    reinterpret_cast<const T*>(x + d * layout.x_axis[0] + h * layout.x_axis[1]);
                const std::int64_t column = find_in(row, bin.from[2], bin.to[2], value);
                if (column < bin.to[2]) return (d * size_[1] + h) * size_[2] + column;
            }
        return (bin.from[0] * size_[1] + bin.from[1]) * size_[2] + bin.from[2];  // (never)
    }

    std::int64_t find_last_nan(const Layout& layout, const char* x, const Bin& bin) const {
        for (std::int64_t d = bin.to[0] - 1; d >= bin.from[0]; --d)
            for (std::int64_t h = bin.to[1] - 1; h >= bin.from[1]; --h) {
                const auto* row =
                    reinterpret_cast<const T*>(x + d * layout.x_axis[0] + h * layout.x_axis[1]);
                for (std::int64_t w = bin.to[2] - 1; w >= bin.from[2]; --w)
                    if (row[w] != row[w]) return (d * size_[1] + h) * size_[2] + w;
            }
        return 0;  // (never)
    }

    // Where [from, to) of a row first has it, or `to`. Vectors stay inside the row.
    std::int64_t find_in(const T* row, std::int64_t from, std::int64_t to, T value) const {
        for (std::int64_t n = from; n < to; n += lanes) {
            const std::int64_t first = smaller(n, size_[2] - lanes);
            if (first >= 0) {
                const V v = load_vector<V>(row + first);
                if (!any_lane(v == value)) continue;
            }
            for (std::int64_t c = n; c < smaller(n + lanes, to); ++c)
                if (row[c] == value) return c;
        }
        return to;
    }

    const SegmentsJob& job_;
    std::int64_t plane_, size_[3];
};

template <class T> void find_winners(const SegmentsJob& job, std::int64_t unit) {
    FindingUnit<T>(job, unit).run();
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
