#include "plan.h"

#include <algorithm>
#include <numeric>
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

// The windows that read a cell are first, first + step, ... < stop. Windows whose starts differ
// from the cell by no multiple of the dilation do not read it, so they come in steps of dilation /
// gcd.
std::int64_t reader_step(const Axis& a) { return a.dilation / std::gcd(a.dilation, a.stride); }

std::pair<std::int64_t, std::int64_t> readers_of(const Axis& a, std::int64_t cell) {
    const Wide place = Wide(cell) + a.pad_before;  // window j starts at j*stride of this
    const Wide reach = Wide(a.kernel - 1) * a.dilation;
    const Wide last = std::min<Wide>(place / a.stride, a.count - 1);
    Wide first = place > reach ? (place - reach + a.stride - 1) / a.stride : 0;
    const std::int64_t step = reader_step(a);
    for (std::int64_t tries = 0; tries < step && first <= last; ++tries, ++first)
        if ((place - first * a.stride) % a.dilation == 0)
            return {static_cast<std::int64_t>(first), static_cast<std::int64_t>(last + 1)};
    return {0, 0};
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

// Listed windows as rows of the `step` streams that never meet, stream by stream.
std::vector<RowWindow> stream_windows(const std::vector<std::int64_t>& starts,
                                      const std::vector<std::int64_t>& stops, std::int64_t step) {
    std::vector<RowWindow> windows;
    windows.reserve(starts.size());
    for (std::size_t i = 0; i < starts.size(); ++i) {
        const std::int64_t base = starts[i] % step, first = starts[i] / step;
        const std::int64_t rows = cells_between(starts[i], stops[i], step);
        windows.push_back({static_cast<std::int64_t>(i), base, first, first + rows, 0});
    }
    if (step > 1) {
        std::stable_sort(windows.begin(), windows.end(),
                         [](const RowWindow& a, const RowWindow& b) { return a.base < b.base; });
    }
    return windows;
}

// Passes over a row cost its padded length: a formula that dwarfs the map is done by lists.
bool worth_sliding(const Formula& f, std::int64_t map_size) {
    const Wide length = Wide(f.count - 1) * f.stride + Wide(f.kernel - 1) * f.dilation + 1;
    return length <= Wide(map_size) * 4 + 256;
}

struct Lists {
    const std::vector<std::int64_t>& starts;
    const std::vector<std::int64_t>& stops;
    std::int64_t step;
};

RowReduction reduce_row(const Axis& axis, const Formula& f, std::int64_t expand, const Lists& lists,
                        std::int64_t source_size) {
    RowReduction row;
    row.source_size = source_size;
    row.output_size = f.count;
    row.starts = lists.starts.data();
    row.stops = lists.stops.data();
    row.step = lists.step;
    if (lists_windows(axis) || !worth_sliding(f, axis.size)) {
        row.mode = RowMode::intervals;
        return row;
    }
    row.mode = RowMode::slide;
    row.source_size = f.size;
    row.expand = expand;
    row.kernel = f.kernel;
    row.stride = f.stride;
    row.dilation = f.dilation;
    row.pad = f.pad;
    if (f.kernel == 1 && f.stride == 1 && f.pad == 0 && expand == 1 && f.count == f.size)
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
    compile_forms();
    compile_segments();
    if (!segmented_) compile_forward();
}

void Plan::compile_windows() {
    for (const std::vector<Axis>& axes : axes_) {
        PerAxis starts(3), stops(3), inside(3), declared(3);
        std::int64_t largest = 1, divisor = 1;
        bool has_empty = false;
        for (int a = 0; a < 3; ++a) {
            const Axis& axis = axes[a];
            const Formula formula = forward_formula(axis);
            std::int64_t longest = 1, widest = 1;
            for (std::int64_t i = 0; i < axis.count; ++i) {
                const auto [start, stop] = lists_windows(axis)
                                               ? std::pair(axis.starts[i], axis.stops[i])
                                               : clipped_window(formula, i);
                const std::int64_t cells = cells_between(start, stop, axis.dilation);
                std::int64_t with_padding = cells;
                if (!lists_windows(axis)) {
                    const Wide room =
                        Wide(axis.size) + axis.pad_after + axis.pad_before - Wide(i) * axis.stride;
                    const Wide taps = (room + axis.dilation - 1) / axis.dilation;
                    with_padding = static_cast<std::int64_t>(std::min<Wide>(axis.kernel, taps));
                }
                starts[a].push_back(start);
                stops[a].push_back(stop);
                inside[a].push_back(cells);
                declared[a].push_back(with_padding);
                longest = std::max(longest, cells);
                widest = std::max(widest, with_padding);
                has_empty = has_empty || cells == 0;
            }
            largest = Wide(largest) * longest > INT64_MAX ? INT64_MAX : largest * longest;
            divisor = Wide(divisor) * widest > INT64_MAX ? INT64_MAX : divisor * widest;
        }
        starts_.push_back(std::move(starts));
        stops_.push_back(std::move(stops));
        inside_.push_back(std::move(inside));
        declared_.push_back(std::move(declared));
        largest_window_.push_back(largest);
        largest_divisor_.push_back(divisor);
        has_empty_.push_back(has_empty);
    }
}

void Plan::compile_forms() {
    for (std::size_t g = 0; g < axes_.size(); ++g) {
        WindowForm form;
        form.sliding = true;
        form.dense = true;
        first_.emplace_back(3);
        for (int a = 0; a < 3; ++a) {
            const Axis& axis = axes_[g][a];
            form.size[a] = axis.size;
            form.count[a] = axis.count;
            form.dilation[a] = axis.dilation;
            form.stride[a] = axis.stride;
            form.pad[a] = axis.pad_before;
            form.taps[a] = axis.kernel;
            form.dense = form.dense && axis.dilation == 1;
            if (lists_windows(axis)) {
                form.sliding = false;
                for (std::int64_t i = 0; i < axis.count; ++i)
                    form.taps[a] = std::max(form.taps[a], axis.stops[i] - axis.starts[i]);
                form.first[a] = starts_[g][a].data();
                continue;
            }
            std::vector<std::int64_t>& first = first_.back()[a];
            for (std::int64_t i = 0; i < axis.count; ++i)
                first.push_back(i * axis.stride - axis.pad_before);
            form.first[a] = first.data();
        }
        form.filled = form.sliding && !has_empty_[g];
        form.dense = form.dense && form.filled;
        forms_.push_back(form);
    }
}

// Bins that are cut evenly, and touch, are windows as wide as their stride.
bool Plan::compile_blocks() {
    if (axes_.size() != 1 || has_empty_.front()) return false;
    blocks_ = forms_.front();
    for (int a = 0; a < 3; ++a) {
        const Axis& axis = axes_.front()[a];
        if (!lists_windows(axis)) continue;
        if (axis.count == 0) return false;
        const std::int64_t width = axis.size / axis.count;
        for (std::int64_t i = 0; i < axis.count; ++i)
            if (axis.starts[i] != i * width || axis.stops[i] != (i + 1) * width) return false;
        blocks_.stride[a] = blocks_.taps[a] = width;
        blocks_.pad[a] = 0;
    }
    blocks_.sliding = blocks_.filled = blocks_.dense = true;
    return true;
}

RowProgram Plan::make_program(std::vector<RowWindow> windows, std::int64_t step,
                              std::int64_t source_size) const {
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
        program.tallest = std::max(program.tallest, window.stop - window.start);
        previous = &window;
    }
    program.ring = std::max(program.ring, program.tallest);
    program.exclusive = total == distinct;
    if (program.exclusive) program.ring = std::min(program.ring, rows_held);
    // Measured: as many rows as are joined at once are cheaper read directly than through suffixes.
    program.two_stack = program.ring > rows_joined && total > 2 * distinct;
    program.count = static_cast<std::int64_t>(windows.size());
    program.step = step;
    program.source_size = source_size;
    program.output_size = program.count;
    programs_.push_back(std::move(windows));
    program.windows = programs_.back().data();
    return program;
}

void Plan::compile_forward() {
    for (std::size_t g = 0; g < axes_.size(); ++g) {
        RowsGeometry rows;
        for (int a = 0; a < 3; ++a) {
            const Axis& axis = axes_[g][a];
            const Lists lists{starts_[g][a], stops_[g][a], axis.dilation};
            rows.source_size[a] = axis.size;
            rows.output_size[a] = axis.count;
            if (a < 2)
                rows.program[a] = make_program(
                    stream_windows(lists.starts, lists.stops, lists.step), lists.step, axis.size);
            else
                rows.row = reduce_row(axis, forward_formula(axis), 1, lists, axis.size);
        }
        forward_.push_back(rows);
    }
}

// Cells and windows change places. Tables for it are as long as the input, so they wait until a
// gradient is asked for.
void Plan::compile_backward() const {
    for (std::size_t g = 0; g < axes_.size(); ++g) {
        readers_first_.emplace_back(3);
        readers_last_.emplace_back(3);
        RowsGeometry rows;
        for (int a = 0; a < 3; ++a) {
            const Axis& axis = axes_[g][a];
            std::vector<std::int64_t>&first = readers_first_[g][a], &last = readers_last_[g][a];
            std::int64_t lo = 0, hi = 0;
            for (std::int64_t i = 0; i < axis.size; ++i) {
                if (lists_windows(axis)) {
                    while (lo < axis.count && axis.stops[lo] <= i) ++lo;
                    while (hi < axis.count && axis.starts[hi] <= i) ++hi;
                    first.push_back(lo);
                    last.push_back(std::max(lo, hi));
                } else {
                    const auto [from, to] = readers_of(axis, i);
                    first.push_back(from);
                    last.push_back(to);
                }
            }
            const Lists lists{first, last, lists_windows(axis) ? 1 : reader_step(axis)};
            rows.source_size[a] = axis.count;
            rows.output_size[a] = axis.size;
            if (a < 2)
                rows.program[a] =
                    make_program(stream_windows(first, last, lists.step), lists.step, axis.count);
            else
                rows.row = reduce_row(axis, backward_formula(axis), axis.stride, lists, axis.count);
        }
        backward_.push_back(rows);
    }
}

const RowsGeometry& Plan::backward_rows(int grid) const {
    std::call_once(backward_once_, [this] { compile_backward(); });
    return backward_[static_cast<std::size_t>(grid)];
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
    even_ = compile_blocks();

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
    bins_first_.resize(axes_.size());
    bins_last_.resize(axes_.size());
    for (std::size_t g = 0; g < axes_.size(); ++g) {
        segment_first_[g].resize(3);
        segment_last_[g].resize(3);
        bins_first_[g].resize(3);
        bins_last_[g].resize(3);
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
            std::int64_t from = 0, to = 0;
            for (std::int64_t s = 0; s + 1 < static_cast<std::int64_t>(edges.size()); ++s) {
                while (from < axes_[g][a].count && segment_last_[g][a][from] <= s) ++from;
                to = std::max(to, from);
                while (to < axes_[g][a].count && segment_first_[g][a][to] <= s) ++to;
                bins_first_[g][a].push_back(from);
                bins_last_[g][a].push_back(to);
            }
            grid.readers_first[a] = bins_first_[g][a].data();
            grid.readers_last[a] = bins_last_[g][a].data();
        }
        segment_grids_.push_back(grid);
    }
    for (int a = 0; a < 3; ++a)
        segment_axes_[a] = {edges_[a].data(), used_[a].data(),
                            static_cast<std::int64_t>(used_[a].size()), size_[a]};
}

}  // namespace poolwise
