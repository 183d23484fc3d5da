// The bins kernel: gradients of sums and means over bins, pyramids and whole maps.
//
// All cells between the same bin edges collect from the same bins, so what a row of them gets is
// made once, segment by segment, and written to every row of its segment: dx is written once, at
// the speed of memory, whatever the bins. Bins of every grid add up in order: grids, then
// row-major.
#pragma once

#include "outputs.h"
#include "place.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class T> class BinsUnit {
  public:
    BinsUnit(const BinsJob& job, std::int64_t unit, char* scratch)
        : job_(job),
          layout_(job.targets[0].layout),
          arena_{scratch},
          outputs_(job.past_caches, job.axes[2].size * smaller(job.lane_block, layout_.lanes),
                   true) {
        band_ = unit % job.bands;
        unit /= job.bands;
        block_ = unit % job.lane_blocks;
        first_plane_ = unit / job.lane_blocks * job.planes_per_unit;
        last_plane_ = smaller(first_plane_ + job.planes_per_unit, layout_.planes);
        lane_ = block_ * job.lane_block;
        lanes_ = smaller(job.lane_block, layout_.lanes - lane_);
        loader_ = loader_for<T>(job.dy_dtype);
        storer_ = storer_for<T>(job.dx_dtype);
    }

    void run() {
        take_scratch();
        write_planes();
        outputs_.finish();
    }

    static std::int64_t scratch_bytes(const BinsJob& job) {
        char* const base = reinterpret_cast<char*>(64);
        BinsUnit unit(job, 0, base);
        unit.take_scratch();
        return unit.arena_.next - base;
    }

  private:
    void write_planes() {
        const Layout& layout = layout_;
        const std::int64_t bytes = sizeof(T), width = job_.axes[2].size;
        dense_ = storer_.in_place && layout.x_axis[2] == lanes_ * bytes &&
                 (lanes_ == 1 || layout.x_lane == bytes);
        // One value for all of a segment's rows, which follow each other without a gap.
        runs_ = dense_ && lanes_ == 1 && job_.axes[2].segment_count == 1 &&
                (job_.axes[1].size == 1 || layout.x_axis[1] == width * bytes);
        if (runs_ && job_.target_count == 1 && job_.targets[0].grid->output_size[2] == 1 &&
            job_.axes[1].segment_count == 1 && job_.axes[0].size == 1 && job_.bands == 1)
            return make_whole_planes();
        for (std::int64_t plane = first_plane_; plane < last_plane_; ++plane) make_plane(plane);
    }

    void take_scratch() {
        dy_ = arena_.template take<const char*>(job_.target_count);
        std::int64_t most = 1;
        for (int t = 0; t < job_.target_count; ++t)
            most = larger(most, job_.targets[t].grid->output_size[2]);
        loaded_ = arena_.template take<T>(most * job_.lane_block);
        bins_ = arena_.template take<T>(most * job_.lane_block);
        segments_ = arena_.template take<T>(job_.axes[2].segment_count * job_.lane_block);
        line_ = arena_.template take<T>(job_.axes[2].size * job_.lane_block + vector_lanes<T>);
    }

    // One bin, which is all of a plane.
    void make_whole_planes() {
        const BinsTarget& target = job_.targets[0];
        const std::int64_t cells = job_.axes[1].size * job_.axes[2].size;
        for (std::int64_t plane = first_plane_; plane < last_plane_; ++plane) {
            T value;
            load_row(target, target.dy + batch_offset(target.layout, target.layout.y_batch, plane),
                     0, 0, &value);
            fill(reinterpret_cast<T*>(job_.dx + batch_offset(layout_, layout_.x_batch, plane)),
                 value, cells);
        }
    }

    void make_plane(std::int64_t plane) {
        dx_ = job_.dx + batch_offset(layout_, layout_.x_batch, plane) + lane_ * layout_.x_lane;
        for (int t = 0; t < job_.target_count; ++t) {
            const Layout& layout = job_.targets[t].layout;
            dy_[t] = job_.targets[t].dy + batch_offset(layout, layout.y_batch, plane) +
                     lane_ * layout.y_lane;
        }
        const SegmentAxis *depth = job_.axes, *height = job_.axes + 1;
        const std::int64_t from = band_ * job_.band, to = smaller(from + job_.band, height->size);
        for (std::int64_t s0 = 0; s0 < depth->segment_count; ++s0)
            for (std::int64_t s1 = 0; s1 < height->segment_count; ++s1) {
                const std::int64_t h0 = larger(from, height->edges[s1]),
                                   h1 = smaller(to, height->edges[s1 + 1]);
                if (h0 >= h1) continue;
                make_line(s0, s1);
                for (std::int64_t d = depth->edges[s0]; d < depth->edges[s0 + 1]; ++d)
                    write(d, h0, h1);
            }
    }

    // What every cell of a row in segments (s0, s1) gets: in segments_, and, cell by cell, in
    // line_.
    POOLWISE_APART void make_line(std::int64_t s0, std::int64_t s1) {
        const SegmentAxis& width = job_.axes[2];
        for (std::int64_t n = 0; n < width.segment_count * lanes_; ++n) segments_[n] = 0;
        for (int t = 0; t < job_.target_count; ++t) {
            const SegmentGrid& grid = *job_.targets[t].grid;
            if (!add_rows(t, s0, s1)) continue;
            for (std::int64_t s = 0; s < width.segment_count; ++s)
                for (std::int64_t i = grid.readers_first[2][s]; i < grid.readers_last[2][s]; ++i)
                    for (std::int64_t l = 0; l < lanes_; ++l)
                        segments_[s * lanes_ + l] += bins_[i * lanes_ + l];
        }
        if (runs_) return;
        for (std::int64_t s = 0; s < width.segment_count; ++s)
            for (std::int64_t w = width.edges[s]; w < width.edges[s + 1]; ++w)
                for (std::int64_t l = 0; l < lanes_; ++l)
                    line_[w * lanes_ + l] = segments_[s * lanes_ + l];
    }

    // bins_ = the rows of gradients that segments (s0, s1) see, divided and added up; false if
    // none.
    bool add_rows(int t, std::int64_t s0, std::int64_t s1) {
        const BinsTarget& target = job_.targets[t];
        const SegmentGrid& grid = *target.grid;
        const std::int64_t length = grid.output_size[2] * lanes_;
        bool started = false;
        for (std::int64_t i0 = grid.readers_first[0][s0]; i0 < grid.readers_last[0][s0]; ++i0)
            for (std::int64_t i1 = grid.readers_first[1][s1]; i1 < grid.readers_last[1][s1]; ++i1) {
                T* const row = started ? loaded_ : bins_;
                load_row(target, dy_[t], i0, i1, row);
                for (std::int64_t n = 0; n < length && started; ++n) bins_[n] += loaded_[n];
                started = true;
            }
        return started;
    }

    void load_row(const BinsTarget& target, const char* dy, std::int64_t i0, std::int64_t i1,
                  T* row) const {
        const Layout& layout = target.layout;
        const std::int64_t bins = target.grid->output_size[2];
        const char* const at = dy + i0 * layout.y_axis[0] + i1 * layout.y_axis[1];
        if (lanes_ == 1)
            loader_.run(at, layout.y_axis[2], bins, row);
        else
            for (std::int64_t i = 0; i < bins; ++i)
                loader_.run(at + i * layout.y_axis[2], layout.y_lane, lanes_, row + i * lanes_);
        if (!job_.divide) return;
        const T across = static_cast<T>(static_cast<double>(target.divisors[0][i0]) *
                                        static_cast<double>(target.divisors[1][i1]));
        for (std::int64_t i = 0; i < bins; ++i) {
            const T by = job_.divisor_override ? static_cast<T>(job_.divisor_override)
                                               : across * static_cast<T>(target.divisors[2][i]);
            for (std::int64_t l = 0; l < lanes_; ++l) row[i * lanes_ + l] /= by;
        }
    }

    void write(std::int64_t d, std::int64_t h0, std::int64_t h1) {
        const std::int64_t width = job_.axes[2].size;
        char* at = dx_ + d * layout_.x_axis[0] + h0 * layout_.x_axis[1];
        if (runs_) return fill(reinterpret_cast<T*>(at), segments_[0], (h1 - h0) * width);
        for (std::int64_t h = h0; h < h1; ++h, at += layout_.x_axis[1]) {
            if (dense_)
                outputs_.write(reinterpret_cast<T*>(at), width * lanes_,
                               [&](std::int64_t n)
                                   POOLWISE_INLINE { return load_vector<Vec<T>>(line_ + n); });
            else if (lanes_ == 1)
                storer_.run(line_, width, at, layout_.x_axis[2]);
            else
                for (std::int64_t w = 0; w < width; ++w)
                    storer_.run(line_ + w * lanes_, lanes_, at + w * layout_.x_axis[2],
                                layout_.x_lane);
        }
    }

    void fill(T* at, T value, std::int64_t count) {
        const Vec<T> all = Vec<T>{} + value;
        outputs_.write(at, count, [&](std::int64_t) POOLWISE_INLINE { return all; });
    }

    const BinsJob& job_;
    const Layout& layout_;
    Arena arena_;
    Outputs<AsItIs<T>, T> outputs_;
    Loader<T> loader_;
    Storer<T> storer_;
    std::int64_t band_, block_, first_plane_, last_plane_, lane_, lanes_;
    bool dense_ = false, runs_ = false;
    char* dx_ = nullptr;
    const char** dy_ = nullptr;
    T *loaded_ = nullptr, *bins_ = nullptr, *segments_ = nullptr, *line_ = nullptr;
};

template <class T> void bins_unit(const BinsJob& job, std::int64_t unit, char* scratch) {
    BinsUnit<T>(job, unit, scratch).run();
}
template <class T> std::int64_t bins_scratch(const BinsJob& job) {
    return BinsUnit<T>::scratch_bytes(job);
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
