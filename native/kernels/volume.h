// Small windows over dense volumes: planes are pooled as the tile kernel does, and then joined.
//
// A plane of the input is pooled once, whatever number of windows see it, into a ring of as many
// planes as a window is deep; an output plane joins them as one long row. Large planes are made a
// few rows at a time, through all of the volume, so that the ring stays in the second cache. Cost
// per vector of outputs: the tile's, and a load and a join per plane of the window. A unit is a run
// of volumes, or a band of output planes; where bands meet, planes are pooled twice.
#pragma once

#include "tile.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class Op, class Careful, class S, class D> class VolumeUnit {
    using T = typename Op::Value;
    using V = Vec<T>;
    using Plane = TileUnit<Op, Careful, S, T>;
    static constexpr bool divides = !Op::watched && floating<T>;

  public:
    VolumeUnit(const DirectJob& job, std::int64_t unit, char* scratch)
        : job_(job),
          f_(*job.form),
          unit_(unit),
          scratch_(scratch),
          plane_form_(of_plane(f_)),
          plane_job_(of_plane(job, plane_form_)),
          planes_(plane_job_, 0, scratch),
          columns_(f_.count[2] * job.layout.lanes),
          rows_at_once_(smaller(f_.count[1], rows_in(ring_bytes / f_.taps[0]))),
          outputs_(job.past_caches, rows_at_once_ * columns_, true) {}
    VolumeUnit(const VolumeUnit&) = delete;
    VolumeUnit& operator=(const VolumeUnit&) = delete;

    void run() {
        take_scratch();
        planes_.fill();
        if (job_.divide) prepare_division();
        const std::int64_t band = unit_ % job_.bands,
                           first = unit_ / job_.bands * job_.groups_per_unit,
                           last = smaller(first + job_.groups_per_unit, job_.groups);
        for (std::int64_t volume = first; volume < last; ++volume)
            for (row_ = 0; row_ < f_.count[1]; row_ += rows_at_once_) {
                rows_ = smaller(rows_at_once_, f_.count[1] - row_);
                make_band(volume, band * job_.band, smaller((band + 1) * job_.band, f_.count[0]));
            }
        outputs_.finish();
        if (planes_.met_suspects()) DirectUnit<Careful>(job_, unit_, scratch_).run_exactly();
    }

    static std::int64_t scratch_bytes(const DirectJob& job) {
        char* const base = reinterpret_cast<char*>(64);
        VolumeUnit first(job, 0, base);
        return first.take_scratch() - base;
    }

  private:
    static constexpr std::int64_t ring_bytes = 512 << 10, tile_rows = 8;

    // As many rows of outputs as these bytes hold, a tile's at least.
    std::int64_t rows_in(std::int64_t bytes) const {
        const std::int64_t row_bytes = columns_ * static_cast<std::int64_t>(sizeof(T));
        return larger(tile_rows, bytes / row_bytes / tile_rows * tile_rows);
    }

    static WindowForm of_plane(WindowForm form) {
        form.taps[0] = form.size[0] = form.count[0] = form.stride[0] = 1;
        form.pad[0] = 0;
        return form;
    }
    static DirectJob of_plane(DirectJob job, const WindowForm& form) {
        job.groups = job.form->size[0];
        job.form = &form;
        job.groups_per_unit = job.bands = 1;
        job.band = form.count[1];
        job.divide = job.past_caches = false;
        job.planes_run_on = true;
        job.layout.batch_rank = 1;
        job.layout.x_batch[0] = job.layout.x_axis[0];
        job.layout.y_batch[0] = 0;
        return job;
    }

    char* take_scratch() {
        Arena arena{planes_.take()};
        for (std::int64_t slot = 0; slot < f_.taps[0]; ++slot)
            ring_[slot] = arena.template take<T>(rows_at_once_ * columns_ + vector_lanes<T>);
        if (job_.divide) along_ = arena.template take<T>(columns_ + vector_lanes<T>);
        return arena.next;
    }

    void prepare_division() {
        divider_.prepare(job_.divisors, job_.divisor_override, 0, f_.count[2], job_.layout.lanes,
                         along_);
        alike_ = divider_.uniform();
        for (std::int64_t h = 1; h < f_.count[1] && !job_.divisor_override; ++h)
            alike_ = alike_ && job_.divisors[1][h] == job_.divisors[1][0];
    }

    void make_band(std::int64_t volume, std::int64_t first, std::int64_t last) {
        const bool many = job_.layout.batch_rank > 0;
        plane_job_.x = job_.x + (many ? volume * job_.layout.x_batch[0] : 0);
        char* const y = job_.y + (many ? volume * job_.layout.y_batch[0] : 0);
        for (std::int64_t slot = 0; slot < f_.taps[0]; ++slot) held_[slot] = -1;
        for (std::int64_t o = first; o < last; ++o) {
            const std::int64_t start = f_.first[0][o];
            const std::int64_t from = larger<std::int64_t>(0, start),
                               to = smaller(f_.size[0], start + f_.taps[0]);
            const T* planes[most_direct_taps];
            for (std::int64_t d = from; d < to; ++d) planes[d - from] = pooled(d);
            join(reinterpret_cast<D*>(y + o * job_.layout.y_axis[0]) + row_ * columns_, planes,
                 static_cast<int>(to - from), o);
        }
    }

    const T* pooled(std::int64_t d) {
        const std::int64_t slot = d % f_.taps[0];
        if (held_[slot] != d) {
            held_[slot] = d;
            // (tiles count rows from the plane's first one)
            plane_job_.y = reinterpret_cast<char*>(ring_[slot]) -
                           row_ * columns_ * static_cast<std::int64_t>(sizeof(T));
            planes_.make_rows_of(d, row_, row_ + rows_);
        }
        return ring_[slot];
    }

    void join(D* out, const T* const* planes, int count, std::int64_t o) {
        if constexpr (divides) {
            const std::int64_t rows = alike_ ? 1 : rows_, length = rows_ * columns_ / rows;
            for (std::int64_t h = 0; h < rows && job_.divide; ++h)
                divider_.with(o, row_ + h, [&](const auto& after) {
                    join_run(out + h * length, planes, count, h * length, length, after);
                });
            if (job_.divide) return;
        }
        join_run(out, planes, count, 0, rows_ * columns_, Keep{});
    }
    template <class After>
    void join_run(D* out, const T* const* planes, int count, std::int64_t from, std::int64_t length,
                  const After& after) {
        if (count == 2) return join_some<2>(out, planes, count, from, length, after);
        if (count == 3) return join_some<3>(out, planes, count, from, length, after);
        join_some<0>(out, planes, count, from, length, after);
    }
    template <int Known, class After>
    POOLWISE_APART void join_some(D* out, const T* const* planes, int count, std::int64_t from,
                                  std::int64_t length, const After& after) {
        constexpr int most = Known ? Known : static_cast<int>(most_direct_taps);
        const int deep = Known ? Known : count;
        const T* plane[most];
        for (int k = 0; k < deep; ++k) plane[k] = planes[k] + from;
        outputs_.write(out, length, [&](std::int64_t n) POOLWISE_INLINE {
            V all = load_vector<V>(plane[deep - 1] + n);
            for (int k = deep - 2; k >= 0; --k)  // backwards: see large.h, join_fixed
                all = Op::template join<false>(load_vector<V>(plane[k] + n), all);
            return after(all, n);
        });
    }

    const DirectJob& job_;
    const WindowForm& f_;
    std::int64_t unit_;
    char* scratch_;
    const WindowForm plane_form_;
    DirectJob plane_job_;
    Plane planes_;
    const std::int64_t columns_;       // (channels last: of all channels)
    const std::int64_t rows_at_once_;  // of output planes
    std::int64_t row_ = 0, rows_ = 0;  // those being made
    Outputs<Op, D> outputs_;
    Divider<T> divider_;
    bool alike_ = true;
    T* along_ = nullptr;
    T* ring_[most_direct_taps] = {};
    std::int64_t held_[most_direct_taps];
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
