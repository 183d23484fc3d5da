// From jobs to units of work on the thread pool: picks accumulator, kernel, tiles and bands.
//
// Nothing here depends on the number of threads in a way that could change a result: tiles and
// bands cut outputs apart, never a window's reduction (see RowWindow::split).
#include <algorithm>
#include <atomic>
#include <functional>
#include <limits>
#include <new>

#include "core.h"
#include "dispatch.h"
#include "layout.h"
#include "plan.h"
#include "thread_pool.h"

namespace poolwise {

namespace {

constexpr std::int64_t inline_bytes = 128
                                      << 10;  // less than this is done by the calling thread alone
constexpr std::int64_t ring_bytes =
    192 << 10;  // rows a unit keeps alive should stay in a core's caches
constexpr std::int64_t gathered = 16;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t item_size(Dtype d) {
    switch (d) {
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

bool is_floating(Dtype d) { return d <= Dtype::float64; }
bool is_half(Dtype d) { return d == Dtype::float16 || d == Dtype::bfloat16; }

struct Choice {
    Operation operation;
    Accumulator accumulator;
    std::int64_t value_bytes, index_bytes;
};

Accumulator as_accumulator(Dtype d) {
    switch (d) {
        case Dtype::float64: return Accumulator::float64;
        case Dtype::int8: return Accumulator::int8;
        case Dtype::int16: return Accumulator::int16;
        case Dtype::int32: return Accumulator::int32;
        case Dtype::int64: return Accumulator::int64;
        case Dtype::uint8:
        case Dtype::boolean: return Accumulator::uint8;
        case Dtype::uint16: return Accumulator::uint16;
        case Dtype::uint32: return Accumulator::uint32;
        case Dtype::uint64: return Accumulator::uint64;
        default: return Accumulator::float32;
    }
}

Choice choose(ReducerKind kind, Dtype x, Dtype y, bool indexed, std::int64_t cells_of_map,
              std::int64_t largest_window) {
    if (kind == ReducerKind::max || kind == ReducerKind::min) {
        const bool least = kind == ReducerKind::min;
        if (!indexed)
            return {least ? Operation::min : Operation::max, as_accumulator(x),
                    std::max<std::int64_t>(item_size(x), is_floating(x) ? 4 : 1), 0};
        const Operation op = least ? Operation::argmin : Operation::argmax;
        const bool short_index = cells_of_map <= std::numeric_limits<std::int32_t>::max();
        if (is_floating(x)) {
            if (x != Dtype::float64 && short_index) return {op, Accumulator::float32, 4, 4};
            return {op, Accumulator::float64, 8, 8};
        }
        if (x == Dtype::uint64) return {op, Accumulator::uint64, 8, 8};
        if (item_size(x) == 8 || x == Dtype::uint32 || !short_index)
            return {op, Accumulator::int64, 8, 8};
        return {op, Accumulator::int32, 4, 4};
    }
    if (is_floating(x)) {
        const bool wide = x == Dtype::float64 || y == Dtype::float64;
        return {Operation::sum, wide ? Accumulator::float64 : Accumulator::float32, wide ? 8 : 4,
                0};
    }
    // Integers are summed exactly: in 32 bits where the window cannot overflow them, in 128 where
    // 64 could.
    if (item_size(x) <= 2 && largest_window <= 32767)
        return {Operation::sum, Accumulator::int32, 4, 0};
    const bool wraps =
        kind == ReducerKind::sum && !is_floating(y);  // as NumPy's sum(dtype=...) does
    if (wraps || (item_size(x) <= 4 && largest_window < (std::int64_t(1) << 31)))
        return {Operation::sum, Accumulator::int64, 8, 0};
    return {Operation::sum, Accumulator::int128, 16, 0};
}

std::int64_t padded(std::int64_t count, std::int64_t bytes) { return count * bytes + 192; }

std::int64_t product(const std::int64_t size[3]) { return size[0] * size[1] * size[2]; }

// ---- a list of units with a cost each, run together

struct Batch {
    std::function<void(std::int64_t unit, char* scratch)> run;
    std::int64_t units = 0, scratch_bytes = 0;
};

// Scratch of one thread, kept between calls so that small calls do not pay for it again.
class Scratch {
  public:
    ~Scratch() { release(); }
    char* at_least(std::int64_t bytes) {
        if (bytes > size_) {
            release();
            data_ = static_cast<char*>(
                ::operator new(static_cast<std::size_t>(bytes), std::align_val_t(64)));
            size_ = bytes;
        }
        return data_;
    }
    void trim() {
        if (size_ > kept_bytes) release();
    }

  private:
    static constexpr std::int64_t kept_bytes = 4 << 20;
    void release() {
        if (data_) ::operator delete(data_, std::align_val_t(64));
        data_ = nullptr;
        size_ = 0;
    }
    char* data_ = nullptr;
    std::int64_t size_ = 0;
};
thread_local Scratch thread_scratch;

Status run_batches(const std::vector<Batch>& batches, std::int64_t bytes) {
    std::vector<std::int64_t> ends;
    std::int64_t units = 0;
    for (const Batch& batch : batches) ends.push_back(units += batch.units);
    const int threads = bytes < inline_bytes ? 1 : get_num_threads();
    const std::int64_t grain = std::max<std::int64_t>(
        1, std::min(units / (8 * threads),
                    inline_bytes / 2 * units / std::max<std::int64_t>(1, bytes)));
    try {
        process_pool().parallel_for(
            units, threads == 1 ? units : grain, threads, [&](std::int64_t from, std::int64_t to) {
                for (std::int64_t u = from; u < to; ++u) {
                    const std::size_t b = static_cast<std::size_t>(
                        std::upper_bound(ends.begin(), ends.end(), u) - ends.begin());
                    const Batch& batch = batches[b];
                    batch.run(u - (ends[b] - batch.units),
                              thread_scratch.at_least(batch.scratch_bytes));
                }
                thread_scratch.trim();
            });
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
    note_run(kernels());
    return Status::ok;
}

// ---- tiles and bands of the rows kernel

void set_rows_tiles(RowsJob& job, const Choice& choice, std::int64_t job_share) {
    const RowsGeometry& g = *job.geometry;
    Layout& layout = job.layout;
    const std::int64_t element = choice.value_bytes + choice.index_bytes;
    const RowProgram& planes = g.program[0];
    const RowProgram& rows = g.program[1];
    const std::int64_t alive = rows.ring + 3;

    job.groups = layout.gather ? ceil_div(layout.planes, gathered) : layout.planes;
    std::int64_t lanes = layout.gather ? std::min(gathered, layout.planes) : layout.lanes;
    std::int64_t columns = g.row.output_size;
    if (alive * columns * lanes * element > ring_bytes && lanes > 16 && !layout.gather) {
        const std::int64_t fitting = ring_bytes / (alive * columns * element) / 16 * 16;
        lanes = std::min(lanes, std::max<std::int64_t>(16, fitting));
    }
    if (alive * columns * lanes * element > ring_bytes && g.row.mode != RowMode::intervals) {
        const std::int64_t reach = (g.row.kernel - 1) * g.row.dilation / g.row.stride;
        const std::int64_t least = std::max(ceil_div(256, lanes), 4 * reach);
        columns = std::min(columns, std::max(least, ring_bytes / (alive * lanes * element)));
    }
    job.lane_block = lanes;
    job.lane_blocks = layout.gather ? 1 : ceil_div(layout.lanes, lanes);
    job.column_tile = columns;
    job.column_tiles = ceil_div(g.row.output_size, columns);

    const std::int64_t units =
        std::max<std::int64_t>(1, job.groups * job.lane_blocks * job.column_tiles);
    const std::int64_t wanted = ceil_div(4 * get_num_threads() * job_share, units);
    const std::int64_t most =
        std::max<std::int64_t>(1, rows.count / std::max<std::int64_t>(8, 4 * rows.ring));
    job.band = ceil_div(rows.count, std::clamp<std::int64_t>(wanted, 1, most));
    if (planes.ring > 1) {  // three axes: a band of pooled planes is kept alive
        const std::int64_t plane_rows = (2 << 20) / ((planes.ring + 3) * columns * lanes * element);
        job.band = std::min(
            job.band,
            std::max<std::int64_t>(std::min<std::int64_t>(rows.count, 2 * rows.ring), plane_rows));
    }
    job.bands = ceil_div(rows.count, job.band);

    const std::int64_t source_columns =
        g.row.mode == RowMode::intervals
            ? g.row.source_size
            : (columns - 1) * g.row.stride + (g.row.kernel - 1) * g.row.dilation + 1;
    const std::int64_t length = columns * lanes, source = source_columns * lanes;
    const std::int64_t widest = std::max(source, g.source_size[2] * lanes);
    std::int64_t bytes =
        5 * padded(source, choice.value_bytes) + 6 * padded(source, choice.index_bytes + 1);
    bytes += padded(widest, choice.value_bytes);
    bytes += (rows.ring + 1) * (padded(length, choice.value_bytes) +
                                padded(length, choice.index_bytes + 1) + 64) +
             1024;
    bytes += padded(length, 16) * 6;  // the finishing buffers
    if (planes.source_size > 1 || planes.ring > 1 || planes.output_size > 1)
        bytes += (planes.ring + 2) * (padded(length * job.band, choice.value_bytes) +
                                      padded(length * job.band, choice.index_bytes + 1) + 64) +
                 1024;
    job.scratch_bytes = bytes;
}

Batch rows_batch(const RowsJob& job, const Choice& choice) {
    const auto kernel =
        kernels().rows[static_cast<int>(choice.operation)][static_cast<int>(choice.accumulator)];
    return {[job, kernel](std::int64_t unit, char* scratch) { kernel(job, unit, scratch); },
            job.groups * job.lane_blocks * job.column_tiles * job.bands, job.scratch_bytes};
}

// ---- the segments kernel

struct SegmentsWork {
    SegmentsJob job;
    std::vector<SegmentsTarget> targets;
    std::vector<char> cells;
};

void set_segments_tiles(SegmentsWork& work, const Choice& choice, std::int64_t job_share) {
    SegmentsJob& job = work.job;
    const Layout& layout = work.targets[0].layout;
    const std::int64_t element = choice.value_bytes + choice.index_bytes;
    const std::int64_t width = job.axes[2].size;
    job.groups = layout.gather ? ceil_div(layout.planes, gathered) : layout.planes;
    std::int64_t lanes = layout.gather ? std::min(gathered, layout.planes) : layout.lanes;
    if (lanes > 16 && !layout.gather && width * lanes * element > ring_bytes)
        lanes = std::max<std::int64_t>(16, ring_bytes / (width * element) / 16 * 16);
    job.lane_block = lanes;
    job.lane_blocks = layout.gather ? 1 : ceil_div(layout.lanes, lanes);
    const std::int64_t segments = job.axes[0].segment_count * job.axes[1].segment_count;
    const std::int64_t cells = segments * job.axes[2].segment_count * lanes;
    job.cell_bytes =
        padded(cells, choice.value_bytes) + padded(cells, choice.index_bytes + 1) + 256;
    job.cell_bytes = ceil_div(job.cell_bytes, 64) * 64;
    const std::int64_t units = std::max<std::int64_t>(1, job.groups * job.lane_blocks);
    const std::int64_t wanted = ceil_div(4 * get_num_threads() * job_share, units);
    const std::int64_t map_bytes = job.axes[0].size * job.axes[1].size * width * lanes * element;
    job.pieces = map_bytes < inline_bytes ? 1 : std::clamp<std::int64_t>(wanted, 1, segments);
    std::int64_t widest = 1;
    for (const SegmentsTarget& target : work.targets)
        widest = std::max(widest, target.grid->output_size[2]);
    job.scratch_bytes = 9 * (padded(width * lanes, choice.value_bytes) +
                             padded(width * lanes, choice.index_bytes + 1)) +
                        padded(widest * lanes, 16) * 6 + 1024;
    if (job.pieces == 1) job.scratch_bytes += job.cell_bytes;
}

// ---- checks shared by every entry

Status check_view(const Plan& plan, const ArrayView& x, const int* axes) {
    if (x.rank < plan.axis_count() || x.rank > max_rank) return Status::bad_argument;
    for (int a = 0; a < plan.axis_count(); ++a) {
        const int axis = axes[a];
        if (axis < 0 || axis >= x.rank || (a > 0 && axis <= axes[a - 1]))
            return Status::bad_argument;
        if (x.shape[axis] != plan.input_size(3 - plan.axis_count() + a))
            return Status::bad_argument;
    }
    return Status::ok;
}

Status check_result(const Plan& plan, int grid, const ArrayView& x, const ArrayView& y,
                    const int* axes) {
    if (y.rank != x.rank) return Status::bad_argument;
    const RowsGeometry& g = plan.forward_rows(grid);
    int a = 0;
    for (int d = 0; d < x.rank; ++d) {
        const bool pooled = a < plan.axis_count() && axes[a] == d;
        const std::int64_t expected =
            pooled ? g.output_size[3 - plan.axis_count() + a] : x.shape[d];
        if (y.shape[d] != expected) return Status::bad_argument;
        a += pooled;
    }
    return Status::ok;
}

bool has_no_elements(const ArrayView& view) {
    for (int d = 0; d < view.rank; ++d)
        if (view.shape[d] == 0) return true;
    return false;
}

std::int64_t element_count(const ArrayView& view) {
    std::int64_t n = 1;
    for (int d = 0; d < view.rank; ++d) n *= view.shape[d];
    return n;
}

LpJob lp_job(const Plan& plan, int grid, Dtype x_dtype, Dtype y_dtype, double p) {
    LpJob job;
    job.x_dtype = x_dtype;
    job.y_dtype = y_dtype;
    job.p = p;
    for (int a = 0; a < 3; ++a) {
        job.input_size[a] = plan.input_size(a);
        job.output_size[a] = plan.forward_rows(grid).output_size[a];
        job.starts[a] = plan.starts(grid, a);
        job.stops[a] = plan.stops(grid, a);
        job.step[a] = plan.step(grid, a);
    }
    job.scratch_bytes = 2 * padded(product(job.input_size), 8);
    return job;
}

}  // namespace

Status pool_forward(const ForwardJob* jobs, std::size_t job_count, Dtype x_dtype, Dtype y_dtype,
                    const Reducer& reducer) {
    std::vector<Batch> batches, second;
    std::vector<std::unique_ptr<SegmentsWork>> segments;
    std::int64_t bytes = 0;
    const bool extreme = reducer.kind == ReducerKind::max || reducer.kind == ReducerKind::min;
    // Many jobs share the pool: each is cut only as finely as its share asks for.
    const std::int64_t share = job_count < static_cast<std::size_t>(4 * get_num_threads()) ? 1 : 0;
    try {
        for (std::size_t j = 0; j < job_count; ++j) {
            const ForwardJob& in = jobs[j];
            const Plan& plan = *in.plan;
            if (check_view(plan, in.x, in.axes) != Status::ok) return Status::bad_argument;
            for (int g = 0; g < plan.grid_count(); ++g) {
                if (check_result(plan, g, in.x, in.y[g], in.axes) != Status::ok)
                    return Status::bad_argument;
                if (in.indices && check_result(plan, g, in.x, in.indices[g], in.axes) != Status::ok)
                    return Status::bad_argument;
            }
            if (has_no_elements(in.x)) continue;
            bytes += element_count(in.x) * item_size(x_dtype);

            if (reducer.kind == ReducerKind::lp) {
                for (int g = 0; g < plan.grid_count(); ++g) {
                    LpJob job = lp_job(plan, g, x_dtype, y_dtype, reducer.p);
                    job.layout = make_layout(in.x, item_size(x_dtype), &in.y[g], nullptr, in.axes,
                                             plan.axis_count(), false, false);
                    job.x = in.x.data;
                    job.y = in.y[g].data;
                    const auto kernel = kernels().lp_forward;
                    batches.push_back(
                        {[job, kernel](std::int64_t u, char* s) { kernel(job, u, s); },
                         job.layout.planes, job.scratch_bytes});
                }
                bytes += inline_bytes;
                continue;
            }
            std::int64_t cells = 1, largest = 1;
            for (int a = 0; a < 3; ++a) cells *= plan.input_size(a);
            for (int g = 0; g < plan.grid_count(); ++g)
                largest = std::max(largest, plan.largest_window(g));
            const Choice choice =
                choose(reducer.kind, x_dtype, y_dtype, in.indices != nullptr, cells, largest);
            const bool divide = reducer.kind == ReducerKind::mean;

            if (plan.segmented()) {
                auto work = std::make_unique<SegmentsWork>();
                for (int g = 0; g < plan.grid_count(); ++g) {
                    SegmentsTarget target;
                    target.grid = &plan.segment_grid(g);
                    target.layout = make_layout(in.x, item_size(x_dtype), &in.y[g],
                                                in.indices ? &in.indices[g] : nullptr, in.axes,
                                                plan.axis_count(), true, true);
                    target.y = in.y[g].data;
                    target.indices = in.indices ? in.indices[g].data : nullptr;
                    for (int a = 0; a < 3; ++a)
                        target.divisors[a] = plan.divisors(g, a, reducer.count_include_pad);
                    work->targets.push_back(target);
                }
                // Levels must agree on what the lanes are; when their outputs would merge
                // differently, none merge.
                bool agree = true;
                for (const SegmentsTarget& t : work->targets)
                    agree = agree && t.layout.lanes == work->targets[0].layout.lanes &&
                            t.layout.planes == work->targets[0].layout.planes &&
                            t.layout.batch_rank == work->targets[0].layout.batch_rank &&
                            t.layout.x_lane == work->targets[0].layout.x_lane &&
                            std::equal(t.layout.x_batch, t.layout.x_batch + t.layout.batch_rank,
                                       work->targets[0].layout.x_batch);
                if (!agree) {
                    for (int g = 0; g < plan.grid_count(); ++g)
                        work->targets[g].layout =
                            make_layout(in.x, item_size(x_dtype), &in.y[g],
                                        in.indices ? &in.indices[g] : nullptr, in.axes,
                                        plan.axis_count(), false, true);
                }
                SegmentsJob& job = work->job;
                job.axes = plan.segment_axes();
                job.targets = work->targets.data();
                job.target_count = plan.grid_count();
                job.x = in.x.data;
                job.x_dtype = x_dtype;
                job.y_dtype = y_dtype;
                job.divide = divide;
                job.divisor_override = reducer.divisor;
                set_segments_tiles(*work, choice, share);
                const auto kernel = kernels().segments[static_cast<int>(choice.operation)]
                                                      [static_cast<int>(choice.accumulator)];
                const std::int64_t units = job.groups * job.lane_blocks;
                if (job.pieces > 1) {
                    work->cells.resize(static_cast<std::size_t>(units * job.cell_bytes + 64));
                    job.cells =
                        work->cells.data() +
                        (64 - reinterpret_cast<std::uintptr_t>(work->cells.data()) % 64) % 64;
                    SegmentsJob combine = job;
                    combine.combine = true;
                    second.push_back(
                        {[combine, kernel](std::int64_t u, char* s) { kernel(combine, u, s); },
                         units, job.scratch_bytes});
                }
                const SegmentsJob* reduce = &work->job;
                batches.push_back(
                    {[reduce, kernel](std::int64_t u, char* s) { kernel(*reduce, u, s); },
                     units * job.pieces, job.scratch_bytes});
                segments.push_back(std::move(work));
                continue;
            }
            for (int g = 0; g < plan.grid_count(); ++g) {
                RowsJob job;
                job.geometry = &plan.forward_rows(g);
                job.layout = make_layout(in.x, item_size(x_dtype), &in.y[g],
                                         in.indices ? &in.indices[g] : nullptr, in.axes,
                                         plan.axis_count(), true, true);
                job.x = in.x.data;
                job.y = in.y[g].data;
                job.indices = in.indices ? in.indices[g].data : nullptr;
                job.x_dtype = x_dtype;
                job.y_dtype = y_dtype;
                job.divide = divide ? Divide::result : Divide::nothing;
                job.divisor_override = reducer.divisor;
                job.patch_empty = extreme && in.indices && plan.has_empty_windows(g);
                for (int a = 0; a < 3; ++a)
                    job.divisors[a] =
                        plan.divisors(g, a, extreme ? false : reducer.count_include_pad);
                set_rows_tiles(job, choice, share);
                batches.push_back(rows_batch(job, choice));
                bytes += element_count(in.y[g]) * item_size(y_dtype);
            }
        }
        const Status status = run_batches(batches, bytes);
        if (status != Status::ok || second.empty()) return status;
        return run_batches(second, bytes);
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
}

namespace {

// A contiguous float32 array in dx's shape, for gradients of 16-bit types that several grids add
// to.
struct Widened {
    std::vector<float> data;
    std::int64_t strides[max_rank];
    ArrayView view;

    explicit Widened(const ArrayView& dx) : data(static_cast<std::size_t>(element_count(dx))) {
        std::int64_t stride = sizeof(float);
        for (int d = dx.rank - 1; d >= 0; --d) {
            strides[d] = stride;
            stride *= dx.shape[d];
        }
        view = dx;
        view.data = reinterpret_cast<char*>(data.data());
        view.strides = strides;
    }
};

void convert(const ArrayView& from, Dtype from_dtype, const ArrayView& to, Dtype to_dtype) {
    const int last = to.rank - 1;
    std::int64_t rows = 1;
    for (int d = 0; d < last; ++d) rows *= to.shape[d];
    for (std::int64_t r = 0; r < rows; ++r) {
        std::int64_t rest = r, source = 0, target = 0;
        for (int d = last - 1; d >= 0; --d) {
            const std::int64_t i = rest % to.shape[d];
            rest /= to.shape[d];
            source += i * from.strides[d];
            target += i * to.strides[d];
        }
        kernels().convert_strided(from.data + source, from_dtype, from.strides[last],
                                  to.data + target, to_dtype, to.strides[last], to.shape[last]);
    }
}

Status backward_rows(const BackwardJob& in, const ArrayView& dx, Dtype dx_dtype, Dtype dy_dtype,
                     const Reducer& reducer) {
    const Plan& plan = *in.plan;
    for (int g = 0; g < plan.grid_count(); ++g) {
        const bool wide = dy_dtype == Dtype::float64;
        const Choice choice{Operation::sum, wide ? Accumulator::float64 : Accumulator::float32,
                            wide ? 8 : 4, 0};
        RowsJob job;
        job.geometry = &plan.backward_rows(g);
        job.layout = make_layout(in.dy[g], item_size(dy_dtype), &dx, nullptr, in.axes,
                                 plan.axis_count(), true, true);
        job.x = in.dy[g].data;
        job.y = dx.data;
        job.x_dtype = dy_dtype;
        job.y_dtype = dx_dtype;
        job.divide = reducer.kind == ReducerKind::mean ? Divide::source : Divide::nothing;
        job.divisor_override = reducer.divisor;
        job.accumulate = g > 0;
        for (int a = 0; a < 3; ++a)
            job.divisors[a] = plan.divisors(g, a, reducer.count_include_pad);
        set_rows_tiles(job, choice, 1);
        const Status status =
            run_batches({rows_batch(job, choice)}, element_count(dx) * item_size(dx_dtype));
        if (status != Status::ok) return status;
    }
    return Status::ok;
}

}  // namespace

Status pool_backward(const BackwardJob& in, Dtype dtype, const Reducer& reducer) {
    const Plan& plan = *in.plan;
    if (!is_floating(dtype)) return Status::bad_argument;
    if (check_view(plan, in.dx, in.axes) != Status::ok) return Status::bad_argument;
    for (int g = 0; g < plan.grid_count(); ++g)
        if (check_result(plan, g, in.dx, in.dy[g], in.axes) != Status::ok)
            return Status::bad_argument;
    if (has_no_elements(in.dx)) return Status::ok;
    try {
        const bool widen = is_half(dtype) && plan.grid_count() > 1;
        if (reducer.kind != ReducerKind::lp) {
            if (!widen) return backward_rows(in, in.dx, dtype, dtype, reducer);
            Widened wide(in.dx);
            const Status status = backward_rows(in, wide.view, Dtype::float32, dtype, reducer);
            if (status == Status::ok) convert(wide.view, Dtype::float32, in.dx, dtype);
            return status;
        }
        if (check_view(plan, in.x, in.axes) != Status::ok) return Status::bad_argument;
        std::vector<LpJob> jobs;
        for (int g = 0; g < plan.grid_count(); ++g) {
            LpJob job = lp_job(plan, g, dtype, dtype, reducer.p);
            job.layout = make_layout(in.x, item_size(dtype), &in.dx, &in.dy[g], in.axes,
                                     plan.axis_count(), false, false);
            job.x = in.x.data;
            job.y = in.dx.data;
            job.dy = in.dy[g].data;
            jobs.push_back(job);
        }
        const auto kernel = kernels().lp_backward;
        return run_batches(
            {{[&](std::int64_t u, char* s) { kernel(jobs.data(), plan.grid_count(), u, s); },
              jobs[0].layout.planes, jobs[0].scratch_bytes}},
            element_count(in.dx) * item_size(dtype) + inline_bytes);
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
}

Status pool_scatter(const ScatterJob& in, Dtype dtype) {
    for (int g = 0; g < in.grid_count; ++g)
        if (in.dy[g].rank != in.dx.rank || in.indices[g].rank != in.dx.rank)
            return Status::bad_argument;
    if (has_no_elements(in.dx)) return Status::ok;
    try {
        const bool widen = is_half(dtype) && in.accumulate;
        std::unique_ptr<Widened> wide;
        if (widen) wide = std::make_unique<Widened>(in.dx);
        const ArrayView& dx = widen ? wide->view : in.dx;
        for (const bool checking : {true, false}) {
            for (int g = 0; g < in.grid_count; ++g) {
                WinnersJob job;
                std::vector<float> dy_wide;
                ArrayView dy = in.dy[g];
                std::unique_ptr<Widened> dy_copy;
                if (widen && !checking) {
                    dy_copy = std::make_unique<Widened>(in.dy[g]);
                    if (!has_no_elements(dy))
                        convert(in.dy[g], dtype, dy_copy->view, Dtype::float32);
                    dy = dy_copy->view;
                }
                job.dtype = widen ? Dtype::float32 : dtype;
                job.layout = make_layout(dx, item_size(job.dtype), &dy, &in.indices[g], in.axes,
                                         in.axis_count, true, false);
                job.dx = dx.data;
                job.dy = dy.data;
                job.indices = in.indices[g].data;
                job.accumulate = in.accumulate;
                job.zero_first = g == 0;
                for (int a = 0; a < 3; ++a) {
                    const int from = a - (3 - in.axis_count);
                    job.dx_size[a] = from < 0 ? 1 : dx.shape[in.axes[from]];
                    job.dy_size[a] = from < 0 ? 1 : dy.shape[in.axes[from]];
                }
                const KernelTable& table = kernels();
                std::atomic<bool> good{true};
                const Status status =
                    run_batches({{[&](std::int64_t u, char* s) {
                                      if (!checking)
                                          table.scatter(job, u, s);
                                      else if (!table.check_indices(job, u))
                                          good.store(false, std::memory_order_relaxed);
                                  },
                                  job.layout.planes, 64}},
                                (element_count(dx) + element_count(dy)) * item_size(job.dtype));
                if (status != Status::ok) return status;
                if (!good) return Status::bad_index;
            }
        }
        if (widen) convert(wide->view, Dtype::float32, in.dx, dtype);
        return Status::ok;
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
}

}  // namespace poolwise
