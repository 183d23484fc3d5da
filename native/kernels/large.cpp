// Large windows: like entry.cpp compiled once per instruction set, and beside it.
#include "large.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class Op> void offer(KernelTable& table, Operation op, Accumulator accumulator) {
    const int o = static_cast<int>(op), a = static_cast<int>(accumulator);
    table.large[o][a] = large_unit<Op>;
    table.large_scratch[o][a] = large_scratch<Op>;
}
template <class T> void offer_extremes(KernelTable& table, Accumulator accumulator) {
    offer<PickTaps<T, false>>(table, Operation::max, accumulator);
    offer<PickTaps<T, true>>(table, Operation::min, accumulator);
}
template <class T> void offer_winners(KernelTable& table, Accumulator accumulator) {
    offer<WinTaps<T, false>>(table, Operation::argmax, accumulator);
    offer<WinTaps<T, true>>(table, Operation::argmin, accumulator);
}

}  // namespace

void offer_large_windows(KernelTable& table) {
    offer_extremes<float>(table, Accumulator::float32);
    offer_extremes<double>(table, Accumulator::float64);
    offer_extremes<std::int16_t>(table, Accumulator::int16);
    offer_extremes<std::uint8_t>(table, Accumulator::uint8);
    offer<AddTaps<float>>(table, Operation::sum, Accumulator::float32);
    offer<AddTaps<double>>(table, Operation::sum, Accumulator::float64);
    offer_winners<float>(table, Accumulator::float32);
    offer_winners<double>(table, Accumulator::float64);
}

}  // namespace poolwise::POOLWISE_ISA
