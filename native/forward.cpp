// pool_forward: from jobs to units of the direct, the rows or the segments kernel.
#include <algorithm>
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

// The addresses that the views of a prepared job are offsets from; null where views have their own.
struct Bases {
    const char* x = nullptr;
    char* y = nullptr;
    char* winners = nullptr;
};

char* moved(char* base, char* offset) {
    return base ? base + reinterpret_cast<std::intptr_t>(offset) : offset;
}
const char* moved(const char* base, const char* offset) {
    return base ? base + reinterpret_cast<std::intptr_t>(offset) : offset;
}

template <class Job> void move_to(Job& job, const Bases& bases) {
    job.x = moved(bases.x, job.x);
    job.y = moved(bases.y, job.y);
    if (job.winners != WinnerForm::none) job.indices = moved(bases.winners, job.indices);
}

// A job and what its elements are computed in.
template <class Job> struct Cut {
    Job job;
    Choice choice;
};

struct Segments {
    SegmentsJob job;
    Choice choice;
    std::vector<SegmentsTarget> targets;
};

}  // namespace

// All jobs of a call, cut into units: everything the kernels point into, but for the addresses.
class Forward {
  public:
    Forward(const ForwardKind& kind, std::size_t jobs)
        : kind_(kind),
          // Many jobs fill the pool without being cut up.
          share_(jobs < static_cast<std::size_t>(4 * get_num_threads()) ? 1 : 0) {}

    Status add(const ForwardJob& in) {
        const Plan& plan = *in.plan;
        if (!input_fits(plan, in.x, in.axes)) return Status::bad_argument;
        for (int g = 0; g < plan.grid_count(); ++g) {
            if (!result_fits(plan, g, in.x, in.y[g], in.axes)) return Status::bad_argument;
            if (in.winners && !result_fits(plan, g, in.x, in.winners[g], in.axes))
                return Status::bad_argument;
            if (kind_.winners == WinnerForm::tap8 && plan.form(g).cells() > 256)
                return Status::bad_argument;
        }
        const std::int64_t elements = element_count(in.x);
        if (elements == 0) return Status::ok;
        bytes_ += elements * item_size(kind_.x_dtype);

        std::int64_t cells = 1, window = 1;
        for (int a = 0; a < 3; ++a) cells *= plan.input_size(a);
        for (int g = 0; g < plan.grid_count(); ++g)
            window = std::max({window, plan.largest_window(g), plan.largest_divisor(g)});
        const bool indexed = in.winners != nullptr;
        const auto chosen = [&](bool winners) {
            return choose(kind_.reducer, kind_.x_dtype, kind_.y_dtype, winners, cells, window);
        };
        const Choice choice = chosen(indexed);
        if (add_whole(in, choice) || add_blocks(in, choice)) return Status::ok;
        if (plan.segmented()) {
            add_segments(in, choice, chosen(false));
            return Status::ok;
        }
        for (int g = 0; g < plan.grid_count(); ++g) {
            bytes_ += element_count(in.y[g]) * item_size(kind_.y_dtype);
            if (indexed) bytes_ += element_count(in.winners[g]) * winner_bytes(kind_.winners);
            add_sliding(in, choice, g);
        }
        return Status::ok;
    }

    Status run(const Bases& bases) const {
        if (direct_.size() == 1 && whole_.empty() && rows_.empty() && segments_.empty()) {
            // A small call is mostly this: one job, and no list to be made.
            DirectJob job = direct_[0].job;
            move_to(job, bases);
            job.past_caches = past_caches(bytes_);
            return run_batches({direct_batch(job, direct_[0].choice)}, bytes_);
        }
        // Kernels read jobs for as long as the call lasts: copies that have this call's addresses.
        std::vector<Cut<DirectJob>> direct(direct_);
        std::vector<Cut<WholeJob>> whole(whole_);
        std::vector<Cut<RowsJob>> rows(rows_);
        std::vector<Segments> segments(segments_);
        std::vector<std::unique_ptr<char[]>> cells;
        std::vector<Batch> batches, combine;
        const bool past = past_caches(bytes_);
        for (Cut<DirectJob>& cut : direct) {
            move_to(cut.job, bases);
            cut.job.past_caches = past;
            batches.push_back(direct_batch(cut.job, cut.choice));
        }
        for (Cut<WholeJob>& cut : whole) {
            cut.job.x = moved(bases.x, cut.job.x);
            cut.job.y = moved(bases.y, cut.job.y);
            batches.push_back(whole_batch(cut.job, cut.choice));
        }
        for (Cut<RowsJob>& cut : rows) {
            move_to(cut.job, bases);
            cut.job.past_caches = past;
            cut.job.far_past_caches = past_caches(bytes_ / 4);
            batches.push_back(rows_batch(cut.job, cut.choice));
        }
        std::vector<SegmentsJob> second(segments.size());
        for (std::size_t s = 0; s < segments.size(); ++s) {
            SegmentsJob& job = segments[s].job;
            job.x = moved(bases.x, job.x);
            job.targets = segments[s].targets.data();
            for (SegmentsTarget& target : segments[s].targets) {
                target.y = moved(bases.y, target.y);
                if (job.winners != WinnerForm::none)
                    target.indices = moved(bases.winners, target.indices);
            }
            if (job.pieces > 1) {
                const std::int64_t bytes = segments_units(job) * job.cell_bytes + 64;
                cells.emplace_back(new char[static_cast<std::size_t>(bytes)]);
                const auto address = reinterpret_cast<std::uintptr_t>(cells.back().get());
                job.cells = cells.back().get() + (64 - address % 64) % 64;
                second[s] = job;
                second[s].combine = true;
                combine.push_back(segments_batch(second[s], segments[s].choice));
            }
            batches.push_back(segments_batch(job, segments[s].choice));
        }
        const Status status = run_batches(batches, bytes_);
        if (status != Status::ok || combine.empty()) return status;
        return run_batches(combine, bytes_);
    }

  private:
    bool has_small_windows(const Choice& choice) const {
        return kind_.reducer.kind != ReducerKind::lp &&
               kernels().direct[choice.row()][choice.column()] != nullptr;
    }

    Layout layout_of(const ForwardJob& in, int grid, bool allow_lanes, std::int64_t narrow) const {
        return make_layout(in.x, item_size(kind_.x_dtype), &in.y[grid],
                           in.winners ? &in.winners[grid] : nullptr, in.axes, in.plan->axis_count(),
                           allow_lanes, narrow);
    }

    const LpRule* lp_rule(const Plan& plan, int grid) {
        if (kind_.reducer.kind != ReducerKind::lp) return nullptr;
        lp_rules_.push_back(std::make_unique<LpRule>());
        LpRule& rule = *lp_rules_.back();
        rule.p = kind_.reducer.p;
        rule.safe = lp_powers_are_safe(item_size(kind_.x_dtype), kind_.reducer.p);
        for (int a = 0; a < 3; ++a) {
            rule.starts[a] = plan.starts(grid, a);
            rule.stops[a] = plan.stops(grid, a);
            rule.step[a] = plan.step(grid, a);
        }
        return &rule;
    }

    // What every kernel's job says alike.
    template <class Job> void describe(Job& job, const ForwardJob& in, int grid) const {
        job.x = in.x.data;
        job.y = in.y[grid].data;
        job.indices = in.winners ? in.winners[grid].data : nullptr;
        job.x_dtype = kind_.x_dtype;
        job.y_dtype = kind_.y_dtype;
        job.winners = in.winners ? kind_.winners : WinnerForm::none;
        job.form = &in.plan->form(grid);
        job.divisor_override = kind_.reducer.divisor;
        set_divisors(job.divisors, *in.plan, grid);
    }

    // Winners need to know empty windows; means need divisors. Both are cells per window.
    void set_divisors(const std::int64_t** divisors, const Plan& plan, int grid) const {
        const bool padding =
            kind_.reducer.kind == ReducerKind::mean && kind_.reducer.count_include_pad;
        for (int a = 0; a < 3; ++a) divisors[a] = plan.divisors(grid, a, padding);
    }

    // One window, which is all of a dense plane; large planes are shared between threads otherwise.
    bool add_whole(const ForwardJob& in, const Choice& choice) {
        const Plan& plan = *in.plan;
        constexpr std::int64_t most = std::int64_t(1) << 53;  // what doubles count exactly
        if (plan.grid_count() != 1 || in.winners || plan.largest_divisor(0) > most ||
            kind_.reducer.kind == ReducerKind::lp ||
            kernels().whole[choice.row()][choice.column()] == nullptr)
            return false;
        WholeJob job;
        job.layout = layout_of(in, 0, true, never_narrow);
        if (job.layout.lanes != 1) return false;
        std::int64_t bytes = item_size(kind_.x_dtype);
        for (int a = 2; a >= 0; --a) {
            const std::int64_t size = plan.input_size(a);
            if (plan.output_size(0, a) != 1 || *plan.starts(0, a) != 0 ||
                *plan.stops(0, a) != size || plan.step(0, a) != 1 ||
                (size > 1 && job.layout.x_axis[a] != bytes))
                return false;
            bytes *= size;
            job.cells *= size;
        }
        if (bytes > whole_plane_bytes) return false;
        job.x = in.x.data;
        job.y = in.y[0].data;
        job.x_dtype = kind_.x_dtype;
        job.y_dtype = kind_.y_dtype;
        if (kind_.reducer.kind == ReducerKind::mean) {
            job.divisor = kind_.reducer.divisor;
            if (job.divisor == 0) {
                job.divisor = 1;
                for (int a = 0; a < 3; ++a)
                    job.divisor *= *plan.divisors(0, a, kind_.reducer.count_include_pad);
            }
        }
        cut_whole(job, share_);
        whole_.push_back({job, choice});
        return true;
    }

    void add_sliding(const ForwardJob& in, const Choice& choice, int grid) {
        const WindowForm& form = in.plan->form(grid);
        const bool direct = suits_direct(form, kind_.winners != WinnerForm::none);
        if (!has_small_windows(choice) ||
            !(direct || suits_dilated_tiles(form) || suits_blocks(form)))
            return add_rows(in, choice, grid);
        DirectJob job = direct_job(in, grid, form);
        const bool dense = job.kernel != SmallKernel::direct && job.kernel != SmallKernel::pixels;
        if (!direct && job.kernel != SmallKernel::blocks &&
            !(job.kernel == SmallKernel::tile && suits_dilated_tiles(form)))
            return add_rows(in, choice, grid);
        if (!dense && wins_large(rows_job(in, choice, grid))) return add_rows(in, choice, grid);
        cut_direct(job, choice, share_);
        direct_.push_back({job, choice});
    }

    // Small bins of values that are windows like any other.
    bool add_blocks(const ForwardJob& in, const Choice& choice) {
        const WindowForm* const form = in.plan->blocks();
        if (!form || in.winners || form->cells() > most_block_cells || !has_small_windows(choice))
            return false;
        DirectJob job = direct_job(in, 0, *form);
        if (job.kernel == SmallKernel::direct) return false;
        bytes_ += element_count(in.y[0]) * item_size(kind_.y_dtype);
        cut_direct(job, choice, share_);
        direct_.push_back({job, choice});
        return true;
    }

    DirectJob direct_job(const ForwardJob& in, int grid, const WindowForm& form) const {
        DirectJob job;
        describe(job, in, grid);
        job.form = &form;
        job.divide = kind_.reducer.kind == ReducerKind::mean;
        job.layout = layout_of(in, grid, true, never_narrow);
        job.share_little = share_little(*job.form);
        job.planes_run_on = planes_run_on(job);
        job.kernel = dense_kernel(job);
        if (job.kernel == SmallKernel::direct) {
            job.layout = layout_of(in, grid, true, narrow_direct_row);
            if (suits_pixels(job)) job.kernel = SmallKernel::pixels;
        }
        return job;
    }

    RowsJob rows_job(const ForwardJob& in, const Choice& choice, int grid) {
        const Plan& plan = *in.plan;
        RowsJob job;
        job.geometry = &plan.forward_rows(grid);
        job.layout = layout_of(in, grid, true, narrow_row);
        describe(job, in, grid);
        job.divide = kind_.reducer.kind == ReducerKind::mean ? Divide::result : Divide::nothing;
        const bool picks =
            kind_.reducer.kind == ReducerKind::max || kind_.reducer.kind == ReducerKind::min;
        job.patch_empty = picks && plan.has_empty_windows(grid);
        job.lp = lp_rule(plan, grid);
        job.large = !plan.has_empty_windows(grid) && suits_large(job, choice);
        return job;
    }
    void add_rows(const ForwardJob& in, const Choice& choice, int grid) {
        RowsJob job = rows_job(in, choice, grid);
        cut_rows(job, choice, share_);
        rows_.push_back({job, choice});
    }

    // `values` is what values alone are computed in.
    void add_segments(const ForwardJob& in, const Choice& choice, const Choice& values) {
        const Plan& plan = *in.plan;
        segments_.emplace_back();
        Segments& work = segments_.back();
        for (int g = 0; g < plan.grid_count(); ++g) {
            SegmentsTarget target;
            target.grid = &plan.segment_grid(g);
            target.layout = layout_of(in, g, true, narrow_row);
            target.y = in.y[g].data;
            target.indices = in.winners ? in.winners[g].data : nullptr;
            target.form = &plan.form(g);
            target.lp = lp_rule(plan, g);
            set_divisors(target.divisors, plan, g);
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
                work.targets[g].layout = layout_of(in, g, false, narrow_row);

        SegmentsJob& job = work.job;
        job.axes = plan.segment_axes();
        job.targets = work.targets.data();
        job.target_count = plan.grid_count();
        job.x = in.x.data;
        job.x_dtype = kind_.x_dtype;
        job.y_dtype = kind_.y_dtype;
        job.winners = in.winners ? kind_.winners : WinnerForm::none;
        job.divide = kind_.reducer.kind == ReducerKind::mean;
        job.divisor_override = kind_.reducer.divisor;
        work.choice = values;
        cut_segments(job, values, share_);
        job.find = finds_winners(job);
        if (job.find || !in.winners) return;
        work.choice = choice;
        cut_segments(job, choice, share_);
    }

    ForwardKind kind_;
    std::int64_t share_, bytes_ = 0;
    std::vector<Cut<DirectJob>> direct_;
    std::vector<Cut<WholeJob>> whole_;
    std::vector<Cut<RowsJob>> rows_;
    std::vector<Segments> segments_;
    std::vector<std::unique_ptr<LpRule>> lp_rules_;
};

Status pool_forward(const ForwardJob* jobs, std::size_t job_count, const ForwardKind& kind) {
    try {
        Forward call(kind, job_count);
        for (std::size_t j = 0; j < job_count; ++j) {
            const Status status = call.add(jobs[j]);
            if (status != Status::ok) return status;
        }
        return call.run({});
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
}

PreparedForward::PreparedForward(const ForwardJob& job, const ForwardKind& kind)
    : work_(new Forward(kind, 1)), status_(work_->add(job)) {}
PreparedForward::~PreparedForward() { delete work_; }

Status PreparedForward::run(const char* x, char* y, char* winners) const {
    if (status_ != Status::ok) return status_;
    try {
        return work_->run({x, y, winners});
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
}

}  // namespace poolwise
