// Windows over channels that lie beside each other: joined where they lie, pixel by pixel.
//
// A vector of channels of one output is kh * kw loads and joins and one store, whatever the stride;
// nothing is copied, and the cells that windows share come from the caches. That beats reducing
// rows first wherever windows share little: stride 2 and more, and 3x3. What comes next in memory
// is asked for row by row, since rows of channels lie too far apart for the hardware to follow
// (2x2/2 of 26 MB, one thread: 1.3 ms without, 0.6 with).
#pragma once

#include "outputs.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// Rows of the input that a row of outputs sees, as they lie from the first window's first cell on.
template <class T> struct LaneRows {
    const T* row[most_direct_taps];
    int count;                       // rows
    int fresh;                       // the last of them, that no row of outputs before has seen
    std::int64_t lanes, step;        // elements from cell to cell, and from window to window
    std::int64_t length, next_rows;  // elements of a row; and to the rows that come next

    // Asks for what windows from number `window` on will read, in this row or the next.
    POOLWISE_INLINE inline void ask_ahead(std::int64_t window) const {
        const std::int64_t ahead = window * step + read_ahead / sizeof(T);
        const std::int64_t from = ahead < length ? ahead : ahead - length + next_rows;
        for (int r = count - fresh; r < count; ++r)
            ask_for<0>(reinterpret_cast<const char*>(row[r] + from), step * sizeof(T));
    }
};

// out: `outputs` windows of `columns` cells each, numbered from `first`. Of the cells that the next
// window sees again, only the last window's are watched.
template <class Op, bool Exact, int Rows, int Columns, class After, class T = typename Op::Value>
POOLWISE_APART void join_beside(T* out, const LaneRows<T>& in, int columns, std::int64_t first,
                                std::int64_t outputs, const After& after, Suspects<Op>& watch) {
    using V = Vec<T>;
    constexpr std::int64_t each = vector_lanes<T>;
    const int rows = Rows ? Rows : in.count;
    if (Columns) columns = Columns;
    const std::int64_t lanes = in.lanes, step = in.step;
    const int watched = static_cast<int>(smaller<std::int64_t>(columns, step / lanes));
    const T* row[Rows ? Rows : most_direct_taps];
    for (int r = 0; r < rows; ++r) row[r] = in.row[r];
    Suspects<Op> seen;
    for (std::int64_t w = 0; w < outputs; ++w) {
        in.ask_ahead(first + w);
        const int looked_at = w + 1 < outputs ? watched : columns;
        for (std::int64_t n = 0; n < lanes; n += each) {
            const std::int64_t at = w * step + smaller(n, lanes - each);
            V all{};
            for (int r = 0; r < rows; ++r) {
                const T* const cells = row[r] + at;
                V one = load_vector<V>(cells);
                if (!Exact && looked_at == 1) seen(one);
                for (int c = 1; c < columns; ++c) {
                    const V next = load_vector<V>(cells + c * lanes);
                    if (!Exact && c < looked_at) c == 1 ? seen(one, next) : seen(next);
                    one = Op::template join<Exact>(one, next);
                }
                all = r == 0 ? one : Op::template join<Exact>(all, one);
            }
            const std::int64_t to = w * lanes + smaller(n, lanes - each);
            store_vector(out + to, after(all, (first + w) * lanes + smaller(n, lanes - each)));
        }
    }
    watch.lanes |= seen.lanes;
}

template <class Op, bool Exact, class After, class T = typename Op::Value>
auto beside_joiner(int rows, int columns) {
    if (rows == 2 && columns == 2) return join_beside<Op, Exact, 2, 2, After>;
    if (rows == 3 && columns == 3) return join_beside<Op, Exact, 3, 3, After>;
    if (rows == 1 && columns == 3) return join_beside<Op, Exact, 1, 3, After>;
    return join_beside<Op, Exact, 0, 0, After>;
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
