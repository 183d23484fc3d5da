// pool_forward: from jobs to units of the rows or the segments kernel.
#include <algorithm>
#include <memory>
#include <new>

#include "choose.h"
#include "core.h"
#include "dispatch.h"
#include "layout.h"
#include "plan.h"
#include "tiles.h"

namespace poolwise {

namespace {

// Everything the kernels of one call point into, kept until the call is over.
class Forward {
  public:
    Forward(Dtype x, Dtype y, const Reducer& reducer, std::size_t jobs)
        : x_dtype_(x),
          y_dtype_(y),
          reducer_(reducer),
          // Many jobs fill the pool without being cut up.
          share_(jobs < static_cast<std::size_t>(4 * get_num_threads()) ? 1 : 0) {}

    Status add(const ForwardJob& in) {
        const Plan& plan = *in.plan;
        if (!input_fits(plan, in.x, in.axes)) return Status::bad_argument;
        for (int g = 0; g < plan.grid_count(); ++g) {
            if (!result_fits(plan, g, in.x, in.y[g], in.axes)) return Status::bad_argument;
            if (in.indices && !result_fits(plan, g, in.x, in.indices[g], in.axes))
                return Status::bad_argument;
        }
        const std::int64_t elements = element_count(in.x);
        if (elements == 0) return Status::ok;
        bytes_ += elements * item_size(x_dtype_);

        std::int64_t cells = 1, window = 1;
        for (int a = 0; a < 3; ++a) cells *= plan.input_size(a);
        for (int g = 0; g < plan.grid_count(); ++g)
            window = std::max(window, plan.largest_window(g));
        const bool indexed = in.indices != nullptr;
        const Choice choice = choose(reducer_, x_dtype_, y_dtype_, indexed, cells, window);
        if (plan.segmented()) {
            add_segments(in, choice);
        } else {
            for (int g = 0; g < plan.grid_count(); ++g) add_rows(in, choice, g);
        }
        return Status::ok;
    }

    Status run() const {
        const Status status = run_batches(batches_, bytes_);
        if (status != Status::ok || combine_.empty()) return status;
        return run_batches(combine_, bytes_);
    }

  private:
    struct Segments {
        SegmentsJob job;
        std::vector<SegmentsTarget> targets;
        std::vector<char> cells;
    };

    Layout layout_of(const ForwardJob& in, int grid, bool allow_lanes) const {
        return make_layout(in.x, item_size(x_dtype_), &in.y[grid],
                           in.indices ? &in.indices[grid] : nullptr, in.axes, in.plan->axis_count(),
                           allow_lanes, true);
    }

    const LpRule* lp_rule(const Plan& plan, int grid) {
        if (reducer_.kind != ReducerKind::lp) return nullptr;
        lp_rules_.push_back(std::make_unique<LpRule>());
        LpRule& rule = *lp_rules_.back();
        rule.p = reducer_.p;
        rule.safe = lp_powers_are_safe(item_size(x_dtype_), reducer_.p);
        for (int a = 0; a < 3; ++a) {
            rule.starts[a] = plan.starts(grid, a);
            rule.stops[a] = plan.stops(grid, a);
            rule.step[a] = plan.step(grid, a);
        }
        return &rule;
    }

    // Winners need to know empty windows; means need divisors. Both are cells per window.
    bool divisors_with_padding() const {
        return reducer_.kind == ReducerKind::mean && reducer_.count_include_pad;
    }

    void add_rows(const ForwardJob& in, const Choice& choice, int grid) {
        const Plan& plan = *in.plan;
        RowsJob job;
        job.geometry = &plan.forward_rows(grid);
        job.layout = layout_of(in, grid, true);
        job.x = in.x.data;
        job.y = in.y[grid].data;
        job.indices = in.indices ? in.indices[grid].data : nullptr;
        job.x_dtype = x_dtype_;
        job.y_dtype = y_dtype_;
        job.divide = reducer_.kind == ReducerKind::mean ? Divide::result : Divide::nothing;
        job.divisor_override = reducer_.divisor;
        const bool picks = reducer_.kind == ReducerKind::max || reducer_.kind == ReducerKind::min;
        job.patch_empty = picks && plan.has_empty_windows(grid);
        job.lp = lp_rule(plan, grid);
        for (int a = 0; a < 3; ++a)
            job.divisors[a] = plan.divisors(grid, a, divisors_with_padding());
        cut_rows(job, choice, share_);
        batches_.push_back(rows_batch(job, choice));
        bytes_ += element_count(in.y[grid]) * item_size(y_dtype_);
    }

    void add_segments(const ForwardJob& in, const Choice& choice) {
        const Plan& plan = *in.plan;
        segments_.push_back(std::make_unique<Segments>());
        Segments& work = *segments_.back();
        for (int g = 0; g < plan.grid_count(); ++g) {
            SegmentsTarget target;
            target.grid = &plan.segment_grid(g);
            target.layout = layout_of(in, g, true);
            target.y = in.y[g].data;
            target.indices = in.indices ? in.indices[g].data : nullptr;
            target.lp = lp_rule(plan, g);
            for (int a = 0; a < 3; ++a)
                target.divisors[a] = plan.divisors(g, a, divisors_with_padding());
            work.targets.push_back(target);
        }
        // One unit serves every level, so the levels must agree on what lanes are. Where their
        // outputs would merge differently, none merges.
        const Layout& first = work.targets[0].layout;
        const bool agree = std::all_of(
            work.targets.begin(), work.targets.end(), [&](const SegmentsTarget& target) {
                return target.layout.lanes == first.lanes && target.layout.x_lane == first.x_lane &&
                       target.layout.planes == first.planes;
            });
        if (!agree)
            for (int g = 0; g < plan.grid_count(); ++g)
                work.targets[g].layout = layout_of(in, g, false);

        SegmentsJob& job = work.job;
        job.axes = plan.segment_axes();
        job.targets = work.targets.data();
        job.target_count = plan.grid_count();
        job.x = in.x.data;
        job.x_dtype = x_dtype_;
        job.y_dtype = y_dtype_;
        job.divide = reducer_.kind == ReducerKind::mean;
        job.divisor_override = reducer_.divisor;
        cut_segments(job, choice, share_);

        const auto kernel = kernels().segments[choice.row()][choice.column()];
        const std::int64_t units = segments_units(job);
        if (job.pieces > 1) {
            work.cells.resize(static_cast<std::size_t>(units * job.cell_bytes + 64));
            const auto address = reinterpret_cast<std::uintptr_t>(work.cells.data());
            job.cells = work.cells.data() + (64 - address % 64) % 64;
            SegmentsJob combine = job;
            combine.combine = true;
            combine_.push_back(
                {[combine, kernel](std::int64_t unit, char* s) { kernel(combine, unit, s); }, units,
                 job.scratch_bytes});
        }
        batches_.push_back({[&job, kernel](std::int64_t unit, char* s) { kernel(job, unit, s); },
                            units * job.pieces, job.scratch_bytes});
    }

    Dtype x_dtype_, y_dtype_;
    Reducer reducer_;
    std::int64_t share_, bytes_ = 0;
    std::vector<Batch> batches_, combine_;
    std::vector<std::unique_ptr<Segments>> segments_;
    std::vector<std::unique_ptr<LpRule>> lp_rules_;
};

}  // namespace

Status pool_forward(const ForwardJob* jobs, std::size_t job_count, Dtype x_dtype, Dtype y_dtype,
                    const Reducer& reducer) {
    try {
        Forward call(x_dtype, y_dtype, reducer, job_count);
        for (std::size_t j = 0; j < job_count; ++j) {
            const Status status = call.add(jobs[j]);
            if (status != Status::ok) return status;
        }
        return call.run();
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
}

}  // namespace poolwise
