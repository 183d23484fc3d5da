// Small windows: which kernel serves a unit of work.
#pragma once

#include "sheet.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// A type, handed over as a value.
template <class Unit> struct Of {
    typedef Unit Type;
};

// visit(Of<the sheet kernel's unit>) for an operation and the job's dtypes: those that the driver
// calls a sheet.
template <class Op, class Visit> void with_sheet(const DirectJob& job, Visit&& visit) {
    using T = typename Op::Value;
    if constexpr (Op::indexed) {
        return;
    } else if constexpr (same<T, float> && Op::watched) {
        constexpr bool least = Op::least;
        if (job.x_dtype == Dtype::float16)
            visit(Of<SheetUnit<PickBits<Half, least>, Op, Half, Half>>{});
        else if (job.x_dtype == Dtype::bfloat16)
            visit(Of<SheetUnit<PickBits<Brain, least>, Op, Brain, Brain>>{});
        else
            visit(Of<SheetUnit<Op, Op, float, float>>{});
    } else if constexpr (same<T, float>) {
        switch (job.x_dtype) {
            case Dtype::float16: return visit(Of<SheetUnit<Op, Op, Half, Half>>{});
            case Dtype::bfloat16: return visit(Of<SheetUnit<Op, Op, Brain, Brain>>{});
            case Dtype::uint8: return visit(Of<SheetUnit<Op, Op, std::uint8_t, float>>{});
            case Dtype::int16: return visit(Of<SheetUnit<Op, Op, std::int16_t, float>>{});
            default: return visit(Of<SheetUnit<Op, Op, float, float>>{});
        }
    } else {
        visit(Of<SheetUnit<Op, Op, T, T>>{});
    }
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
