// Whole maps of dense planes: each plane is one run of memory, reduced without a look at its rows.
//
// Cost per cell: one load and one join. A float sum goes through double every block of 1024 cells,
// so its error does not grow with the map. Elements of other types are converted block by block.
#pragma once

#include "segments.h"

namespace poolwise::POOLWISE_ISA {
namespace {

constexpr std::int64_t whole_block = 1024;

template <class Op> class WholeUnit {
    using T = typename Op::Value;

  public:
    WholeUnit(const WholeJob& job, std::int64_t unit, char* scratch)
        : job_(job),
          first_(unit * job.planes_per_unit),
          last_(smaller(first_ + job.planes_per_unit, job.layout.planes)),
          loader_(loader_for<T>(job.x_dtype)),
          storer_(storer_for<T>(job.y_dtype)),
          block_(reinterpret_cast<T*>(scratch)) {}

    void run() const {
        const Layout& layout = job_.layout;
        for (std::int64_t plane = first_; plane < last_; ++plane) {
            T value = reduce(job_.x + batch_offset(layout, layout.x_batch, plane));
            if constexpr (floating<T> && !Op::idempotent) {
                if (job_.divisor != 0) value /= static_cast<T>(job_.divisor);
            }
            char* const y = job_.y + batch_offset(layout, layout.y_batch, plane);
            if (storer_.in_place)
                *reinterpret_cast<T*>(y) = value;
            else
                storer_.run(&value, 1, y, 0);
        }
    }

  private:
    T reduce(const char* x) const {
        if (job_.cells <= whole_block) return reduce_block(x, job_.cells);
        const std::int64_t bytes = size_of(job_.x_dtype);
        if constexpr (same<T, float> && !Op::idempotent) {
            double total = 0;
            for (std::int64_t at = 0; at < job_.cells; at += whole_block)
                total += static_cast<double>(
                    reduce_block(x + at * bytes, smaller(whole_block, job_.cells - at)));
            return static_cast<float>(total);
        } else {
            T total = reduce_block(x, whole_block);
            for (std::int64_t at = whole_block; at < job_.cells; at += whole_block)
                total =
                    Op::join({total},
                             {reduce_block(x + at * bytes, smaller(whole_block, job_.cells - at))})
                        .v;
            return total;
        }
    }
    T reduce_block(const char* x, std::int64_t count) const {
        const T* values = reinterpret_cast<const T*>(x);
        if (!loader_.in_place) {
            loader_.run(x, size_of(job_.x_dtype), count, block_);
            values = block_;
        }
        const T value = reduce_run<Op>(values, count);
        if constexpr (floating<T> && Op::idempotent) {
            // Lanes are not joined in order, which the sign of a zero can tell: the first one's.
            for (std::int64_t n = 0; value == 0 && n < count; ++n)
                if (values[n] == 0) return values[n];
        }
        return value;
    }

    const WholeJob& job_;
    std::int64_t first_, last_;
    Loader<T> loader_;
    Storer<T> storer_;
    T* block_;
};

template <class Op> void whole_unit(const WholeJob& job, std::int64_t unit, char* scratch) {
    WholeUnit<Op>(job, unit, scratch).run();
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
