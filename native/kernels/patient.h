// The patient kernel: windows of any form, joined exactly, tap after tap.
//
// For units of dilated windows and of blocks that have turned out to hold a NaN: a row of outputs
// begins as the identity, and every tap of its windows, in row-major order, is joined to all of it
// by the exact comparison. Cost per output: a load, a join and a store in L1 per tap.
#pragma once

#include "groups.h"
#include "joins.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// Values of dense rows: of all channels, which only windows at stride 1 have several of; units as
// the tile kernel's, of all output planes.
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
        each_output_row(job_, unit_, [&](std::int64_t plane, std::int64_t d, std::int64_t h) {
            make_row(plane, d, h);
        });
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

    void make_row(std::int64_t plane, std::int64_t od, std::int64_t oh) {
        const Layout& layout = job_.layout;
        const char* const x = job_.x + batch_offset(layout, layout.x_batch, plane);
        char* const y = job_.y + batch_offset(layout, layout.y_batch, plane);
        for (std::int64_t n = 0; n < columns_; ++n) result_[n] = Op::identity;
        for (std::int64_t kd = 0; kd < f_.taps[0]; ++kd)
            for (std::int64_t kh = 0; kh < f_.taps[1]; ++kh) {
                const std::int64_t d = f_.first[0][od] + kd * f_.dilation[0],
                                   h = f_.first[1][oh] + kh * f_.dilation[1];
                if (d < 0 || d >= f_.size[0] || h < 0 || h >= f_.size[1]) continue;
                loader_.run(x + d * layout.x_axis[0] + h * layout.x_axis[1],
                            layout.x_axis[2] / lanes_, width_, source_);
                for (std::int64_t kw = 0; kw < f_.taps[2]; ++kw)
                    join_tap((kw * f_.dilation[2] - f_.pad[2]) * lanes_);
            }
        storer_.run(result_, columns_, y + od * layout.y_axis[0] + oh * layout.y_axis[1],
                    layout.y_axis[2] / lanes_);
    }
    // Of every window along the row the cell that lies this far behind the window's own place.
    POOLWISE_APART void join_tap(std::int64_t behind) {
        const std::int64_t stride = f_.stride[2];
        const std::int64_t first = behind < 0 ? (-behind + stride - 1) / stride : 0;
        const std::int64_t last =
            behind < width_ ? smaller(columns_, (width_ - behind - 1) / stride + 1) : 0;
        stride == 1 ? join_cells(behind, first, last, 1) : join_cells(behind, first, last, stride);
    }
    POOLWISE_INLINE inline void join_cells(std::int64_t behind, std::int64_t first,
                                           std::int64_t last, std::int64_t stride) {
        T* POOLWISE_RESTRICT const result = result_;
        const T* POOLWISE_RESTRICT const source = source_;
        POOLWISE_LANES
        for (std::int64_t n = first; n < last; ++n) {
            const T cell = source[n * stride + behind];
            result[n] = later_wins<T, Op::least>(result[n], cell) ? cell : result[n];
        }
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
