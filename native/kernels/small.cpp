// Small windows of floats, and gradients of small windows and of bins: like entry.cpp compiled once
// per instruction set, and beside it, to halve the wait.
#include "small.h"
#include "bins.h"
#include "spread.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class T> void offer(KernelTable& table, Accumulator accumulator, int at) {
    offer_extremes<T>(table, accumulator);
    offer_direct<AddTaps<T>>(table, Operation::sum, accumulator);
    table.spread[at] = spread_unit<T>;
    table.spread_scratch[at] = spread_scratch<T>;
    table.bins[at] = bins_unit<T>;
    table.bins_scratch[at] = bins_scratch<T>;
}

}  // namespace

void offer_small_windows(KernelTable& table) {
    offer<float>(table, Accumulator::float32, 0);
    offer<double>(table, Accumulator::float64, 1);
}

}  // namespace poolwise::POOLWISE_ISA
