#include "layout.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace poolwise {

namespace {

struct BatchAxis {
    std::int64_t size, x, y, i;
};

}  // namespace

Layout make_layout(const ArrayView& x, std::int64_t x_item, const ArrayView* y,
                   const ArrayView* indices, const int* axes, int axis_count, bool allow_lanes,
                   std::int64_t narrow) {
    Layout layout;
    const ArrayView& like_y = y ? *y : x;
    const ArrayView& like_i = indices ? *indices : x;
    for (int a = 0; a < 3; ++a) {
        const int from = a - (3 - axis_count);
        const int axis = from < 0 ? -1 : axes[from];
        layout.x_axis[a] = axis < 0 ? 0 : x.strides[axis];
        layout.y_axis[a] = axis < 0 ? 0 : like_y.strides[axis];
        layout.i_axis[a] = axis < 0 ? 0 : like_i.strides[axis];
    }
    const std::int64_t width = x.shape[axes[axis_count - 1]];

    std::vector<BatchAxis> batch;
    for (int d = 0; d < x.rank; ++d) {
        if (std::find(axes, axes + axis_count, d) != axes + axis_count || x.shape[d] == 1) continue;
        batch.push_back({x.shape[d], x.strides[d], like_y.strides[d], like_i.strides[d]});
    }
    // Order does not matter to the result: largest strides outermost, then neighbours that run on
    // merge.
    std::stable_sort(batch.begin(), batch.end(), [](const BatchAxis& a, const BatchAxis& b) {
        return std::llabs(a.x) > std::llabs(b.x);
    });
    std::vector<BatchAxis> merged;
    for (const BatchAxis& axis : batch) {
        if (!merged.empty()) {
            BatchAxis& outer = merged.back();
            if (outer.x == axis.x * axis.size && outer.y == axis.y * axis.size &&
                outer.i == axis.i * axis.size) {
                outer = {outer.size * axis.size, axis.x, axis.y, axis.i};
                continue;
            }
        }
        merged.push_back(axis);
    }
    const bool rows_run_on = layout.x_axis[2] == x_item && width > 1;
    if (allow_lanes && !rows_run_on && !merged.empty() && merged.back().x == x_item) {
        layout.lanes = merged.back().size;
        layout.x_lane = merged.back().x;
        layout.y_lane = merged.back().y;
        layout.i_lane = merged.back().i;
        merged.pop_back();
    }
    layout.batch_rank = static_cast<int>(merged.size());
    for (std::size_t b = 0; b < merged.size(); ++b) {
        layout.batch_shape[b] = merged[b].size;
        layout.x_batch[b] = merged[b].x;
        layout.y_batch[b] = merged[b].y;
        layout.i_batch[b] = merged[b].i;
        layout.planes *= merged[b].size;
    }
    layout.gather = layout.lanes == 1 && width < narrow;
    return layout;
}

bool input_fits(const Plan& plan, const ArrayView& x, const int* axes) {
    if (x.rank < plan.axis_count() || x.rank > max_rank) return false;
    for (int a = 0; a < plan.axis_count(); ++a) {
        const int axis = axes[a];
        if (axis < 0 || axis >= x.rank || (a > 0 && axis <= axes[a - 1])) return false;
        if (x.shape[axis] != plan.input_size(3 - plan.axis_count() + a)) return false;
    }
    return true;
}

bool result_fits(const Plan& plan, int grid, const ArrayView& x, const ArrayView& result,
                 const int* axes) {
    if (result.rank != x.rank) return false;
    int a = 0;
    for (int d = 0; d < x.rank; ++d) {
        const bool pooled = a < plan.axis_count() && axes[a] == d;
        const std::int64_t expected =
            pooled ? plan.output_size(grid, 3 - plan.axis_count() + a) : x.shape[d];
        if (result.shape[d] != expected) return false;
        a += pooled;
    }
    return true;
}

std::int64_t element_count(const ArrayView& view) {
    std::int64_t n = 1;
    for (int d = 0; d < view.rank; ++d) n *= view.shape[d];
    return n;
}

}  // namespace poolwise
