// Views to the kernels' normal form: which axis becomes lanes, and the rest as a batch.
#pragma once

#include "core.h"
#include "kernels/table.h"

namespace poolwise {

// `y` and `indices` follow `x` but on the pooled axes; either may be null (then x stands for it).
Layout make_layout(const ArrayView& x, std::int64_t x_item, const ArrayView* y,
                   const ArrayView* indices, const int* axes, int axis_count, bool allow_lanes,
                   bool allow_gather);

}  // namespace poolwise
