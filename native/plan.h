// Geometry compiled for the kernels: what a Plan holds, and nothing that depends on the data.
#pragma once

#include <mutex>
#include <vector>

#include "core.h"
#include "geometry.h"

namespace poolwise {

class Plan {
  public:
    explicit Plan(std::vector<Grid> grids);
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

    int grid_count() const { return static_cast<int>(grids_.size()); }
    int axis_count() const { return axis_count_; }
    std::int64_t input_size(int axis) const { return size_[axis]; }  // of three
    const RowsGeometry& forward_rows(int grid) const { return forward_[grid]; }
    const RowsGeometry& backward_rows(int grid) const;  // compiled when first asked for
    std::int64_t output_size(int grid, int axis) const { return axes_[grid][axis].count; }
    // Cells in window i of an axis (of three): inside the input, or with declared padding.
    const std::int64_t* divisors(int grid, int axis, bool include_pad) const {
        return (include_pad ? declared_ : inside_)[grid][axis].data();
    }
    std::int64_t largest_window(int grid) const { return largest_window_[grid]; }
    // ... with declared padding
    std::int64_t largest_divisor(int grid) const { return largest_divisor_[grid]; }
    bool has_empty_windows(int grid) const { return has_empty_[grid]; }
    // Windows of an axis (of three), clipped; step is the dilation.
    const std::int64_t* starts(int grid, int axis) const { return starts_[grid][axis].data(); }
    const std::int64_t* stops(int grid, int axis) const { return stops_[grid][axis].data(); }
    std::int64_t step(int grid, int axis) const { return axes_[grid][axis].dilation; }

    // Windows as taps: how winners are told, and what the kernels of small windows run on.
    const WindowForm& form(int grid) const { return forms_[grid]; }

    // Bins, pyramids and whole maps: one read of the input for every grid.
    bool segmented() const { return segmented_; }
    const SegmentAxis* segment_axes() const { return segment_axes_; }
    const SegmentGrid& segment_grid(int grid) const { return segment_grids_[grid]; }
    // Bins of one grid that are all as wide and high, as the windows that they are; else null.
    const WindowForm* blocks() const { return even_ ? &blocks_ : nullptr; }

  private:
    using PerAxis = std::vector<std::vector<std::int64_t>>;  // [axis][i]

    void compile_windows();
    void compile_forms();
    void compile_forward();
    void compile_backward() const;
    void compile_segments();
    bool compile_blocks();
    RowProgram make_program(std::vector<RowWindow> windows, std::int64_t step,
                            std::int64_t source_size) const;

    std::vector<Grid> grids_;
    int axis_count_ = 0;
    std::int64_t size_[3] = {1, 1, 1};
    std::vector<std::vector<Axis>> axes_;                      // [grid][3]
    std::vector<PerAxis> starts_, stops_, inside_, declared_;  // [grid]
    std::vector<std::int64_t> largest_window_, largest_divisor_;
    std::vector<char> has_empty_;
    std::vector<RowsGeometry> forward_;
    std::vector<PerAxis> first_;  // the first cell of each window, padding included
    std::vector<WindowForm> forms_;
    mutable std::vector<std::vector<RowWindow>> programs_;
    mutable std::once_flag backward_once_;
    mutable std::vector<PerAxis> readers_first_,
        readers_last_;  // of each cell: the windows that read it
    mutable std::vector<RowsGeometry> backward_;
    bool segmented_ = false, even_ = false;
    WindowForm blocks_;
    std::vector<std::int64_t> edges_[3];
    std::vector<std::uint8_t> used_[3];
    SegmentAxis segment_axes_[3];
    std::vector<PerAxis> segment_first_, segment_last_, bins_first_, bins_last_;
    std::vector<SegmentGrid> segment_grids_;
};

}  // namespace poolwise
