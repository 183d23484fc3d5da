// Python's way in: check, release the GIL, call. What arrays mean is decided above (src/poolwise).
//
// Arrays come through the buffer protocol, so nothing is ever copied or converted here; the dtype
// is told by name because bfloat16 has no buffer format.
#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "bindings.h"
#include "caches.h"
#include "core.h"
#include "plan.h"
#include "thread_pool.h"

using namespace poolwise;
namespace nb = nanobind;

namespace {

// One array held through the buffer protocol for the length of a call.
class Held {
  public:
    Held(nb::handle object, Dtype dtype, bool writable) {
        const int flags = PyBUF_STRIDES | (writable ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(object.ptr(), &buffer_, flags) != 0) throw nb::python_error();
        if (buffer_.itemsize != dtype_bytes[static_cast<int>(dtype)] || buffer_.ndim > max_rank) {
            PyBuffer_Release(&buffer_);
            throw nb::type_error("the array's items are not of the dtype named");
        }
        for (int d = 0; d < buffer_.ndim; ++d) {
            shape_[d] = buffer_.shape[d];
            strides_[d] = buffer_.strides[d];
        }
    }
    ~Held() { PyBuffer_Release(&buffer_); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

    ArrayView view() const {
        return {static_cast<char*>(buffer_.buf), buffer_.ndim, shape_, strides_};
    }

  private:
    Py_buffer buffer_;
    std::int64_t shape_[max_rank], strides_[max_rank];
};

using HeldPointer = std::unique_ptr<Held>;

struct HeldTuple {
    std::vector<HeldPointer> held;
    std::vector<ArrayView> views;
    void add(nb::handle array, Dtype dtype, bool writable) {
        held.push_back(std::make_unique<Held>(array, dtype, writable));
        views.push_back(held.back()->view());
    }
};

HeldTuple hold_all(nb::handle arrays, Dtype dtype, bool writable, int expected) {
    HeldTuple result;
    for (nb::handle array : arrays) result.add(array, dtype, writable);
    if (static_cast<int>(result.views.size()) != expected)
        throw nb::value_error("one array per grid is needed");
    return result;
}

std::vector<std::int64_t> integers(nb::handle array) {
    std::vector<std::int64_t> result;
    if (array.is_none()) return result;
    Py_buffer buffer;
    if (PyObject_GetBuffer(array.ptr(), &buffer, PyBUF_C_CONTIGUOUS) != 0) throw nb::python_error();
    const bool good = buffer.itemsize == 8;
    if (good) {
        const auto* data = static_cast<const std::int64_t*>(buffer.buf);
        result.assign(data, data + buffer.len / 8);
    }
    PyBuffer_Release(&buffer);
    if (!good) throw nb::type_error("windows are listed as int64");
    return result;
}

std::shared_ptr<const Plan> make_plan(const nb::tuple& grids) {
    std::vector<Grid> result;
    for (nb::handle grid : grids) {
        Grid axes;
        for (nb::handle item : nb::borrow<nb::tuple>(grid)) {
            const nb::tuple t = nb::borrow<nb::tuple>(item);
            if (t.size() != 9) throw nb::value_error("an axis is nine numbers and lists");
            Axis axis;
            axis.size = nb::cast<std::int64_t>(t[0]);
            axis.count = nb::cast<std::int64_t>(t[1]);
            axis.kernel = nb::cast<std::int64_t>(t[2]);
            axis.stride = nb::cast<std::int64_t>(t[3]);
            axis.dilation = nb::cast<std::int64_t>(t[4]);
            axis.pad_before = nb::cast<std::int64_t>(t[5]);
            axis.pad_after = nb::cast<std::int64_t>(t[6]);
            axis.starts = integers(t[7]);
            axis.stops = integers(t[8]);
            const bool listed = !axis.starts.empty();
            if (axis.size < 1 || axis.count < 1 || axis.kernel < 1 || axis.stride < 1 ||
                axis.dilation < 1 || axis.pad_before < 0 || axis.pad_after < 0 ||
                axis.starts.size() != axis.stops.size() ||
                (listed && static_cast<std::int64_t>(axis.starts.size()) != axis.count))
                throw nb::value_error("an axis that no windows can make");
            for (std::size_t i = 0; i < axis.starts.size(); ++i)
                if (axis.starts[i] < 0 || axis.stops[i] <= axis.starts[i] ||
                    axis.stops[i] > axis.size ||
                    (i > 0 &&
                     (axis.starts[i] < axis.starts[i - 1] || axis.stops[i] < axis.stops[i - 1])))
                    throw nb::value_error("listed windows ascend and lie inside the axis");
            axes.push_back(std::move(axis));
        }
        if (axes.empty() || axes.size() > max_pooled_axes ||
            (!result.empty() && axes.size() != result[0].size()))
            throw nb::value_error("a grid has one to three axes, and every grid as many");
        for (std::size_t a = 0; a < axes.size() && !result.empty(); ++a)
            if (axes[a].size != result[0][a].size)
                throw nb::value_error("grids of one plan see one input");
        result.push_back(std::move(axes));
    }
    if (result.empty()) throw nb::value_error("a plan has at least one grid");
    return compile(std::move(result));
}

// Winners are told as int64 indices or as taps, uint8: their size says which.
WinnerForm form_of(nb::handle indices) {
    if (indices.is_none() || nb::len(indices) == 0) return WinnerForm::none;
    const auto bytes = nb::cast<std::int64_t>(indices[0].attr("itemsize"));
    return bytes == 1 ? WinnerForm::tap8 : bytes == 4 ? WinnerForm::index32 : WinnerForm::index64;
}
Dtype dtype_of_winners(WinnerForm form) {
    return form == WinnerForm::tap8      ? Dtype::uint8
           : form == WinnerForm::index32 ? Dtype::int32
                                         : Dtype::int64;
}

void forward(const Plan& plan, nb::handle x, const char* x_dtype, nb::handle ys,
             const char* y_dtype, nb::handle indices, const nb::tuple& axes, const char* reducer,
             double p, bool count_include_pad, std::int64_t divisor) {
    const Dtype in = dtype_of(x_dtype), out = dtype_of(y_dtype);
    const Reducer rule = reducer_of(reducer, p, count_include_pad, divisor);
    const std::vector<int> at = axes_of(axes, plan.axis_count());
    const Held input(x, in, false);
    const HeldTuple outputs = hold_all(ys, out, true, plan.grid_count());
    const WinnerForm form = form_of(indices);
    HeldTuple winners;
    if (!indices.is_none())
        winners = hold_all(indices, dtype_of_winners(form), true, plan.grid_count());
    const ForwardJob job{&plan, input.view(), outputs.views.data(),
                         indices.is_none() ? nullptr : winners.views.data(), at.data()};
    Status status;
    {
        const Released released;
        status = pool_forward(&job, 1, {in, out, rule, form});
    }
    raise(status);
}

void forward_many(nb::handle jobs, const char* x_dtype, const char* y_dtype, const nb::tuple& axes,
                  const char* reducer, double p, bool count_include_pad, std::int64_t divisor) {
    const Dtype in = dtype_of(x_dtype), out = dtype_of(y_dtype);
    const Reducer rule = reducer_of(reducer, p, count_include_pad, divisor);
    const std::vector<int> at = axes_of(axes, -1);
    std::vector<HeldPointer> inputs;
    std::vector<HeldTuple> outputs, winners;
    std::vector<ForwardJob> list;
    WinnerForm form = WinnerForm::none;
    const std::size_t count = nb::len(jobs);
    outputs.reserve(count);
    winners.reserve(count);
    for (nb::handle item : jobs) {
        const nb::tuple t = nb::borrow<nb::tuple>(item);
        const Plan& plan = nb::cast<const Plan&>(t[0]);
        if (plan.axis_count() != static_cast<int>(at.size()))
            throw nb::value_error("as many axes are needed as the plan has");
        inputs.push_back(std::make_unique<Held>(t[1], in, false));
        outputs.push_back(hold_all(t[2], out, true, plan.grid_count()));
        const bool indexed = !nb::handle(t[3]).is_none();
        if (indexed) form = WinnerForm::index64;
        winners.push_back(indexed ? hold_all(t[3], Dtype::int64, true, plan.grid_count())
                                  : HeldTuple{});
        list.push_back({&plan, inputs.back()->view(), outputs.back().views.data(),
                        indexed ? winners.back().views.data() : nullptr, at.data()});
    }
    Status status;
    {
        const Released released;
        status = pool_forward(list.data(), list.size(), {in, out, rule, form});
    }
    raise(status);
}

void backward(const Plan& plan, nb::handle dx, const char* dtype, nb::handle dys,
              const nb::tuple& axes, const char* reducer, double p, bool count_include_pad,
              std::int64_t divisor, nb::handle x) {
    const Dtype type = dtype_of(dtype);
    const Reducer rule = reducer_of(reducer, p, count_include_pad, divisor);
    const std::vector<int> at = axes_of(axes, plan.axis_count());
    const Held result(dx, type, true);
    const HeldTuple gradients = hold_all(dys, type, false, plan.grid_count());
    std::unique_ptr<Held> input;
    if (!x.is_none()) input = std::make_unique<Held>(x, type, false);
    BackwardJob job{&plan, result.view(), gradients.views.data(), at.data(),
                    input ? input->view() : ArrayView{}};
    Status status;
    {
        const Released released;
        status = pool_backward(job, type, rule);
    }
    raise(status);
}

void scatter(nb::handle dx, const char* dtype, const nb::tuple& dys, const nb::tuple& indices,
             const nb::tuple& axes, bool accumulate, const Plan* plan) {
    const Dtype type = dtype_of(dtype);
    const int grids = static_cast<int>(dys.size());
    const std::vector<int> at = axes_of(axes, -1);
    const Held result(dx, type, true);
    const HeldTuple values = hold_all(dys, type, false, grids);
    const WinnerForm form = plan ? form_of(indices) : WinnerForm::index64;
    const HeldTuple winners = hold_all(indices, dtype_of_winners(form), false, grids);
    for (int g = 0; g < grids; ++g) {
        const ArrayView &v = values.views[g], &w = winners.views[g], r = result.view();
        bool same = v.rank == w.rank && v.rank == r.rank;
        for (int d = 0; same && d < v.rank; ++d) {
            const bool pooled = std::find(at.begin(), at.end(), d) != at.end();
            same = v.shape[d] == w.shape[d] && (pooled || v.shape[d] == r.shape[d]);
        }
        for (int axis : at) same = same && axis >= 0 && axis < r.rank;
        if (!same)
            throw nb::value_error(
                "values and indices have one shape, and dx's but on the pooled axes");
    }
    ScatterJob job;
    job.plan = plan;
    job.dx = result.view();
    job.dy = values.views.data();
    job.winners = winners.views.data();
    job.grid_count = grids;
    job.axes = at.data();
    job.axis_count = static_cast<int>(at.size());
    job.accumulate = accumulate;
    Status status;
    {
        const Released released;
        status = pool_scatter(job, type, form);
    }
    raise(status);
}

nb::dict config() {
    nb::dict result;
    result["isa"] = chosen_isa();
    const char* asked = std::getenv("POOLWISE_ISA");
    result["isa_asked"] = asked ? nb::object(nb::str(asked)) : nb::none();
    nb::list levels;
    for (const char* name : available_isas()) levels.append(name);
    result["isas_available"] = levels;
    result["threads"] = get_num_threads();
    result["workers_running"] = process_pool().worker_count();
#if defined(__clang__)
    result["compiler"] = "clang " __clang_version__;
#elif defined(__GNUC__)
    result["compiler"] = "gcc " __VERSION__;
#else
    result["compiler"] = "unknown";
#endif
    return result;
}

}  // namespace

NB_MODULE(_native, m) {
    nb::class_<Plan>(m, "Plan", nb::is_weak_referenceable())
        .def(nb::new_([](const nb::tuple& grids) {
            return std::const_pointer_cast<Plan>(make_plan(grids));
        }));
    // Plans live in caches that the interpreter does not empty before it ends; that is no leak.
    nb::set_leak_warnings(false);
    m.def("forward", &forward, nb::arg("plan"), nb::arg("x"), nb::arg("x_dtype"), nb::arg("ys"),
          nb::arg("y_dtype"), nb::arg("indices").none(), nb::arg("axes"), nb::arg("reducer"),
          nb::arg("p"), nb::arg("count_include_pad"), nb::arg("divisor"));
    m.def("forward_many", &forward_many);
    m.def("backward", &backward, nb::arg("plan"), nb::arg("dx"), nb::arg("dtype"), nb::arg("dys"),
          nb::arg("axes"), nb::arg("reducer"), nb::arg("p"), nb::arg("count_include_pad"),
          nb::arg("divisor"), nb::arg("x").none() = nb::none());
    m.def("scatter", &scatter, nb::arg("dx"), nb::arg("dtype"), nb::arg("dys"), nb::arg("indices"),
          nb::arg("axes"), nb::arg("accumulate"), nb::arg("plan").none() = nb::none());
    bind_calls(m);
    m.def("assume_last_cache", &assume_last_cache);
    m.def("set_num_threads", &set_num_threads);
    m.def("get_num_threads", &get_num_threads);
    m.def("config", &config);
    m.def("last_isa", &last_run_isa);
    m.def("shutdown", [] {
        const Released released;
        process_pool().shutdown();
    });
    // Workers leave before the interpreter's own teardown begins.
    nb::module_::import_("atexit").attr("register")(m.attr("shutdown"));
}
