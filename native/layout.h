// Views to the kernels' normal form: which axis becomes lanes, and the rest as a batch.
#pragma once

#include "core.h"
#include "kernels/table.h"
#include "plan.h"

namespace poolwise {

// Planes narrower than this fill vector registers badly on their own: sixteen of them become lanes.
// The direct kernel is at home in narrower ones.
inline constexpr std::int64_t narrow_row = 32, narrow_direct_row = 64, never_narrow = 0;

// `y` and `indices` follow `x` but on the pooled axes; either may be null (then x stands for it).
Layout make_layout(const ArrayView& x, std::int64_t x_item, const ArrayView* y,
                   const ArrayView* indices, const int* axes, int axis_count, bool allow_lanes,
                   std::int64_t narrow);

// Whether x, and a result of it, have the shapes that the plan asks for.
bool input_fits(const Plan& plan, const ArrayView& x, const int* axes);
bool result_fits(const Plan& plan, int grid, const ArrayView& x, const ArrayView& result,
                 const int* axes);

std::int64_t element_count(const ArrayView& view);

}  // namespace poolwise
