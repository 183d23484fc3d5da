// Gradients of small windows and of bins: like entry.cpp compiled once per instruction set.
#include "bins.h"
#include "spread.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class T> void offer(KernelTable& table, int at) {
    table.spread[at] = spread_unit<T>;
    table.spread_scratch[at] = spread_scratch<T>;
    table.bins[at] = bins_unit<T>;
    table.bins_scratch[at] = bins_scratch<T>;
}

}  // namespace

void offer_gradients(KernelTable& table) {
    offer<float>(table, 0);
    offer<double>(table, 1);
}

}  // namespace poolwise::POOLWISE_ISA
