// How work is cut into units: plane groups, lane blocks, column tiles, bands and pieces.
//
// Nothing here can change a result: units cut outputs apart, never a window's reduction (see
// RowWindow::split), so every number of threads gives the same bits.
#pragma once

#include "choose.h"
#include "kernels/table.h"
#include "run.h"

namespace poolwise {

std::int64_t padded_bytes(std::int64_t count, std::int64_t item_bytes);

// Large windows at stride 1 along dense rows; and whether it beats the kernels of small windows,
// where those can do the same.
bool suits_large(const RowsJob& job, const Choice& choice);
bool wins_large(const RowsJob& job);
// A batch refers to its job, which must outlive it.
// `share` is 1 when the job has the pool to itself, 0 when many jobs fill it without being cut up.
void cut_rows(RowsJob& job, const Choice& choice, std::int64_t share);
Batch rows_batch(const RowsJob& job, const Choice& choice);

void cut_segments(SegmentsJob& job, const Choice& choice, std::int64_t share);
// Whether winners of bins are better looked up than carried along. (The job is cut.)
bool finds_winners(const SegmentsJob& job);
std::int64_t segments_units(const SegmentsJob& job);
Batch segments_batch(const SegmentsJob& job, const Choice& choice);

// Small windows: few enough taps that joining them one by one beats every cleverer way.
bool suits_direct(const WindowForm& form, bool winners);
// Of them, those over planes or volumes without a gap in their rows, that a kernel of its own
// serves; else it is the direct kernel.
SmallKernel dense_kernel(const DirectJob& job);
bool planes_run_on(const DirectJob& job);
// And over channels beside each other, those whose windows share little: joining every window where
// it lies takes no more loads and stores than reducing its new rows first. (The job says so.)
bool suits_pixels(const DirectJob& job);
bool share_little(const WindowForm& form);
// Windows of any size of which no cell is in many: blocks.
bool suits_blocks(const WindowForm& form);
inline constexpr std::int64_t most_block_cells =
    1024;  // of bins: larger ones segments serve as well
// Windows of 3x3 whose taps lie two cells apart: the tile kernel alone knows them.
bool suits_dilated_tiles(const WindowForm& form);
void cut_direct(DirectJob& job, const Choice& choice, std::int64_t share);
Batch direct_batch(const DirectJob& job, const Choice& choice);

// Gradients of small windows: at most `most` windows share a cell.
bool suits_spread(const WindowForm& form, std::int64_t most);
bool square_at_stride_one(const WindowForm& form);
void cut_spread(SpreadJob& job, bool wide, std::int64_t share);
Batch spread_batch(const SpreadJob& job, bool wide);

// Gradients that go where their winners say. (Taps' tables are made.)
void cut_winners(WinnersJob& job);
Batch winners_batch(const WinnersJob& job);

// Whole maps: planes up to this size are reduced by one thread each.
inline constexpr std::int64_t whole_plane_bytes = 256 << 10;
void cut_whole(WholeJob& job, std::int64_t share);
Batch whole_batch(const WholeJob& job, const Choice& choice);

// Gradients of bins.
void cut_bins(BinsJob& job, bool wide);
Batch bins_batch(const BinsJob& job, bool wide);

}  // namespace poolwise
