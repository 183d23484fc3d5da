// The sheet kernel: small windows over dense planes, as if their rows were one long row.
//
// Rows of a dense plane follow each other without a gap, and so do planes. At stride 1, and at
// stride 2 where rows have an even number of cells, the window at q of the sheet is the window at q
// whatever row that is in, so one loop reduces many rows along themselves; where windows reach over
// an end of their row, gates shut out what is not theirs. Rows so reduced stay in L1 and are joined
// downwards, again many at once. Small planes are joined downwards with gates too, several planes
// at a time: no loop here is as short as a row. Where their windows are fewer than their cells, the
// window at every cell is made all the same, and those that are windows are picked out.
//
// Cost per vector of outputs: about kw + kh loads and joins, and a gate for each tap that may lie
// outside. Rows may have fewer windows than places for them: the last ones are not stored. Every
// vector is looked at for NaN once; a unit that has one is done again by the direct kernel,
// exactly. Sums add zeros for the padding along a row, as the direct kernel's do.
#pragma once

#include "direct.h"
#include "outputs.h"

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
        band_ = unit % job.bands;
        first_plane_ = unit / job.bands * job.groups_per_unit;
        last_plane_ = smaller(first_plane_ + job.groups_per_unit, job.groups);
        small_ = job.small_planes;
        taps_ = f_.taps[2];
        width_ = f_.size[2];
        stride_ = small_ ? 1 : f_.stride[2];
        columns_ = width_ / stride_;
        plane_ = f_.size[1] * width_;
        picks_ = small_ && f_.count[1] * f_.count[2] != plane_;
    }

    void run() {
        take_scratch();
        fill_scratch();
        if (small_)
            make_planes();
        else
            for (std::int64_t plane = first_plane_; plane < last_plane_; ++plane) make_band(plane);
        if (job_.past_caches) drain_streams();
        if (met_suspects()) DirectUnit<Careful>(job_, unit_, scratch_).run_exactly();
    }

    static std::int64_t scratch_bytes(const DirectJob& job) {
        char* const base = reinterpret_cast<char*>(64);
        SheetUnit first(job, 0, base);
        return first.take() - base;
    }

    // For who makes planes one by one: where the scratch that they take ends, what is in it, and
    // the planes.
    char* take() {
        take_scratch();
        return arena_.next;
    }
    void fill() { fill_scratch(); }
    void make_plane(std::int64_t plane) { make_band(plane); }
    bool met_suspects() const {
        if constexpr (Op::watched) return any_lane(seen_);
        return false;
    }

  private:
    // Rows that are reduced before they are joined: few, so that reading them and writing what
    // becomes of the rows before them go on at the same time.
    static constexpr std::int64_t chunk_cells = 448;
    static constexpr bool divides = !Op::watched && floating<T>;
    // Whether lanes are put in any order by one instruction.
    static constexpr bool picks_lanes = vector_bytes >= 32 && sizeof(T) >= 4;

    POOLWISE_APART void take_scratch() {
        std::int64_t margin = 0;  // what gated taps read beside the sheet, of no account
        if (small_) {
            planes_at_once_ =
                smaller(larger<std::int64_t>(1, small_cells / plane_), last_plane_ - first_plane_);
            sheet_ = planes_at_once_ * plane_;
            margin = f_.taps[1] * width_;
        } else {
            rows_at_once_ = smaller(f_.count[1], larger<std::int64_t>(2, chunk_cells / width_));
            // (one row more than windows see: see left_)
            sheet_ = (rows_at_once_ * f_.stride[1] + f_.taps[1] + 1) * columns_;
        }
        reduced_ = arena_.template take<T>(sheet_ + lanes + 2 * margin) + margin;
        groups_ = (taps_ + stride_ - 1) / stride_;
        for (std::int64_t g = 0; g < groups_; ++g)
            gates_[g] = gated(g) ? arena_.template take<T>((sheet_ + lanes) * stride_) : nullptr;
        for (std::int64_t k = 0; small_ && k < f_.taps[1]; ++k)
            down_gates_[k] = k == f_.pad[1] ? nullptr : arena_.template take<T>(sheet_ + lanes);
        if (job_.divide) along_ = arena_.template take<T>((small_ ? sheet_ : columns_) + lanes);
        if (picks_ && picks_lanes) {
            order_ = arena_.template take<TapInt<T>>(sheet_ + lanes);
            picked_ = arena_.template take<std::int32_t>(sheet_ / lanes + 1);
        } else if (picks_) {
            windows_ = arena_.template take<D>(sheet_);
            picked_ =
                arena_.template take<std::int32_t>(planes_at_once_ * f_.count[1] * f_.count[2]);
        }
        const std::int64_t rows = small_ ? 1 : f_.taps[1];
        end_cells_ = (lanes + 1) * stride_ + taps_;
        for (std::int64_t r = 0; r < rows; ++r) ends_[r] = arena_.template take<S>(end_cells_);
    }

    // Whether a tap of this group lies beyond the row for some window.
    bool gated(std::int64_t group) const {
        const std::int64_t from = group * stride_ - f_.pad[2];
        const std::int64_t to = smaller(taps_, (group + 1) * stride_) - 1 - f_.pad[2];
        return from < 0 || (columns_ - 1) * stride_ + to >= width_;
    }

    POOLWISE_APART void fill_scratch() {
        for (std::int64_t g = 0; g < groups_; ++g) {
            if (!gates_[g]) continue;
            open_all(gates_[g], (sheet_ + lanes) * stride_);
            const std::int64_t end = smaller(taps_, (g + 1) * stride_);
            for (std::int64_t t = g * stride_; t < end; ++t)
                for (std::int64_t q = 0; q < sheet_; q += columns_)
                    shut_outside(gates_[g] + q * stride_ + t - g * stride_, t - f_.pad[2], columns_,
                                 stride_, width_, 1);
        }
        for (std::int64_t k = 0; small_ && k < f_.taps[1]; ++k) {
            if (!down_gates_[k]) continue;
            open_all(down_gates_[k], sheet_ + lanes);
            for (std::int64_t at = 0; at < sheet_; at += plane_)
                shut_outside(down_gates_[k] + at, k - f_.pad[1], f_.size[1], 1, f_.size[1], width_);
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

    static void open_all(T* gates, std::int64_t count) {
        for (std::int64_t n = 0; n < count; ++n) gates[n] = Op::open;
    }
    // Window i's tap is cell i * stride + offset; where that is none of `size`, its gates are shut.
    static void shut_outside(T* gates, std::int64_t offset, std::int64_t windows,
                             std::int64_t stride, std::int64_t size, std::int64_t each) {
        const auto shut = [&](std::int64_t i) {
            for (std::int64_t n = 0; n < each; ++n) gates[i * stride * each + n] = Op::closed;
        };
        for (std::int64_t i = 0; i < windows && i * stride + offset < 0; ++i) shut(i);
        for (std::int64_t i = windows - 1; i >= 0 && i * stride + offset >= size; --i) shut(i);
    }

    void prepare_division() {
        divider_.prepare(job_.divisors, job_.divisor_override, 0, f_.count[2], 1, along_);
        one_divisor_ = divider_.uniform();
        for (std::int64_t h = 1; h < f_.count[1]; ++h)
            one_divisor_ = one_divisor_ && same_divisors(0, h);
        for (std::int64_t n = 0; small_ && !one_divisor_ && n < sheet_ + lanes; ++n) {
            const std::int64_t h = n / width_ % f_.size[1] / f_.stride[1],
                               w = n % width_ / f_.stride[2];
            along_[n] = static_cast<T>(
                divider_.of(0, smaller(h, f_.count[1] - 1), smaller(w, f_.count[2] - 1)));
        }
    }
    bool same_divisors(std::int64_t a, std::int64_t b) const {
        return job_.divisor_override || job_.divisors[1][a] == job_.divisors[1][b];
    }

    // ask(what becomes of the sums of output row `row`)
    template <class Ask> void finish(std::int64_t row, Ask&& ask) const {
        if constexpr (divides) {
            if (job_.divide && small_ && !one_divisor_) return ask(OverEach<T>{1, along_});
            if (job_.divide) return divider_.with(0, row, ask);
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
    // Cells that may be read before a plane, and behind it.
    std::int64_t ahead_of(std::int64_t plane) const {
        return job_.planes_run_on ? plane * plane_ : 0;
    }
    std::int64_t behind(std::int64_t plane) const {
        return job_.planes_run_on ? (job_.groups - plane - 1) * plane_ : 0;
    }

    // ---- small planes, several at once

    void make_planes() {
        for (std::int64_t p = first_plane_; p < last_plane_; p += planes_at_once_) {
            const std::int64_t planes = smaller(planes_at_once_, last_plane_ - p);
            reduce(reduced_, source(p), planes * plane_, ahead_of(p), behind(p + planes - 1));
            const T* rows[most_direct_taps];
            for (std::int64_t k = 0; k < f_.taps[1]; ++k)
                rows[k] = reduced_ + (k - f_.pad[1]) * width_;
            finish(0, [&](const auto& after) {
                down<true>(picks_ && !picks_lanes ? windows_ : target(p), rows,
                           static_cast<int>(f_.taps[1]), planes * plane_, false, after);
            });
            if (picks_ && !picks_lanes) pick(target(p), planes * f_.count[1] * f_.count[2]);
        }
    }

    POOLWISE_APART void pick(D* out, std::int64_t count) const {
        const D* const from = windows_;
        const std::int32_t* const at = picked_;
        for (std::int64_t n = 0; n < count; ++n) out[n] = from[at[n]];
    }

    // ---- large planes, a few rows at once

    // Input rows that windows share are reduced once and kept.
    void make_band(std::int64_t plane) {
        const std::int64_t from = band_ * job_.band, to = smaller(from + job_.band, f_.count[1]);
        if (f_.stride[1] >= f_.taps[1] && stride_ > 1) return make_apart(plane, from, to);
        std::int64_t base = 0, made = 0;  // rows [base, made) are in reduced_
        left_ = 0;
        for (std::int64_t o = from; o < to; o += rows_at_once_) {
            const std::int64_t end = smaller(o + rows_at_once_, to);
            const std::int64_t first = larger<std::int64_t>(0, f_.first[1][o] - (left_ > 0));
            const std::int64_t last = smaller(f_.size[1], f_.first[1][end - 1] + f_.taps[1]);
            if (made > first)
                for (std::int64_t n = 0; n < (made - first) * columns_; ++n)
                    reduced_[n] = reduced_[(first - base) * columns_ + n];
            else
                made = first;
            base = first;
            if (made < last) {
                reduce(reduced_ + (made - base) * columns_, source(plane) + made * width_,
                       (last - made) * columns_, ahead_of(plane) + made * width_,
                       behind(plane) + (f_.size[1] - last) * width_);
                made = last;
            }
            join_rows_down(plane, o, end, to, base);
        }
    }

    // Output rows [o, end) of those up to `last`: neighbours that see all of their windows are one
    // run.
    void join_rows_down(std::int64_t plane, std::int64_t o, std::int64_t end, std::int64_t last,
                        std::int64_t base) {
        const bool may_run = f_.stride[1] == 1 && columns_ == f_.count[2] &&
                             (!divides || !job_.divide || divider_.uniform());
        while (o < end) {
            const std::int64_t h = f_.first[1][o], taps = f_.taps[1];
            const std::int64_t k0 = larger<std::int64_t>(0, -h), k1 = smaller(taps, f_.size[1] - h);
            const auto joins_run = [&](std::int64_t next) {
                return may_run && k0 == 0 && k1 == taps && h + next - o + taps <= f_.size[1] &&
                       (!job_.divide || same_divisors(o, next));
            };
            std::int64_t rows = 1;
            while (o + rows < end && joins_run(o + rows)) ++rows;
            const bool goes_on = o + rows == end && end < last && joins_run(end);
            const T* from[most_direct_taps];
            for (std::int64_t k = k0; k < k1; ++k)
                from[k - k0] = reduced_ + (h + k - base) * columns_ - left_;
            finish(o, [&](const auto& after) {
                left_ = down<false>(target(plane) + o * f_.count[2] - left_, from,
                                    static_cast<int>(k1 - k0), rows * f_.count[2] + left_, goes_on,
                                    after);
            });
            o += rows;
        }
    }

    // Windows that share no row: joined as they lie.
    void make_apart(std::int64_t plane, std::int64_t from, std::int64_t to) {
        const bool whole = f_.pad[1] == 0 && f_.pad[2] == 0 && f_.count[2] >= lanes &&
                           f_.first[1][f_.count[1] - 1] + f_.taps[1] <= f_.size[1] &&
                           f_.count[2] * stride_ <= width_ && one_divisor_;
        if (whole && stride_ == 2 && taps_ == 2 && f_.taps[1] == 2)
            return finish(from, [&](const auto& after) { apart<2, 2>(plane, from, to, after); });
        if (whole && stride_ == 3 && taps_ == 3 && f_.taps[1] == 3)
            return finish(from, [&](const auto& after) { apart<3, 3>(plane, from, to, after); });
        for (std::int64_t o = from; o < to; ++o) {
            const std::int64_t h = f_.first[1][o];
            const std::int64_t h0 = larger<std::int64_t>(0, h),
                               h1 = smaller(f_.size[1], h + f_.taps[1]);
            const S* rows[most_direct_taps];
            for (std::int64_t r = h0; r < h1; ++r) rows[r - h0] = source(plane) + r * width_;
            const int count = static_cast<int>(h1 - h0);
            const std::int64_t ahead = ahead_of(plane) + h0 * width_;
            const std::int64_t after_rows = behind(plane) + (f_.size[1] - h1) * width_;
            finish(o, [&](const auto& after) {
                D* const out = target(plane) + o * f_.count[2];
                const std::int64_t behind_row = after_rows + width_ - stride_ * f_.count[2];
                if (stride_ == 2)
                    along<2, 0, 0>(out, rows, count, f_.count[2], ahead, behind_row, after);
                else
                    along<3, 0, 0>(out, rows, count, f_.count[2], ahead, behind_row, after);
            });
        }
    }
    // ... of `Size` cells a side, none of which is padding.
    template <int Size, int Stride, class After>
    POOLWISE_APART void apart(std::int64_t plane, std::int64_t from, std::int64_t to,
                              const After& after) {
        const std::int64_t count = f_.count[2], width = width_, down = f_.stride[1] * width;
        const S* rows = source(plane) + from * down;
        D* out = target(plane) + from * count;
        T* const* const no_gates = nullptr;
        Suspects<Op> seen;
        for (std::int64_t o = from; o < to; ++o, rows += down, out += count)
            for (std::int64_t n = 0; n < count; n += lanes) {
                ask_for<0>(reinterpret_cast<const char*>(rows + n * Stride * Size) + read_ahead,
                           Stride * Size * lanes * sizeof(S));
                const std::int64_t q = smaller(n, count - lanes);
                V all{};
                for (int r = 0; r < Size; ++r) {
                    const S* const at = rows + r * width + q * Stride;
                    seen.template run<Stride>(at);
                    const V row = join_along<Op, Stride, Size>(at, Size, no_gates, 0);
                    all = r == 0 ? row : Op::template join<false>(all, row);
                }
                put(out + q, after(Picked<T, Stride>::in_order(all), q), lanes);
            }
        if constexpr (Op::watched) seen_ |= seen.lanes;
    }

    // ---- the two passes

    // out[0, count) = rows joined down, each let through its gate if they are `Gated`.
    template <bool Gated, class After>
    std::int64_t down(D* out, const T* const* rows, int row_count, std::int64_t count, bool goes_on,
                      const After& after) const {
        if (row_count == 2) return down_by<Gated, 2>(out, rows, row_count, count, goes_on, after);
        if (row_count == 3) return down_by<Gated, 3>(out, rows, row_count, count, goes_on, after);
        if (row_count == 5) return down_by<Gated, 5>(out, rows, row_count, count, goes_on, after);
        return down_by<Gated, 0>(out, rows, row_count, count, goes_on, after);
    }
    template <bool Gated, int Known, class After>
    POOLWISE_APART std::int64_t down_by(D* out, const T* const* rows, int row_count,
                                        std::int64_t count, bool goes_on,
                                        const After& after) const {
        // Local copies: the compiler cannot know that what is stored below does not change them.
        constexpr int most = Known ? Known : static_cast<int>(most_direct_taps);
        const int taps = Known ? Known : row_count;
        const T *row[most], *gate[most];
        for (int k = 0; k < taps; ++k) {
            row[k] = rows[k];
            gate[k] = Gated ? down_gates_[k] : nullptr;
        }
        const auto at = [&](std::int64_t n) POOLWISE_INLINE {
            V all{};
            for (int k = taps - 1; k >= 0; --k) {  // backwards: see large.h, join_fixed
                V v = load_vector<V>(row[k] + n);
                if (Gated && gate[k]) v = Op::shut(v, load_vector<V>(gate[k] + n));
                all = k == taps - 1 ? v : Op::template join<false>(v, all);
            }
            return after(all, n);
        };
        if constexpr (Gated && picks_lanes) {
            if (picks_) {
                write_picked(out, count, at);
                return 0;
            }
        }
        return write_run<Op>(out, count, job_.past_caches && !picks_, goes_on, at);
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

    // One row, into reduced_.
    void reduce(T* out, const S* row, std::int64_t count, std::int64_t ahead, std::int64_t behind) {
        const auto by = [&](auto stride, auto known) {
            along<decltype(stride)::value, decltype(known)::value, 1>(out, &row, 1, count, ahead,
                                                                      behind, Keep{});
        };
        if (stride_ == 1 && taps_ == 5) return by(Width<1>{}, Width<5>{});
        if (stride_ == 1 && taps_ == 2) return by(Width<1>{}, Width<2>{});
        if (stride_ == 1)
            return taps_ == 3 ? by(Width<1>{}, Width<3>{}) : by(Width<1>{}, Width<0>{});
        return taps_ == 3 ? by(Width<2>{}, Width<3>{}) : by(Width<2>{}, Width<0>{});
    }

    // out[0, count) = windows along rows, joined over `row_count` of them. Cells may be read from
    // `ahead` before the rows' first to `behind` after their last one.
    template <int Stride, int Known, int Rows, class Out, class After>
    POOLWISE_APART void along(Out* out, const S* const* rows, int row_count, std::int64_t count,
                              std::int64_t ahead, std::int64_t behind, const After& after) {
        const std::int64_t pad = f_.pad[2], end = count * Stride + behind;
        const int taps = Known ? Known : static_cast<int>(taps_);
        const int how_many = Rows ? Rows : row_count;
        T* gates[Known ? (Known + Stride - 1) / Stride : most_direct_taps];
        for (int g = 0; g * Stride < taps; ++g) gates[g] = gates_[g];
        Suspects<Op> seen;
        const auto at = [&](std::int64_t q, const S* const* from,
                            std::int64_t cell) POOLWISE_INLINE {
            V all{};
            for (int r = 0; r < how_many; ++r) {
                const V row =
                    join_along<Op, Stride, Known>(from[r] + cell, taps, gates, q * Stride);
                all = r == 0 ? row : Op::template join<false>(all, row);
            }
            return after(Picked<T, Stride>::in_order(all), q);
        };
        const S* row[Rows ? Rows : most_direct_taps];
        for (int r = 0; r < how_many; ++r) row[r] = rows[r];
        // Where vectors begin all of whose cells may be read; the others are copied, with zeros for
        // what is not there.
        const std::int64_t reads = (taps + Stride - 1) / Stride * Stride;
        const std::int64_t room = end + pad - reads - (lanes - 1) * Stride;
        const std::int64_t first = pad > ahead ? (pad - ahead + Stride - 1) / Stride : 0,
                           last = room < 0 ? -1 : room / Stride;
        std::int64_t n = 0;
        while (n < count) {
            if (n >= first)
                for (; n + lanes <= last && n + 2 * lanes <= count; n += 2 * lanes) {
                    for (int r = 0; r < how_many; ++r)
                        ask_for<0>(reinterpret_cast<const char*>(row[r] + n * Stride) + read_ahead,
                                   Stride * 2 * lanes * sizeof(S));
                    if constexpr (same<Out, D> && !same<After, Keep>)
                        ask_for<1>(reinterpret_cast<const char*>(out + n) + write_ahead,
                                   2 * lanes * sizeof(D));
                    for (int r = 0; r < how_many; ++r)
                        seen.template run<2 * Stride>(row[r] + n * Stride - pad);
                    const V one = at(n, row, n * Stride - pad);
                    const V two = at(n + lanes, row, (n + lanes) * Stride - pad);
                    put(out + n, one, lanes);
                    put(out + n + lanes, two, lanes);
                }
            if (n >= count) break;
            const std::int64_t q = n + lanes <= count ? n : larger<std::int64_t>(0, count - lanes);
            const bool there = first <= q && q <= last;
            const S* const* from =
                there ? row : copied(rows, how_many, q * Stride - pad, ahead, end);
            const std::int64_t cell = there ? q * Stride - pad : 0;
            for (int r = 0; r < how_many; ++r) seen.template run<Stride>(from[r] + cell);
            put(out + q, at(q, from, cell), count - q);
            n += lanes;
        }
        if constexpr (Op::watched) {  // the last cells, which no first tap sees
            const std::int64_t cells = count * Stride;
            for (int r = 0; r < how_many && pad > 0; ++r)
                for (std::int64_t c = larger<std::int64_t>(0, cells - pad); c < cells; c += lanes)
                    if (cells >= lanes)
                        seen(Op::load(rows[r] + smaller(c, cells - lanes)));
                    else
                        seen(Op::load(copied(rows, how_many, c, ahead, end)[r]));
            seen_ |= seen.lanes;
        }
    }

    const S* const* copied(const S* const* rows, int row_count, std::int64_t cell,
                           std::int64_t ahead, std::int64_t end) {
        for (int r = 0; r < row_count; ++r)
            for (std::int64_t n = 0; n < end_cells_; ++n)
                ends_[r][n] = cell + n >= -ahead && cell + n < end ? rows[r][cell + n] : S{};
        return ends_;
    }

    // Rows in L1 hold values as they are; outputs hold elements.
    template <class Out> static inline void put(Out* out, V v, std::int64_t room) {
        if constexpr (same<Out, T>)
            store_some<AsItIs<T>>(out, v, room);
        else
            store_some<Op>(out, v, room);
    }

    const DirectJob& job_;
    const WindowForm& f_;
    std::int64_t unit_;
    char* scratch_;
    Arena arena_;
    Divider<T> divider_;
    Vec<TapInt<T>> seen_{};
    std::int64_t band_, first_plane_, last_plane_, stride_, taps_, width_, columns_, plane_;
    std::int64_t planes_at_once_ = 0, rows_at_once_ = 0, sheet_ = 0, groups_ = 0, end_cells_ = 0;
    bool small_, picks_, one_divisor_ = true;
    // Outputs before the row to be made that were left to be written with it.
    std::int64_t left_ = 0;
    D* windows_ = nullptr;
    TapInt<T>* order_ = nullptr;
    std::int32_t* picked_ = nullptr;
    T* reduced_ = nullptr;
    T* gates_[most_direct_taps] = {};
    T* down_gates_[most_direct_taps] = {};
    T* along_ = nullptr;
    S* ends_[most_direct_taps] = {};
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
