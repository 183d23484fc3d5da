#include "tiles.h"

#include <algorithm>

#include "dispatch.h"
#include "layout.h"

namespace poolwise {

namespace {

constexpr std::int64_t ring_bytes = 192 << 10;  // rows a unit keeps alive should stay in its caches
constexpr std::int64_t large_ring_bytes = 4 << 20;
constexpr std::int64_t plane_bytes = 2 << 20;  // and the pooled planes of three axes
constexpr std::int64_t gathered = 16;
constexpr std::int64_t plane_at_once_bytes = 64 << 10;
constexpr std::int64_t most_large_rows = 8;  // joined without stacks
// Sums run over so many rows, and a row of outputs over so many cells beside its own.
constexpr std::int64_t most_block_rows = 256, most_block_columns = 4096;
// Measured: from 7 x 7 on reading rows into place is cheaper than gates.
constexpr std::int64_t most_dense_taps = 5, widest_row = 2048;
constexpr std::int64_t longest_row_bytes = 128 << 10;
constexpr std::int64_t rows_elements = 512, most_rows_at_once = 8;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

// An Arena starts every piece on a cache line and leaves a line between pieces.
std::int64_t padded_bytes(std::int64_t count, std::int64_t item_bytes) {
    return item_bytes == 0 ? 0 : (count * item_bytes + 127) / 64 * 64;
}

// Elements that kernels other than the direct and the rows kernel can read and write: the
// accumulator's, 16-bit floats, small integers whose means are floats.
bool simple_dtypes(Dtype x, Dtype y, bool divide) {
    if (is_sixteen_bit_float(x) || x == Dtype::float32 || x == Dtype::float64) return x == y;
    if (x == y) return x == Dtype::int16 || x == Dtype::uint8 || x == Dtype::boolean;
    return divide && y == Dtype::float32 && (x == Dtype::uint8 || x == Dtype::int16);
}

namespace {

// Winners side by side, of floats as wide as what they are compared in: their places in a plane of
// more than 2^31 cells are told with the wider ones.
bool simple_winners(WinnerForm winners, const Layout& layout, const WindowForm& form, Dtype x) {
    const std::int64_t item = winner_bytes(winners);
    const bool far = form.size[0] * form.size[1] * form.size[2] > INT32_MAX;
    return winners == WinnerForm::none || (((x == Dtype::float32 && !far) || x == Dtype::float64) &&
                                           layout.i_axis[2] == layout.lanes * item &&
                                           (layout.lanes == 1 || layout.i_lane == item));
}

}  // namespace

bool wins_large(const RowsJob& job) {
    const RowsGeometry& g = *job.geometry;
    const std::int64_t longest = std::max(g.program[1].tallest, g.row.kernel);
    return job.large && (longest > most_dense_taps || g.row.source_size > widest_row ||
                         (job.layout.lanes > 1 && !g.program[1].exclusive));
}

bool suits_large(const RowsJob& job, const Choice& choice) {
    const RowsGeometry& g = *job.geometry;
    const Layout& layout = job.layout;
    const bool slides = g.row.mode != RowMode::intervals && g.row.stride == 1 && g.row.expand == 1;
    const std::int64_t x = item_size(job.x_dtype), y = item_size(job.y_dtype);
    const bool dense = layout.lanes == 1 ? layout.x_axis[2] == x && layout.y_axis[2] == y
                                         : layout.x_lane == x && layout.y_lane == y;
    // (taps only where neighbouring cells of a window are neighbours)
    const bool winners = job.winners == WinnerForm::none ||
                         (simple_winners(job.winners, layout, *job.form, job.x_dtype) &&
                          layout.y_axis[2] == layout.lanes * y &&
                          (job.winners != WinnerForm::tap8 || job.form->dense));
    return slides && dense && !layout.gather && !job.lp && !job.patch_empty && !job.accumulate &&
           winners && g.source_size[0] == 1 && g.output_size[0] == 1 && g.program[0].ring == 1 &&
           (g.program[1].two_stack || g.program[1].tallest <= most_large_rows) &&
           simple_dtypes(job.x_dtype, job.y_dtype, job.divide == Divide::result) &&
           kernels().large[choice.row()][choice.column()] != nullptr;
}

void cut_rows(RowsJob& job, const Choice& choice, std::int64_t share) {
    const RowsGeometry& g = *job.geometry;
    const Layout& layout = job.layout;
    const std::int64_t element = choice.element_bytes();
    const RowProgram& planes = g.program[0];
    const RowProgram& rows = g.program[1];
    const std::int64_t alive = rows.ring + 3;

    job.groups = layout.gather ? ceil_div(layout.planes, gathered) : layout.planes;
    std::int64_t lanes = layout.gather ? std::min(gathered, layout.planes) : layout.lanes;
    std::int64_t columns = g.row.output_size;
    // Lanes that lie apart in memory cost the large-window kernel more than rows in the next cache:
    // it keeps them together while a few columns fit.
    const std::int64_t room = job.large && lanes > 1 ? large_ring_bytes : ring_bytes;
    const std::int64_t reach = (g.row.kernel - 1) * g.row.dilation / g.row.stride;
    const auto least = [&] { return std::max(ceil_div(256, lanes), 4 * reach); };
    const std::int64_t kept = job.large ? std::min(columns, least()) : columns;
    if (alive * kept * lanes * element > room && lanes > 16 && !layout.gather) {
        const std::int64_t fitting = room / (alive * kept * element) / 16 * 16;
        lanes = std::min(lanes, std::max<std::int64_t>(16, fitting));
    }
    if (alive * columns * lanes * element > room && g.row.mode != RowMode::intervals)
        columns = std::min(columns, std::max(least(), room / (alive * lanes * element)));
    job.lane_block = lanes;
    job.lane_blocks = layout.gather ? 1 : ceil_div(layout.lanes, lanes);
    job.column_tile = columns;
    job.column_tiles = ceil_div(g.row.output_size, columns);

    const std::int64_t units =
        std::max<std::int64_t>(1, job.groups * job.lane_blocks * job.column_tiles);
    const std::int64_t wanted = ceil_div(4 * get_num_threads() * share, units);
    const std::int64_t most =
        std::max<std::int64_t>(1, rows.count / std::max<std::int64_t>(8, 4 * rows.ring));
    job.band = ceil_div(rows.count, std::clamp<std::int64_t>(wanted, 1, most));
    if (planes.ring > 1) {  // three axes: a band of pooled planes is kept alive
        const std::int64_t plane_rows =
            plane_bytes / ((planes.ring + 3) * columns * lanes * element);
        job.band = std::min(
            job.band,
            std::max<std::int64_t>(std::min<std::int64_t>(rows.count, 2 * rows.ring), plane_rows));
    }
    job.bands = ceil_div(rows.count, job.band);

    const std::int64_t source_columns =
        g.row.mode == RowMode::intervals
            ? g.row.source_size
            : (columns - 1) * g.row.stride + (g.row.kernel - 1) * g.row.dilation + 1;
    const std::int64_t length = columns * lanes, source = source_columns * lanes;
    const std::int64_t widest = std::max(source, g.source_size[2] * lanes);
    // The same pieces, in the same order, as RowsUnit takes from its arena.
    const auto row_bytes = [&](std::int64_t count) {
        return padded_bytes(count, choice.value_bytes) + padded_bytes(count, choice.index_bytes);
    };
    // Short rows are reduced several at once where what comes of them waits for other rows.
    const bool together = g.row.mode == RowMode::slide && g.row.stride == 1 && g.row.expand == 1 &&
                          rows.step == 1 && rows.two_stack && choice.index_bytes == 0;
    job.rows_at_once =
        together ? std::clamp<std::int64_t>(rows_elements / source, 1, most_rows_at_once) : 1;
    const std::int64_t at_once = job.rows_at_once;
    std::int64_t bytes = 6 * row_bytes(source * at_once) + padded_bytes(widest, choice.value_bytes);
    if (at_once > 1)
        bytes += row_bytes((rows.ring + 2 * at_once) * source) + row_bytes(length);
    else
        bytes += (rows.ring + 1) * row_bytes(length);
    bytes += 2 * padded_bytes(rows.ring + 2 * at_once, 16);
    bytes += row_bytes(length) + 4 * padded_bytes(length, 8);  // finishing
    if (planes.source_size > 1 || planes.ring > 1 || planes.output_size > 1)
        bytes += (planes.ring + 2) * (row_bytes(length * job.band) + 2 * padded_bytes(1, 16));
    job.scratch_bytes = bytes;
}

Batch rows_batch(const RowsJob& job, const Choice& choice) {
    const auto kernel = kernels().rows[choice.row()][choice.column()];
    const std::int64_t units = job.groups * job.lane_blocks * job.column_tiles * job.bands;
    if (!job.large)
        return {[&job, kernel](std::int64_t unit, char* scratch) { kernel(job, unit, scratch); },
                units, job.scratch_bytes};
    const auto large = kernels().large[choice.row()][choice.column()];
    const auto scratch_bytes = kernels().large_scratch[choice.row()][choice.column()];
    return {[&job, kernel, large](std::int64_t unit, char* scratch) {
                if (!large(job, unit, scratch)) kernel(job, unit, scratch);
            },
            units, std::max(job.scratch_bytes, scratch_bytes(job))};
}

void cut_segments(SegmentsJob& job, const Choice& choice, std::int64_t share) {
    const Layout& layout = job.targets[0].layout;
    const std::int64_t element = choice.element_bytes();
    const std::int64_t width = job.axes[2].size;
    job.groups = layout.gather ? ceil_div(layout.planes, gathered) : layout.planes;
    std::int64_t lanes = layout.gather ? std::min(gathered, layout.planes) : layout.lanes;
    if (lanes > 16 && !layout.gather && width * lanes * element > ring_bytes)
        lanes = std::max<std::int64_t>(16, ring_bytes / (width * element) / 16 * 16);
    job.lane_block = lanes;
    job.lane_blocks = layout.gather ? 1 : ceil_div(layout.lanes, lanes);

    const auto row_bytes = [&](std::int64_t count) {
        return padded_bytes(count, choice.value_bytes) + padded_bytes(count, choice.index_bytes);
    };
    const std::int64_t segments = job.axes[0].segment_count * job.axes[1].segment_count;
    job.cell_bytes = row_bytes(segments * job.axes[2].segment_count * lanes);
    const std::int64_t units = std::max<std::int64_t>(1, job.groups * job.lane_blocks);
    const std::int64_t wanted = ceil_div(4 * get_num_threads() * share, units);
    const std::int64_t map_bytes = job.axes[0].size * job.axes[1].size * width * lanes * element;
    job.pieces = map_bytes < inline_bytes ? 1 : std::clamp<std::int64_t>(wanted, 1, segments);

    std::int64_t widest = 1;
    for (int t = 0; t < job.target_count; ++t)
        widest = std::max(widest, job.targets[t].grid->output_size[2]);
    // The same pieces as SegmentsUnit takes: row buffers, the reduced row, the finishing buffers.
    job.scratch_bytes = (rows_held + 1) * row_bytes(width * lanes) + row_bytes(widest * lanes) +
                        4 * padded_bytes(widest * lanes, 8);
    if (job.pieces == 1) job.scratch_bytes += job.cell_bytes;

    const std::int64_t item = item_size(job.x_dtype),
                       cells = job.axes[0].size * job.axes[1].size * width;
    job.at_once = layout.gather && job.pieces == 1 && job.targets[0].lp == nullptr &&
                  cells * lanes * choice.value_bytes <= plane_at_once_bytes &&
                  layout.x_axis[2] == item && layout.x_axis[1] == width * item &&
                  (job.axes[0].size == 1 || layout.x_axis[0] == job.axes[1].size * width * item);
    if (job.at_once) job.scratch_bytes += padded_bytes(cells * lanes, choice.value_bytes);
}

bool finds_winners(const SegmentsJob& job) {
    const Layout& layout = job.targets[0].layout;
    return job.winners != WinnerForm::none && job.pieces == 1 && job.x_dtype == job.y_dtype &&
           (job.x_dtype == Dtype::float32 || job.x_dtype == Dtype::float64) && layout.lanes == 1 &&
           !layout.gather && layout.x_axis[2] == item_size(job.x_dtype);
}

std::int64_t segments_units(const SegmentsJob& job) { return job.groups * job.lane_blocks; }

Batch segments_batch(const SegmentsJob& job, const Choice& choice) {
    const auto kernel = kernels().segments[choice.row()][choice.column()];
    if (job.find) {
        const auto find = kernels().find_winners[job.x_dtype == Dtype::float64];
        return {[&job, kernel, find](std::int64_t unit, char* scratch) {
                    kernel(job, unit, scratch);
                    find(job, unit);
                },
                segments_units(job), job.scratch_bytes};
    }
    return {[&job, kernel](std::int64_t unit, char* scratch) { kernel(job, unit, scratch); },
            segments_units(job) * (job.combine ? 1 : job.pieces), job.scratch_bytes};
}

// ---- small windows

namespace {

constexpr std::int64_t unit_bytes = 32 << 10;  // below this, a unit is several planes
constexpr std::int64_t whole_unit_bytes = 64 << 10;
constexpr std::int64_t dense_unit_bytes = 1 << 20;  // (where units end, lines are written in parts)
constexpr std::int64_t lane_row_bytes = 64 << 10;
constexpr std::int64_t direct_columns = 1024;
constexpr std::int64_t lane_tile_bytes = 8 << 10;
// Planes up to the one are scattered into with their padding, which then needs no checks; several
// of them as long as they stay in a second cache.
constexpr double padded_plane_bytes = 256 << 10;
constexpr std::int64_t scattered_bytes = 512 << 10;

// Lane blocks, planes per unit and bands of `rows` rows: the same for both directions. `row_bytes`
// is what one lane of a row takes.
template <class Job>
void cut_small(Job& job, std::int64_t unit_bytes, std::int64_t row_bytes, std::int64_t rows,
               std::int64_t depth, std::int64_t least_band, std::int64_t share,
               bool all_lanes = false) {
    const Layout& layout = job.layout;
    job.groups = layout.gather ? ceil_div(layout.planes, gathered) : layout.planes;
    std::int64_t lanes = layout.gather ? std::min(gathered, layout.planes) : layout.lanes;
    if (!layout.gather && !all_lanes && lanes > 16 && lanes * row_bytes > lane_row_bytes)
        lanes = std::max<std::int64_t>(16, lane_row_bytes / row_bytes / 16 * 16);
    job.lane_block = lanes;
    job.lane_blocks = layout.gather ? 1 : ceil_div(layout.lanes, lanes);

    // What one thread does alone is not cut up.
    const bool small = layout.planes * layout.lanes * rows * depth * row_bytes < inline_bytes / 2;
    const std::int64_t wanted = small ? 1 : 4 * get_num_threads() * share;
    const std::int64_t group_bytes = std::max<std::int64_t>(1, rows * depth * lanes * row_bytes);
    const std::int64_t together = std::max<std::int64_t>(1, unit_bytes / group_bytes);
    job.groups_per_unit = std::clamp<std::int64_t>(
        std::min(together, job.groups / std::max<std::int64_t>(1, wanted)), 1, job.groups);
    const std::int64_t units = ceil_div(job.groups, job.groups_per_unit) * job.lane_blocks;
    const std::int64_t most = std::max<std::int64_t>(1, rows / least_band);
    job.band = ceil_div(rows, std::clamp<std::int64_t>(ceil_div(wanted, units), 1, most));
    job.bands = ceil_div(rows, job.band);
}

}  // namespace

bool suits_direct(const WindowForm& form, bool winners) {
    // Measured: on wide rows of values the passes of the rows kernel win from about 11 x 11 on. It
    // has to divide to tell a tap, though, and narrow planes it would transpose.
    const bool far = form.size[2] >= narrow_direct_row && !winners;
    // Winners are told as cells seen from their window's first, in as few bytes as the values have.
    const std::int64_t reach =
        (form.taps[0] - 1) * form.size[1] * form.size[2] + form.taps[1] * form.size[2];
    if (winners && reach > INT32_MAX) return false;
    const std::int64_t most = far ? 20 : most_direct_taps;
    return form.dense && form.taps[2] <= most_direct_taps && form.stride[2] <= form.taps[2] + 8 &&
           form.taps[0] <= most_direct_taps && form.taps[1] <= most_direct_taps &&
           form.taps[2] + form.taps[0] * form.taps[1] <= most;
}

bool suits_blocks(const WindowForm& form) {
    const auto low = [&](int a) {  // (and so that no product below overflows)
        return form.taps[a] <= most_block_rows && form.taps[a] - form.stride[a] <= form.stride[a];
    };
    return form.dense && form.stride[2] >= 2 && form.taps[2] <= most_block_columns && low(0) &&
           low(1) && form.taps[0] * form.taps[1] <= most_block_rows;
}

bool suits_dilated_tiles(const WindowForm& form) {
    const auto twice = [&](int a) {
        return form.taps[a] == 3 && form.dilation[a] == 2 && form.stride[a] == 1;
    };
    return form.filled && form.size[0] == 1 && form.taps[0] == 1 && twice(1) && twice(2);
}

namespace {

constexpr std::int64_t least_apart_columns = 28;
constexpr std::int64_t narrow_block_row = 20;
constexpr std::int64_t narrow_tile = 16, most_tile_stride = 3, most_cells_per_pick = 4;

// Of a plane without gaps, of all channels.
std::int64_t read_plane_bytes(const DirectJob& job) {
    return job.form->size[1] * job.form->size[2] * job.layout.lanes * item_size(job.x_dtype);
}
std::int64_t written_plane_bytes(const DirectJob& job) {
    return job.form->count[1] * job.form->count[2] * job.layout.lanes * item_size(job.y_dtype);
}

}  // namespace

bool planes_run_on(const DirectJob& job) {
    const Layout& layout = job.layout;
    return layout.batch_rank == 0 ||
           (layout.batch_rank == 1 && layout.x_batch[0] == read_plane_bytes(job) &&
            layout.y_batch[0] == written_plane_bytes(job));
}

namespace {

// Planes without a gap in their rows, of elements and windows that the kernels of dense planes
// know.
bool dense_planes(const DirectJob& job) {
    const WindowForm& form = *job.form;
    const Layout& layout = job.layout;
    const std::int64_t x = item_size(job.x_dtype), y = item_size(job.y_dtype), lanes = layout.lanes;
    return simple_dtypes(job.x_dtype, job.y_dtype, job.divide) && form.taps[1] <= most_dense_taps &&
           form.taps[2] <= most_dense_taps && !layout.gather && layout.batch_rank <= 1 &&
           (lanes == 1 || (layout.x_lane == x && layout.y_lane == y)) &&
           layout.x_axis[2] == lanes * x && layout.y_axis[2] == lanes * y &&
           (form.size[1] == 1 || layout.x_axis[1] == form.size[2] * lanes * x) &&
           (form.count[1] == 1 || layout.y_axis[1] == form.count[2] * lanes * y);
}

bool dense_winners(const DirectJob& job) {
    const std::int64_t row = job.form->count[2] * winner_bytes(job.winners);
    return simple_winners(job.winners, job.layout, *job.form, job.x_dtype) &&
           (job.winners == WinnerForm::none || job.form->count[1] == 1 ||
            job.layout.i_axis[1] == row);
}

// Every window has a cell of its own to be made at, and not too many cells go without.
bool small_planes(const DirectJob& job) {
    const WindowForm& form = *job.form;
    // (a stride beyond the other limit alone could make a product overflow)
    const auto at_cells = [&](int a) {
        return form.stride[a] <= most_cells_per_pick &&
               (form.count[a] - 1) * form.stride[a] < form.size[a];
    };
    return form.dense && job.planes_run_on && job.layout.lanes == 1 &&
           job.winners == WinnerForm::none && form.size[1] * form.size[2] <= small_cells &&
           at_cells(1) && at_cells(2) && form.stride[1] * form.stride[2] <= most_cells_per_pick;
}

// Taps apart along rows: what the tile kernel has unrolled.
bool unrolled_apart(const WindowForm& form) {
    const std::int64_t size = form.taps[1];
    if (form.stride[1] != 1 || form.stride[2] != 1 || form.taps[2] != size) return false;
    if (!form.dense) return suits_dilated_tiles(form);
    // Measured: tiles that see a row's end are most of them in short rows of wide windows.
    return size == 3 || (size == 5 && form.size[0] == 1 && form.size[2] >= least_apart_columns);
}

// Rows that fill registers, and windows that are picked out of them; or taps apart (of channels
// beside each other, of dilated windows) and windows that the kernel has unrolled, as many rows of
// which as a tile sees stay in a second cache.
bool tile_rows(const DirectJob& job) {
    const WindowForm& form = *job.form;
    const std::int64_t row = form.size[2] * job.layout.lanes;
    if (job.layout.lanes > 1 || !form.dense)
        return unrolled_apart(form) && form.count[2] * job.layout.lanes >= narrow_tile &&
               job.winners == WinnerForm::none && row >= narrow_tile &&
               row * item_size(job.x_dtype) <= longest_row_bytes;
    // Measured: of wide rows at stride 1, windows that the kernel has not unrolled, and rows that
    // it would convert first, are the large-window kernel's.
    const bool converted = job.divide ? form.taps[1] == 5 && item_size(job.x_dtype) < 4
                                      : is_sixteen_bit_float(job.x_dtype);
    if (form.size[2] > widest_row && form.stride[2] == 1 &&
        (!square_at_stride_one(form) || converted))
        return false;
    // (bytes cannot be picked three apart: no instruction takes them across a register)
    const bool picks = job.divide || item_size(job.x_dtype) > 1;
    return form.size[2] >= narrow_tile && form.count[2] >= narrow_tile / 2 &&
           form.stride[2] <= (picks ? most_tile_stride : 2);
}

// Rows of windows that share little, read where they lie.
bool block_rows(const DirectJob& job) {
    const WindowForm& form = *job.form;
    const Layout& layout = job.layout;
    // (measured: narrower planes are better brought together, sixteen at a time)
    return suits_blocks(form) && form.size[2] >= narrow_block_row &&
           simple_dtypes(job.x_dtype, job.y_dtype, job.divide) && job.winners == WinnerForm::none &&
           !layout.gather && layout.lanes == 1 && layout.x_axis[2] == item_size(job.x_dtype) &&
           layout.y_axis[2] == item_size(job.y_dtype);
}

bool dense_volume(const DirectJob& job) {
    const WindowForm& form = *job.form;
    const Layout& layout = job.layout;
    const bool turned = is_sixteen_bit_float(job.x_dtype) && !job.divide;
    return job.winners == WinnerForm::none && !turned && form.taps[0] <= most_dense_taps &&
           layout.x_axis[0] == read_plane_bytes(job) &&
           layout.y_axis[0] == written_plane_bytes(job);
}

}  // namespace

SmallKernel dense_kernel(const DirectJob& job) {
    const WindowForm& form = *job.form;
    if (dense_planes(job)) {
        if (form.size[0] > 1) {
            if (tile_rows(job) && dense_volume(job)) return SmallKernel::volume;
        } else if (form.taps[0] == 1) {
            if (small_planes(job)) return SmallKernel::sheet;
            if (tile_rows(job) && dense_winners(job)) return SmallKernel::tile;
        }
    }
    return block_rows(job) ? SmallKernel::blocks : SmallKernel::direct;
}

bool share_little(const WindowForm& form) {
    if (form.stride[1] >= form.taps[1] && form.stride[0] >= form.taps[0]) return true;
    return form.taps[0] == 1 &&
           form.taps[1] * form.taps[2] <= form.stride[1] * (form.taps[2] + 1) + form.taps[1] + 3;
}

bool suits_pixels(const DirectJob& job) {
    const WindowForm& form = *job.form;
    const Layout& layout = job.layout;
    const std::int64_t x = item_size(job.x_dtype), y = item_size(job.y_dtype);
    return job.winners == WinnerForm::none && simple_dtypes(job.x_dtype, job.y_dtype, job.divide) &&
           layout.lanes > 1 && !layout.gather && layout.x_lane == x &&
           layout.x_axis[2] == layout.lanes * x && layout.y_lane == y &&
           layout.y_axis[2] == layout.lanes * y && job.share_little &&
           form.taps[0] * form.taps[1] > 1 && form.cells() <= most_direct_taps;
}

void cut_direct(DirectJob& job, const Choice& choice, std::int64_t share) {
    const WindowForm& form = *job.form;
    const std::int64_t row_bytes = form.size[2] * choice.value_bytes;
    const bool pixels = job.kernel == SmallKernel::pixels,
               direct = job.kernel == SmallKernel::direct, all_lanes = !direct;
    // (planes that are done several at once are not cut)
    const bool blocks = job.kernel == SmallKernel::blocks;
    const auto rows_of = [&](int a) { return std::min(form.stride[a], form.size[a]); };
    const std::int64_t least_band = job.kernel == SmallKernel::sheet ? form.count[1]
                                    : blocks && form.stride[1] >= form.taps[1]
                                        ? 1
                                        : std::max<std::int64_t>(8, 4 * form.taps[1]);
    if (job.kernel == SmallKernel::volume)
        cut_small(job, dense_unit_bytes, form.size[1] * row_bytes, form.count[0], 1,
                  4 * form.taps[0], share, all_lanes);
    else if (blocks)
        cut_small(job, dense_unit_bytes, rows_of(0) * rows_of(1) * row_bytes, form.count[1],
                  form.count[0], least_band, share, all_lanes);
    else
        cut_small(job, direct || pixels ? unit_bytes : dense_unit_bytes, row_bytes, form.count[1],
                  form.count[0], least_band, share, all_lanes);
    // Rows of lanes are cut so that those of a window stay in L1; a tile reads taps - 1 columns
    // again.
    const std::int64_t fitting =
        lane_tile_bytes / (std::max<std::int64_t>(1, job.lane_block) * choice.value_bytes);
    const std::int64_t lanes_tile = std::max({fitting, 4 * form.taps[2], std::int64_t(8)});
    const bool lanes = job.lane_block > 1 && !job.layout.gather;
    const std::int64_t tile = lanes ? lanes_tile : direct_columns;
    const bool cut = direct && !job.layout.gather && form.count[2] >= 2 * tile;
    job.column_tile = cut ? tile : form.count[2];
    job.column_tiles = ceil_div(form.count[2], job.column_tile);
    job.scratch_bytes = kernels().direct_scratch[choice.row()][choice.column()](job);
}

Batch direct_batch(const DirectJob& job, const Choice& choice) {
    const auto kernel = kernels().direct[choice.row()][choice.column()];
    return {
        [&job, kernel](std::int64_t unit, char* scratch) { kernel(job, unit, scratch); },
        ceil_div(job.groups, job.groups_per_unit) * job.lane_blocks * job.column_tiles * job.bands,
        job.scratch_bytes};
}

bool suits_spread(const WindowForm& form, std::int64_t most) {
    if (!form.dense || form.stride[2] > most_direct_taps) return false;
    std::int64_t shares = 1, rows = 1;
    for (int a = 0; a < 3; ++a) {
        if (form.taps[a] > most_shares * form.stride[a]) return false;
        const std::int64_t readers = ceil_div(form.taps[a], form.stride[a]);
        shares *= readers;
        if (a < 2) rows *= readers;
    }
    return shares <= most && rows <= most_direct_taps;
}

bool square_at_stride_one(const WindowForm& form) {
    const std::int64_t size = form.taps[1];
    return form.dense && form.size[0] == 1 && form.taps[0] == 1 && (size == 3 || size == 5) &&
           form.taps[2] == size && form.stride[1] == 1 && form.stride[2] == 1;
}

void cut_spread(SpreadJob& job, bool wide, std::int64_t share) {
    const WindowForm& form = *job.form;
    job.square = job.winners && square_at_stride_one(form);
    cut_small(job, unit_bytes, form.size[2] * (wide ? 8 : 4), form.size[1], form.size[0],
              std::max<std::int64_t>(8, 4 * form.taps[1]), share);
}

namespace {

double padded_cells(const TapTable& table) {
    return static_cast<double>(table.padded[0]) * table.padded[1] * table.padded[2];
}

// Whether rows of values and of winners lie side by side, and the cells of a plane if need be.
bool scatters_rows(const WinnersJob& job) {
    const Layout& layout = job.layout;
    const std::int64_t item = item_size(job.dtype);
    if (!job.accumulate || !is_floating(job.dtype) || layout.lanes != 1 || layout.y_axis[2] != item)
        return false;
    if (job.winners == WinnerForm::tap8)
        return job.form->sliding && job.zero_first && layout.i_axis[2] == 1 &&
               padded_cells(*job.taps) * item <= padded_plane_bytes;
    const std::int64_t* size = job.dx_size;
    return layout.i_axis[2] == (job.winners == WinnerForm::index32 ? 4 : 8) &&
           layout.x_axis[2] == item && (size[1] == 1 || layout.x_axis[1] == size[2] * item) &&
           (size[0] == 1 || layout.x_axis[0] == size[1] * size[2] * item);
}

}  // namespace

void cut_winners(WinnersJob& job) {
    job.several = scatters_rows(job);
    if (!job.several) return;
    const bool taps = job.winners == WinnerForm::tap8;
    const double cells =
        taps ? padded_cells(*job.taps)
             : static_cast<double>(job.dx_size[0]) * job.dx_size[1] * job.dx_size[2];
    const auto plane = static_cast<std::int64_t>(
        std::min(cells * item_size(job.dtype), static_cast<double>(2 * scattered_bytes)));
    job.planes_per_unit =
        std::clamp<std::int64_t>(std::min(scattered_bytes / std::max<std::int64_t>(1, plane),
                                          job.layout.planes / (2 * get_num_threads())),
                                 1, planes_scattered);
    if (taps) job.scratch_bytes = job.planes_per_unit * plane + 64;
}

Batch winners_batch(const WinnersJob& job) {
    const auto kernel = kernels().scatter;
    return {[&job, kernel](std::int64_t unit, char* scratch) { kernel(job, unit, scratch); },
            ceil_div(job.layout.planes, job.planes_per_unit), job.scratch_bytes};
}

void cut_whole(WholeJob& job, std::int64_t share) {
    const std::int64_t bytes = job.cells * item_size(job.x_dtype);
    const std::int64_t wanted = std::max<std::int64_t>(1, 4 * get_num_threads() * share);
    job.planes_per_unit = std::clamp<std::int64_t>(
        std::min(whole_unit_bytes / bytes, job.layout.planes / wanted), 1, job.layout.planes);
    if (job.planes_per_unit > gathered) job.planes_per_unit -= job.planes_per_unit % gathered;
}

Batch whole_batch(const WholeJob& job, const Choice& choice) {
    const auto kernel = kernels().whole[choice.row()][choice.column()];
    const std::int64_t block = std::min<std::int64_t>(job.cells, 1024);
    return {[&job, kernel](std::int64_t unit, char* scratch) { kernel(job, unit, scratch); },
            ceil_div(job.layout.planes, job.planes_per_unit), padded_bytes(block, 8)};
}

void cut_bins(BinsJob& job, bool wide) {
    const Layout& layout = job.targets[0].layout;
    const std::int64_t rows = job.axes[1].size;
    const std::int64_t row_bytes = job.axes[2].size * (wide ? 8 : 4);
    job.lane_block = layout.lanes;
    if (layout.lanes > 16 && layout.lanes * row_bytes > lane_row_bytes)
        job.lane_block = std::max<std::int64_t>(16, lane_row_bytes / row_bytes / 16 * 16);
    job.lane_block = std::min(job.lane_block, layout.lanes);
    job.lane_blocks = ceil_div(layout.lanes, job.lane_block);
    const std::int64_t plane_bytes = rows * job.axes[0].size * job.lane_block * row_bytes;
    const std::int64_t wanted = 4 * get_num_threads();
    job.planes_per_unit =
        std::clamp<std::int64_t>(std::min(unit_bytes / std::max<std::int64_t>(1, plane_bytes),
                                          layout.planes * job.lane_blocks / wanted),
                                 1, layout.planes);
    const std::int64_t units = ceil_div(layout.planes, job.planes_per_unit) * job.lane_blocks;
    const std::int64_t bands =
        std::clamp<std::int64_t>(ceil_div(wanted, units), 1, std::max<std::int64_t>(1, rows / 16));
    job.band = ceil_div(rows, bands);
    job.bands = ceil_div(rows, job.band);
}

Batch bins_batch(const BinsJob& job, bool wide) {
    const KernelTable& table = kernels();
    const auto kernel = table.bins[wide];
    return {
        [&job, kernel](std::int64_t unit, char* scratch) { kernel(job, unit, scratch); },
        ceil_div(job.targets[0].layout.planes, job.planes_per_unit) * job.lane_blocks * job.bands,
        table.bins_scratch[wide](job)};
}

Batch spread_batch(const SpreadJob& job, bool wide) {
    const KernelTable& table = kernels();
    const auto kernel = table.spread[wide];
    return {[&job, kernel](std::int64_t unit, char* scratch) { kernel(job, unit, scratch); },
            ceil_div(job.groups, job.groups_per_unit) * job.lane_blocks * job.bands,
            table.spread_scratch[wide](job)};
}

}  // namespace poolwise
