// The plain structs a Plan compiles geometry into, and which kernels read.
//
// They hold pointers into the Plan's own vectors: kernel translation units must not instantiate
// anything that the rest of the program could share (see kernels/entry.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "types.h"

namespace poolwise {

// How one output row is made of input rows. Rows are numbered along a stream: row j of the stream
// is row base + j*step of the axis, so a dilated axis is `step` undilated streams.
//
// `split` cuts the window for the two-stack algorithm: rows [start, split) come from the suffix
// reductions, [split, stop) from the running prefix. It depends on the geometry alone, never on
// where a band of work begins, so sums have the same bits for any number of threads.
struct RowWindow {
    std::int64_t out, base, start, stop, split;
};

// Rows that a join takes at once, and one more than it may hold back: what windows that share
// nothing keep.
inline constexpr int rows_joined = 6;
inline constexpr std::int64_t rows_held = rows_joined + 1;

struct RowProgram {
    const RowWindow* windows = nullptr;
    std::int64_t count = 0;
    std::int64_t step = 1;
    std::int64_t tallest = 0;  // rows of the longest window
    std::int64_t ring = 1;     // rows alive at once: as many, or fewer
    bool two_stack = false;
    bool exclusive = false;  // no row belongs to two windows
    std::int64_t source_size = 1, output_size = 1;
};

// How one row is reduced along itself.
enum class RowMode : std::uint8_t { identity, slide, intervals };
struct RowReduction {
    RowMode mode = RowMode::identity;
    std::int64_t source_size = 1, output_size = 1;
    std::int64_t kernel = 1, stride = 1, dilation = 1, pad = 0,
                 expand = 1;               // slide; pad may be negative
    const std::int64_t* starts = nullptr;  // every mode: windows clipped to the source
    const std::int64_t* stops = nullptr;   // reads starts[i], starts[i] + step, … < stops[i]
    std::int64_t step = 1;
};

// One grid, in three axes (missing leading axes have one row), for the rows kernel.
struct RowsGeometry {
    RowProgram program[2];
    RowReduction row;
    std::int64_t source_size[3], output_size[3];
};

// Windows as taps: tap t of window i along an axis is cell first[i] + t * dilation, where that lies
// inside the input. A tap of the window is numbered in row-major order over taps[0..2].
struct WindowForm {
    const std::int64_t* first[3];
    std::int64_t taps[3], dilation[3];
    std::int64_t size[3], count[3];  // of the input and of the output
    std::int64_t stride[3], pad[3];  // sliding windows only
    bool sliding = false;            // first[i] = i * stride - pad on every axis
    bool dense = false;              // ... with no dilation, and no window misses the input
    bool filled = false;             // ... and no window misses the input, dilated or not
    std::int64_t cells() const { return taps[0] * taps[1] * taps[2]; }
};

// Taps that the direct kernel holds pointers to at once: along a row, and rows of a window.
inline constexpr int most_direct_taps = 32;
// Windows that share one cell, in the spread kernel.
inline constexpr int most_shares = 64;

// Bins over shared segments: the axis is cut at every bin edge of every grid, segments are reduced
// once, bins combine segments.
struct SegmentAxis {
    const std::int64_t* edges = nullptr;  // segment_count + 1
    const std::uint8_t* used = nullptr;   // whether any bin reads the segment
    std::int64_t segment_count = 1, size = 1;
};
struct SegmentGrid {
    std::int64_t output_size[3];
    const std::int64_t* first[3];          // segment range of each bin
    const std::int64_t* last[3];           // one past
    const std::int64_t* readers_first[3];  // bin range of each segment
    const std::int64_t* readers_last[3];
};

}  // namespace poolwise
