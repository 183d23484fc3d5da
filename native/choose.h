// Which accumulator a reduction is computed in, and facts about dtypes.
#pragma once

#include "core.h"
#include "kernels/table.h"

namespace poolwise {

std::int64_t item_size(Dtype dtype);
std::int64_t winner_bytes(WinnerForm form);
bool is_floating(Dtype dtype);
bool is_sixteen_bit_float(Dtype dtype);

struct Choice {
    Operation operation;
    Accumulator accumulator;
    std::int64_t value_bytes, index_bytes;

    std::int64_t element_bytes() const { return value_bytes + index_bytes; }
    int row() const { return static_cast<int>(operation); }
    int column() const { return static_cast<int>(accumulator); }
};

// Whether |x|^p and its sums are normal doubles, whatever x: powers up to the sixth of anything
// that four bytes hold are.
bool lp_powers_are_safe(std::int64_t item_bytes, double p);

// `cells` in the pooled axes of a map (what an index must reach), `window` in the largest window.
Choice choose(const Reducer& reducer, Dtype x, Dtype y, bool indexed, std::int64_t cells,
              std::int64_t window);

}  // namespace poolwise
