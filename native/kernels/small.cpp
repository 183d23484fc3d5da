// Small windows: maxima of float32 and of what is compared in its place. Like entry.cpp compiled
// once per instruction set, and beside it, as the other small_*.cpp are, to shorten the wait.
#include "small.h"

namespace poolwise::POOLWISE_ISA {

void offer_small_windows(KernelTable& table) { offer_extremes<float>(table, Accumulator::float32); }

}  // namespace poolwise::POOLWISE_ISA
