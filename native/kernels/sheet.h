// The sheet kernel: small windows over small dense planes, as if their rows were one long row.
//
// Rows of a dense plane follow each other without a gap, and so do planes: the window at q of the
// sheet is the window at q whatever row that is in. So one loop reduces the rows of several planes
// along themselves, another joins them downwards, and no loop is as short as a row. Where windows
// reach over an end of their row or their plane, gates shut out what is not theirs. Where windows
// are fewer than cells, the window at every cell is made all the same, and those that are windows
// are picked out.
//
// Cost per vector of outputs: kw + kh loads and joins, and a gate for each tap that may lie
// outside. Every vector is looked at for NaN once; a unit that has one is done again by the direct
// kernel, exactly. Sums add zeros for the padding along a row, as the direct kernel's do.
#pragma once

#include "direct.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// Op joins values of Op::Value; the input's elements are S and the output's D. Careful is the
// operation of the direct kernel for the same.
template <class Op, class Careful, class S, class D> class SheetUnit {
    using T = typename Op::Value;
    using V = Vec<T>;
    static constexpr std::int64_t lanes = vector_lanes<T>;

  public:
    SheetUnit(const DirectJob& job, std::int64_t unit, char* scratch)
        : job_(job), f_(*job.form), unit_(unit), scratch_(scratch), arena_{scratch} {
        first_plane_ = unit * job.groups_per_unit;
        last_plane_ = smaller(first_plane_ + job.groups_per_unit, job.groups);
        taps_ = f_.taps[2];
        width_ = f_.size[2];
        plane_ = f_.size[1] * width_;
        picks_ = f_.count[1] * f_.count[2] != plane_;
        planes_at_once_ =
            smaller(larger<std::int64_t>(1, small_cells / plane_), last_plane_ - first_plane_);
        sheet_ = planes_at_once_ * plane_;
        outputs_ = {job.past_caches && !picks_, sheet_, true};
    }

    void run() {
        take_scratch();
        fill_scratch();
        make_planes();
        outputs_.finish();
        if (Op::watched && any_lane(seen_))
            DirectUnit<Careful>(job_, unit_, scratch_).run_exactly();
    }

    static std::int64_t scratch_bytes(const DirectJob& job) {
        char* const base = reinterpret_cast<char*>(64);
        SheetUnit first(job, 0, base);
        first.take_scratch();
        return first.arena_.next - base;
    }

  private:
    static constexpr bool divides = !Op::watched && floating<T>;
    // Whether lanes are put in any order by one instruction.
    static constexpr bool picks_lanes = vector_bytes >= 32 && sizeof(T) >= 4;

    POOLWISE_APART void take_scratch() {
        const std::int64_t margin = f_.taps[1] * width_;  // what gated taps read beside the sheet
        reduced_ = arena_.template take<T>(sheet_ + lanes + 2 * margin) + margin;
        for (std::int64_t t = 0; t < taps_; ++t)
            gates_[t] = t == f_.pad[2] ? nullptr : arena_.template take<T>(sheet_ + lanes);
        for (std::int64_t k = 0; k < f_.taps[1]; ++k)
            down_gates_[k] = k == f_.pad[1] ? nullptr : arena_.template take<T>(sheet_ + lanes);
        if (job_.divide) along_ = arena_.template take<T>(sheet_ + lanes);
        if (picks_ && picks_lanes) {
            order_ = arena_.template take<TapInt<T>>(sheet_ + lanes);
            picked_ = arena_.template take<std::int32_t>(sheet_ / lanes + 1);
        } else if (picks_) {
            windows_ = arena_.template take<D>(sheet_);
            picked_ =
                arena_.template take<std::int32_t>(planes_at_once_ * f_.count[1] * f_.count[2]);
        }
        end_cells_ = lanes + 1 + taps_;
        end_ = arena_.template take<S>(end_cells_);
    }

    POOLWISE_APART void fill_scratch() {
        for (std::int64_t t = 0; t < taps_; ++t) {
            if (!gates_[t]) continue;
            open_all(gates_[t]);
            for (std::int64_t row = 0; row < sheet_; row += width_)
                shut_outside(gates_[t] + row, t - f_.pad[2], width_, 1);
        }
        for (std::int64_t k = 0; k < f_.taps[1]; ++k) {
            if (!down_gates_[k]) continue;
            open_all(down_gates_[k]);
            for (std::int64_t at = 0; at < sheet_; at += plane_)
                shut_outside(down_gates_[k] + at, k - f_.pad[1], f_.size[1], width_);
        }
        if (picks_) pick_windows();
        if constexpr (divides) {
            if (job_.divide) prepare_division();
        }
    }

    // Which cells of the sheet are windows: where they are, or for every vector of cells how many
    // of them are and which come first.
    void pick_windows() {
        for (std::int64_t v = 0; picks_lanes && v * lanes < sheet_; ++v) picked_[v] = 0;
        std::int32_t* at = picked_;
        for (std::int64_t p = 0; p < planes_at_once_; ++p)
            for (std::int64_t h = 0; h < f_.count[1]; ++h)
                for (std::int64_t w = 0; w < f_.count[2]; ++w) {
                    const std::int64_t n =
                        p * plane_ + h * f_.stride[1] * width_ + w * f_.stride[2];
                    if (picks_lanes)
                        order_[n / lanes * lanes + picked_[n / lanes]++] =
                            static_cast<TapInt<T>>(n % lanes);
                    else
                        *at++ = static_cast<std::int32_t>(n);
                }
    }

    void open_all(T* gates) const {
        for (std::int64_t n = 0; n < sheet_ + lanes; ++n) gates[n] = Op::open;
    }
    // A tap `offset` cells from its window; cells, or rows of them, are `each` gates.
    static void shut_outside(T* gates, std::int64_t offset, std::int64_t size, std::int64_t each) {
        for (std::int64_t i = 0; i < size; ++i)
            for (std::int64_t n = 0; n < each && (i + offset < 0 || i + offset >= size); ++n)
                gates[i * each + n] = Op::closed;
    }

    void prepare_division() {
        divider_.prepare(job_.divisors, job_.divisor_override, 0, f_.count[2], 1, along_);
        one_divisor_ = divider_.uniform();
        for (std::int64_t h = 1; h < f_.count[1]; ++h)
            one_divisor_ = one_divisor_ && same_divisors(0, h);
        for (std::int64_t n = 0; !one_divisor_ && n < sheet_ + lanes; ++n) {
            const std::int64_t h = n / width_ % f_.size[1] / f_.stride[1],
                               w = n % width_ / f_.stride[2];
            along_[n] = static_cast<T>(
                divider_.of(0, smaller(h, f_.count[1] - 1), smaller(w, f_.count[2] - 1)));
        }
    }
    bool same_divisors(std::int64_t a, std::int64_t b) const {
        return job_.divisor_override || job_.divisors[1][a] == job_.divisors[1][b];
    }

    // ask(what becomes of the sums)
    template <class Ask> void finish(Ask&& ask) const {
        if constexpr (divides) {
            if (job_.divide && !one_divisor_) return ask(OverEach<T>{1, along_});
            if (job_.divide) return divider_.with(0, 0, ask);
        }
        ask(Keep{});
    }

    const S* source(std::int64_t plane) const {
        const std::int64_t apart = job_.layout.batch_rank ? job_.layout.x_batch[0] : 0;
        return reinterpret_cast<const S*>(job_.x + plane * apart);
    }
    D* target(std::int64_t plane) const {
        const std::int64_t apart = job_.layout.batch_rank ? job_.layout.y_batch[0] : 0;
        return reinterpret_cast<D*>(job_.y + plane * apart);
    }

    // ---- several planes at once

    void make_planes() {
        for (std::int64_t p = first_plane_; p < last_plane_; p += planes_at_once_) {
            const std::int64_t planes = smaller(planes_at_once_, last_plane_ - p);
            reduce(source(p), planes * plane_, p * plane_, (job_.groups - p - planes) * plane_);
            const T* rows[most_direct_taps];
            for (std::int64_t k = 0; k < f_.taps[1]; ++k)
                rows[k] = reduced_ + (k - f_.pad[1]) * width_;
            finish([&](const auto& after) {
                down(picks_ && !picks_lanes ? windows_ : target(p), rows, planes * plane_, after);
            });
            if (picks_ && !picks_lanes) pick(target(p), planes * f_.count[1] * f_.count[2]);
        }
    }

    POOLWISE_APART void pick(D* out, std::int64_t count) const {
        const D* const from = windows_;
        const std::int32_t* const at = picked_;
        for (std::int64_t n = 0; n < count; ++n) out[n] = from[at[n]];
    }

    // ---- the two passes

    // out[0, count) = rows joined down, each let through its gate.
    template <class After>
    void down(D* out, const T* const* rows, std::int64_t count, const After& after) {
        if (f_.taps[1] == 2) return down_by<2>(out, rows, count, after);
        if (f_.taps[1] == 3) return down_by<3>(out, rows, count, after);
        if (f_.taps[1] == 5) return down_by<5>(out, rows, count, after);
        down_by<0>(out, rows, count, after);
    }
    template <int Known, class After>
    POOLWISE_APART void down_by(D* out, const T* const* rows, std::int64_t count,
                                const After& after) {
        // Local copies: the compiler cannot know that what is stored below does not change them.
        constexpr int most = Known ? Known : static_cast<int>(most_direct_taps);
        const int taps = Known ? Known : static_cast<int>(f_.taps[1]);
        const T *row[most], *gate[most];
        for (int k = 0; k < taps; ++k) {
            row[k] = rows[k];
            gate[k] = down_gates_[k];
        }
        const auto at = [&](std::int64_t n) POOLWISE_INLINE {
            V all{};
            for (int k = taps - 1; k >= 0; --k) {  // backwards: see large.h, join_fixed
                V v = load_vector<V>(row[k] + n);
                if (gate[k]) v = Op::shut(v, load_vector<V>(gate[k] + n));
                all = k == taps - 1 ? v : Op::template join<false>(v, all);
            }
            return after(all, n);
        };
        if constexpr (picks_lanes) {
            if (picks_) return write_picked(out, count, at);
        }
        outputs_.write(out, count, at);
    }
    // Vectors are stored whole, and what is none of theirs is stored over by the next one.
    template <class At>
    POOLWISE_INLINE void write_picked(D* out, std::int64_t count, const At& at) const {
        const std::int32_t* const picked = picked_;
        const TapInt<T>* const order = order_;
        D* const end = out + count / plane_ * f_.count[1] * f_.count[2];
        for (std::int64_t n = 0, v = 0; n < count; n += lanes, ++v) {
            const V in_order = __builtin_shuffle(at(n), load_vector<Vec<TapInt<T>>>(order + n));
            store_some<Op>(out, in_order, smaller(end - out, lanes));
            out += picked[v];
        }
    }

    // Into reduced_: windows along rows. Cells may be read from `ahead` before the sheet's first to
    // `behind` after its last one.
    void reduce(const S* sheet, std::int64_t count, std::int64_t ahead, std::int64_t behind) {
        if (taps_ == 2) return along<2>(sheet, count, ahead, behind);
        if (taps_ == 3) return along<3>(sheet, count, ahead, behind);
        if (taps_ == 5) return along<5>(sheet, count, ahead, behind);
        along<0>(sheet, count, ahead, behind);
    }
    template <int Known>
    POOLWISE_APART void along(const S* sheet, std::int64_t count, std::int64_t ahead,
                              std::int64_t behind) {
        const std::int64_t pad = f_.pad[2], end = count + behind;
        const int taps = Known ? Known : static_cast<int>(taps_);
        T* gates[Known ? Known : most_direct_taps];
        for (int t = 0; t < taps; ++t) gates[t] = gates_[t];
        T* const out = reduced_;
        Suspects<Op> seen;
        const auto at = [&](std::int64_t q, const S* from) POOLWISE_INLINE {
            return join_along<Op, 1, Known>(from, taps, gates, q);
        };
        // Where vectors begin all of whose cells may be read; the others are copied, with zeros for
        // what is not there.
        const std::int64_t first = larger<std::int64_t>(0, pad - ahead),
                           last = end + pad - taps - (lanes - 1);
        std::int64_t n = 0;
        while (n < count) {
            if (n >= first)
                for (; n + lanes <= last && n + 2 * lanes <= count; n += 2 * lanes) {
                    const S* const from = sheet + n - pad;
                    ask_for<0>(reinterpret_cast<const char*>(sheet + n) + read_ahead,
                               2 * lanes * sizeof(S));
                    seen.template run<2>(from);
                    store_vector(out + n, at(n, from));
                    store_vector(out + n + lanes, at(n + lanes, from + lanes));
                }
            if (n >= count) break;
            const std::int64_t q = n + lanes <= count ? n : larger<std::int64_t>(0, count - lanes);
            const bool there = first <= q && q <= last;
            const S* const from = there ? sheet + q - pad : copied(sheet, q - pad, ahead, end);
            seen.template run<1>(from);
            store_some<AsItIs<T>>(out + q, at(q, from), count - q);
            n += lanes;
        }
        if constexpr (Op::watched) {  // the last cells, which no first tap sees
            for (std::int64_t c = larger<std::int64_t>(0, count - pad); c < count; c += lanes)
                if (count >= lanes)
                    seen(Op::load(sheet + smaller(c, count - lanes)));
                else
                    seen(Op::load(copied(sheet, c, ahead, end)));
            seen_ |= seen.lanes;
        }
    }

    const S* copied(const S* sheet, std::int64_t cell, std::int64_t ahead, std::int64_t end) {
        for (std::int64_t n = 0; n < end_cells_; ++n)
            end_[n] = cell + n >= -ahead && cell + n < end ? sheet[cell + n] : S{};
        return end_;
    }

    const DirectJob& job_;
    const WindowForm& f_;
    std::int64_t unit_;
    char* scratch_;
    Arena arena_;
    Outputs<Op, D> outputs_;
    Divider<T> divider_;
    Vec<TapInt<T>> seen_{};
    std::int64_t first_plane_, last_plane_, taps_, width_, plane_;
    std::int64_t planes_at_once_ = 0, sheet_ = 0, end_cells_ = 0;
    bool picks_, one_divisor_ = true;
    D* windows_ = nullptr;
    TapInt<T>* order_ = nullptr;
    std::int32_t* picked_ = nullptr;
    T* reduced_ = nullptr;
    T* gates_[most_direct_taps] = {};
    T* down_gates_[most_direct_taps] = {};
    T* along_ = nullptr;
    S* end_ = nullptr;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
