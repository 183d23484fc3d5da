// Small windows: which kernel serves a unit of work.
#pragma once

#include "sheet.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// visit(unit of the sheet kernel) for an operation and the job's dtypes, of which the driver says
// only what stands here.
template <class Op, class Visit> void with_sheet(const DirectJob& job, Visit&& visit) {
    using T = typename Op::Value;
    if constexpr (Op::indexed) {
        return;
    } else if constexpr (same<T, float> && Op::watched) {
        constexpr bool least = Op::least;
        if (job.x_dtype == Dtype::float16)
            visit(SheetUnit<PickBits<Half, least>, Op, Half, Half>::at());
        else if (job.x_dtype == Dtype::bfloat16)
            visit(SheetUnit<PickBits<Brain, least>, Op, Brain, Brain>::at());
        else
            visit(SheetUnit<Op, Op, float, float>::at());
    } else if constexpr (same<T, float>) {
        switch (job.x_dtype) {
            case Dtype::float16: return visit(SheetUnit<Op, Op, Half, Half>::at());
            case Dtype::bfloat16: return visit(SheetUnit<Op, Op, Brain, Brain>::at());
            case Dtype::uint8: return visit(SheetUnit<Op, Op, std::uint8_t, float>::at());
            case Dtype::int16: return visit(SheetUnit<Op, Op, std::int16_t, float>::at());
            default: return visit(SheetUnit<Op, Op, float, float>::at());
        }
    } else {
        visit(SheetUnit<Op, Op, T, T>::at());
    }
}

template <class Op> void direct_unit(const DirectJob& job, std::int64_t unit, char* scratch) {
    if (!job.sheet) return DirectUnit<Op>(job, unit, scratch).run();
    with_sheet<Op>(job, [&](auto entry) { decltype(entry)::make(job, unit, scratch); });
}
template <class Op> std::int64_t direct_scratch(const DirectJob& job) {
    // A unit with NaN is done again by the direct kernel, in the same memory.
    std::int64_t bytes = DirectUnit<Op>::scratch_bytes(job);
    if (job.sheet)
        with_sheet<Op>(
            job, [&](auto entry) { bytes = larger(bytes, decltype(entry)::scratch_bytes(job)); });
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
