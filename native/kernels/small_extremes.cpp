// Small windows: maxima of doubles and integers.
#include "small.h"

namespace poolwise::POOLWISE_ISA {

void offer_small_extremes(KernelTable& table) {
    offer_extremes<double>(table, Accumulator::float64);
    offer_extremes<std::uint8_t>(table, Accumulator::uint8);
    offer_extremes<std::int16_t>(table, Accumulator::int16);
}

}  // namespace poolwise::POOLWISE_ISA
