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

// out: `outputs` windows of `columns` cells each, numbered from `first`, at least a vector of
// lanes. Of the cells that the next window sees again, only the last window's are watched.
template <class Op, bool Exact, int Rows, int Columns, class S, class D, class After>
POOLWISE_APART void join_beside(D* out, const LaneRows<S>& in, int columns, std::int64_t first,
                                std::int64_t outputs, const After& after, Suspects<Op>& watch) {
    using V = Vec<typename Op::Value>;
    constexpr std::int64_t each = vector_lanes<typename Op::Value>;
    const int rows = Rows ? Rows : in.count;
    if (Columns) columns = Columns;
    const std::int64_t lanes = in.lanes, step = in.step;
    const int watched = static_cast<int>(smaller<std::int64_t>(columns, step / lanes));
    const S* row[Rows ? Rows : most_direct_taps];
    for (int r = 0; r < rows; ++r) row[r] = in.row[r];
    Suspects<Op> seen;
    for (std::int64_t w = 0; w < outputs; ++w) {
        in.ask_ahead(first + w);
        const int looked_at = w + 1 < outputs ? watched : columns;
        for (std::int64_t n = 0; n < lanes; n += each) {
            const std::int64_t at = w * step + smaller(n, lanes - each);
            V all{};
            for (int r = 0; r < rows; ++r) {
                const S* const cells = row[r] + at;
                V one = Op::load(cells);
                if (!Exact && looked_at == 1) seen(one);
                for (int c = 1; c < columns; ++c) {
                    const V next = Op::load(cells + c * lanes);
                    if (!Exact && c < looked_at) c == 1 ? seen(one, next) : seen(next);
                    one = Op::template join<Exact>(one, next);
                }
                all = r == 0 ? one : Op::template join<Exact>(all, one);
            }
            const std::int64_t to = w * lanes + smaller(n, lanes - each);
            store_whole<Op>(out + to, after(all, (first + w) * lanes + smaller(n, lanes - each)));
        }
    }
    watch.lanes |= seen.lanes;
}

template <class Op, bool Exact, class S, class D, class After>
auto beside_joiner(int rows, int columns) {
    if (rows == 2 && columns == 2) return join_beside<Op, Exact, 2, 2, S, D, After>;
    if (rows == 3 && columns == 3) return join_beside<Op, Exact, 3, 3, S, D, After>;
    if (rows == 1 && columns == 3) return join_beside<Op, Exact, 1, 3, S, D, After>;
    return join_beside<Op, Exact, 0, 0, S, D, After>;
}

// visit(first output, outputs, first and last tap of each) along a row of `columns` outputs, whose
// first window begins at cell `low`: outputs beside each other that see all of their taps are told
// together.
template <class Visit>
void each_run(const WindowForm& form, std::int64_t low, std::int64_t columns, Visit&& visit) {
    const std::int64_t stride = form.stride[2], width = form.taps[2], size = form.size[2];
    for (std::int64_t c = 0; c < columns;) {
        const std::int64_t start = low + c * stride;
        const std::int64_t t0 = larger<std::int64_t>(0, -start), t1 = smaller(width, size - start);
        std::int64_t run = 1;
        if (t0 == 0 && t1 == width) run = smaller(columns - c, (size - width - start) / stride + 1);
        visit(c, run, t0, t1);
        c += run;
    }
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
