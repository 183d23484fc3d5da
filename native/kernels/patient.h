// The patient kernel: windows whose taps lie apart, joined exactly, tap after tap.
//
// For units of dilated windows that have turned out to hold a NaN: a row of outputs begins as the
// identity, and every tap of its windows, in row-major order, is joined to all of it by the exact
// comparison. Cost per element: a load, a join and a store in L1 per tap.
#pragma once

#include "joins.h"
#include "place.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// Values of windows at stride 1 along rows, of dense rows of all channels; units as the tile
// kernel's.
template <class Op> class PatientUnit {
    using T = typename Op::Value;

  public:
    PatientUnit(const DirectJob& job, std::int64_t unit, char* scratch)
        : job_(job),
          f_(*job.form),
          unit_(unit),
          arena_{scratch},
          lanes_(job.layout.lanes),
          width_(f_.size[2] * lanes_),
          columns_(f_.count[2] * lanes_),
          loader_(loader_for<T>(job.x_dtype)),
          storer_(storer_for<T>(job.y_dtype)) {}

    void run() {
        take_scratch();
        const std::int64_t band = unit_ % job_.bands,
                           first = unit_ / job_.bands * job_.groups_per_unit,
                           last = smaller(first + job_.groups_per_unit, job_.groups);
        for (std::int64_t plane = first; plane < last; ++plane)
            for (std::int64_t o = band * job_.band;
                 o < smaller((band + 1) * job_.band, f_.count[1]); ++o)
                make_row(plane, o);
    }

    static std::int64_t scratch_bytes(const DirectJob& job) {
        char* const base = reinterpret_cast<char*>(64);
        PatientUnit first(job, 0, base);
        first.take_scratch();
        return first.arena_.next - base;
    }

  private:
    void take_scratch() {
        source_ = arena_.template take<T>(width_);
        result_ = arena_.template take<T>(columns_);
    }

    void make_row(std::int64_t plane, std::int64_t o) {
        const Layout& layout = job_.layout;
        for (std::int64_t n = 0; n < columns_; ++n) result_[n] = Op::identity;
        for (std::int64_t kh = 0; kh < f_.taps[1]; ++kh) {
            const std::int64_t h = f_.first[1][o] + kh * f_.dilation[1];
            if (h < 0 || h >= f_.size[1]) continue;
            loader_.run(job_.x + batch_offset(layout, layout.x_batch, plane) + h * layout.x_axis[1],
                        layout.x_axis[2] / lanes_, width_, source_);
            for (std::int64_t kw = 0; kw < f_.taps[2]; ++kw)
                join_tap((kw * f_.dilation[2] - f_.pad[2]) * lanes_);
        }
        storer_.run(result_, columns_,
                    job_.y + batch_offset(layout, layout.y_batch, plane) + o * layout.y_axis[1],
                    layout.y_axis[2] / lanes_);
    }
    // Of every window along the row the cell that lies this far behind the window's own place.
    POOLWISE_APART void join_tap(std::int64_t behind) {
        const std::int64_t first = larger<std::int64_t>(0, -behind),
                           last = smaller(columns_, width_ - behind);
        T* POOLWISE_RESTRICT const result = result_;
        const T* POOLWISE_RESTRICT const source = source_;
        POOLWISE_LANES
        for (std::int64_t n = first; n < last; ++n)
            result[n] = later_wins<T, Op::least>(result[n], source[n + behind]) ? source[n + behind]
                                                                                : result[n];
    }

    const DirectJob& job_;
    const WindowForm& f_;
    std::int64_t unit_;
    Arena arena_;
    const std::int64_t lanes_, width_, columns_;  // in elements, of all channels
    Loader<T> loader_;
    Storer<T> storer_;
    T *source_ = nullptr, *result_ = nullptr;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
