// Which instruction set's kernels run: chosen once, from what the CPU has and what POOLWISE_ISA
// asks for.
#pragma once

#include "kernels/table.h"

namespace poolwise {

const KernelTable& kernels();

// Notes what the kernel that just ran was compiled for (last_run_isa).
void note_run(const KernelTable& table);

}  // namespace poolwise
