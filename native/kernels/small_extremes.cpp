// Small windows: maxima of doubles and integers, and winners.
#include "small.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class T> void offer_winners(KernelTable& table, Accumulator accumulator) {
    offer_direct<WinTaps<T, false>>(table, Operation::argmax, accumulator);
    offer_direct<WinTaps<T, true>>(table, Operation::argmin, accumulator);
}

}  // namespace

void offer_small_extremes(KernelTable& table) {
    offer_extremes<double>(table, Accumulator::float64);
    offer_extremes<std::uint8_t>(table, Accumulator::uint8);
    offer_extremes<std::int16_t>(table, Accumulator::int16);
    offer_winners<float>(table, Accumulator::float32);
    offer_winners<double>(table, Accumulator::float64);
}

}  // namespace poolwise::POOLWISE_ISA
