// Where a unit of work lies in memory: a plane with its lanes, or planes brought together as lanes.
#pragma once

#include "convert.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// Where a plane of the batch lies, of the array with these strides.
inline std::int64_t batch_offset(const Layout& layout, const std::int64_t* strides,
                                 std::int64_t plane) {
    if (layout.batch_rank == 1) return plane * strides[0];  // the usual case, without a division
    std::int64_t offset = 0;
    for (int b = layout.batch_rank - 1; b >= 0; --b) {
        offset += plane % layout.batch_shape[b] * strides[b];
        plane /= layout.batch_shape[b];
    }
    return offset;
}

// The base addresses of one unit: a plane with its lanes, or up to sixteen planes that become
// lanes.
struct Place {
    const char* x[most_planes] = {};
    char* y[most_planes] = {};
    char* indices[most_planes] = {};
    std::int64_t lanes = 1;
    bool gather = false;

    void locate(const Layout& layout, const char* x0, char* y0, char* i0, std::int64_t group,
                std::int64_t block, std::int64_t lane_block) {
        gather = layout.gather;
        if (gather) {
            const std::int64_t first = group * most_planes;
            lanes = smaller<std::int64_t>(most_planes, layout.planes - first);
            locate_planes(layout, x0, y0, i0, first);
            return;
        }
        locate_plane(layout, x0, y0, i0, group, 0);
        const std::int64_t lane = block * lane_block;
        lanes = smaller(lane_block, layout.lanes - lane);
        x[0] += lane * layout.x_lane;
        if (y0) y[0] += lane * layout.y_lane;
        if (i0) indices[0] += lane * layout.i_lane;
    }

    // `bases` is one of the arrays above; columns and lanes lie `column_stride` and `lane_stride`
    // bytes apart.
    template <class Acc>
    POOLWISE_APART void load(const Loader<Acc>& loader, const char* const* bases,
                             std::int64_t offset, std::int64_t column_stride,
                             std::int64_t lane_stride, std::int64_t columns,
                             std::int64_t element_bytes, Acc* target) const {
        if (gather) {
            loader.planes(bases, offset, column_stride, columns, lanes, target);
        } else if (lanes == 1) {
            loader.run(bases[0] + offset, column_stride, columns, target);
        } else if (column_stride == lanes * element_bytes && lane_stride == element_bytes) {
            loader.run(bases[0] + offset, element_bytes, columns * lanes, target);
        } else {
            for (std::int64_t c = 0; c < columns; ++c)
                loader.run(bases[0] + offset + c * column_stride, lane_stride, lanes,
                           target + c * lanes);
        }
    }

    template <class Acc>
    POOLWISE_APART void store(const Storer<Acc>& storer, const Acc* source, char* const* bases,
                              std::int64_t offset, std::int64_t column_stride,
                              std::int64_t lane_stride, std::int64_t columns,
                              std::int64_t element_bytes) const {
        if (gather) {
            storer.planes(source, columns, lanes, bases, offset, column_stride);
        } else if (lanes == 1) {
            storer.run(source, columns, bases[0] + offset, column_stride);
        } else if (column_stride == lanes * element_bytes && lane_stride == element_bytes) {
            storer.run(source, columns * lanes, bases[0] + offset, element_bytes);
        } else {
            for (std::int64_t c = 0; c < columns; ++c)
                storer.run(source + c * lanes, lanes, bases[0] + offset + c * column_stride,
                           lane_stride);
        }
    }

  private:
    // (A plane beside the one before it needs no division.)
    void locate_planes(const Layout& layout, const char* x0, char* y0, char* i0,
                       std::int64_t first) {
        const int last = layout.batch_rank - 1;
        const std::int64_t row = last < 0 ? 1 : layout.batch_shape[last];
        std::int64_t column = first % row;
        locate_plane(layout, x0, y0, i0, first, 0);
        for (std::int64_t l = 1; l < lanes; ++l) {
            if (++column == row) {
                locate_plane(layout, x0, y0, i0, first + l, l);
                column = 0;
                continue;
            }
            x[l] = x[l - 1] + layout.x_batch[last];
            if (y0) y[l] = y[l - 1] + layout.y_batch[last];
            if (i0) indices[l] = indices[l - 1] + layout.i_batch[last];
        }
    }
    void locate_plane(const Layout& layout, const char* x0, char* y0, char* i0, std::int64_t plane,
                      std::int64_t at) {
        x[at] = x0 + batch_offset(layout, layout.x_batch, plane);
        if (y0) y[at] = y0 + batch_offset(layout, layout.y_batch, plane);
        if (i0) indices[at] = i0 + batch_offset(layout, layout.i_batch, plane);
    }
};

inline std::int64_t winner_bytes(WinnerForm form) {
    return form == WinnerForm::tap8 ? 1 : form == WinnerForm::index32 ? 4 : 8;
}
template <class Acc> inline Storer<Acc> winner_storer(WinnerForm form) {
    if (form == WinnerForm::tap8) return storer_of<Acc, std::uint8_t>();
    if (form == WinnerForm::index32) return storer_of<Acc, std::int32_t>();
    return storer_of<Acc, std::int64_t>();
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
