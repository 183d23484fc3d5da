#include "plan.h"

#include <algorithm>
#include <utility>

namespace poolwise {

namespace {

__extension__ typedef __int128 Wide;  // window arithmetic that cannot overflow

// A sliding axis as a formula; `pad` is negative for the gradient of an axis padded beyond its
// window.
struct Formula {
    std::int64_t size, count, kernel, stride, dilation, pad;
};

std::pair<std::int64_t, std::int64_t> clipped_window(const Formula& f, std::int64_t i) {
    const Wide start = Wide(i) * f.stride - f.pad;
    const Wide last = start + Wide(f.kernel - 1) * f.dilation;
    const Wide skipped = start < 0 ? (-start + f.dilation - 1) / f.dilation : 0;
    const Wide first = start + skipped * f.dilation;
    const Wide stop = last + 1 < f.size ? last + 1 : Wide(f.size);
    if (first >= stop) return {0, 0};
    return {static_cast<std::int64_t>(first), static_cast<std::int64_t>(stop)};
}

Formula forward_formula(const Axis& a) {
    return {a.size, a.count, a.kernel, a.stride, a.dilation, a.pad_before};
}

// The windows that read each input cell, over a stream in which window j stands at j*stride.
Formula backward_formula(const Axis& a) {
    return {(a.count - 1) * a.stride + 1,
            a.size,
            a.kernel,
            1,
            a.dilation,
            static_cast<std::int64_t>(Wide(a.kernel - 1) * a.dilation - a.pad_before)};
}

std::int64_t cells_between(std::int64_t start, std::int64_t stop, std::int64_t step) {
    return start < stop ? (stop - start + step - 1) / step : 0;
}

Axis trivial_axis() { return {1, 1, 1, 1, 1, 0, 0, {}, {}}; }

bool lists_windows(const Axis& axis) { return !axis.starts.empty(); }

bool is_identity(const Axis& a) {
    return !lists_windows(a) && a.kernel == 1 && a.stride == 1 && a.pad_before == 0 &&
           a.count == a.size;
}

// Windows of a sliding formula, sorted into the `dilation` streams that never meet.
std::vector<RowWindow> stream_windows(const Formula& f) {
    std::vector<RowWindow> windows;
    windows.reserve(static_cast<std::size_t>(f.count));
    for (std::int64_t i = 0; i < f.count; ++i) {
        const auto [start, stop] = clipped_window(f, i);
        const std::int64_t base = start % f.dilation;
        const std::int64_t first = (start - base) / f.dilation;
        const std::int64_t length = cells_between(start, stop, f.dilation);
        windows.push_back({i, base, first, first + length, 0});
    }
    if (f.dilation > 1) {
        std::stable_sort(windows.begin(), windows.end(),
                         [](const RowWindow& a, const RowWindow& b) { return a.base < b.base; });
    }
    return windows;
}

std::vector<RowWindow> listed_windows(const std::vector<std::int64_t>& starts,
                                      const std::vector<std::int64_t>& stops) {
    std::vector<RowWindow> windows;
    windows.reserve(starts.size());
    for (std::size_t i = 0; i < starts.size(); ++i)
        windows.push_back({static_cast<std::int64_t>(i), 0, starts[i], stops[i], 0});
    return windows;
}

// Passes over a row cost its padded length; a formula whose padding dwarfs the map is done by
// lists.
bool worth_sliding(const Formula& f) {
    const Wide length = Wide(f.count - 1) * f.stride + Wide(f.kernel - 1) * f.dilation + 1;
    return length <= Wide(f.size) * 4 + 256;
}

RowReduction reduce_row(const Formula& f, bool listed, std::int64_t expand,
                        const std::vector<std::int64_t>& starts,
                        const std::vector<std::int64_t>& stops) {
    RowReduction row;
    row.source_size = f.size;
    row.output_size = f.count;
    row.starts = starts.data();
    row.stops = stops.data();
    row.step = listed ? 1 : f.dilation;
    row.expand = expand;
    row.kernel = f.kernel;
    row.stride = f.stride;
    row.dilation = f.dilation;
    row.pad = f.pad;
    row.mode = listed || !worth_sliding(f) ? RowMode::intervals : RowMode::slide;
    if (row.mode == RowMode::slide && f.kernel == 1 && f.stride == 1 && f.pad == 0 && expand == 1 &&
        f.count == f.size)
        row.mode = RowMode::identity;
    return row;
}

}  // namespace

std::shared_ptr<const Plan> compile(std::vector<Grid> grids) {
    return std::make_shared<const Plan>(std::move(grids));
}

Plan::Plan(std::vector<Grid> grids) : grids_(std::move(grids)) {
    axis_count_ = static_cast<int>(grids_.front().size());
    for (const Grid& grid : grids_) {
        std::vector<Axis> axes(static_cast<std::size_t>(max_pooled_axes) - grid.size(),
                               trivial_axis());
        axes.insert(axes.end(), grid.begin(), grid.end());
        axes_.push_back(std::move(axes));
    }
    for (int axis = 0; axis < 3; ++axis) size_[axis] = axes_.front()[axis].size;
    compile_windows();
    compile_rows();
    compile_segments();
}

void Plan::compile_windows() {
    for (const std::vector<Axis>& axes : axes_) {
        std::vector<std::vector<std::int64_t>> starts(3), stops(3), inside(3), declared(3),
            first(3), last(3);
        std::int64_t largest = 1;
        bool has_empty = false;
        for (int a = 0; a < 3; ++a) {
            const Axis& axis = axes[a];
            if (lists_windows(axis)) {
                starts[a] = axis.starts;
                stops[a] = axis.stops;
                std::int64_t lo = 0, hi = 0;
                for (std::int64_t i = 0; i < axis.size; ++i) {
                    while (lo < axis.count && axis.stops[lo] <= i) ++lo;
                    while (hi < axis.count && axis.starts[hi] <= i) ++hi;
                    first[a].push_back(lo);
                    last[a].push_back(std::max(lo, hi));
                }
            } else {
                const Formula forward = forward_formula(axis), backward = backward_formula(axis);
                for (std::int64_t i = 0; i < axis.count; ++i) {
                    const auto [start, stop] = clipped_window(forward, i);
                    starts[a].push_back(start);
                    stops[a].push_back(stop);
                }
                for (std::int64_t i = 0; i < axis.size; ++i) {
                    const auto [start, stop] = clipped_window(backward, i);
                    first[a].push_back(start);
                    last[a].push_back(stop);
                }
            }
            std::int64_t longest = 1;
            for (std::int64_t i = 0; i < axis.count; ++i) {
                const std::int64_t cells = cells_between(starts[a][i], stops[a][i], axis.dilation);
                std::int64_t with_padding = cells;
                if (!lists_windows(axis)) {
                    const Wide room =
                        Wide(axis.size) + axis.pad_after + axis.pad_before - Wide(i) * axis.stride;
                    const Wide taps = (room + axis.dilation - 1) / axis.dilation;
                    with_padding = static_cast<std::int64_t>(std::min<Wide>(axis.kernel, taps));
                }
                inside[a].push_back(cells);
                declared[a].push_back(with_padding);
                longest = std::max(longest, cells);
                has_empty = has_empty || cells == 0;
            }
            largest = Wide(largest) * longest > INT64_MAX ? INT64_MAX : largest * longest;
        }
        starts_.push_back(std::move(starts));
        stops_.push_back(std::move(stops));
        inside_.push_back(std::move(inside));
        declared_.push_back(std::move(declared));
        readers_first_.push_back(std::move(first));
        readers_last_.push_back(std::move(last));
        largest_window_.push_back(largest);
        has_empty_.push_back(has_empty);
    }
}

RowProgram Plan::make_program(std::vector<RowWindow> windows, std::int64_t step,
                              std::int64_t expand, std::int64_t source_size,
                              std::int64_t output_size) {
    RowProgram program;
    std::int64_t total = 0, distinct = 0, split = 0, seen = 0;
    const RowWindow* previous = nullptr;
    for (RowWindow& window : windows) {
        if (!previous || previous->base != window.base) split = seen = 0;
        if (window.start < window.stop) {
            if (window.start >= split) split = window.stop;
            distinct += std::max<std::int64_t>(0, window.stop - std::max(seen, window.start));
            seen = std::max(seen, window.stop);
        }
        window.split = std::min(split, window.stop);
        total += window.stop - window.start;
        program.ring = std::max(program.ring, window.stop - window.start);
        previous = &window;
    }
    // Measured: up to six taps are cheaper read directly than through the suffix rows.
    program.exclusive = total == distinct;
    if (program.exclusive) program.ring = std::min(program.ring, rows_held);
    program.two_stack = program.ring > 6 && total > 2 * distinct;
    program.count = static_cast<std::int64_t>(windows.size());
    program.step = step;
    program.expand = expand;
    program.source_size = source_size;
    program.output_size = output_size;
    programs_.push_back(std::move(windows));
    program.windows = programs_.back().data();
    return program;
}

void Plan::compile_rows() {
    for (std::size_t g = 0; g < axes_.size(); ++g) {
        RowsGeometry forward, backward;
        for (int a = 0; a < 3; ++a) {
            const Axis& axis = axes_[g][a];
            const bool listed = lists_windows(axis);
            const Formula there = forward_formula(axis), back = backward_formula(axis);
            forward.source_size[a] = backward.output_size[a] = axis.size;
            forward.output_size[a] = backward.source_size[a] = axis.count;
            if (a < 2) {
                forward.program[a] = make_program(
                    listed ? listed_windows(starts_[g][a], stops_[g][a]) : stream_windows(there),
                    axis.dilation, 1, axis.size, axis.count);
                backward.program[a] =
                    make_program(listed ? listed_windows(readers_first_[g][a], readers_last_[g][a])
                                        : stream_windows(back),
                                 axis.dilation, axis.stride, axis.count, axis.size);
            } else {
                forward.row = reduce_row(there, listed, 1, starts_[g][a], stops_[g][a]);
                backward.row = reduce_row(back, listed, listed ? 1 : axis.stride,
                                          readers_first_[g][a], readers_last_[g][a]);
                if (listed) backward.row.source_size = axis.count;
            }
        }
        forward_.push_back(forward);
        backward_.push_back(backward);
    }
}

void Plan::compile_segments() {
    bool any_listed = false, all_undilated = true;
    for (const std::vector<Axis>& axes : axes_) {
        for (const Axis& axis : axes) {
            any_listed = any_listed || lists_windows(axis);
            all_undilated = all_undilated && (lists_windows(axis) || is_identity(axis));
        }
    }
    segmented_ = any_listed && all_undilated;
    if (!segmented_) return;

    // Long segments are cut, so that one large map can be shared between threads and so that no sum
    // runs over more rows than this before it is combined with others.
    constexpr std::int64_t longest_segment = 256;
    for (int a = 0; a < 3; ++a) {
        std::vector<std::int64_t>& edges = edges_[a];
        edges = {0, size_[a]};
        for (std::size_t g = 0; g < axes_.size(); ++g) {
            edges.insert(edges.end(), starts_[g][a].begin(), starts_[g][a].end());
            edges.insert(edges.end(), stops_[g][a].begin(), stops_[g][a].end());
        }
        if (a < 2) {
            for (std::int64_t cut = longest_segment; cut < size_[a]; cut += longest_segment)
                edges.push_back(cut);
        }
        std::sort(edges.begin(), edges.end());
        edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
        used_[a].assign(edges.size() - 1, 0);
    }
    segment_first_.resize(axes_.size());
    segment_last_.resize(axes_.size());
    for (std::size_t g = 0; g < axes_.size(); ++g) {
        segment_first_[g].resize(3);
        segment_last_[g].resize(3);
        SegmentGrid grid;
        for (int a = 0; a < 3; ++a) {
            const std::vector<std::int64_t>& edges = edges_[a];
            const auto segment_at = [&](std::int64_t cell) {
                return std::lower_bound(edges.begin(), edges.end(), cell) - edges.begin();
            };
            grid.output_size[a] = axes_[g][a].count;
            for (std::int64_t i = 0; i < axes_[g][a].count; ++i) {
                const std::int64_t first = segment_at(starts_[g][a][i]),
                                   last = segment_at(stops_[g][a][i]);
                segment_first_[g][a].push_back(first);
                segment_last_[g][a].push_back(last);
                for (std::int64_t s = first; s < last; ++s) used_[a][s] = 1;
            }
            grid.first[a] = segment_first_[g][a].data();
            grid.last[a] = segment_last_[g][a].data();
        }
        segment_grids_.push_back(grid);
    }
    for (int a = 0; a < 3; ++a)
        segment_axes_[a] = {edges_[a].data(), used_[a].data(),
                            static_cast<std::int64_t>(used_[a].size()), size_[a]};
}

}  // namespace poolwise
