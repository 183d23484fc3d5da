// The direct kernel: small sliding windows, each row reduced once along itself and then joined with
// its neighbours, with nothing but vector registers between two rows in L1.
//
// A row is split into its stride phases (phase r holds columns r, r + s, …), so every tap of every
// window is a unit-stride load: kw loads and kw - 1 joins per vector. Rows so reduced wait in a
// ring; an output row joins kh of them. Order is row-major: along rows, then down. Narrow planes
// stand side by side in one row, sixteen at a time. Channels beside each other in memory (lanes)
// need no phases: a tap is a run of lanes. Cost per output vector: about kw + kh joins, less what
// neighbouring windows share.
//
// Maxima are one instruction per tap, which loses a NaN that comes later. Every vector is looked at
// once as it is loaded; planes with a NaN are done again with the exact comparison.
#pragma once

#include "along.h"
#include "winning.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class Op> class DirectUnit : public GroupedUnit<DirectUnit<Op>, DirectJob> {
    using T = typename Op::Value;
    using I = TapInt<T>;
    using Base = GroupedUnit<DirectUnit<Op>, DirectJob>;
    friend Base;
    using Base::arena_, Base::band_, Base::block_, Base::f_, Base::job_, Base::next_, Base::place_,
        Base::tile_;

  public:
    DirectUnit(const DirectJob& job, std::int64_t unit, char* scratch)
        : Base(job, unit, job.column_tiles, scratch),
          loader_(loader_for<T>(job.x_dtype)),
          storer_(storer_for<T>(job.y_dtype)) {}

    void run_exactly() {
        exactly_ = true;
        this->run();
    }

  private:
    void make_group() {
        if constexpr (Op::watched) {
            if (exactly_) return make_plane<true>();
        }
        watch_ = {};
        make_plane<false>();
        if constexpr (Op::watched) {
            if (watch_.any()) make_plane<true>();
        }
    }

    void locate(Place& place, std::int64_t group) const {
        place.locate(job_.layout, job_.x, job_.y, job_.indices, group, block_, job_.lane_block);
    }

    // `beside` planes of a group, or lanes of a plane.
    POOLWISE_APART void take_scratch(std::int64_t beside) {
        planes_ = job_.layout.gather ? beside : 1;
        lanes_ = job_.layout.gather ? 1 : beside;
        flat_ = lanes_ == 1;
        column_ = tile_ * job_.column_tile;
        columns_ = smaller(job_.column_tile, f_.count[2] - column_);
        const std::int64_t stride = f_.stride[2], taps = f_.taps[2];
        pitch_ =
            columns_ + (taps - 1) / stride;  // a plane's outputs, and those that see two planes
        length_ = (planes_ - 1) * pitch_ + columns_ * lanes_;
        low_ = column_ * stride - f_.pad[2];
        from_ = larger<std::int64_t>(0, low_);
        to_ = smaller(f_.size[2], low_ + (columns_ - 1) * stride + taps);
        if (flat_) {
            // Whole vectors of outputs, and the taps beyond the last of them.
            phase_ = (length_ + vector_lanes<T> - 1) / vector_lanes<T> * vector_lanes<T> +
                     (taps - 1) / stride + vector_lanes<T>;
            raw_length_ = (phase_ + vector_lanes<T>)*stride;
        } else {
            // (as for a tile that no padding shortens: the first one tells what scratch is needed)
            raw_length_ = ((columns_ - 1) * stride + taps) * lanes_;
        }
        raw_ = arena_.template take<T>(raw_length_);
        for (std::int64_t r = 0; r < taps && r < stride; ++r)
            phases_[r] =
                flat_ && stride > 1 ? arena_.template take<T>(phase_ + vector_lanes<T>) : raw_;
        slots_ = f_.taps[0] * f_.taps[1];
        for (std::int64_t slot = 0; slot < slots_; ++slot) ring_[slot] = take_row();
        result_ = take_row();
        if (job_.divide) along_ = arena_.template take<T>(length_ + vector_lanes<T>);
        if constexpr (Op::indexed) {
            first_tap_ = arena_.template take<I>(length_ + vector_lanes<T>);
            wide_ = arena_.template take<std::int64_t>(length_);
            window_columns_ =
                arena_.template take<std::int64_t>(length_ + vector_lanes<std::int64_t>);
        }
    }

    TapRow<T> take_row() {
        TapRow<T> row;
        row.v = arena_.template take<T>(length_ + vector_lanes<T>);
        if constexpr (Op::indexed) row.tap = arena_.template take<I>(length_ + vector_lanes<T>);
        return row;
    }

    // Padding around what is loaded stays as it is for every row of the unit.
    POOLWISE_APART void fill_scratch() {
        for (std::int64_t n = 0; n < raw_length_; ++n) raw_[n] = Op::identity;
        if constexpr (Op::indexed) {
            for (std::int64_t n = 0; n < length_; ++n)
                first_tap_[n] =
                    static_cast<I>(larger<std::int64_t>(0, -(low_ + n % pitch_ * f_.stride[2])));
            fill_columns();
            // Winners are told as taps or, where places are asked for, as cells seen from the
            // window's first one: then nobody has to divide or look up.
            const bool taps = job_.winners == WinnerForm::tap8;
            row_apart_ = taps ? f_.taps[2] : f_.size[2];
            plane_apart_ = taps ? f_.taps[1] * f_.taps[2] : f_.size[1] * f_.size[2];
        }
        for (std::int64_t t = 0; flat_ && t < f_.taps[2]; ++t)
            flat_taps_[t] = {phases_[t % f_.stride[2]] + t / f_.stride[2], nullptr,
                             static_cast<I>(t)};
        // Padding never wins: the first tap inside stands for it.
        if (Op::indexed) flat_taps_[0].tap = first_tap_;
        if (job_.divide)
            divider_.prepare(job_.divisors, job_.divisor_override, column_, columns_, lanes_,
                             along_, planes_, pitch_);
        const Layout& layout = job_.layout;
        dense_source_ = loader_.in_place &&
                        (flat_ ? layout.x_axis[2] == bytes
                               : layout.x_lane == bytes && layout.x_axis[2] == lanes_ * bytes);
        dense_target_ = storer_.in_place &&
                        (flat_ ? layout.y_axis[2] == bytes
                               : layout.y_lane == bytes && layout.y_axis[2] == lanes_ * bytes);
        find_whole_windows();
        in_target_ = dense_target_ && !Op::indexed && planes_ == 1 && length_ >= vector_lanes<T>;
        // Windows that share no row need no ring: they are joined where they lie.
        const bool apart = f_.stride[1] >= f_.taps[1] && f_.stride[0] >= f_.taps[0];
        apart_ = flat_ ? in_place_ && (Op::indexed || (apart && in_target_))
                       : dense_source_ && slots_ > 1 && f_.cells() <= most_direct_taps &&
                             job_.share_little;
        if (Op::indexed && apart_) in_target_ = dense_target_ && planes_ == 1;
    }

    // A wide row is joined as it lies, but for the windows that see its border.
    void find_whole_windows() {
        const std::int64_t stride = f_.stride[2], taps = f_.taps[2];
        const std::int64_t reads = (taps + stride - 1) / stride * stride;
        whole_from_ = low_ < 0 ? (-low_ + stride - 1) / stride : 0;
        const std::int64_t room = f_.size[2] - reads - low_;
        whole_to_ = room < 0 ? 0 : smaller(columns_, room / stride + 1);
        in_place_ = (!Op::indexed || f_.cells() <= 4) && flat_ && planes_ == 1 && dense_source_ &&
                    stride <= most_along_stride && taps <= most_along_taps &&
                    whole_to_ - whole_from_ >= vector_lanes<T>;
    }

    template <bool Exact> void make_plane() {
        for (std::int64_t slot = 0; slot < slots_; ++slot) held_[slot] = -1;
        const int cut = job_.kernel == SmallKernel::volume ? 0 : 1;  // the axis that bands are of
        std::int64_t first[2] = {0, 0}, last[2] = {f_.count[0], f_.count[1]};
        first[cut] = band_ * job_.band;
        last[cut] = smaller(first[cut] + job_.band, last[cut]);
        if constexpr (Op::indexed) places_ = {job_.past_caches && dense_places(), length_, true};
        for (std::int64_t d = first[0]; d < last[0]; ++d)
            for (std::int64_t h = first[1]; h < last[1]; ++h) make_row<Exact>(d, h);
        if constexpr (Op::indexed) places_.finish();
    }

    template <bool Exact> void make_row(std::int64_t od, std::int64_t oh) {
        Tap<T> taps[most_direct_taps];
        int how_many = 0;
        const bool apart = apart_ && !(flat_ && Exact);
        const std::int64_t d0 = f_.first[0][od], h0 = f_.first[1][oh];
        const std::int64_t kd0 = larger<std::int64_t>(0, -d0), kh0 = larger<std::int64_t>(0, -h0);
        const std::int64_t kd1 = smaller(f_.taps[0], f_.size[0] - d0);
        const std::int64_t kh1 = smaller(f_.taps[1], f_.size[1] - h0);
        const std::int64_t planes = f_.taps[0], rows = f_.taps[1];
        std::int64_t plane_slot = kd1 > kd0 ? wrapped(d0 + kd0, planes) : 0;
        const std::int64_t first_slot = wrapped(h0 + kh0, rows);
        for (std::int64_t kd = kd0; kd < kd1; ++kd) {
            std::int64_t slot = first_slot;
            for (std::int64_t kh = kh0; kh < kh1; ++kh) {
                const std::int64_t base = kd * plane_apart_ + kh * row_apart_;
                const TapRow<T> row =
                    apart ? source_row(d0 + kd, h0 + kh)
                          : reduced_row<Exact>(d0 + kd, h0 + kh, plane_slot * rows + slot);
                taps[how_many++] = {row.v, row.tap, static_cast<I>(base)};
                if (++slot == rows) slot = 0;
            }
            if (++plane_slot == planes) plane_slot = 0;
        }
        const Layout& layout = job_.layout;
        const std::int64_t offset =
            od * layout.y_axis[0] + oh * layout.y_axis[1] + column_ * layout.y_axis[2];
        TapRow<T> out = result_;
        if (in_target_) out.v = reinterpret_cast<T*>(place_.y[0] + offset);
        if constexpr (Op::indexed)
            !apart  ? join_winners<Op, true>(out, taps, how_many, length_)
            : flat_ ? win_in_place(taps, how_many, out)
                    : join_lanes(taps, how_many, out);
        else
            join_and_finish<Exact>(taps, how_many, out.v, od, oh, apart);
        if (!in_target_) {
            if (dense_target_)
                for (std::int64_t p = 0; p < planes_; ++p) {
                    copy_run(reinterpret_cast<T*>(place_.y[p] + offset), out.v + p * pitch_,
                             columns_ * lanes_);
                    if (planes_ > 1) ask_for<1>(next_.y[p] + offset, columns_ * bytes);
                }
            else
                store(storer_, out.v, place_.y, offset, layout.y_axis[2], layout.y_lane,
                      size_of(job_.y_dtype));
        }
        if constexpr (Op::indexed) {
            if (job_.winners != WinnerForm::none) store_winners(od, oh, out.tap);
        }
    }

    // The values of a row of outputs, divided if they are means, from rows of the ring; or, apart,
    // from rows of the input.
    template <bool Exact>
    void join_and_finish(const Tap<T>* rows, int row_count, T* out, std::int64_t od,
                         std::int64_t oh, bool apart) {
        const auto finish = [&](const auto& after) {
            if (apart && !flat_)
                join_pixels<Exact>(rows, row_count, out, after);
            else if (apart)
                join_in_place(rows, row_count, out, after);
            else if (in_target_)
                join_values<Op, Exact, false>(out, rows, row_count, length_, after);
            else
                join_values<Op, Exact, true>(out, rows, row_count, length_, after);
        };
        if constexpr (divides) {
            if (job_.divide) return divider_.with(od, oh, finish);
        }
        finish(Keep{});
    }

    // Rows of the input, as they lie from column `from_` on.
    template <class After>
    POOLWISE_APART void join_in_place(const Tap<T>* rows, int row_count, T* out,
                                      const After& after) {
        const std::int64_t stride = f_.stride[2], taps = f_.taps[2];
        const std::int64_t start = low_ + whole_from_ * stride - from_;
        const std::int64_t count = whole_to_ - whole_from_,
                           end = start + (count - 1) * stride + taps;
        const T* whole[most_direct_taps];
        NaNWatch<T> watch;
        for (int r = 0; r < row_count; ++r) {
            whole[r] = rows[r].v + start;
            // What is not the first tap of any window, in whole vectors: the row's last cells.
            for (std::int64_t cell = end; Op::watched && cell > end - (taps - 1);)
                watch(load_vector<Vec<T>>(rows[r].v + (cell -= vector_lanes<T>)));
        }
        const auto join = along_joiner<Op, After>(static_cast<int>(stride), static_cast<int>(taps));
        join(out + whole_from_, whole, row_count, static_cast<int>(taps), count, after, whole_from_,
             watch);
        for (std::int64_t q = 0; q < whole_from_; ++q)
            out[q] = after(border_window(rows, row_count, q, watch), q);
        for (std::int64_t q = whole_to_; q < columns_; ++q)
            out[q] = after(border_window(rows, row_count, q, watch), q);
        watch_.add(watch);
    }

    // With the padding, as the whole windows of a padded copy are joined: to the same bits.
    T border_window(const Tap<T>* rows, int row_count, std::int64_t q, NaNWatch<T>& watch) const {
        const std::int64_t start = low_ + q * f_.stride[2];
        T all{};
        for (int r = 0; r < row_count; ++r) {
            T row = Op::identity;
            for (std::int64_t t = 0; t < f_.taps[2]; ++t) {
                const std::int64_t cell = start + t;
                const bool inside = cell >= 0 && cell < f_.size[2];
                const T next = inside ? rows[r].v[cell - from_] : Op::identity;
                if (Op::watched) watch(Vec<T, sizeof(T)>{next});
                row = t == 0 ? next : Op::template join<false>(row, next);
            }
            all = r == 0 ? row : Op::template join<false>(all, row);
        }
        return all;
    }

    // Row (d, h) of the input, reduced along itself: made when first asked for.
    template <bool Exact> TapRow<T> reduced_row(std::int64_t d, std::int64_t h, std::int64_t slot) {
        const std::int64_t id = d * f_.size[1] + h;
        if (held_[slot] != id) {
            held_[slot] = id;
            make_reduced<Exact>(d, h, ring_[slot]);
        }
        return ring_[slot];
    }

    template <bool Exact> void make_reduced(std::int64_t d, std::int64_t h, TapRow<T> out) {
        if constexpr (!Op::indexed && !Exact) {
            if (in_place_) return reduce_in_place(source_row(d, h), out);
        }
        if (flat_)
            reduce_flat<Exact>(source_offset(d, h), out);
        else
            reduce_lanes<Exact>(d, h, out);
    }

    void reduce_in_place(TapRow<T> source, TapRow<T> out) {
        const Tap<T> row{source.v, nullptr, 0};
        join_in_place(&row, 1, out.v, Keep{});
    }

    template <bool Exact> POOLWISE_APART void reduce_flat(std::int64_t offset, TapRow<T> out) {
        const std::int64_t count = to_ - from_, stride = f_.stride[2];
        NaNWatch<T> watch;
        for (std::int64_t p = 0; p < planes_; ++p) {
            T* at = raw_ + p * pitch_ * stride + (from_ - low_);
            const char* source = place_.x[p] + offset;
            if (planes_ == 1) ask_for<0>(source + read_ahead, count * bytes);
            if (!dense_source_) {
                loader_.run(source, job_.layout.x_axis[2], count, at);
                if constexpr (Op::watched && !Exact) scan_run(at, count, watch);
            } else if (Op::watched && !Exact) {
                copy_run(at, reinterpret_cast<const T*>(source), count, watch);
                if (planes_ > 1) ask_for<0>(next_.x[p] + offset, count * bytes);
            } else {
                copy_run(at, reinterpret_cast<const T*>(source), count);
                if (planes_ > 1) ask_for<0>(next_.x[p] + offset, count * bytes);
            }
        }
        watch_.add(watch);
        if (stride > 1) split_row(raw_, phases_, smaller(stride, f_.taps[2]), stride, phase_);
        const int how_many = static_cast<int>(f_.taps[2]);
        if constexpr (Op::indexed)
            join_winners<Op, true>(out, flat_taps_, how_many, length_);
        else
            join_values<Op, Exact, true>(out.v, flat_taps_, how_many, length_);
    }

    std::int64_t source_offset(std::int64_t d, std::int64_t h) const {
        const Layout& layout = job_.layout;
        return d * layout.x_axis[0] + h * layout.x_axis[1] + from_ * layout.x_axis[2];
    }
    TapRow<T> source_row(std::int64_t d, std::int64_t h) const {
        const char* row = place_.x[0] + source_offset(d, h);
        return {const_cast<T*>(reinterpret_cast<const T*>(row)), nullptr};
    }

    template <bool Exact>
    POOLWISE_APART void reduce_lanes(std::int64_t d, std::int64_t h, TapRow<T> out) {
        Tap<T> row{raw_, nullptr, 0};
        if (dense_source_)
            row.v = source_row(d, h).v;
        else
            place_.load(loader_, place_.x, source_offset(d, h), job_.layout.x_axis[2],
                        job_.layout.x_lane, to_ - from_, size_of(job_.x_dtype), raw_);
        if constexpr (Op::indexed)
            join_lanes(&row, 1, out);
        else
            join_pixels<Exact>(&row, 1, out.v, Keep{});
    }

    template <class Visit> void each_run(Visit&& visit) const {
        POOLWISE_ISA::each_run(f_, low_, columns_, visit);
    }

    LaneRows<T> lane_rows(int row_count) const {
        LaneRows<T> in;
        in.count = row_count;
        in.fresh = static_cast<int>(smaller<std::int64_t>(row_count, f_.stride[1]));
        in.lanes = lanes_;
        in.step = f_.stride[2] * lanes_;
        in.length = (to_ - from_) * lanes_;
        in.next_rows = in.fresh * job_.layout.x_axis[1] / bytes;
        return in;
    }

    template <bool Exact, class After>
    POOLWISE_APART void join_pixels(const Tap<T>* rows, int row_count, T* out, const After& after) {
        Suspects<Op> watch;
        NaNWatch<T> narrow_watch;
        LaneRows<T> in = lane_rows(row_count);
        each_run([&](std::int64_t c, std::int64_t run, std::int64_t t0, std::int64_t t1) {
            const std::int64_t start = (low_ + c * f_.stride[2] + t0 - from_) * lanes_;
            const int columns = static_cast<int>(t1 - t0);
            for (int r = 0; r < row_count; ++r) in.row[r] = rows[r].v + start;
            if (lanes_ >= vector_lanes<T>) {
                const auto join = columns == f_.taps[2]
                                      ? beside_joiner<Op, Exact, T, T, After>(row_count, columns)
                                      : join_beside<Op, Exact, 0, 0, T, T, After>;
                return join(out + c * lanes_, in, columns, c, run, after, watch);
            }
            Tap<T> taps[most_direct_taps];
            for (std::int64_t w = 0; w < run; ++w) {
                for (int r = 0; r < row_count; ++r)
                    for (int t = 0; t < columns; ++t)
                        taps[r * columns + t] = {in.row[r] + w * in.step + t * lanes_, nullptr, 0};
                T* const to = out + (c + w) * lanes_;
                join_windows<Op, Exact>(to, taps, row_count, columns, lanes_, narrow_watch);
                for (std::int64_t n = 0; n < lanes_; ++n)
                    to[n] = after(to[n], (c + w) * lanes_ + n);
            }
        });
        watch_.add(narrow_watch);
        if constexpr (Op::watched) watch_.seen |= watch.lanes;
    }

    // Winners of windows of rows of the input, as they lie from column `from_` on.
    POOLWISE_APART void win_in_place(const Tap<T>* rows, int row_count, TapRow<T> out) const {
        const std::int64_t stride = f_.stride[2], taps = f_.taps[2];
        Tap<T> whole[most_direct_taps];
        for (int r = 0; r < row_count; ++r)
            whole[r] = {rows[r].v + (low_ + whole_from_ * stride - from_), nullptr, rows[r].base};
        const auto win =
            along_winner<T, Op::least>(static_cast<int>(stride), static_cast<int>(taps));
        win({out.v + whole_from_, out.tap + whole_from_}, whole, row_count, static_cast<int>(taps),
            whole_to_ - whole_from_);
        for (std::int64_t q = 0; q < columns_; ++q) {
            if (q == whole_from_) q = whole_to_;
            if (q >= columns_) break;
            const std::int64_t start = low_ + q * stride;
            const std::int64_t t0 = larger<std::int64_t>(0, -start),
                               t1 = smaller(taps, f_.size[2] - start);
            T value = rows[0].v[start + t0 - from_];
            I cell = static_cast<I>(rows[0].base + t0);
            for (int r = 0; r < row_count; ++r)
                for (std::int64_t t = r == 0 ? t0 + 1 : t0; t < t1; ++t) {
                    const T next = rows[r].v[start + t - from_];
                    const bool later = later_wins<T, Op::least>(value, next);
                    value = later ? next : value;
                    cell = later ? static_cast<I>(rows[r].base + t) : cell;
                }
            out.v[q] = value;
            out.tap[q] = cell;
        }
    }

    // Winners of a row of outputs, from one or several rows of the input.
    POOLWISE_APART void join_lanes(const Tap<T>* rows, int row_count, TapRow<T> out) {
        LaneRows<T> in = lane_rows(row_count);
        each_run([&](std::int64_t first, std::int64_t run, std::int64_t t0, std::int64_t t1) {
            if (lanes_ >= vector_lanes<T>) {
                I bases[most_direct_taps];
                for (int r = 0; r < row_count; ++r) {
                    in.row[r] = rows[r].v + (low_ + first * f_.stride[2] + t0 - from_) * lanes_;
                    bases[r] = static_cast<I>(rows[r].base + t0);
                }
                const TapRow<T> to{out.v + first * lanes_, out.tap + first * lanes_};
                return win_beside<T, Op::least>(to, in, bases, static_cast<int>(t1 - t0), first,
                                                run);
            }
            // At stride 1 neighbouring whole windows are one long run.
            const std::int64_t together = f_.stride[2] == 1 ? run : 1;
            for (std::int64_t c = first; c < first + run; c += together) {
                const std::int64_t start = low_ + c * f_.stride[2] - from_;
                Tap<T> taps[most_direct_taps];
                int how_many = 0;
                for (int r = 0; r < row_count; ++r)
                    for (std::int64_t t = t0; t < t1; ++t)
                        taps[how_many++] = {rows[r].v + (start + t) * lanes_, nullptr,
                                            static_cast<I>(rows[r].base + t)};
                join_winners<Op, false>({out.v + c * lanes_, out.tap + c * lanes_}, taps, how_many,
                                        together * lanes_);
            }
        });
    }

    template <class Acc>
    POOLWISE_APART void store(const Storer<Acc>& storer, const Acc* row, char* const* bases,
                              std::int64_t offset, std::int64_t column_stride,
                              std::int64_t lane_stride, std::int64_t element_bytes) const {
        if (planes_ == 1)
            return place_.store(storer, row, bases, offset, column_stride, lane_stride, columns_,
                                element_bytes);
        for (std::int64_t p = 0; p < planes_; ++p)
            storer.run(row + p * pitch_, columns_, bases[p] + offset, column_stride);
    }

    POOLWISE_APART void fill_columns() {
        const std::int64_t apart = planes_ > 1 ? pitch_ : columns_ * lanes_;
        for (std::int64_t n = 0; n < length_; ++n)
            window_columns_[n] = low_ + n % apart / lanes_ * f_.stride[2];
    }
    bool dense_places() const {
        const Layout& layout = job_.layout;
        return planes_ == 1 && job_.winners == WinnerForm::index64 &&
               layout.i_axis[2] == lanes_ * 8 && (flat_ || layout.i_lane == 8);
    }
    POOLWISE_APART void store_winners(std::int64_t od, std::int64_t oh, const I* cell) {
        const Layout& layout = job_.layout;
        const std::int64_t offset =
            od * layout.i_axis[0] + oh * layout.i_axis[1] + column_ * layout.i_axis[2];
        if (job_.winners == WinnerForm::tap8)
            return store(winner_storer<I>(job_.winners), cell, place_.indices, offset,
                         layout.i_axis[2], layout.i_lane, 1);
        const std::int64_t first = (f_.first[0][od] * f_.size[1] + f_.first[1][oh]) * f_.size[2];
        const std::int64_t* const window = window_columns_;
        const bool dense = dense_places();
        std::int64_t* const places =
            dense ? reinterpret_cast<std::int64_t*>(place_.indices[0] + offset) : wide_;
        places_.write(places, length_, [&](std::int64_t n) POOLWISE_INLINE {
            return widened<std::int64_t>(cell + n) +
                   (load_vector<Vec<std::int64_t>>(window + n) + first);
        });
        if (!dense)
            store(winner_storer<std::int64_t>(job_.winners), wide_, place_.indices, offset,
                  layout.i_axis[2], layout.i_lane, winner_bytes(job_.winners));
    }

    static constexpr std::int64_t bytes = sizeof(T);
    static constexpr bool divides = !Op::watched && !Op::indexed && floating<T>;

    Loader<T> loader_;
    Storer<T> storer_;
    Divider<T> divider_;
    NaNWatch<T> watch_;
    std::int64_t planes_ = 1, pitch_ = 0, lanes_ = 1, column_ = 0, columns_ = 0, length_ = 0,
                 low_ = 0, from_ = 0, to_ = 0;
    std::int64_t phase_ = 0, raw_length_ = 0, slots_ = 0;
    std::int64_t whole_from_ = 0, whole_to_ = 0;
    bool exactly_ = false, flat_ = true, apart_ = false, dense_source_ = false,
         dense_target_ = false, in_place_ = false, in_target_ = false;
    T* raw_ = nullptr;
    T* phases_[most_direct_taps] = {};
    Tap<T> flat_taps_[most_direct_taps];
    TapRow<T> ring_[most_direct_taps], result_;
    std::int64_t held_[most_direct_taps];
    T* along_ = nullptr;
    I* first_tap_ = nullptr;
    // Winners as indices, and the columns their windows begin at.
    Outputs<AsItIs<std::int64_t>, std::int64_t> places_;
    std::int64_t *wide_ = nullptr, *window_columns_ = nullptr;
    std::int64_t row_apart_ = 0, plane_apart_ = 0;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
