// Small planes turned: as many as fit into L1 become channels that lie beside each other, are pooled
// as such, and are turned back.
//
// A plane of 7 x 7 fills three vectors of sixteen, and a stride of 2 leaves every other lane of them
// idle; planes beside each other fill every lane whatever windows and strides are. Turning costs
// log2(lanes) moves a vector each way, 0.1 ns per cell, where picking windows one by one out of
// those at stride 1 cost 0.5.
#pragma once

#include "direct.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class Op> class TurnedUnit {
    using T = typename Op::Value;
    static constexpr std::int64_t bytes = sizeof(T);

  public:
    TurnedUnit(const DirectJob& job, std::int64_t unit, char* scratch)
        : job_(job), inner_(job), arena_{scratch} {
        first_ = unit * job.groups_per_unit;
        last_ = smaller(first_ + job.groups_per_unit, job.groups);
        cells_ = job.form->size[1] * job.form->size[2];
        windows_ = job.form->count[1] * job.form->count[2];
        lanes_ = lanes_of(job);
        x_ = arena_.template take<T>(cells_ * lanes_);
        y_ = arena_.template take<T>(room() * lanes_);
        nowhere_ = arena_.template take<T>(room());
        describe();
    }

    void run() {
        for (std::int64_t plane = first_; plane < last_; plane += lanes_) {
            const std::int64_t count = smaller(lanes_, last_ - plane);
            const T* from[most_lanes];
            T* to[most_lanes];
            if (count == lanes_ && job_.layout.batch_rank == 1) {
                const char* const x = job_.x + plane * job_.layout.x_batch[0];
                char* const y = job_.y + plane * job_.layout.y_batch[0];
                for (std::int64_t l = 0; l < lanes_; ++l) {
                    from[l] = reinterpret_cast<const T*>(x + l * job_.layout.x_batch[0]);
                    to[l] = reinterpret_cast<T*>(y + l * job_.layout.y_batch[0]);
                }
            } else {  // (planes that are not there are the last one again, and go nowhere)
                for (std::int64_t l = 0; l < lanes_; ++l) {
                    from[l] = source(plane + smaller(l, count - 1));
                    to[l] = l < count ? target(plane + l) : nowhere_;
                }
            }
            // What comes next: rows of many planes are read in turn, which no hardware follows.
            for (std::int64_t l = 0; l < lanes_; ++l)
                ask_for<0>(reinterpret_cast<const char*>(from[l]) + read_ahead, cells_ * bytes);
            gather_planes(from, cells_, lanes_, x_);
            DirectUnit<Op>(inner_, 0, arena_.next).run();
            if (windows_ >= vector_lanes<T>) {
                scatter_planes(y_, windows_, lanes_, to);
            } else {  // through planes that have room
                for (std::int64_t l = 0; l < lanes_; l += side) scatter_few(to + l, l);
            }
        }
    }

    static std::int64_t scratch_bytes(const DirectJob& job) {
        char* const base = reinterpret_cast<char*>(64);
        TurnedUnit unit(job, 0, base);
        return unit.arena_.next - base + DirectUnit<Op>::scratch_bytes(unit.inner_);
    }

  private:
    static constexpr std::int64_t most_lanes = 64, held_bytes = 24 << 10;
    static constexpr int side = vector_lanes<T>;

    static std::int64_t lanes_of(const DirectJob& job) {
        const std::int64_t fitting =
            held_bytes / (job.form->size[1] * job.form->size[2] * bytes) / side * side;
        const std::int64_t whole = (job.groups_per_unit + side - 1) / side * side;
        return larger<std::int64_t>(side, smaller(smaller(fitting, most_lanes), whole));
    }
    std::int64_t room() const { return larger<std::int64_t>(windows_, side); }

    // The job of planes beside each other.
    void describe() {
        Layout& layout = inner_.layout;
        const WindowForm& f = *job_.form;
        layout.batch_rank = 0;
        layout.planes = 1;
        layout.lanes = lanes_;
        layout.gather = false;
        layout.x_lane = layout.y_lane = bytes;
        layout.x_axis[2] = layout.y_axis[2] = lanes_ * bytes;
        layout.x_axis[1] = f.size[2] * lanes_ * bytes;
        layout.y_axis[1] = f.count[2] * lanes_ * bytes;
        layout.x_axis[0] = layout.y_axis[0] = 0;
        inner_.x = reinterpret_cast<const char*>(x_);
        inner_.y = reinterpret_cast<char*>(y_);
        inner_.groups = inner_.groups_per_unit = 1;
        inner_.lane_blocks = inner_.column_tiles = inner_.bands = 1;
        inner_.lane_block = lanes_;
        inner_.column_tile = f.count[2];
        inner_.band = f.count[1];
    }

    // Fewer windows than a vector has lanes: turned into whole vectors, copied as far as they go.
    void scatter_few(T* const* to, std::int64_t lane) {
        using V = Vec<T>;
        V block[side];
        for (int i = 0; i < side; ++i)
            block[i] = i < windows_ ? load_vector<V>(y_ + i * lanes_ + lane) : V{};
        transpose<T>(block);
        for (int i = 0; i < side; ++i) store_some<AsItIs<T>>(to[i], block[i], windows_);
    }

    const T* source(std::int64_t plane) const {
        return reinterpret_cast<const T*>(job_.x +
                                          batch_offset(job_.layout, job_.layout.x_batch, plane));
    }
    T* target(std::int64_t plane) const {
        return reinterpret_cast<T*>(job_.y +
                                    batch_offset(job_.layout, job_.layout.y_batch, plane));
    }

    const DirectJob& job_;
    DirectJob inner_;
    Arena arena_;
    std::int64_t first_, last_, cells_, windows_, lanes_;
    T *x_, *y_, *nowhere_;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
