// The spread kernel: gradients of small sliding windows, each cell of the input written once.
//
// A cell collects from the few windows that see it, in row-major order of the windows: of a sum,
// their gradients; of a maximum, those whose winner it was (a comparison and a mask per term).
// Cells of one row that lie `stride` apart see their windows at the same taps, so a row is made
// phase by phase from unit-stride loads, and the phases are merged as it is stored. Narrow planes
// stand side by side in one row, sixteen at a time. Nothing is zeroed first, nothing is added to
// memory, and the order does not depend on threads or instruction set. Cost per cell: about ceil(k
// / s) loads, comparisons, masks and additions per axis.
#pragma once

#include "divide.h"
#include "groups.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// One window's share of a cell: its gradient, where its winner's tap is `tap`.
template <class T> struct Share {
    const T* dy;
    const TapInt<T>* winner;
    TapInt<T> tap;
};

template <class T, bool Picked, bool Slack>
POOLWISE_APART void add_shares(T* out, const Share<T>* shares, int how_many, std::int64_t count) {
    using I = TapInt<T>;
    if (!Slack && count < vector_lanes<T>) {
        for (std::int64_t n = 0; n < count; ++n) {
            T total = 0;
            for (int s = 0; s < how_many; ++s)
                if (!Picked || shares[s].winner[n] == shares[s].tap) total += shares[s].dy[n];
            out[n] = total;
        }
        return;
    }
    each_block<T, Slack>(count, [&](auto width, std::int64_t n) {
        using V = Vec<T>;
        constexpr int wide = decltype(width)::value;
        V total[wide];
        for (int w = 0; w < wide; ++w) total[w] = V{};
        for (int s = 0; s < how_many; ++s)
            for (int w = 0; w < wide; ++w) {
                const std::int64_t at = n + w * vector_lanes<T>;
                V dy = load_vector<V>(shares[s].dy + at);
                if constexpr (Picked) {
                    const auto won = load_vector<Vec<I>>(shares[s].winner + at) == shares[s].tap;
                    dy = won ? dy : V{};
                }
                total[w] += dy;
            }
        for (int w = 0; w < wide; ++w) store_vector(out + n + w * vector_lanes<T>, total[w]);
    });
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
            make_plane<true>();
        else
            make_plane<false>();
    }

    void locate(Place& place, std::int64_t group) const {
        place.locate(job_.layout, job_.dx, const_cast<char*>(job_.dy),
                     const_cast<char*>(job_.winners), group, block_, job_.lane_block);
    }

    // Windows stand at q = 0, 1, … in units of the stride; cell w is at q * stride + phase - pad.
    // `beside` planes of a group, or lanes of a plane.
    POOLWISE_APART void take_scratch(std::int64_t beside) {
        planes_ = job_.layout.gather ? beside : 1;
        lanes_ = job_.layout.gather ? 1 : beside;
        stride_ = f_.stride[2];
        first_q_ = f_.pad[2] / stride_;
        quotients_ = (f_.size[2] - 1 + f_.pad[2]) / stride_ - first_q_ + 1;
        margin_ = (f_.taps[2] - 1) / stride_;  // windows before q that still reach it
        // Columns [-margin, …) around the windows, zero where there is no window.
        pitch_ = larger(first_q_ + quotients_, f_.count[2]) + margin_;
        length_ = (planes_ - 1) * pitch_ + quotients_ * lanes_;
        const std::int64_t length = planes_ * pitch_ * lanes_ + vector_lanes<T>;
        for (int a = 0; a < 2; ++a)
            readers_[a] = smaller((f_.taps[a] - 1) / f_.stride[a] + 1, f_.count[a]);
        for (std::int64_t slot = 0; slot < readers_[0] * readers_[1]; ++slot) {
            ring_dy_[slot] = arena_.template take<T>(length);
            ring_winner_[slot] = job_.winners ? arena_.template take<I>(length) : nullptr;
        }
        const std::int64_t phase = length_ + 2 * vector_lanes<T>;
        for (std::int64_t r = 0; r < stride_ && lanes_ == 1 && r < most_direct_taps; ++r)
            phases_[r] = arena_.template take<T>(phase);
        merged_ =
            arena_.template take<T>(larger(phase * stride_, f_.size[2] * lanes_ + vector_lanes<T>));
        if (job_.divide) along_ = arena_.template take<T>(planes_ * pitch_ * lanes_);
    }

    POOLWISE_APART void fill_scratch() {
        const std::int64_t length = planes_ * pitch_ * lanes_ + vector_lanes<T>;
        for (std::int64_t slot = 0; slot < readers_[0] * readers_[1]; ++slot)
            for (std::int64_t n = 0; n < length; ++n) {
                ring_dy_[slot][n] = 0;
                if (job_.winners) ring_winner_[slot][n] = -1;
            }
        if (job_.divide)
            divider_.prepare(job_.divisors, job_.divisor_override, 0, f_.count[2], lanes_, along_,
                             planes_, pitch_);
        const Layout& layout = job_.layout;
        const std::int64_t bytes = sizeof(T);
        dense_ = storer_.in_place &&
                 (lanes_ == 1 ? layout.x_axis[2] == bytes
                              : layout.x_lane == bytes && layout.x_axis[2] == lanes_ * bytes);
    }

    template <bool Picked> void make_plane() {
        for (std::int64_t slot = 0; slot < readers_[0] * readers_[1]; ++slot) held_[slot] = -1;
        const std::int64_t first = band_ * job_.band, last = smaller(first + job_.band, f_.size[1]);
        for (std::int64_t d = 0; d < f_.size[0]; ++d)
            for (std::int64_t h = first; h < last; ++h) make_row<Picked>(d, h);
    }

    struct Readers {
        std::int64_t first, last;  // the windows that see a cell, inclusive
    };
    Readers readers_of(int axis, std::int64_t cell) const {
        const std::int64_t place = cell + f_.pad[axis], stride = f_.stride[axis];
        const std::int64_t before = place - f_.taps[axis] + 1;
        return {before > 0 ? quotient(before + stride - 1, stride) : 0,
                smaller(quotient(place, stride), f_.count[axis] - 1)};
    }
    // Narrow division is the faster.
    static std::int64_t quotient(std::int64_t n, std::int64_t by) {
        if (by == 1) return n;
        if (n <= INT32_MAX && by <= INT32_MAX)
            return static_cast<std::uint32_t>(n) / static_cast<std::uint32_t>(by);
        return n / by;
    }
    static std::int64_t rest(std::int64_t n, std::int64_t by) { return n - quotient(n, by) * by; }

    // One row of windows that sees the row being made, and the number of the tap it sees it at.
    struct Source {
        const T* dy;
        const I* winner;
        std::int64_t base;
    };

    template <bool Picked> void make_row(std::int64_t d, std::int64_t h) {
        Source sources[most_direct_taps];
        int rows = 0;
        const Readers over_d = readers_of(0, d), over_h = readers_of(1, h);
        for (std::int64_t od = over_d.first; od <= over_d.last; ++od)
            for (std::int64_t oh = over_h.first; oh <= over_h.last; ++oh) {
                const std::int64_t slot =
                    rest(od, readers_[0]) * readers_[1] + rest(oh, readers_[1]);
                hold(od, oh, slot);
                const std::int64_t kd = d + f_.pad[0] - od * f_.stride[0],
                                   kh = h + f_.pad[1] - oh * f_.stride[1];
                sources[rows++] = {ring_dy_[slot], ring_winner_[slot],
                                   (kd * f_.taps[1] + kh) * f_.taps[2]};
            }
        const Layout& layout = job_.layout;
        const std::int64_t offset = d * layout.x_axis[0] + h * layout.x_axis[1];
        char* const base = const_cast<char*>(place_.x[0]) + offset;
        if (lanes_ > 1) {
            T* const target = dense_ ? reinterpret_cast<T*>(base) : merged_;
            make_lanes<Picked>(sources, rows, target);
            if (!dense_)
                place_.store(storer_, merged_, &base, 0, layout.x_axis[2], layout.x_lane,
                             f_.size[2], size_of(job_.dtype));
            return;
        }
        make_flat<Picked>(sources, rows);
        for (std::int64_t p = 0; p < planes_; ++p) {
            const T* made = merged_ + p * pitch_ * stride_ + f_.pad[2] - first_q_ * stride_;
            char* const at = const_cast<char*>(place_.x[p]) + offset;
            if (dense_)
                copy_run(reinterpret_cast<T*>(at), made, f_.size[2]);
            else
                storer_.run(made, f_.size[2], at, layout.x_axis[2]);
            if (planes_ > 1) ask_for<1>(next_.x[p] + offset, f_.size[2] * size_of(job_.dtype));
        }
    }

    // The windows that see phase `r` of a row, for all of its quotients at once.
    int shares_of(std::int64_t r, const Source* sources, int rows, Share<T>* shares) const {
        int how_many = 0;
        for (int s = 0; s < rows; ++s)
            for (std::int64_t m = margin_; m >= 0; --m) {
                const std::int64_t t = r + m * stride_;
                if (t >= f_.taps[2]) continue;
                const std::int64_t from = (first_q_ - m + margin_) * lanes_;
                shares[how_many++] = {sources[s].dy + from,
                                      sources[s].winner ? sources[s].winner + from : nullptr,
                                      static_cast<I>(sources[s].base + t)};
            }
        return how_many;
    }

    template <bool Picked> void make_flat(const Source* sources, int rows) {
        Share<T> shares[most_shares];
        for (std::int64_t r = 0; r < stride_; ++r) {
            const int how_many = shares_of(r, sources, rows, shares);
            T* const out = stride_ == 1 ? merged_ : phases_[r];
            add_shares<T, Picked, true>(out, shares, how_many, length_);
        }
        if (stride_ > 1) merge_row(merged_, phases_, stride_, length_);
    }

    template <bool Picked> void make_lanes(const Source* sources, int rows, T* target) {
        Share<T> shares[most_shares];
        for (std::int64_t r = 0; r < stride_; ++r) {
            const int how_many = shares_of(r, sources, rows, shares);
            // The first cell of this phase, and its quotient. At stride 1 a row is one run.
            std::int64_t w = (r + stride_ - f_.pad[2] % stride_) % stride_;
            const std::int64_t run = stride_ == 1 ? f_.size[2] : 1;
            std::int64_t q = (w + f_.pad[2]) / stride_ - first_q_;
            for (; w < f_.size[2]; w += stride_ * run, ++q) {
                Share<T> here[most_shares];
                for (int s = 0; s < how_many; ++s) {
                    here[s] = shares[s];
                    here[s].dy += q * lanes_;
                    if (Picked) here[s].winner += q * lanes_;
                }
                add_shares<T, Picked, false>(target + w * lanes_, here, how_many, run * lanes_);
            }
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
        if (winner) check_taps(winner);
    }

    // Every number of eight bits is a tap of a window of 256 cells.
    void check_taps(const I* winner) const {
        const I cells = static_cast<I>(f_.cells());
        const std::int64_t length = (planes_ - 1) * pitch_ + f_.count[2] * lanes_;
        I most = 0;
        for (std::int64_t n = 0; n < length; ++n) most = larger(most, winner[n]);
        if (most >= cells) __atomic_store_n(job_.bad, true, __ATOMIC_RELAXED);
    }

    Loader<T> loader_;
    Storer<T> storer_;
    Divider<T> divider_;
    std::int64_t planes_ = 1, pitch_ = 0, lanes_ = 1, stride_ = 1, first_q_ = 0, quotients_ = 0;
    std::int64_t margin_ = 0, length_ = 0, readers_[2] = {1, 1};
    bool dense_ = false;
    T* ring_dy_[most_direct_taps];
    I* ring_winner_[most_direct_taps];
    std::int64_t held_[most_direct_taps];
    T* phases_[most_direct_taps] = {};
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
