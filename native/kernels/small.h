// Small windows: which kernel serves a unit of work.
#pragma once

#include "blocks.h"
#include "elements.h"
#include "narrow.h"
#include "pixels.h"
#include "sheet.h"
#include "volume.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// visit(Of<the kernel's unit>) for an operation and the job's dtypes.
template <class Unit> struct Of {
    typedef Unit Type;
};
template <class Careful, class Visit> void with_unit(const DirectJob& job, Visit&& visit) {
    if (job.kernel == SmallKernel::direct) return visit(Of<DirectUnit<Careful>>{});
    with_elements<Careful>(job.x_dtype, [&](auto of) {
        typedef decltype(of) E;
        typedef typename E::Op Op;
        typedef typename E::Source S;
        typedef typename E::Target D;
        if (job.kernel == SmallKernel::tile) return visit(Of<TileUnit<Op, Careful, S, D>>{});
        if constexpr (!Op::indexed) {
            if (job.kernel == SmallKernel::sheet) {
                typedef NarrowUnit<Op, Careful, S, D> Narrow;
                if constexpr (Narrow::possible)
                    if (Narrow::suits(job)) return visit(Of<Narrow>{});
                return visit(Of<SheetUnit<Op, Careful, S, D>>{});
            }
            if (job.kernel == SmallKernel::pixels)
                return visit(Of<PixelsUnit<Op, Careful, S, D>>{});
            if (job.kernel == SmallKernel::blocks)
                return visit(Of<BlocksUnit<Op, Careful, S, D>>{});
            // (bits of 16-bit floats would be turned where they are kept)
            if constexpr (!Op::watched || same<typename Op::Value, D>)
                visit(Of<VolumeUnit<Op, Careful, S, D>>{});
        }
    });
}

template <class Op> void direct_unit(const DirectJob& job, std::int64_t unit, char* scratch) {
    with_unit<Op>(job, [&](auto of) {
        typedef typename decltype(of)::Type Unit;
        Unit(job, unit, scratch).run();
    });
}
template <class Op> std::int64_t direct_scratch(const DirectJob& job) {
    // A unit with NaN is done again by the direct kernel, in the same memory (blocks are not).
    std::int64_t bytes = job.kernel == SmallKernel::blocks ? 0 : DirectUnit<Op>::scratch_bytes(job);
    with_unit<Op>(job,
                  [&](auto of) { bytes = larger(bytes, decltype(of)::Type::scratch_bytes(job)); });
    return bytes;
}

template <class Op> void offer_direct(KernelTable& table, Operation op, Accumulator accumulator) {
    const int o = static_cast<int>(op), a = static_cast<int>(accumulator);
    table.direct[o][a] = direct_unit<Op>;
    table.direct_scratch[o][a] = direct_scratch<Op>;
}
template <class T> void offer_extremes(KernelTable& table, Accumulator accumulator) {
    offer_direct<PickTaps<T, false>>(table, Operation::max, accumulator);
    offer_direct<PickTaps<T, true>>(table, Operation::min, accumulator);
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
