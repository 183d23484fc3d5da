// What one instruction set's kernels offer: a table of functions, and the plain structs they read.
//
// Everything here is plain data: kernel translation units are compiled for instructions this
// machine may not have, so they must share no inline function or template with the rest of the
// program.
#pragma once

#include "../geometry.h"

namespace poolwise {

// The accumulator a kernel computes in; the driver picks it from the dtypes and the reducer.
enum class Accumulator : std::uint8_t {
    float32,
    float64,
    int16,
    int32,
    int64,
    uint8,
    uint64,
    int128,
};
inline constexpr int accumulator_count = 8;

enum class Operation : std::uint8_t { max, min, sum, argmax, argmin };
inline constexpr int operation_count = 5;

// Where the batch items and the three pooled axes of x, y and the indices lie, in bytes. Lanes are
// what a vector register holds beside each other: channels that lie side by side in memory, or
// (`gather`) up to sixteen small planes brought together, or one.
struct Layout {
    int batch_rank = 0;
    std::int64_t batch_shape[max_rank], x_batch[max_rank], y_batch[max_rank], i_batch[max_rank];
    std::int64_t planes = 1;  // product of batch_shape
    std::int64_t lanes = 1, x_lane = 0, y_lane = 0, i_lane = 0;
    std::int64_t x_axis[3], y_axis[3], i_axis[3];
    bool gather = false;
};

// What is divided by a mean's divisor: the result, or (gradients) the source as it is read.
enum class Divide : std::uint8_t { nothing, result, source };

// lp pooling is a sum of powers in double, then a root. Where a sum of powers left double's range
// (never when `safe`), the window is done again from its cells, scaled by its largest.
// The root multiplies a sum's relative error by 1/p, so powers below `least_power` are done from
// the cells too.
inline constexpr double least_power = 0.25;
struct LpRule {
    double p = 2.0;
    bool safe = false;
    const std::int64_t* starts[3];
    const std::int64_t* stops[3];
    std::int64_t step[3];
};

// Rows kernel: one grid. Units are numbered plane group, lane block, column tile, band.
struct RowsJob {
    const RowsGeometry* geometry = nullptr;
    Layout layout;
    const char* x = nullptr;
    char* y = nullptr;
    char* indices = nullptr;
    Dtype x_dtype, y_dtype;
    Divide divide = Divide::nothing;
    const std::int64_t* divisors[3] = {nullptr, nullptr, nullptr};
    std::int64_t divisor_override = 0;
    WinnerForm winners = WinnerForm::none;
    const WindowForm* form = nullptr;  // where winners are told as taps
    bool accumulate = false;           // y += result (float32 and float64 only)
    bool patch_empty = false;          // max and min of windows that see no cell
    const LpRule* lp = nullptr;
    std::int64_t groups = 1, lane_blocks = 1, lane_block = 1;
    std::int64_t column_tiles = 1, column_tile = 1, bands = 1, band = 1;
    std::int64_t rows_at_once = 1;   // reduced along themselves
    bool large = false;              // the large-window kernel's, until it meets a NaN
    bool past_caches = false;        // ... whose outputs are written past the caches,
    bool far_past_caches = false;    // and are several times as large as they are
    std::int64_t scratch_bytes = 0;  // each thread's
};

struct SegmentsTarget {
    const SegmentGrid* grid = nullptr;
    Layout layout;
    char* y = nullptr;
    char* indices = nullptr;
    const WindowForm* form = nullptr;
    const std::int64_t* divisors[3] = {nullptr, nullptr, nullptr};
    const LpRule* lp = nullptr;
};

// Segments kernel: every grid of a plan. A unit is a plane group, or (`cells` given) a piece of
// one: then the segments go to `cells` first, and a second run with `combine` makes the bins.
struct SegmentsJob {
    const SegmentAxis* axes = nullptr;
    const SegmentsTarget* targets = nullptr;
    int target_count = 0;
    const char* x = nullptr;
    Dtype x_dtype, y_dtype;
    WinnerForm winners = WinnerForm::none;
    bool divide = false;
    std::int64_t divisor_override = 0;
    std::int64_t groups = 1, lane_blocks = 1, lane_block = 1, pieces = 1;
    char* cells = nullptr;
    bool combine = false;
    bool find = false;            // winners are looked up when the values are made
    bool at_once = false;         // small planes are brought together whole, not row by row
    std::int64_t cell_bytes = 0;  // of one plane group's segments
    std::int64_t scratch_bytes = 0;
};

// Cells that the sheet kernel holds of small planes.
inline constexpr std::int64_t small_cells = 768;

// Which of the kernels of small windows serves a job: dense planes, small ones several at once,
// dense volumes, channels that are joined where they lie, blocks; or anything at all.
enum class SmallKernel : std::uint8_t { tile, sheet, volume, pixels, blocks, direct };

// Small sliding windows. A unit is a run of plane groups, a lane block, a column tile and a band of
// output rows (of planes, for volumes).
struct DirectJob {
    const WindowForm* form = nullptr;
    Layout layout;
    const char* x = nullptr;
    char* y = nullptr;
    char* indices = nullptr;
    Dtype x_dtype, y_dtype;
    WinnerForm winners = WinnerForm::none;
    bool divide = false;
    const std::int64_t* divisors[3] = {nullptr, nullptr, nullptr};
    std::int64_t divisor_override = 0;
    // Joining every window where it lies takes no more loads and stores than reducing its new rows
    // first, with channels side by side.
    bool share_little = false;
    SmallKernel kernel = SmallKernel::direct;
    bool planes_run_on = false;  // dense planes follow each other without a gap
    bool past_caches = false;    // dense planes and winners are written past the caches
    std::int64_t groups = 1, groups_per_unit = 1;
    std::int64_t lane_blocks = 1, lane_block = 1;
    std::int64_t column_tiles = 1, column_tile = 1, bands = 1, band = 1;
    std::int64_t scratch_bytes = 0;  // each thread's
};

// Spread kernel: gradients of small sliding windows, cell by cell. Units as above, over cells.
struct SpreadJob {
    const WindowForm* form = nullptr;
    Layout layout;  // x: dx; y: dy; i: winners
    char* dx = nullptr;
    const char* dy = nullptr;
    const char* winners = nullptr;  // taps of eight bits; null for sums and means
    Dtype dtype;
    bool divide = false;
    bool square = false;  // winners of windows of 3x3 or 5x5 at stride 1
    const std::int64_t* divisors[3] = {nullptr, nullptr, nullptr};
    std::int64_t divisor_override = 0;
    std::int64_t groups = 1, groups_per_unit = 1;
    std::int64_t lane_blocks = 1, lane_block = 1, bands = 1, band = 1;
    bool* bad = nullptr;  // set when a tap is none of the window's
};

// Whole maps, dense: a unit is a run of planes.
struct WholeJob {
    Layout layout;
    const char* x = nullptr;
    char* y = nullptr;
    Dtype x_dtype, y_dtype;
    std::int64_t cells = 1, divisor = 0, planes_per_unit = 1;  // divisor 0: no mean
};

// Bins kernel: gradients of sums and means over every grid of a plan. A unit is a run of planes, a
// block of lanes and a band of rows.
struct BinsTarget {
    const SegmentGrid* grid = nullptr;
    Layout layout;  // x: dx; y: dy
    const char* dy = nullptr;
    const std::int64_t* divisors[3] = {nullptr, nullptr, nullptr};
};
struct BinsJob {
    const SegmentAxis* axes = nullptr;
    const BinsTarget* targets = nullptr;
    int target_count = 0;
    char* dx = nullptr;
    Dtype dx_dtype, dy_dtype;
    bool divide = false, past_caches = false;
    std::int64_t divisor_override = 0;
    std::int64_t planes_per_unit = 1, lane_blocks = 1, lane_block = 1, bands = 1, band = 1;
};

// Where each tap of a window lies, seen from the window's first cell. A number that is no tap of
// the window stands at the first cell.
struct TapTable {
    std::int64_t step[3][256], bytes[256];
    // The same over a plane that has room for all of the padding, and that plane's sizes.
    std::int64_t padded_bytes[256], padded[3];
};

// Winners' gradients, and unpooling: a unit is a plane group.
inline constexpr int planes_scattered = 4;  // at once

struct WinnersJob {
    Layout layout;  // x: dx; y: dy; i: indices
    char* dx = nullptr;
    const char* dy = nullptr;
    const char* indices = nullptr;
    Dtype dtype;
    WinnerForm winners = WinnerForm::index64;
    const WindowForm* form = nullptr;  // where winners are told as taps, and their table
    const TapTable* taps = nullptr;
    std::int64_t dx_size[3], dy_size[3];
    bool accumulate = true, zero_first = true;
    bool may_be_none = false;  // index -1: a window that sees no cell
    // Where rows of values and of winners lie side by side, a unit is several planes; of taps, its
    // scratch holds as many with their padding. Else it is a plane with its lanes.
    bool several = false;
    std::int64_t planes_per_unit = 1, scratch_bytes = 64;
    bool* bad = nullptr;  // set when a tap is none of the window's
};

// lp gradients window by window, for powers that leave double's range: a unit is one plane. The
// layout's x is x, its y is dx, its indices are dy.
struct LpJob {
    Layout layout;
    const char* x = nullptr;
    char* dx = nullptr;
    const char* dy = nullptr;
    Dtype dtype;
    LpRule rule;
    std::int64_t input_size[3], output_size[3];
};

struct KernelTable {
    const char* isa;
    void (*rows[operation_count][accumulator_count])(const RowsJob&, std::int64_t unit,
                                                     char* scratch);
    // Rows jobs of dense rows; float32, float64 and maxima of small integers alone. False where a
    // unit has to be done again by the rows kernel.
    bool (*large[operation_count][accumulator_count])(const RowsJob&, std::int64_t unit,
                                                      char* scratch);
    std::int64_t (*large_scratch[operation_count][accumulator_count])(const RowsJob&);
    void (*segments[operation_count][accumulator_count])(const SegmentsJob&, std::int64_t unit,
                                                         char* scratch);
    // Of a unit whose values are made, in float32 and float64.
    void (*find_winners[2])(const SegmentsJob&, std::int64_t unit);
    // float32 and float64 alone; null elsewhere
    void (*whole[operation_count][accumulator_count])(const WholeJob&, std::int64_t unit,
                                                      char* scratch);
    // ... and maxima of small integers
    void (*direct[operation_count][accumulator_count])(const DirectJob&, std::int64_t unit,
                                                       char* scratch);
    std::int64_t (*direct_scratch[operation_count][accumulator_count])(const DirectJob&);
    void (*spread[2])(const SpreadJob&, std::int64_t unit, char* scratch);  // in float32, float64
    std::int64_t (*spread_scratch[2])(const SpreadJob&);
    void (*bins[2])(const BinsJob&, std::int64_t unit, char* scratch);  // likewise
    std::int64_t (*bins_scratch[2])(const BinsJob&);
    bool (*check_winners)(const WinnersJob&, std::int64_t unit);
    void (*scatter)(const WinnersJob&, std::int64_t unit, char* scratch);
    void (*convert_strided)(const char* source, Dtype source_dtype, std::int64_t source_stride,
                            char* target, Dtype target_dtype, std::int64_t target_stride,
                            std::int64_t count);
    void (*lp_backward)(const LpJob* jobs, int count, std::int64_t unit, char* scratch);
    // y becomes g y^(1-p); x becomes sign(x) |x|^(p-1) times the sums
    void (*lp_scale_gradient)(const char* gradient, Dtype dtype, std::int64_t stride, double* y,
                              std::int64_t count, double p);
    void (*lp_apply_slope)(char* x, Dtype dtype, std::int64_t stride, const double* sums,
                           std::int64_t count, double p);
};

}  // namespace poolwise
