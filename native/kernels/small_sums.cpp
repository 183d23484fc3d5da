// Small windows: sums and means.
#include "small.h"

namespace poolwise::POOLWISE_ISA {

void offer_small_sums(KernelTable& table) {
    offer_direct<AddTaps<float>>(table, Operation::sum, Accumulator::float32);
    offer_direct<AddTaps<double>>(table, Operation::sum, Accumulator::float64);
}

}  // namespace poolwise::POOLWISE_ISA
