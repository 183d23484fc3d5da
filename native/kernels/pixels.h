// Small windows over channels beside each other that share little: joined in the array's own type.
//
// The walk over pixels is beside.h's; here elements are read and written as they are stored, 16-bit
// floats and small integers too, so nothing is brought into a row of accumulators first. Units with
// NaN, and fewer channels than a register holds, are the direct kernel's.
#pragma once

#include "direct.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class Op, class Careful, class S, class D>
class PixelsUnit : public GroupedUnit<PixelsUnit<Op, Careful, S, D>, DirectJob> {
    using T = typename Op::Value;
    using Base = GroupedUnit<PixelsUnit, DirectJob>;
    friend Base;
    using Base::arena_, Base::band_, Base::block_, Base::f_, Base::job_, Base::place_;
    static constexpr bool divides = !Op::watched && floating<T>;

  public:
    PixelsUnit(const DirectJob& job, std::int64_t unit, char* scratch)
        : Base(job, unit, 1, scratch), number_(unit), scratch_(scratch) {}

    void run() {
        if (job_.layout.lanes < vector_lanes<T>)
            return DirectUnit<Careful>(job_, number_, scratch_).run();
        Base::run();
        if constexpr (Op::watched) {
            if (any_lane(watch_.lanes)) DirectUnit<Careful>(job_, number_, scratch_).run_exactly();
        }
    }

  private:
    void locate(Place& place, std::int64_t group) const {
        place.locate(job_.layout, job_.x, job_.y, nullptr, group, block_, job_.lane_block);
    }

    void take_scratch(std::int64_t lanes) {
        lanes_ = lanes;
        if (job_.divide && divides)
            along_ = arena_.template take<T>(f_.count[2] * lanes + vector_lanes<T>);
    }
    void fill_scratch() {
        if constexpr (divides) {
            if (job_.divide)
                divider_.prepare(job_.divisors, job_.divisor_override, 0, f_.count[2], lanes_,
                                 along_);
        }
    }

    void make_group() {
        const std::int64_t first = band_ * job_.band,
                           last = smaller(first + job_.band, f_.count[1]);
        for (std::int64_t d = 0; d < f_.count[0]; ++d)
            for (std::int64_t h = first; h < last; ++h) make_row(d, h);
    }

    void make_row(std::int64_t od, std::int64_t oh) {
        if constexpr (divides) {
            if (job_.divide)
                return divider_.with(od, oh, [&](const auto& after) { join_row(od, oh, after); });
        }
        join_row(od, oh, Keep{});
    }

    template <class After>
    POOLWISE_APART void join_row(std::int64_t od, std::int64_t oh, const After& after) {
        const Layout& layout = job_.layout;
        const S* rows[most_direct_taps];
        LaneRows<S> in;
        in.count = 0;
        const std::int64_t d0 = f_.first[0][od], h0 = f_.first[1][oh];
        const std::int64_t d1 = smaller(f_.size[0], d0 + f_.taps[0]),
                           h1 = smaller(f_.size[1], h0 + f_.taps[1]);
        for (std::int64_t d = larger<std::int64_t>(0, d0); d < d1; ++d)
            for (std::int64_t h = larger<std::int64_t>(0, h0); h < h1; ++h)
                rows[in.count++] = reinterpret_cast<const S*>(place_.x[0] + d * layout.x_axis[0] +
                                                              h * layout.x_axis[1]);
        in.fresh = static_cast<int>(smaller<std::int64_t>(in.count, f_.stride[1]));
        in.lanes = lanes_;
        in.step = f_.stride[2] * lanes_;
        in.length = f_.size[2] * lanes_;
        in.next_rows = in.fresh * layout.x_axis[1] / static_cast<std::int64_t>(sizeof(S));
        D* const out =
            reinterpret_cast<D*>(place_.y[0] + od * layout.y_axis[0] + oh * layout.y_axis[1]);
        each_run(f_, -f_.pad[2], f_.count[2],
                 [&](std::int64_t c, std::int64_t run, std::int64_t t0, std::int64_t t1) {
                     const std::int64_t cell = c * f_.stride[2] - f_.pad[2] + t0;
                     for (int r = 0; r < in.count; ++r) in.row[r] = rows[r] + cell * lanes_;
                     const int columns = static_cast<int>(t1 - t0);
                     const auto join =
                         columns == f_.taps[2]
                             ? beside_joiner<Op, false, S, D, After>(in.count, columns)
                             : join_beside<Op, false, 0, 0, S, D, After>;
                     join(out + c * lanes_, in, columns, c, run, after, watch_);
                 });
    }

    std::int64_t number_, lanes_ = 1;
    char* scratch_;
    Divider<T> divider_;
    Suspects<Op> watch_;
    T* along_ = nullptr;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
