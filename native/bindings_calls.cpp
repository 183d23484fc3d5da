// Calls by address: prepared once for shapes, strides and dtypes, then run on bare pointers.
//
// This is the way in for tensors that have no buffer protocol (bfloat16) or for which it costs more
// than the pooling. Whoever runs a call keeps the memory alive and of the shape it was prepared
// for.
#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>

#include <memory>

#include "bindings.h"
#include "plan.h"

namespace poolwise {

namespace {

// A shape, strides in bytes, and an offset in bytes from the address given at the call.
struct View {
    std::vector<std::int64_t> shape, strides;
    std::intptr_t offset = 0;

    ArrayView at(const void* base) const {
        const auto address = reinterpret_cast<std::intptr_t>(base) + offset;
        return {reinterpret_cast<char*>(address), static_cast<int>(shape.size()), shape.data(),
                strides.data()};
    }
};

View view_of(nb::handle item) {
    const nb::tuple t = nb::borrow<nb::tuple>(item);
    View view;
    for (nb::handle n : nb::borrow<nb::tuple>(t[0]))
        view.shape.push_back(nb::cast<std::int64_t>(n));
    for (nb::handle n : nb::borrow<nb::tuple>(t[1]))
        view.strides.push_back(nb::cast<std::int64_t>(n));
    view.offset = nb::cast<std::intptr_t>(t[2]);
    if (view.shape.size() != view.strides.size() || view.shape.size() > max_rank)
        throw nb::value_error("a view is a shape, as many strides, and an offset");
    return view;
}

struct Views {
    std::vector<View> views;
    explicit Views(const nb::tuple& items, int expected) {
        for (nb::handle item : items) views.push_back(view_of(item));
        if (static_cast<int>(views.size()) != expected)
            throw nb::value_error("one view per grid is needed");
    }
    std::vector<ArrayView> at(const void* base) const {
        std::vector<ArrayView> result;
        for (const View& view : views) result.push_back(view.at(base));
        return result;
    }
};

void* address(std::uintptr_t n) { return reinterpret_cast<void*>(n); }

class ForwardCall {
  public:
    ForwardCall(std::shared_ptr<Plan> plan, nb::handle x, const char* x_dtype, const nb::tuple& ys,
                const char* y_dtype, const char* winners, const nb::tuple& winner_views,
                const nb::tuple& axes, const char* reducer, double p, bool count_include_pad,
                std::int64_t divisor, int threads)
        : plan_(std::move(plan)), threads_(threads) {
        const ThreadLimit limit(threads_, true);
        const View x_view = view_of(x);
        const Views y_views(ys, plan_->grid_count());
        const bool indexed = *winners != '\0';
        const Views w_views(winner_views, indexed ? plan_->grid_count() : 0);
        const std::vector<ArrayView> y = y_views.at(nullptr), w = w_views.at(nullptr);
        const std::vector<int> at = axes_of(axes, plan_->axis_count());
        const ForwardKind kind{dtype_of(x_dtype), dtype_of(y_dtype),
                               reducer_of(reducer, p, count_include_pad, divisor),
                               indexed ? winner_form_of(winners) : WinnerForm::none};
        const ForwardJob job{plan_.get(), x_view.at(nullptr), y.data(),
                             indexed ? w.data() : nullptr, at.data()};
        call_ = std::make_unique<PreparedForward>(job, kind);
        raise(call_->status());
    }

    void run(std::uintptr_t x, std::uintptr_t y, std::uintptr_t winners) const {
        Status status;
        {
            const Released released;
            const ThreadLimit limit(threads_, true);
            status =
                call_->run(static_cast<const char*>(address(x)), static_cast<char*>(address(y)),
                           static_cast<char*>(address(winners)));
        }
        raise(status);
    }

  private:
    std::shared_ptr<Plan> plan_;
    std::unique_ptr<PreparedForward> call_;
    int threads_;
};

// Gradients: of sums, means and lp (run with x's address, or 0), or of winners.
class BackwardCall {
  public:
    BackwardCall(std::shared_ptr<Plan> plan, nb::handle dx, const char* dtype, const nb::tuple& dys,
                 const nb::tuple& axes, const char* reducer, double p, bool count_include_pad,
                 std::int64_t divisor, const nb::tuple& x, int threads)
        : plan_(std::move(plan)),
          dx_(view_of(dx)),
          dys_(dys, plan_->grid_count()),
          extra_(x, x.size() > 0 ? 1 : 0),
          dtype_(dtype_of(dtype)),
          axes_(axes_of(axes, plan_->axis_count())),
          reducer_(reducer_of(reducer, p, count_include_pad, divisor)),
          threads_(threads) {}

    void run(std::uintptr_t dx, std::uintptr_t dy, std::uintptr_t x) const {
        Status status;
        {
            const Released released;
            const ThreadLimit limit(threads_, true);
            const std::vector<ArrayView> dys = dys_.at(address(dy)), xs = extra_.at(address(x));
            const BackwardJob job{plan_.get(), dx_.at(address(dx)), dys.data(), axes_.data(),
                                  xs.empty() ? ArrayView{} : xs[0]};
            status = pool_backward(job, dtype_, reducer_);
        }
        raise(status);
    }

  private:
    std::shared_ptr<Plan> plan_;
    View dx_;
    Views dys_, extra_;
    Dtype dtype_;
    std::vector<int> axes_;
    Reducer reducer_;
    int threads_;
};

class ScatterCall {
  public:
    ScatterCall(std::shared_ptr<Plan> plan, nb::handle dx, const char* dtype, const nb::tuple& dys,
                const char* winners, const nb::tuple& winner_views, const nb::tuple& axes,
                bool accumulate, int threads)
        : plan_(std::move(plan)),
          dx_(view_of(dx)),
          dys_(dys, static_cast<int>(dys.size())),
          winners_(winner_views, static_cast<int>(dys.size())),
          dtype_(dtype_of(dtype)),
          form_(winner_form_of(winners)),
          axes_(axes_of(axes, -1)),
          accumulate_(accumulate),
          threads_(threads) {
        check_shapes();
    }

    void run(std::uintptr_t dx, std::uintptr_t dy, std::uintptr_t winners) const {
        Status status;
        {
            const Released released;
            const ThreadLimit limit(threads_, true);
            const std::vector<ArrayView> dys = dys_.at(address(dy)),
                                         places = winners_.at(address(winners));
            ScatterJob job;
            job.plan = plan_.get();
            job.dx = dx_.at(address(dx));
            job.dy = dys.data();
            job.winners = places.data();
            job.grid_count = static_cast<int>(dys.size());
            job.axes = axes_.data();
            job.axis_count = static_cast<int>(axes_.size());
            job.accumulate = accumulate_;
            status = pool_scatter(job, dtype_, form_);
        }
        raise(status);
    }

  private:
    // Gradients and winners have one shape, and dx's but on the pooled axes.
    void check_shapes() const {
        const std::size_t rank = dx_.shape.size();
        for (std::size_t g = 0; g < dys_.views.size(); ++g) {
            const View &dy = dys_.views[g], &winner = winners_.views[g];
            bool same = dy.shape.size() == rank && winner.shape == dy.shape;
            for (std::size_t d = 0; same && d < rank; ++d) {
                bool pooled = false;
                for (int axis : axes_) pooled = pooled || axis == static_cast<int>(d);
                same = pooled || dy.shape[d] == dx_.shape[d];
            }
            for (int axis : axes_) same = same && axis >= 0 && axis < static_cast<int>(rank);
            if (!same) raise(Status::bad_argument);
        }
    }

    std::shared_ptr<Plan> plan_;
    View dx_;
    Views dys_, winners_;
    Dtype dtype_;
    WinnerForm form_;
    std::vector<int> axes_;
    bool accumulate_;
    int threads_;
};

}  // namespace

void bind_calls(nb::module_& m) {
    // The address of a GOMP_parallel, or 0: calls by address run on its threads.
    m.def("lend_team", [](std::uintptr_t team) { lend_team(reinterpret_cast<Team>(team)); });
    nb::class_<ForwardCall>(m, "ForwardCall")
        .def(nb::init<std::shared_ptr<Plan>, nb::handle, const char*, const nb::tuple&, const char*,
                      const char*, const nb::tuple&, const nb::tuple&, const char*, double, bool,
                      std::int64_t, int>())
        .def("run", &ForwardCall::run);
    nb::class_<BackwardCall>(m, "BackwardCall")
        .def(nb::init<std::shared_ptr<Plan>, nb::handle, const char*, const nb::tuple&,
                      const nb::tuple&, const char*, double, bool, std::int64_t, const nb::tuple&,
                      int>())
        .def("run", &BackwardCall::run);
    nb::class_<ScatterCall>(m, "ScatterCall")
        .def(nb::init<std::shared_ptr<Plan>, nb::handle, const char*, const nb::tuple&, const char*,
                      const nb::tuple&, const nb::tuple&, bool, int>(),
             nb::arg("plan").none(), nb::arg("dx"), nb::arg("dtype"), nb::arg("dys"),
             nb::arg("winners"), nb::arg("winner_views"), nb::arg("axes"), nb::arg("accumulate"),
             nb::arg("threads"))
        .def("run", &ScatterCall::run);
}

}  // namespace poolwise
