// Small windows: maxima with the cells they came from.
#include "small.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class T> void offer_winners(KernelTable& table, Accumulator accumulator) {
    offer_direct<WinTaps<T, false>>(table, Operation::argmax, accumulator);
    offer_direct<WinTaps<T, true>>(table, Operation::argmin, accumulator);
}

}  // namespace

void offer_small_winners(KernelTable& table) {
    offer_winners<float>(table, Accumulator::float32);
    offer_winners<double>(table, Accumulator::float64);
}

}  // namespace poolwise::POOLWISE_ISA
