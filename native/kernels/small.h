// Small windows: which kernel serves a unit of work.
#pragma once

#include "elements.h"
#include "sheet.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// visit(Of<the sheet kernel's unit>) for an operation and the job's dtypes.
template <class Unit> struct Of {
    typedef Unit Type;
};
template <class Careful, class Visit> void with_sheet(const DirectJob& job, Visit&& visit) {
    with_elements<Careful>(job.x_dtype, [&](auto of) {
        typedef decltype(of) E;
        typedef SheetUnit<typename E::Op, Careful, typename E::Source, typename E::Target> Unit;
        visit(Of<Unit>{});
    });
}

template <class Op> void direct_unit(const DirectJob& job, std::int64_t unit, char* scratch) {
    if (!job.sheet) return DirectUnit<Op>(job, unit, scratch).run();
    with_sheet<Op>(job, [&](auto of) {
        typedef typename decltype(of)::Type Unit;
        Unit(job, unit, scratch).run();
    });
}
template <class Op> std::int64_t direct_scratch(const DirectJob& job) {
    // A unit with NaN is done again by the direct kernel, in the same memory.
    std::int64_t bytes = DirectUnit<Op>::scratch_bytes(job);
    if (job.sheet)
        with_sheet<Op>(
            job, [&](auto of) { bytes = larger(bytes, decltype(of)::Type::scratch_bytes(job)); });
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
