// Which operation on which elements serves a job: what arrays hold is not always what is joined.
#pragma once

#include "joins.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// An operation, the elements it reads and those it writes, handed over as a value.
template <class Operation, class S, class D> struct Elements {
    typedef Operation Op;
    typedef S Source;
    typedef D Target;
};

// visit(the elements of an operation on float32, float64 or small integers, for an input of this
// dtype): those that the driver calls simple (tiles.cpp).
template <class Op, class Visit> void with_elements(Dtype x, Visit&& visit) {
    using T = typename Op::Value;
    if constexpr (Op::indexed) {  // winners
        visit(Elements<Op, T, T>{});
    } else if constexpr (same<T, float> && Op::watched) {
        constexpr bool least = Op::least;
        if (x == Dtype::float16)
            visit(Elements<PickBits<Half, least>, Half, Half>{});
        else if (x == Dtype::bfloat16)
            visit(Elements<PickBits<Brain, least>, Brain, Brain>{});
        else
            visit(Elements<Op, float, float>{});
    } else if constexpr (same<T, float>) {
        switch (x) {
            case Dtype::float16: return visit(Elements<Op, Half, Half>{});
            case Dtype::bfloat16: return visit(Elements<Op, Brain, Brain>{});
            case Dtype::uint8: return visit(Elements<Op, std::uint8_t, float>{});
            case Dtype::int16: return visit(Elements<Op, std::int16_t, float>{});
            default: return visit(Elements<Op, float, float>{});
        }
    } else {
        visit(Elements<Op, T, T>{});
    }
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
