// What the files of the binding share: names to enumerations, errors, the GIL.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core.h"

namespace poolwise {

namespace nb = nanobind;

inline const char* const dtype_names[dtype_count] = {
    "float16", "bfloat16", "float32", "float64", "int8",   "int16", "int32",
    "int64",   "uint8",    "uint16",  "uint32",  "uint64", "bool"};
inline const int dtype_bytes[dtype_count] = {2, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 1};

inline Dtype dtype_of(const char* name) {
    for (int d = 0; d < dtype_count; ++d)
        if (std::strcmp(name, dtype_names[d]) == 0) return static_cast<Dtype>(d);
    throw nb::type_error((std::string("dtype not known to the core: ") + name).c_str());
}

inline Reducer reducer_of(const char* name, double p, bool count_include_pad,
                          std::int64_t divisor) {
    static const char* const names[] = {"max", "min", "sum", "mean", "lp"};
    for (int k = 0; k < 5; ++k)
        if (std::strcmp(name, names[k]) == 0)
            return {static_cast<ReducerKind>(k), p, count_include_pad, divisor};
    throw nb::value_error((std::string("reducer not known to the core: ") + name).c_str());
}

// The GIL, let go for the length of a call. A daemon thread that comes back while the interpreter
// ends is unwound by it, which no destructor survives: such a thread is parked until the process is
// gone.
class Released {
  public:
    Released() : state_(PyEval_SaveThread()) {}
    ~Released() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }
    Released(const Released&) = delete;
    Released& operator=(const Released&) = delete;

  private:
    PyThreadState* state_;
};

// "tap8", "index32" or "index64"
inline WinnerForm winner_form_of(const char* name) {
    static const char* const names[] = {"tap8", "index32", "index64"};
    for (int f = 0; f < 3; ++f)
        if (std::strcmp(name, names[f]) == 0) return static_cast<WinnerForm>(f + 1);
    throw nb::value_error((std::string("winners not known to the core: ") + name).c_str());
}

inline std::vector<int> axes_of(const nb::tuple& axes, int expected) {
    std::vector<int> result;
    for (nb::handle axis : axes) result.push_back(nb::cast<int>(axis));
    if (expected >= 0 && static_cast<int>(result.size()) != expected)
        throw nb::value_error("as many axes are needed as the plan has");
    if (result.empty() || result.size() > max_pooled_axes)
        throw nb::value_error("the core pools one to three axes");
    return result;
}

inline void raise(Status status) {
    switch (status) {
        case Status::ok: return;
        case Status::out_of_memory: throw std::bad_alloc();
        case Status::bad_index:
            throw nb::value_error(
                "indices must lie inside the pooled axes (and winners inside their windows); one "
                "does not");
        case Status::bad_argument:
            throw nb::value_error("shapes, axes and plan do not belong together");
    }
}

// Calls by address (bindings_calls.cpp).
void bind_calls(nb::module_& m);

}  // namespace poolwise
