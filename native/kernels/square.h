// Winners' gradients of square windows at stride 1: a few rows of cells at once.
//
// Every window of a row is asked once which cell it sends its gradient to: its gradient and its
// winner are loaded once for all the rows of cells that it may lie in. Cost per vector of cells: a
// comparison, a mask and an addition per window that sees it, and about a third of the loads that
// asking for every row alone takes.
#pragma once

#include "outputs.h"

namespace poolwise::POOLWISE_ISA {
namespace {

inline constexpr int square_rows = 4;  // made at once

// A row of windows, from the leftmost that sees the first cell: gradients, and winners' taps.
template <class T> struct WindowsRow {
    const T* dy;
    const TapInt<T>* winner;
};

// out[i][0, count), at least a vector: what the windows of rows i to i + Size - 1 of `from` send
// there. Windows beside each other are `step` apart.
template <class T, int Size, int Rows>
POOLWISE_APART void add_square(T* const* out, const WindowsRow<T>* from, std::int64_t step,
                               std::int64_t count) {
    using V = Vec<T>;
    using I = TapInt<T>;
    constexpr std::int64_t lanes = vector_lanes<T>;
    constexpr int window_rows = Rows + Size - 1;
    WindowsRow<T> row[window_rows];
    for (int j = 0; j < window_rows; ++j) row[j] = from[j];
    T* to[Rows];
    for (int i = 0; i < Rows; ++i) to[i] = out[i];
    for (std::int64_t at = 0; at < count; at += lanes) {
        const std::int64_t n = smaller(at, count - lanes);
        V total[Rows];
        for (int i = 0; i < Rows; ++i) total[i] = V{};
        each_width<0, window_rows * Size>([&](auto share) POOLWISE_INLINE {
            constexpr int j = decltype(share)::value / Size, m = decltype(share)::value % Size;
            const V dy = held(load_vector<V>(row[j].dy + n + m * step));
            const auto winner = held(load_vector<Vec<I>>(row[j].winner + n + m * step));
            each_width<larger(0, j - Size + 1), smaller(j, Rows - 1) + 1>(
                [&](auto cells) POOLWISE_INLINE {
                    constexpr int i = decltype(cells)::value;
                    constexpr I tap = (Size - 1 - j + i) * Size + Size - 1 - m;
                    total[i] += winner == tap ? dy : V{};
                });
        });
        for (int i = 0; i < Rows; ++i) {
            ask_for<1>(reinterpret_cast<const char*>(to[i] + n) + write_ahead, vector_bytes);
            store_vector(to[i] + n, total[i]);
        }
    }
}

template <class T, int Size>
void add_square_rows(T* const* out, int rows, const WindowsRow<T>* from, std::int64_t step,
                     std::int64_t count) {
    if (rows == square_rows) return add_square<T, Size, square_rows>(out, from, step, count);
    for (int i = 0; i < rows; ++i) add_square<T, Size, 1>(out + i, from + i, step, count);
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
