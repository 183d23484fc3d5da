// Calls by address: prepared once for shapes, strides and dtypes, then run on bare pointers.
//
// This is the way in for tensors that have no buffer protocol (bfloat16) or for which it costs more
// than the pooling. Whoever runs a call keeps the memory alive and of the shape it was prepared
// for.
#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>

#include <memory>
#include <utility>

#include "bindings.h"
#include "choose.h"
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

// One array held through the buffer protocol, of a layout that is known.
class Held {
  public:
    Held(nb::handle array, const View& like, int item_bytes, bool writable) {
        const int flags = PyBUF_STRIDES | (writable ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(array.ptr(), &buffer_, flags) != 0) throw nb::python_error();
        const std::size_t rank = like.shape.size();
        bool same =
            buffer_.itemsize == item_bytes && static_cast<std::size_t>(buffer_.ndim) == rank;
        for (std::size_t d = 0; same && d < rank; ++d)
            same = buffer_.shape[d] == like.shape[d] &&
                   (buffer_.strides[d] == like.strides[d] || like.shape[d] == 1);
        if (same) return;
        PyBuffer_Release(&buffer_);
        throw nb::value_error("the array is not of the layout that the call was prepared for");
    }
    ~Held() { PyBuffer_Release(&buffer_); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(buffer_.buf); }
    bool apart_from(const Held& other) const {
        const auto [begin, end] = bounds();
        const auto [other_begin, other_end] = other.bounds();
        return end <= other_begin || other_end <= begin;
    }

  private:
    std::pair<std::intptr_t, std::intptr_t> bounds() const {
        std::intptr_t begin = static_cast<std::intptr_t>(address()), end = begin + buffer_.itemsize;
        for (int d = 0; d < buffer_.ndim; ++d) {
            const std::intptr_t reach = (buffer_.shape[d] - 1) * buffer_.strides[d];
            (reach < 0 ? begin : end) += reach;
        }
        return {begin, end};
    }

    Py_buffer buffer_;
};

void* address(std::uintptr_t n) { return reinterpret_cast<void*>(n); }

class ForwardCall {
  public:
    ForwardCall(std::shared_ptr<Plan> plan, nb::handle x, const char* x_dtype, const nb::tuple& ys,
                const char* y_dtype, const char* winners, const nb::tuple& winner_views,
                const nb::tuple& axes, const char* reducer, double p, bool count_include_pad,
                std::int64_t divisor, int threads, bool of_team)
        : plan_(std::move(plan)),
          x_(view_of(x)),
          ys_(ys, plan_->grid_count()),
          winners_(winner_views, *winners != '\0' ? plan_->grid_count() : 0),
          threads_(threads),
          of_team_(of_team) {
        const ThreadLimit limit(threads_, of_team_);
        const bool indexed = *winners != '\0';
        const std::vector<ArrayView> y = ys_.at(nullptr), w = winners_.at(nullptr);
        const std::vector<int> at = axes_of(axes, plan_->axis_count());
        const ForwardKind kind{dtype_of(x_dtype), dtype_of(y_dtype),
                               reducer_of(reducer, p, count_include_pad, divisor),
                               indexed ? winner_form_of(winners) : WinnerForm::none};
        const ForwardJob job{plan_.get(), x_.at(nullptr), y.data(), indexed ? w.data() : nullptr,
                             at.data()};
        x_bytes_ = dtype_bytes[static_cast<int>(kind.x_dtype)];
        y_bytes_ = dtype_bytes[static_cast<int>(kind.y_dtype)];
        winner_bytes_ = static_cast<int>(winner_bytes(kind.winners));
        call_ = std::make_unique<PreparedForward>(job, kind);
        raise(call_->status());
    }

    // On arrays of the layout that was prepared for (one grid): checked, held, run.
    void run_arrays(nb::handle x, nb::handle y, nb::handle winners) const {
        const Held input(x, x_, x_bytes_, false), output(y, ys_.views[0], y_bytes_, true);
        if (winners_.views.empty()) return run(input.address(), output.address(), 0);
        const Held places(winners, winners_.views[0], winner_bytes_, true);
        run(input.address(), output.address(), places.address());
    }
    // The same, unless the arrays might share memory: then false, and nothing is done.
    bool run_apart(nb::handle x, nb::handle y) const {
        const Held input(x, x_, x_bytes_, false), output(y, ys_.views[0], y_bytes_, true);
        if (!input.apart_from(output)) return false;
        run(input.address(), output.address(), 0);
        return true;
    }

    void run(std::uintptr_t x, std::uintptr_t y, std::uintptr_t winners) const {
        Status status;
        {
            const Released released;
            const ThreadLimit limit(threads_, of_team_);
            status =
                call_->run(static_cast<const char*>(address(x)), static_cast<char*>(address(y)),
                           static_cast<char*>(address(winners)));
        }
        raise(status);
    }

  private:
    std::shared_ptr<Plan> plan_;
    View x_;
    Views ys_, winners_;
    std::unique_ptr<PreparedForward> call_;
    int x_bytes_ = 0, y_bytes_ = 0, winner_bytes_ = 0, threads_;
    bool of_team_;
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
                      std::int64_t, int, bool>(),
             nb::arg("plan"), nb::arg("x"), nb::arg("x_dtype"), nb::arg("ys"), nb::arg("y_dtype"),
             nb::arg("winners"), nb::arg("winner_views"), nb::arg("axes"), nb::arg("reducer"),
             nb::arg("p"), nb::arg("count_include_pad"), nb::arg("divisor"), nb::arg("threads"),
             nb::arg("of_team") = true)
        .def("run", &ForwardCall::run)
        .def("run_apart", &ForwardCall::run_apart)
        .def("run_arrays", &ForwardCall::run_arrays, nb::arg("x"), nb::arg("y"),
             nb::arg("winners").none());
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
