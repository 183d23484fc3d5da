// pool_backward and pool_scatter: gradients, and unpooling.
//
// The gradient of a sum is a sum again, with windows and cells changing places: the rows kernel
// runs it over the plan's transposed geometry. Winners' gradients go where the indices say.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <new>

#include "caches.h"
#include "choose.h"
#include "core.h"
#include "dispatch.h"
#include "layout.h"
#include "plan.h"
#include "tiles.h"

namespace poolwise {

namespace {

// Measured: where more windows than this share a cell, sending each value to its winner is cheaper
// than asking every window of every cell. Half types would be scattered in a second, wider array;
// channels that lie beside each other are asked a vector at a time, square windows for several rows
// at once.
std::int64_t winners_shared(const ScatterJob& in, Dtype dtype) {
    if (is_sixteen_bit_float(dtype)) return most_shares;
    if (square_at_stride_one(in.plan->form(0))) return 25;
    const std::int64_t step = in.dx.strides[in.axes[in.axis_count - 1]];
    return step == item_size(dtype) ? 4 : 9;
}

// A contiguous array of T in another view's shape.
template <class T> class Temporary {
  public:
    explicit Temporary(const ArrayView& like)
        : data_(static_cast<std::size_t>(element_count(like))), view_(like) {
        std::int64_t stride = sizeof(T);
        for (int d = like.rank - 1; d >= 0; --d) {
            strides_[d] = stride;
            stride *= like.shape[d];
        }
        view_.data = reinterpret_cast<char*>(data_.data());
        view_.strides = strides_;
    }
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    const ArrayView& view() const { return view_; }

  private:
    std::vector<T> data_;
    std::int64_t strides_[max_rank];
    ArrayView view_;
};

// visit(addresses of a's and b's row, length), for every row along the last axis of two views of
// one shape
template <class Visit>
Status each_row(const ArrayView& a, const ArrayView& b, std::int64_t item_bytes, Visit&& visit) {
    const std::int64_t elements = element_count(a);
    if (elements == 0) return Status::ok;
    const int last = a.rank - 1;
    const auto row = [&, last](std::int64_t r, char*) {
        char *a_row = a.data, *b_row = b.data;
        for (int d = last - 1; d >= 0; --d) {
            const std::int64_t i = r % a.shape[d];
            r /= a.shape[d];
            a_row += i * a.strides[d];
            b_row += i * b.strides[d];
        }
        visit(a_row, a.strides[last], b_row, b.strides[last], a.shape[last]);
    };
    return run_batches({{row, elements / a.shape[last], 64}}, elements * item_bytes);
}

Status convert(const ArrayView& from, Dtype from_dtype, const ArrayView& to, Dtype to_dtype) {
    const auto kernel = kernels().convert_strided;
    return each_row(from, to, 6,
                    [=](const char* source, std::int64_t source_stride, char* target,
                        std::int64_t target_stride, std::int64_t n) {
                        kernel(source, from_dtype, source_stride, target, to_dtype, target_stride,
                               n);
                    });
}

// dx = the sum, over every grid, of the bins' gradients: written once, whatever the grids.
Status add_bins(const Plan& plan, const ArrayView& dx, Dtype dx_dtype, const ArrayView* dy,
                Dtype dy_dtype, const int* axes, const Reducer& reducer) {
    std::vector<BinsTarget> targets(static_cast<std::size_t>(plan.grid_count()));
    const auto lay_out = [&](bool lanes) {
        for (int g = 0; g < plan.grid_count(); ++g)
            targets[g].layout = make_layout(dx, item_size(dx_dtype), &dy[g], nullptr, axes,
                                            plan.axis_count(), lanes, never_narrow);
        return std::all_of(targets.begin(), targets.end(), [&](const BinsTarget& target) {
            const Layout &first = targets[0].layout, &other = target.layout;
            return other.lanes == first.lanes && other.x_lane == first.x_lane &&
                   other.planes == first.planes;
        });
    };
    if (!lay_out(true)) lay_out(false);
    std::int64_t bytes = element_count(dx) * item_size(dx_dtype);
    for (int g = 0; g < plan.grid_count(); ++g) {
        targets[g].grid = &plan.segment_grid(g);
        targets[g].dy = dy[g].data;
        for (int a = 0; a < 3; ++a)
            targets[g].divisors[a] = plan.divisors(g, a, reducer.count_include_pad);
        bytes += element_count(dy[g]) * item_size(dy_dtype);
    }
    const bool wide = dx_dtype == Dtype::float64;
    BinsJob job;
    job.axes = plan.segment_axes();
    job.targets = targets.data();
    job.target_count = plan.grid_count();
    job.dx = dx.data;
    job.dx_dtype = dx_dtype;
    job.dy_dtype = dy_dtype;
    job.divide = reducer.kind == ReducerKind::mean;
    job.divisor_override = reducer.divisor;
    job.past_caches = past_caches(bytes);
    cut_bins(job, wide);
    return run_batches({bins_batch(job, wide)}, bytes);
}

Choice sums_choice(Dtype dy) {
    const bool wide = dy == Dtype::float64;
    return {Operation::sum, wide ? Accumulator::float64 : Accumulator::float32, wide ? 8 : 4, 0};
}

RowsJob sums_job(const Plan& plan, int grid, const ArrayView& dx, Dtype dx_dtype,
                 const ArrayView& dy, Dtype dy_dtype, const int* axes, const Reducer& reducer) {
    RowsJob job;
    job.geometry = &plan.backward_rows(grid);
    job.layout = make_layout(dy, item_size(dy_dtype), &dx, nullptr, axes, plan.axis_count(), true,
                             narrow_row);
    job.x = dy.data;
    job.y = dx.data;
    job.x_dtype = dy_dtype;
    job.y_dtype = dx_dtype;
    job.divide = reducer.kind == ReducerKind::mean ? Divide::source : Divide::nothing;
    job.divisor_override = reducer.divisor;
    job.accumulate = grid > 0;
    for (int a = 0; a < 3; ++a) job.divisors[a] = plan.divisors(grid, a, reducer.count_include_pad);
    job.large = suits_large(job, sums_choice(dy_dtype));
    return job;
}

// dx = the sum, over every grid, of the windows' gradients
Status add_windows(const Plan& plan, const ArrayView& dx, Dtype dx_dtype, const ArrayView* dy,
                   Dtype dy_dtype, const int* axes, const Reducer& reducer) {
    if (plan.segmented()) return add_bins(plan, dx, dx_dtype, dy, dy_dtype, axes, reducer);
    const Choice choice = sums_choice(dy_dtype);
    const std::int64_t written = element_count(dx) * item_size(dx_dtype);
    for (int g = 0; g < plan.grid_count(); ++g) {
        RowsJob job = sums_job(plan, g, dx, dx_dtype, dy[g], dy_dtype, axes, reducer);
        job.past_caches = plan.grid_count() == 1 &&
                          past_caches(written + element_count(dy[g]) * item_size(dy_dtype));
        job.far_past_caches = job.past_caches && past_caches(written / 4);
        cut_rows(job, choice, 1);
        const Status status = run_batches({rows_batch(job, choice)}, written);
        if (status != Status::ok) return status;
    }
    return Status::ok;
}

// dx = sign(x) |x|^(p-1) Σ g y^(1-p): a sum over windows, where no power leaves double's range.
Status lp_through_sums(const BackwardJob& in, Dtype dtype, double p) {
    const Plan& plan = *in.plan;
    const KernelTable& table = kernels();
    std::vector<std::unique_ptr<Temporary<double>>> scaled;
    std::vector<ArrayView> views;
    for (int g = 0; g < plan.grid_count(); ++g) {
        scaled.push_back(std::make_unique<Temporary<double>>(in.dy[g]));
        views.push_back(scaled.back()->view());
    }
    const ForwardJob forward{in.plan, in.x, views.data(), nullptr, in.axes};
    Status status =
        pool_forward(&forward, 1, {dtype, Dtype::float64, {ReducerKind::lp, p, true, 0}});
    for (int g = 0; g < plan.grid_count() && status == Status::ok; ++g)
        status = each_row(
            in.dy[g], views[g], 16,
            [&](const char* dy, std::int64_t dy_stride, char* y, std::int64_t, std::int64_t n) {
                table.lp_scale_gradient(dy, dtype, dy_stride, reinterpret_cast<double*>(y), n, p);
            });
    if (status != Status::ok) return status;
    const Temporary<double> total(in.dx);
    status = add_windows(plan, total.view(), Dtype::float64, views.data(), Dtype::float64, in.axes,
                         {ReducerKind::sum, p, true, 0});
    if (status != Status::ok) return status;
    // dx first takes x, row by row, and is then multiplied: three views need no walk of their own.
    status = convert(in.x, dtype, in.dx, dtype);
    if (status != Status::ok) return status;
    return each_row(
        in.dx, total.view(), 16,
        [&](char* dx, std::int64_t dx_stride, const char* sums, std::int64_t, std::int64_t n) {
            table.lp_apply_slope(dx, dtype, dx_stride, reinterpret_cast<const double*>(sums), n, p);
        });
}

Status lp_by_windows(const BackwardJob& in, Dtype dtype, double p) {
    const Plan& plan = *in.plan;
    std::vector<LpJob> jobs;
    std::int64_t cells = 1;
    for (int a = 0; a < 3; ++a) cells *= plan.input_size(a);
    for (int g = 0; g < plan.grid_count(); ++g) {
        LpJob job;
        job.layout = make_layout(in.x, item_size(dtype), &in.dx, &in.dy[g], in.axes,
                                 plan.axis_count(), false, never_narrow);
        job.x = in.x.data;
        job.dx = in.dx.data;
        job.dy = in.dy[g].data;
        job.dtype = dtype;
        job.rule.p = p;
        for (int a = 0; a < 3; ++a) {
            job.input_size[a] = plan.input_size(a);
            job.output_size[a] = plan.output_size(g, a);
            job.rule.starts[a] = plan.starts(g, a);
            job.rule.stops[a] = plan.stops(g, a);
            job.rule.step[a] = plan.step(g, a);
        }
        jobs.push_back(job);
    }
    const auto kernel = kernels().lp_backward;
    const auto unit = [&](std::int64_t u, char* scratch) {
        kernel(jobs.data(), plan.grid_count(), u, scratch);
    };
    return run_batches({{unit, jobs[0].layout.planes, 2 * padded_bytes(cells, 8)}},
                       element_count(in.dx) * item_size(dtype) + inline_bytes);
}

TapTable tap_table(const WindowForm& form, const Layout& layout, std::int64_t item) {
    TapTable table;
    const std::int64_t cells = form.cells();
    for (int a = 0; a < 3; ++a)
        table.padded[a] =
            std::max(form.size[a] + form.pad[a], (form.count[a] - 1) * form.stride[a] +
                                                     (form.taps[a] - 1) * form.dilation[a] + 1);
    const std::int64_t apart[3] = {item * table.padded[2] * table.padded[1], item * table.padded[2],
                                   item};
    for (std::int64_t tap = 0; tap < 256; ++tap) {
        std::int64_t rest = tap < cells ? tap : 0;
        table.bytes[tap] = table.padded_bytes[tap] = 0;
        for (int a = 2; a >= 0; --a) {
            table.step[a][tap] = rest % form.taps[a] * form.dilation[a];
            table.bytes[tap] += table.step[a][tap] * layout.x_axis[a];
            table.padded_bytes[tap] += table.step[a][tap] * apart[a];
            rest /= form.taps[a];
        }
    }
    return table;
}

WinnersJob winners_job(const ScatterJob& in, const ArrayView& dx, const ArrayView& dy, int grid,
                       Dtype dtype, WinnerForm form) {
    const ArrayView& indices = in.winners[grid];
    WinnersJob job;
    job.dtype = dtype;
    job.winners = form;
    if (in.plan) job.form = &in.plan->form(grid);
    job.may_be_none = in.accumulate && (!in.plan || in.plan->has_empty_windows(grid));
    job.layout = make_layout(dx, item_size(dtype), &dy, &indices, in.axes, in.axis_count, true,
                             never_narrow);
    job.dx = dx.data;
    job.dy = dy.data;
    job.indices = indices.data;
    job.accumulate = in.accumulate;
    for (int a = 0; a < 3; ++a) {
        const int from = a - (3 - in.axis_count);
        job.dx_size[a] = from < 0 ? 1 : dx.shape[in.axes[from]];
        job.dy_size[a] = from < 0 ? 1 : dy.shape[in.axes[from]];
    }
    return job;
}

Status check_winners(const ScatterJob& in, Dtype dtype, WinnerForm form) {
    const auto kernel = kernels().check_winners;
    std::atomic<bool> good{true};
    for (int g = 0; g < in.grid_count; ++g) {
        const WinnersJob job = winners_job(in, in.dx, in.dy[g], g, dtype, form);
        const auto unit = [&](std::int64_t u, char*) {
            if (!kernel(job, u)) good.store(false, std::memory_order_relaxed);
        };
        const Status status =
            run_batches({{unit, job.layout.planes, 64}}, element_count(in.winners[g]) * 8);
        if (status != Status::ok) return status;
    }
    return good ? Status::ok : Status::bad_index;
}

Status write_winners(const ScatterJob& in, const ArrayView& dx, const ArrayView* dy, Dtype dtype,
                     WinnerForm form) {
    bool bad = false;
    for (int g = 0; g < in.grid_count; ++g) {
        WinnersJob job = winners_job(in, dx, dy[g], g, dtype, form);
        job.zero_first = g == 0;
        TapTable table;
        if (form == WinnerForm::tap8) {
            table = tap_table(*job.form, job.layout, item_size(dtype));
            job.taps = &table;
        }
        job.bad = &bad;
        cut_winners(job);
        const Status status = run_batches(
            {winners_batch(job)}, (element_count(dx) + element_count(dy[g])) * item_size(dtype));
        if (status != Status::ok) return status;
    }
    return bad ? Status::bad_index : Status::ok;
}

// Small windows: no zeroing, no adding to memory, and sixteen-bit gradients need no second array.
Status spread(const Plan& plan, const ArrayView& dx, const ArrayView& dy, const ArrayView* winners,
              const int* axes, Dtype dtype, const Reducer& reducer) {
    bool bad = false;
    const bool wide = dtype == Dtype::float64;
    SpreadJob job;
    job.form = &plan.form(0);
    job.layout = make_layout(dx, item_size(dtype), &dy, winners, axes, plan.axis_count(), true,
                             narrow_direct_row);
    job.dx = dx.data;
    job.dy = dy.data;
    job.winners = winners ? winners->data : nullptr;
    job.dtype = dtype;
    job.divide = reducer.kind == ReducerKind::mean;
    job.divisor_override = reducer.divisor;
    for (int a = 0; a < 3; ++a) job.divisors[a] = plan.divisors(0, a, reducer.count_include_pad);
    job.bad = &bad;
    cut_spread(job, wide, 1);
    const Status status = run_batches({spread_batch(job, wide)},
                                      (element_count(dx) + element_count(dy)) * item_size(dtype));
    return status == Status::ok && bad ? Status::bad_index : status;
}

}  // namespace

Status pool_backward(const BackwardJob& in, Dtype dtype, const Reducer& reducer) {
    const Plan& plan = *in.plan;
    if (!is_floating(dtype) || !input_fits(plan, in.dx, in.axes)) return Status::bad_argument;
    for (int g = 0; g < plan.grid_count(); ++g)
        if (!result_fits(plan, g, in.dx, in.dy[g], in.axes)) return Status::bad_argument;
    if (element_count(in.dx) == 0) return Status::ok;
    try {
        if (reducer.kind == ReducerKind::lp) {
            if (!input_fits(plan, in.x, in.axes)) return Status::bad_argument;
            const bool safe = lp_powers_are_safe(item_size(dtype), reducer.p);
            return safe ? lp_through_sums(in, dtype, reducer.p)
                        : lp_by_windows(in, dtype, reducer.p);
        }
        // Measured: what the large-window kernel can do, it does in less time.
        if (plan.grid_count() == 1 && suits_spread(plan.form(0), most_shares) &&
            !sums_job(plan, 0, in.dx, dtype, in.dy[0], dtype, in.axes, reducer).large)
            return spread(plan, in.dx, in.dy[0], nullptr, in.axes, dtype, reducer);
        // Sixteen-bit gradients of several grids of windows are added in float32 and rounded once.
        if (!is_sixteen_bit_float(dtype) || plan.grid_count() == 1 || plan.segmented())
            return add_windows(plan, in.dx, dtype, in.dy, dtype, in.axes, reducer);
        const Temporary<float> total(in.dx);
        const Status status =
            add_windows(plan, total.view(), Dtype::float32, in.dy, dtype, in.axes, reducer);
        if (status != Status::ok) return status;
        return convert(total.view(), Dtype::float32, in.dx, dtype);
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
}

Status pool_scatter(const ScatterJob& in, Dtype dtype, WinnerForm form) {
    for (int g = 0; g < in.grid_count; ++g)
        if (in.dy[g].rank != in.dx.rank || in.winners[g].rank != in.dx.rank)
            return Status::bad_argument;
    if (form == WinnerForm::tap8) {
        if (!in.plan || in.plan->grid_count() != in.grid_count ||
            !input_fits(*in.plan, in.dx, in.axes))
            return Status::bad_argument;
        for (int g = 0; g < in.grid_count; ++g)
            if (!result_fits(*in.plan, g, in.dx, in.dy[g], in.axes) ||
                !result_fits(*in.plan, g, in.dx, in.winners[g], in.axes) ||
                in.plan->form(g).cells() > 256)
                return Status::bad_argument;
    }
    if (element_count(in.dx) == 0) return Status::ok;
    try {
        if (form == WinnerForm::tap8 && in.accumulate && is_floating(dtype) && in.grid_count == 1 &&
            suits_spread(in.plan->form(0), winners_shared(in, dtype)))
            return spread(*in.plan, in.dx, in.dy[0], &in.winners[0], in.axes, dtype,
                          {ReducerKind::sum});
        Status status = form == WinnerForm::tap8 ? Status::ok : check_winners(in, dtype, form);
        if (status != Status::ok) return status;
        if (!is_sixteen_bit_float(dtype) || !in.accumulate)
            return write_winners(in, in.dx, in.dy, dtype, form);
        const Temporary<float> total(in.dx);
        std::vector<std::unique_ptr<Temporary<float>>> wide;
        std::vector<ArrayView> dy;
        for (int g = 0; g < in.grid_count && status == Status::ok; ++g) {
            wide.push_back(std::make_unique<Temporary<float>>(in.dy[g]));
            dy.push_back(wide.back()->view());
            status = convert(in.dy[g], dtype, dy.back(), Dtype::float32);
        }
        if (status == Status::ok)
            status = write_winners(in, total.view(), dy.data(), Dtype::float32, form);
        if (status != Status::ok) return status;
        return convert(total.view(), Dtype::float32, in.dx, dtype);
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
}

}  // namespace poolwise
