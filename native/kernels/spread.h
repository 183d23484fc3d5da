// The spread kernel: gradients of small sliding windows, each cell of the input written once.
//
// A cell collects from the few windows that see it, in row-major order of the windows: of a sum,
// their gradients; of a maximum, those whose winner it was (a comparison and a mask per term).
// Cells of one row that lie `stride` apart see their windows at the same taps, so a row is made
// phase by phase from unit-stride loads; the two phases of stride 2 are merged in registers. Narrow
// planes stand side by side in one row, sixteen at a time. Nothing is zeroed first, nothing is
// added to memory, and the order does not depend on threads or instruction set. Cost per cell:
// about ceil(k / s) loads, comparisons, masks and additions per axis.
#pragma once

#include "square.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// One window's share of a cell: its gradient, where its winner's tap is `tap`.
template <class T> struct Share {
    const T* dy;
    const TapInt<T>* winner;
    TapInt<T> tap;
};

// The shares of `wide` vectors of cells from `at` on, added up in order. Known counts are unrolled;
// 0 is any.
template <bool Picked, int wide, int Known, class T>
inline void add_up(Vec<T>* total, const Share<T>* shares, int how_many, std::int64_t at) {
    using V = Vec<T>;
    using I = TapInt<T>;
    constexpr int lanes = vector_lanes<T>;
    for (int w = 0; w < wide; ++w) total[w] = V{};
    if (Known) how_many = Known;
    for (int s = 0; s < how_many; ++s) {
        const Share<T>& share = shares[s];
        for (int w = 0; w < wide; ++w) {
            V dy = load_vector<V>(share.dy + at + w * lanes);
            if constexpr (Picked) {
                const auto won = load_vector<Vec<I>>(share.winner + at + w * lanes) == share.tap;
                dy = won ? dy : V{};
            }
            total[w] += dy;
        }
    }
}

template <bool Picked, class T>
inline T add_up_one(const Share<T>* shares, int how_many, std::int64_t at) {
    T total = 0;
    for (int s = 0; s < how_many; ++s)
        if (!Picked || shares[s].winner[at] == shares[s].tap) total += shares[s].dy[at];
    return total;
}

// out[0, count): cells whose shares begin at `from`.
template <class T, bool Picked, bool Slack, int Known>
POOLWISE_APART void add_shares(T* out, const Share<T>* shares, int how_many, std::int64_t from,
                               std::int64_t count) {
    if (!Slack && count < vector_lanes<T>) {
        for (std::int64_t n = 0; n < count; ++n)
            out[n] = add_up_one<Picked>(shares, how_many, from + n);
        return;
    }
    each_block<T, Slack>(count, [&](auto width, std::int64_t n) {
        constexpr int wide = decltype(width)::value;
        ask_for<1>(reinterpret_cast<const char*>(out + n) + write_ahead, wide * vector_bytes);
        Vec<T> total[wide];
        add_up<Picked, wide, Known>(total, shares, how_many, from + n);
        for (int w = 0; w < wide; ++w) store_vector(out + n + w * vector_lanes<T>, total[w]);
    });
}
template <class T, bool Picked, bool Slack> auto shares_adder(int how_many) {
    switch (how_many) {
        case 1: return add_shares<T, Picked, Slack, 1>;
        case 2: return add_shares<T, Picked, Slack, 2>;
        case 4: return add_shares<T, Picked, Slack, 4>;
        default: return add_shares<T, Picked, Slack, 0>;
    }
}

// out[0, 2 count): the phases of stride 2, merged as they are stored. Without slack, count is at
// least a vector.
template <class T, bool Picked, bool Slack, int Even, int Odd>
POOLWISE_APART void add_pairs(T* out, const Share<T>* even, int evens, const Share<T>* odd,
                              int odds, std::int64_t count) {
    each_block<T, Slack>(count, [&](auto width, std::int64_t n) {
        constexpr int wide = decltype(width)::value, lanes = vector_lanes<T>;
        ask_for<1>(reinterpret_cast<const char*>(out + 2 * n) + write_ahead,
                   2 * wide * vector_bytes);
        Vec<T> first[wide], second[wide];
        add_up<Picked, wide, Even>(first, even, evens, n);
        add_up<Picked, wide, Odd>(second, odd, odds, n);
        for (int w = 0; w < wide; ++w) merge_pair(out + 2 * (n + w * lanes), first[w], second[w]);
    });
}
template <class T, bool Picked, bool Slack> auto pairs_adder(int evens, int odds) {
    if (evens == 1 && odds == 1) return add_pairs<T, Picked, Slack, 1, 1>;
    if (evens == 1 && odds == 2) return add_pairs<T, Picked, Slack, 1, 2>;
    if (evens == 2 && odds == 1) return add_pairs<T, Picked, Slack, 2, 1>;
    if (evens == 2 && odds == 4) return add_pairs<T, Picked, Slack, 2, 4>;
    if (evens == 4 && odds == 2) return add_pairs<T, Picked, Slack, 4, 2>;
    return add_pairs<T, Picked, Slack, 0, 0>;
}

template <class T> class SpreadUnit : public GroupedUnit<SpreadUnit<T>, SpreadJob> {
    using I = TapInt<T>;
    using Base = GroupedUnit<SpreadUnit<T>, SpreadJob>;
    friend Base;
    using Base::arena_, Base::band_, Base::block_, Base::f_, Base::job_, Base::next_, Base::place_;

  public:
    SpreadUnit(const SpreadJob& job, std::int64_t unit, char* scratch)
        : Base(job, unit, 1, scratch),
          loader_(loader_for<T>(job.dtype)),
          storer_(storer_for<T>(job.dtype)) {}

  private:
    void make_group() {
        if (job_.winners)
            make_winners();
        else
            make_plane<false>();
    }

    void locate(Place& place, std::int64_t group) const {
        place.locate(job_.layout, job_.dx, const_cast<char*>(job_.dy),
                     const_cast<char*>(job_.winners), group, block_, job_.lane_block);
    }

    // Cell w = j * stride + r of a row, phase r, sees windows from q = j + (r + pad) / stride down.
    // `beside` planes of a group, or lanes of a plane.
    POOLWISE_APART void take_scratch(std::int64_t beside) {
        planes_ = job_.layout.gather ? beside : 1;
        lanes_ = job_.layout.gather ? 1 : beside;
        stride_ = f_.stride[2];
        for (std::int64_t r = 0; r < stride_; ++r) first_window_[r] = (r + f_.pad[2]) / stride_;
        margin_ = (f_.taps[2] - 1) / stride_;  // windows before q that still reach it
        // Columns [-margin, …) around the windows, zero where there is no window.
        pitch_ = larger((f_.size[2] - 1 + f_.pad[2]) / stride_ + 1, f_.count[2]) + margin_;
        length_ = (planes_ - 1) * pitch_ + (f_.size[2] - 1) / stride_ + 1;
        const std::int64_t length = planes_ * pitch_ * lanes_ + vector_lanes<T>;
        for (int a = 0; a < 2; ++a)
            readers_[a] = smaller((f_.taps[a] - 1) / f_.stride[a] + 1, f_.count[a]);
        square_ = job_.square && storer_.in_place && planes_ == 1 &&
                  f_.size[2] * lanes_ >= vector_lanes<T>;
        slots_ = square_ ? f_.taps[1] + square_rows : readers_[0] * readers_[1];
        for (std::int64_t slot = 0; slot < slots_; ++slot) {
            ring_dy_[slot] = arena_.template take<T>(length);
            ring_winner_[slot] = job_.winners ? arena_.template take<I>(length) : nullptr;
        }
        const std::int64_t phase = length_ + 2 * vector_lanes<T>;
        if (stride_ > 2 && lanes_ == 1)
            for (std::int64_t r = 0; r < stride_; ++r) phases_[r] = arena_.template take<T>(phase);
        merged_ =
            arena_.template take<T>(larger(phase * stride_, f_.size[2] * lanes_ + vector_lanes<T>));
        const std::int64_t most = readers_[0] * readers_[1] * (margin_ + 1);
        for (std::int64_t r = 0; r < stride_; ++r)
            shares_[r] = arena_.template take<Share<T>>(most);
        if (job_.divide) along_ = arena_.template take<T>(planes_ * pitch_ * lanes_);
    }

    POOLWISE_APART void fill_scratch() {
        const std::int64_t length = planes_ * pitch_ * lanes_ + vector_lanes<T>;
        for (std::int64_t slot = 0; slot < slots_; ++slot)
            for (std::int64_t n = 0; n < length; ++n) {
                ring_dy_[slot][n] = 0;
                if (job_.winners) ring_winner_[slot][n] = -1;
            }
        if (job_.divide)
            divider_.prepare(job_.divisors, job_.divisor_override, 0, f_.count[2], lanes_, along_,
                             planes_, pitch_);
        const Layout& layout = job_.layout;
        const std::int64_t bytes = sizeof(T);
        beside_ = loader_.in_place && planes_ == 1 && !job_.divide &&
                  f_.count[2] * lanes_ >= vector_lanes<T> && layout.y_axis[2] == lanes_ * bytes &&
                  layout.i_axis[2] == lanes_ &&
                  (lanes_ == 1 || (layout.y_lane == bytes && layout.i_lane == 1));
        dense_ = storer_.in_place &&
                 (lanes_ == 1 ? layout.x_axis[2] == bytes
                              : layout.x_lane == bytes && layout.x_axis[2] == lanes_ * bytes);
    }

    // Rows [first, last) of square windows' cells. The last slot of the ring is a row of no
    // windows.
    void make_square(std::int64_t first, std::int64_t last) {
        const std::int64_t size = f_.taps[1], ring = slots_ - 1;
        for (std::int64_t h = first; h < last; h += square_rows) {
            const int rows = static_cast<int>(smaller<std::int64_t>(square_rows, last - h));
            WindowsRow<T> windows[square_rows + 4];
            T* out[square_rows];
            for (std::int64_t j = 0; j < rows + size - 1; ++j) {
                const std::int64_t oh = h + f_.pad[1] - size + 1 + j;
                const bool there = oh >= 0 && oh < f_.count[1];
                const std::int64_t slot = there ? oh % ring : ring;
                if (there) hold(0, oh, slot);
                const std::int64_t begin = f_.pad[2] * lanes_;
                windows[j] = {ring_dy_[slot] + begin, ring_winner_[slot] + begin};
            }
            for (int i = 0; i < rows; ++i)
                out[i] = reinterpret_cast<T*>(const_cast<char*>(place_.x[0]) +
                                              (h + i) * job_.layout.x_axis[1]);
            const auto add = size == 3 ? add_square_rows<T, 3> : add_square_rows<T, 5>;
            add(out, rows, windows, lanes_, f_.size[2] * lanes_);
        }
    }

    // The windows of one axis that see a cell, [first, last], kept up as cells go by: no division
    // per row. Windows share slots, one for each that a cell can see.
    struct Readers {
        std::int64_t first, last, slot;  // the first one's
    };
    Readers readers_of(int axis, std::int64_t cell) const {
        const std::int64_t place = cell + f_.pad[axis], stride = f_.stride[axis];
        const std::int64_t before = place - f_.taps[axis] + 1;
        const std::int64_t first = before > 0 ? (before + stride - 1) / stride : 0;
        return {first, smaller(place / stride, f_.count[axis] - 1), first % readers_[axis]};
    }
    void move_on(Readers& readers, int axis, std::int64_t cell) const {
        const std::int64_t place = cell + f_.pad[axis], stride = f_.stride[axis];
        if (readers.first * stride + f_.taps[axis] <= place) {
            ++readers.first;
            readers.slot = next_slot(readers.slot, axis);
        }
        if ((readers.last + 1) * stride <= place && readers.last + 1 < f_.count[axis])
            ++readers.last;
    }
    std::int64_t next_slot(std::int64_t slot, int axis) const {
        return slot + 1 < readers_[axis] ? slot + 1 : 0;
    }

    void make_winners() {
        most_ = Vec<I>{};
        make_plane<true>();
        check_taps();
    }

    template <bool Picked> void make_plane() {
        for (std::int64_t slot = 0; slot < slots_; ++slot) held_[slot] = -1;
        const std::int64_t first = band_ * job_.band, last = smaller(first + job_.band, f_.size[1]);
        if (square_ && dense_) return make_square(first, last);
        const Readers at_first = readers_of(1, first);
        Readers over_d = readers_of(0, 0);
        for (std::int64_t d = 0; d < f_.size[0]; ++d) {
            if (d > 0) move_on(over_d, 0, d);
            Readers over_h = at_first;
            for (std::int64_t h = first; h < last; ++h) {
                if (h > first) move_on(over_h, 1, h);
                make_row<Picked>(d, h, over_d, over_h);
            }
        }
    }

    // One row of windows that sees the row being made, and the number of the tap it sees it at.
    struct Source {
        const T* dy;
        const I* winner;
        std::int64_t base;
    };

    template <bool Picked>
    void make_row(std::int64_t d, std::int64_t h, const Readers& over_d, const Readers& over_h) {
        Source sources[most_direct_taps];
        int rows = 0;
        std::int64_t slot_d = over_d.slot;
        for (std::int64_t od = over_d.first; od <= over_d.last; ++od) {
            std::int64_t slot_h = over_h.slot;
            for (std::int64_t oh = over_h.first; oh <= over_h.last; ++oh) {
                const std::int64_t slot = slot_d * readers_[1] + slot_h;
                hold(od, oh, slot);
                const std::int64_t kd = d + f_.pad[0] - od * f_.stride[0],
                                   kh = h + f_.pad[1] - oh * f_.stride[1];
                sources[rows++] = {ring_dy_[slot], ring_winner_[slot],
                                   (kd * f_.taps[1] + kh) * f_.taps[2]};
                slot_h = next_slot(slot_h, 1);
            }
            slot_d = next_slot(slot_d, 0);
        }
        for (std::int64_t r = 0; r < stride_; ++r) list_shares(r, sources, rows);
        const Layout& layout = job_.layout;
        const std::int64_t offset = d * layout.x_axis[0] + h * layout.x_axis[1];
        char* const base = const_cast<char*>(place_.x[0]) + offset;
        if (lanes_ > 1) {
            T* const target = dense_ ? reinterpret_cast<T*>(base) : merged_;
            make_lanes<Picked>(target);
            if (!dense_)
                place_.store(storer_, merged_, &base, 0, layout.x_axis[2], layout.x_lane,
                             f_.size[2], size_of(job_.dtype));
            return;
        }
        // A long row goes where it belongs; others through a buffer that has room behind them.
        const bool direct =
            dense_ && planes_ == 1 && stride_ <= 2 && f_.size[2] >= stride_ * vector_lanes<T>;
        if (direct) return make_flat<Picked, false>(reinterpret_cast<T*>(base));
        make_flat<Picked, true>(merged_);
        for (std::int64_t p = 0; p < planes_; ++p) {
            const T* made = merged_ + p * pitch_ * stride_;
            char* const at = const_cast<char*>(place_.x[p]) + offset;
            if (dense_)
                copy_run(reinterpret_cast<T*>(at), made, f_.size[2]);
            else
                storer_.run(made, f_.size[2], at, layout.x_axis[2]);
            if (planes_ > 1) ask_for<1>(next_.x[p] + offset, f_.size[2] * size_of(job_.dtype));
        }
    }

    // The windows that see phase `r` of a row, seen from its first cell.
    void list_shares(std::int64_t r, const Source* sources, int rows) {
        const std::int64_t q = first_window_[r], first = r + f_.pad[2] - q * stride_;
        int how_many = 0;
        for (int s = 0; s < rows; ++s)
            for (std::int64_t m = margin_; m >= 0; --m) {
                const std::int64_t tap = first + m * stride_;
                if (tap >= f_.taps[2]) continue;
                const std::int64_t from = (q - m + margin_) * lanes_;
                shares_[r][how_many++] = {sources[s].dy + from,
                                          sources[s].winner ? sources[s].winner + from : nullptr,
                                          static_cast<I>(sources[s].base + tap)};
            }
        how_many_[r] = how_many;
    }

    template <bool Picked, bool Slack> void make_flat(T* target) {
        const std::int64_t row = f_.size[2];
        if (stride_ == 1) {
            const auto add = shares_adder<T, Picked, Slack>(how_many_[0]);
            add(target, shares_[0], how_many_[0], 0, Slack ? length_ : row);
        } else if (stride_ == 2) {
            const auto add = pairs_adder<T, Picked, Slack>(how_many_[0], how_many_[1]);
            add(target, shares_[0], how_many_[0], shares_[1], how_many_[1],
                Slack ? length_ : row / 2);
            if (!Slack && row % 2)
                target[row - 1] = add_up_one<Picked>(shares_[0], how_many_[0], row / 2);
        } else {
            for (std::int64_t r = 0; r < stride_; ++r)
                add_shares<T, Picked, true, 0>(phases_[r], shares_[r], how_many_[r], 0, length_);
            merge_row(target, phases_, stride_, length_);
        }
    }

    // Cell by cell, as they lie in memory; at stride 1 a row is one run.
    template <bool Picked> void make_lanes(T* target) {
        const std::int64_t run = stride_ == 1 ? f_.size[2] : 1;
        std::int64_t from = 0, r = 0;
        for (std::int64_t w = 0; w < f_.size[2]; w += run) {
            const auto add = shares_adder<T, Picked, false>(how_many_[r]);
            add(target + w * lanes_, shares_[r], how_many_[r], from, run * lanes_);
            if (++r < stride_) continue;
            r = 0;
            from += lanes_;
        }
    }

    // Brings row (od, oh) of the gradients into its slot, divided if they are means'.
    void hold(std::int64_t od, std::int64_t oh, std::int64_t slot) {
        const std::int64_t id = od * f_.count[1] + oh;
        if (held_[slot] == id) return;
        held_[slot] = id;
        const Layout& layout = job_.layout;
        T* const dy = ring_dy_[slot] + margin_ * lanes_;
        I* const winner = job_.winners ? ring_winner_[slot] + margin_ * lanes_ : nullptr;
        const std::int64_t dy_offset = od * layout.y_axis[0] + oh * layout.y_axis[1],
                           winner_offset = od * layout.i_axis[0] + oh * layout.i_axis[1];
        const std::int64_t count = f_.count[2];
        if (winner && beside_)
            return hold_beside(
                reinterpret_cast<const T*>(place_.y[0] + dy_offset),
                reinterpret_cast<const std::uint8_t*>(place_.indices[0]) + winner_offset,
                count * lanes_, dy, winner);
        const Loader<I> taps = loader_of<I, std::uint8_t>();
        if (planes_ == 1) {
            place_.load(loader_, place_.y, dy_offset, layout.y_axis[2], layout.y_lane, count,
                        size_of(job_.dtype), dy);
            if (winner)
                place_.load(taps, place_.indices, winner_offset, layout.i_axis[2], layout.i_lane,
                            count, 1, winner);
        } else {
            for (std::int64_t p = 0; p < planes_; ++p) {
                loader_.run(place_.y[p] + dy_offset, layout.y_axis[2], count, dy + p * pitch_);
                ask_for<0>(next_.y[p] + dy_offset, count * size_of(job_.dtype));
                if (!winner) continue;
                taps.run(place_.indices[p] + winner_offset, layout.i_axis[2], count,
                         winner + p * pitch_);
                ask_for<0>(next_.indices[p] + winner_offset, count);
            }
        }
        if (job_.divide) divider_.divide(od, oh, dy);
        if (winner) note_taps(winner);
    }

    // As they lie: at least a vector of them.
    POOLWISE_APART void hold_beside(const T* dy, const std::uint8_t* winner, std::int64_t count,
                                    T* to_dy, I* to_winner) {
        constexpr std::int64_t lanes = vector_lanes<T>;
        Vec<I> most = most_;
        for (std::int64_t at = 0; at < count; at += lanes) {
            const std::int64_t n = smaller(at, count - lanes);
            ask_for<0>(reinterpret_cast<const char*>(dy + n) + read_ahead, vector_bytes);
            ask_for<0>(reinterpret_cast<const char*>(winner + n) + read_ahead / 4, lanes);
            store_vector(to_dy + n, load_vector<Vec<T>>(dy + n));
            const auto tap = widened<I>(winner + n);
            most = tap > most ? tap : most;
            store_vector(to_winner + n, tap);
        }
        most_ = most;
    }

    // (rows of the ring have a vector to spare, of -1 or of what was there: taps that were seen)
    void note_taps(const I* winner) {
        const std::int64_t length = (planes_ - 1) * pitch_ + f_.count[2] * lanes_;
        constexpr std::int64_t lanes = vector_lanes<T>;
        Vec<I> most = most_;
        for (std::int64_t n = 0; n < length; n += lanes) {
            const auto tap = load_vector<Vec<I>>(winner + n);
            most = tap > most ? tap : most;
        }
        most_ = most;
    }
    // Every number of eight bits is a tap of a window of 256 cells.
    void check_taps() const {
        if (any_lane(most_ >= static_cast<I>(f_.cells())))
            __atomic_store_n(job_.bad, true, __ATOMIC_RELAXED);
    }

    Loader<T> loader_;
    Storer<T> storer_;
    Divider<T> divider_;
    std::int64_t planes_ = 1, pitch_ = 0, lanes_ = 1, stride_ = 1;
    std::int64_t margin_ = 0, length_ = 0, readers_[2] = {1, 1}, slots_ = 1;
    bool dense_ = false, beside_ = false, square_ = false;
    Vec<I> most_{};  // of the taps that were seen
    T* ring_dy_[most_direct_taps];
    I* ring_winner_[most_direct_taps];
    std::int64_t held_[most_direct_taps];
    // Per phase of the stride.
    T* phases_[most_direct_taps] = {};
    Share<T>* shares_[most_direct_taps];
    int how_many_[most_direct_taps];
    std::int64_t first_window_[most_direct_taps];
    T* merged_ = nullptr;
    T* along_ = nullptr;
};

template <class T> void spread_unit(const SpreadJob& job, std::int64_t unit, char* scratch) {
    SpreadUnit<T>(job, unit, scratch).run();
}
template <class T> std::int64_t spread_scratch(const SpreadJob& job) {
    return SpreadUnit<T>::scratch_bytes(job);
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
