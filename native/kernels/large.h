// The large-window kernel: windows of any size at stride 1 along rows, over dense rows or lanes.
//
// A few rows at a time are read once into L1, identities beside them for the padding, and reduced
// along themselves as one run: M4[i] = M1[i..i+3], M16[i] = M4[i], M4[i+4], …, then the terms that
// make up the width, all in one pass. (Maxima may overlap their last terms; sums add the base-4
// digits of the width.) Downwards two stacks (see stack.h) write each output row in the pass that
// lengthens the prefix; low windows are joined from the rows. Lanes beside each other only make
// neighbours lie `lanes` apart. Nothing but the first pass leaves the L1 cache, and every loop is
// over whole vectors that may run over the end of their row.
//
// Cost per vector of outputs: a load and a store for the reading, about 2 log4(kw) loads and joins
// along rows, three joins downwards; twice the loads and stores with winners (see pairs.h). NaN are
// looked for as rows are read: a unit that has one is left to the rows kernel.
#pragma once

#include "elements.h"
#include "pairs.h"
#include "shifts.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// Elementary joins values of T; the input's elements are S and the output's D.
template <class Elementary, class S, class D> class LargeUnit {
    using Op = Joins<Elementary>;
    using T = typename Op::Value;
    using V = Vec<T>;
    using I = TapInt<T>;
    using Row = typename Op::Row;
    using Register = typename Op::Register;
    static constexpr std::int64_t lanes = vector_lanes<T>;
    static constexpr bool divides = !Op::watched && floating<T>;
    static constexpr bool adds = same<Elementary, AddTaps<T>>;

  public:
    LargeUnit(const RowsJob& job, std::int64_t unit, char* scratch)
        : job_(job), g_(*job.geometry), rows_(g_.program[1]), arena_{scratch} {
        band_ = unit % job.bands;
        unit /= job.bands;
        const std::int64_t tile = unit % job.column_tiles;
        unit /= job.column_tiles;
        const std::int64_t block = unit % job.lane_blocks, group = unit / job.lane_blocks;
        place_.locate(job.layout, job.x, job.y, job.indices, group, block, job.lane_block);
        column_ = tile * job.column_tile;
        columns_ = smaller(job.column_tile, g_.row.output_size - column_);
        take_scratch();
        outputs_ = {job.past_caches, dense() ? length_ : place_.lanes, goes_on()};
        winners_ = {job.winners, job.past_caches, rows_won_at_once() * length_};
    }

    // False when it met what calls for care.
    bool run() {
        fill_scratch();
        const std::int64_t first = band_ * job_.band,
                           last = smaller(first + job_.band, rows_.count);
        for (std::int64_t e = first; e < last; ++e) {
            const RowWindow& w = rows_.windows[e];
            if (w.base != base_) {
                base_ = w.base;
                made_ = 0;
                split_ = -1;
            }
            if (w.start < w.stop)
                rows_.two_stack ? make_from_stacks(w) : make_from_rows(w);
            else if constexpr (!Op::watched)  // (maxima of no cells are the rows kernel's)
                write(w.out, [](std::int64_t) POOLWISE_INLINE { return V{} + Op::identity; });
        }
        if constexpr (Op::indexed) {
            write_winners();
            winners_.finish();
        }
        outputs_.finish();
        if constexpr (Op::watched) return !any_lane(seen_.lanes);
        return true;
    }

    static std::int64_t scratch_bytes(const RowsJob& job) {
        char* const base = reinterpret_cast<char*>(64);
        LargeUnit first(job, 0, base);
        return first.arena_.next - base;
    }

  private:
    static constexpr std::int64_t run_elements = 512, most_rows_at_once = 8;
    static constexpr int most_levels = 16;
    static constexpr std::int64_t won_at_once = 1024;       // cells of short rows
    static constexpr int most_direct = 7;                   // cells joined without levels
    static constexpr int most_terms = 9;                    // joined in one pass
    static constexpr std::int64_t slack = lanes;            // what passes run over the end
    static constexpr std::int64_t looks_ahead = 6 * lanes;  // ... of what was read

    POOLWISE_APART void take_scratch() {
        const std::int64_t n = place_.lanes;
        shift_ = g_.row.dilation * n;
        low_ = column_ - g_.row.pad;
        length_ = columns_ * n;
        source_columns_ = columns_ + (g_.row.kernel - 1) * g_.row.dilation;
        from_ = larger<std::int64_t>(0, low_);
        to_ = smaller(g_.row.source_size, low_ + source_columns_);
        pitch_ = (larger(source_columns_ * n, length_ + slack - 1) + lanes - 1) / lanes * lanes;
        at_once_ =
            smaller(smaller(larger<std::int64_t>(run_elements / pitch_, 1), most_rows_at_once),
                    g_.source_size[1]);
        ring_ = (larger<std::int64_t>(1, rows_.tallest) + 2 * at_once_ - 2) / at_once_ * at_once_;
        take_levels();
        reduced_ = take_row(ring_ * pitch_ + slack);
        for (Row& buffer : prefix_buffers_) buffer = take_row(length_ + slack);
        if constexpr (Op::indexed) {
            won_ = arena_.template take<I>(rows_won_at_once() * length_ + slack);
            first_ = arena_.template take<I>(length_ + slack);
        }
        if (divides && job_.divide != Divide::nothing)
            along_ = arena_.template take<T>(source_columns_ * n + slack);
        column_buffer_ = arena_.template take<S>(lanes);
    }
    // levels_[l] has the reductions of 4^l cells.
    void take_levels() {
        std::int64_t reach = 1;
        levels_[0] = take_row(at_once_ * pitch_ + looks_ahead);
        for (level_count_ = 1; 4 * reach < g_.row.kernel && g_.row.kernel > most_direct; reach *= 4)
            levels_[level_count_++] = take_row(at_once_ * pitch_ + looks_ahead);
    }
    // Whether short rows are written past the caches, one behind the other. Not where the passes
    // along rows load what several stores wrote, and wait for it behind the outputs (shifts.h):
    // then 31x31 means of 411 MB take a fifth longer.
    bool goes_on() const {
        const bool waits = g_.row.kernel > 1 &&
                           !(shifts<T> && !adds && shift_ == 1 && doubles_up<T>(g_.row.kernel));
        return job_.far_past_caches && !waits && rows_.step == 1 &&
               job_.layout.y_axis[1] == length_ * static_cast<std::int64_t>(sizeof(D));
    }
    Row take_row(std::int64_t count) {
        Row row;
        row.v = arena_.template take<T>(count);
        if constexpr (Op::indexed) row.cell = arena_.template take<I>(count);
        return row;
    }

    POOLWISE_APART void fill_scratch() {
        for (std::int64_t n = 0; n < at_once_ * pitch_ + looks_ahead; ++n)
            levels_[0].v[n] = Op::identity;
        if constexpr (Op::indexed) number_cells();
        if constexpr (divides) {
            if (job_.divide == Divide::result)
                divider_.prepare(job_.divisors, job_.divisor_override, column_, columns_,
                                 place_.lanes, along_);
            if (job_.divide == Divide::source && from_ < to_)
                divider_.prepare(job_.divisors, job_.divisor_override, from_, to_ - from_,
                                 place_.lanes, along_);
        }
    }

    // Of the cells that are read at once, seen from the first one's row. Padding left of the map
    // has the number of the first cell that its windows really see: where all is the identity, that
    // is the winner, and padding comes first.
    void number_cells() {
        const std::int64_t n = place_.lanes, step = g_.row.dilation;
        row_apart_ = job_.winners == WinnerForm::tap8 ? g_.row.kernel : g_.row.source_size;
        I* cell = levels_[0].cell;
        for (std::int64_t c = 0; c * n < pitch_; ++c) {
            const std::int64_t w = low_ + c;
            const auto inside = static_cast<I>(w < 0 ? w + (step - 1 - w) / step * step : w);
            for (std::int64_t i = c * n; i < smaller((c + 1) * n, pitch_); ++i) cell[i] = inside;
            for (std::int64_t i = c * n; i < smaller((c + 1) * n, length_); ++i)
                first_[i] = static_cast<I>(w);
        }
        for (std::int64_t r = 1; r < at_once_; ++r)
            for (std::int64_t i = 0; i < pitch_; ++i)
                cell[r * pitch_ + i] = cell[i] + static_cast<I>(r * rows_.step * row_apart_);
        for (std::int64_t i = 0; i < looks_ahead; ++i) cell[at_once_ * pitch_ + i] = 0;
    }

    // ---- along rows

    Row reduced(std::int64_t row) const { return reduced_.at(wrapped(row, ring_) * pitch_); }

    // Rows [from, to) of the stream, reduced along themselves. They are made `at_once_`, aligned,
    // so that what is made together never wraps around.
    void make_rows(std::int64_t from, std::int64_t to) {
        if (made_ < from) made_ = from;
        const std::int64_t rows = (g_.source_size[1] - base_ + rows_.step - 1) / rows_.step;
        while (made_ < to) {
            const std::int64_t count = smaller(at_once_ - made_ % at_once_, rows - made_);
            const bool slides = Op::indexed || g_.row.kernel > 1 || to_ - from_ < source_columns_;
            const Row target = slides ? levels_[0] : reduced(made_);
            for (std::int64_t r = 0; r < count; ++r)
                read_row(target.v + r * pitch_, base_ + (made_ + r) * rows_.step);
            if (slides) slide(reduced(made_), (count - 1) * pitch_ + length_);
            made_ += count;
        }
    }

    POOLWISE_APART void read_row(T* target, std::int64_t h) {
        if (from_ >= to_) return;
        const std::int64_t apart = job_.layout.x_axis[2];
        const char* at = place_.x[0] + h * job_.layout.x_axis[1] + from_ * apart;
        const std::int64_t n = place_.lanes, count = (to_ - from_) * n;
        target += (from_ - low_) * n;
        if (apart != n * static_cast<std::int64_t>(sizeof(S))) {
            for (std::int64_t c = 0; c < to_ - from_; ++c)
                read_run(target + c * n, reinterpret_cast<const S*>(at + c * apart), n);
            return divide_source(target, h, count);
        }
        if constexpr (shifts<T>) {
            if (count >= lanes) return read_lines(target, reinterpret_cast<const S*>(at), count, h);
        }
        read_run(target, reinterpret_cast<const S*>(at), count);
        divide_source(target, h, count);
    }
    void divide_source(T* target, std::int64_t h, std::int64_t count) const {
        if constexpr (divides) {  // (what lies behind the row is zeros, or read later)
            if (job_.divide == Divide::source)
                divider_.with(0, h, [&](const auto& after) {
                    for (std::int64_t i = 0; i < count; i += lanes)
                        store_vector(target + i, after(load_vector<V>(target + i), i));
                });
        }
    }
    // The same onto whole lines, with identities beside the row's ends.
    void read_lines(T* target, const S* source, std::int64_t count, std::int64_t h) {
        if constexpr (divides) {
            if (job_.divide == Divide::source)
                return divider_.with(
                    0, h, [&](const auto& after) { read_lines(target, source, count, after); });
        }
        read_lines(target, source, count, Keep{});
    }
    template <class After>
    void read_lines(T* target, const S* source, std::int64_t count, const After& after) {
        Suspects<Op> seen;
        const auto read = [&](std::int64_t n) POOLWISE_INLINE {
            const V v = Op::load(source + n);
            seen(v);
            return after(v, n);
        };
        const std::int64_t before = beyond_line(target);
        store_vector(target - before,
                     shifted<T>(V{} + Op::identity, read(0), shift_of<T>(lanes - before)));
        std::int64_t n = lanes - before;
        for (; n + 2 * lanes <= count; n += 2 * lanes) {
            ask_for<0>(reinterpret_cast<const char*>(source + n) + read_ahead,
                       2 * lanes * sizeof(S));
            const V first = read(n), second = read(n + lanes);
            store_vector(target + n, first);
            store_vector(target + n + lanes, second);
        }
        for (; n + lanes <= count; n += lanes) store_vector(target + n, read(n));
        const std::int64_t rest = count - n;
        if (rest > 0)
            store_vector(target + n, shifted<T>(read(count - lanes), V{} + Op::identity,
                                                shift_of<T>(lanes - rest)));
        seen_.lanes |= seen.lanes;
    }
    // Exactly `count` elements: identities may lie behind them, or the end of the array.
    void read_run(T* target, const S* source, std::int64_t count) {
        Suspects<Op> seen;
        std::int64_t n = 0;
        for (; n + 2 * lanes <= count; n += 2 * lanes) {
            ask_for<0>(reinterpret_cast<const char*>(source + n) + read_ahead,
                       2 * lanes * sizeof(S));
            const V first = Op::load(source + n), second = Op::load(source + n + lanes);
            seen(first);
            seen(second);
            store_vector(target + n, first);
            store_vector(target + n + lanes, second);
        }
        for (; n + lanes <= count; n += lanes) {
            const V v = Op::load(source + n);
            seen(v);
            store_vector(target + n, v);
        }
        seen_.lanes |= seen.lanes;
        if (n == count) return;
        for (std::int64_t i = n; i < count; ++i) column_buffer_[i - n] = source[i];
        const V v = Op::load(column_buffer_);
        for (std::int64_t i = n; i < count; ++i) target[i] = v[i - n];
        if constexpr (Op::watched) {
            V real = broadcast<V>(v[0]);
            for (std::int64_t i = n; i < count; ++i) real[i - n] = v[i - n];
            seen_(real);
        }
    }

    // target[n] = the window that begins at n of what was read, for n < count.
    POOLWISE_APART void slide(Row target, std::int64_t count) {
        if constexpr (shifts<T> && !adds) {
            if (shift_ == 1 && doubles_up<T>(g_.row.kernel))
                return double_up<Op>(target, levels_[0], g_.row.kernel, count, first_cell());
        }
        Row terms[most_levels * 3 + 1];
        const std::int64_t kernel = g_.row.kernel;
        int how_many = 0;
        if (level_count_ == 1) {
            for (std::int64_t t = 0; t < kernel; ++t) terms[how_many++] = levels_[0].at(t * shift_);
            return join_all(target, terms, how_many, count);
        }
        // (What the first pass makes is longer than the windows' run by what the others reach.)
        std::int64_t reach = 1, available = count + (kernel - 1) * shift_;
        for (int l = 1; l < level_count_; ++l, reach *= 4) {
            available -= 3 * reach * shift_;
            for (int t = 0; t < 4; ++t) terms[t] = levels_[l - 1].at(t * reach * shift_);
            join_fixed<4>(levels_[l], terms, available);
        }
        if (!adds) {
            for (std::int64_t at = 0; at < kernel; at += reach)
                terms[how_many++] =
                    levels_[level_count_ - 1].at(smaller(at, kernel - reach) * shift_);
        } else {
            std::int64_t at = 0, rest = kernel;
            for (int l = level_count_ - 1; l >= 0; --l, reach /= 4)
                for (; rest >= reach; rest -= reach, at += reach)
                    terms[how_many++] = levels_[l].at(at * shift_);
        }
        join_all(target, terms, how_many, count);
    }

    // (Pairs are never as many as to be joined twice.)
    void join_all(Row target, const Row* terms, int how_many, std::int64_t count) const {
        Row some[most_terms];
        int done = 0, held = 0;
        do {
            if (done) some[held++] = target;
            while (held < most_terms && done < how_many) some[held++] = terms[done++];
            join_some(target, some, held, count);
            held = 0;
        } while (done < how_many);
    }
    // What has been read at once begins with this one.
    I first_cell() const { return static_cast<I>((base_ + made_ * rows_.step) * row_apart_); }
    void join_some(Row target, const Row* terms, int how_many, std::int64_t count) const {
        const I from = first_cell();
        switch (how_many) {
            case 1: return join_fixed<1, Op::indexed>(target, terms, count, from);
            case 2: return join_fixed<2, Op::indexed>(target, terms, count, from);
            case 3: return join_fixed<3, Op::indexed>(target, terms, count, from);
            case 4: return join_fixed<4, Op::indexed>(target, terms, count, from);
            case 5: return join_fixed<5, Op::indexed>(target, terms, count, from);
            case 6: return join_fixed<6, Op::indexed>(target, terms, count, from);
            case 7: return join_fixed<7, Op::indexed>(target, terms, count, from);
            case 8: return join_fixed<8, Op::indexed>(target, terms, count, from);
            default: return join_fixed<9, Op::indexed>(target, terms, count, from);
        }
    }
    // From the last term to the first: a maximum in one instruction has its earlier operand in
    // memory. Cells are counted from `from` on, the last time that they are joined along a row.
    template <int Count, bool Counts = false>
    POOLWISE_APART static void join_fixed(Row target, const Row* terms, std::int64_t count,
                                          I from = 0) {
        // (shifts of bytes take several instructions)
        if constexpr (shifts<T> && sizeof(T) > 1 && (Count <= 4 || !Op::indexed)) {
            bool beyond = false;
            for (int t = 0; t < Count; ++t) beyond = beyond || beyond_line(terms[t].v) != 0;
            if (beyond) return join_shifted<Op, Count, Counts>(target, terms, count, from);
        }
        Row term[Count];
        for (int t = 0; t < Count; ++t) term[t] = terms[t];
        const auto block = [&](auto width, std::int64_t n) POOLWISE_INLINE {
            constexpr int wide = decltype(width)::value;
            Register all[wide];
            for (int w = 0; w < wide; ++w) all[w] = term[Count - 1].get(n + w * lanes);
            for (int t = Count - 2; t >= 0; --t)
                for (int w = 0; w < wide; ++w)
                    all[w] = Op::joined(term[t].get(n + w * lanes), all[w]);
            if constexpr (Counts)
                for (int w = 0; w < wide; ++w) all[w].cell += from;
            for (int w = 0; w < wide; ++w) target.put(n + w * lanes, all[w]);
        };
        each_block<T, true>(count, block);
    }

    // ---- downwards

    void make_from_rows(const RowWindow& w) {
        make_rows(w.start, w.stop);
        Row rows[most_terms];
        const int count = static_cast<int>(w.stop - w.start);
        for (int r = 0; r < count; ++r) rows[r] = reduced(w.start + r);
        switch (count) {
            case 1: return write_joined<1>(w.out, rows);
            case 2: return write_joined<2>(w.out, rows);
            case 3: return write_joined<3>(w.out, rows);
            case 4: return write_joined<4>(w.out, rows);
            case 5: return write_joined<5>(w.out, rows);
            case 6: return write_joined<6>(w.out, rows);
            case 7: return write_joined<7>(w.out, rows);
            default: return write_joined<8>(w.out, rows);
        }
    }
    template <int Count> POOLWISE_APART void write_joined(std::int64_t out, const Row* rows) {
        Row row[Count];
        for (int r = 0; r < Count; ++r) row[r] = rows[r];
        write(out, [&](std::int64_t n) POOLWISE_INLINE {
            Register all = row[Count - 1].get(n);
            for (int r = Count - 2; r >= 0; --r) all = Op::joined(row[r].get(n), all);
            return all;
        });
    }

    // Rows [start, split) are made suffixes when the split moves; the prefix ends at prefix_stop_.
    void make_from_stacks(const RowWindow& w) {
        if (w.split != split_) {
            split_ = w.split;
            make_rows(w.start, split_);
            for (std::int64_t j = split_ - 2; j >= w.start; --j) {
                const Row both[2] = {reduced(j), reduced(j + 1)};
                join_fixed<2>(reduced(j), both, length_);
            }
            prefix_ = {};
            prefix_stop_ = split_;
        }
        make_rows(w.start, w.stop);
        while (prefix_stop_ + 1 < w.stop) lengthen(prefix_stop_++);
        const Row suffix = reduced(w.start);
        if (prefix_stop_ < w.stop && prefix_.v && dense())
            return write_lengthened(w.out, suffix, reduced(prefix_stop_++));
        if (prefix_stop_ < w.stop) lengthen(prefix_stop_++);
        const Row both[2] = {suffix, prefix_};
        if (w.stop > split_)
            write_joined<2>(w.out, both);
        else
            write_joined<1>(w.out, both);
    }
    void lengthen(std::int64_t j) {
        const Row both[2] = {prefix_, reduced(j)};
        if (prefix_.v) join_fixed<2>(prefix_buffer(), both, length_);
        prefix_ = prefix_.v ? prefix_buffer() : both[1];
    }
    // The one that the prefix is not in: outputs may be asked for twice (outputs.h), and a prefix
    // must not be lengthened twice.
    Row prefix_buffer() const { return prefix_buffers_[prefix_.v == prefix_buffers_[0].v]; }
    POOLWISE_APART void write_lengthened(std::int64_t out, Row suffix, Row row) {
        const Row prefix = prefix_, longer = prefix_buffer();
        write(out, [&](std::int64_t n) POOLWISE_INLINE {
            const Register both = Op::joined(prefix.get(n), row.get(n));
            longer.put(n, both);
            return Op::joined(suffix.get(n), both);
        });
        prefix_ = longer;
    }

    // ---- what becomes of output row `row`: at(n) gives the vector from element n on, once

    // The input's row that will be read next, or soon: asked for while outputs are written, so that
    // memory is not idle meanwhile. (A hint may lie anywhere.)
    const char* next_row(std::int64_t row) const {
        const std::int64_t h = base_ + (made_ + row % at_once_) * rows_.step;
        return place_.x[0] + h * job_.layout.x_axis[1] + from_ * job_.layout.x_axis[2];
    }
    bool dense() const {
        return job_.layout.y_axis[2] == place_.lanes * static_cast<std::int64_t>(sizeof(D));
    }
    template <class At> void write(std::int64_t row, At&& at) {
        if constexpr (divides) {
            if (job_.divide == Divide::result)
                return divider_.with(0, row, [&](const auto& after) { write_row(row, at, after); });
        }
        if constexpr (Op::indexed) {
            if (rows_won_ == rows_won_at_once() || row != first_won_ + rows_won_) write_winners();
            if (rows_won_ == 0) first_won_ = row;
            I* const won = won_ + rows_won_++ * length_;
            write_row(
                row,
                [&](std::int64_t n) POOLWISE_INLINE {
                    const Register all = at(n);
                    store_vector(won + n, all.cell);
                    return all.value;
                },
                Keep{});
        } else {
            write_row(row, at, Keep{});
        }
    }
    // The cells that won output rows, several at once where they lie behind each other: as places
    // in the plane, or as taps of their windows.
    std::int64_t rows_won_at_once() const {
        const bool go_on = job_.layout.i_axis[1] == length_ * winner_bytes(job_.winners);
        return go_on ? larger<std::int64_t>(1, won_at_once / length_) : 1;
    }
    POOLWISE_APART void write_winners() {
        char* const out = place_.indices[0] + first_won_ * job_.layout.i_axis[1] +
                          column_ * job_.layout.i_axis[2];
        if (job_.winners == WinnerForm::tap8)
            for (std::int64_t r = 0; r < rows_won_; ++r)
                write_taps(reinterpret_cast<std::uint8_t*>(out) + r * length_, won_ + r * length_,
                           static_cast<I>(job_.form->first[1][first_won_ + r] * row_apart_));
        else
            winners_.write(out, won_, rows_won_ * length_);
        rows_won_ = 0;
    }
    POOLWISE_APART void write_taps(std::uint8_t* out, const I* won, I from) const {
        const I* const first = first_;
        POOLWISE_LANES
        for (std::int64_t n = 0; n < length_; ++n)
            out[n] = static_cast<std::uint8_t>(won[n] - first[n] - from);
    }
    template <class At, class After>
    POOLWISE_INLINE inline void write_row(std::int64_t row, const At& at, const After& after) {
        const std::int64_t apart = job_.layout.y_axis[2], n = place_.lanes;
        char* out = place_.y[0] + row * job_.layout.y_axis[1] + column_ * apart;
        const char* const soon = next_row(row);
        const auto put = [&](char* to, std::int64_t from, std::int64_t count) POOLWISE_INLINE {
            outputs_.write(reinterpret_cast<D*>(to), count, [&](std::int64_t i) POOLWISE_INLINE {
                __builtin_prefetch(soon + (from + i) * sizeof(S), 0, 2);
                return after(at(from + i), from + i);
            });
        };
        if (dense()) return put(out, 0, length_);
        for (std::int64_t c = 0; c < columns_; ++c, out += apart) put(out, c * n, n);
    }

    const RowsJob& job_;
    const RowsGeometry& g_;
    const RowProgram& rows_;
    Arena arena_;
    Place place_;
    Outputs<Op, D> outputs_;
    Winners winners_;
    Divider<T> divider_;
    Suspects<Op> seen_;
    std::int64_t band_, column_, columns_, low_, length_, source_columns_, shift_, pitch_;
    std::int64_t from_, to_;  // the columns of the source that are really there
    std::int64_t at_once_ = 1, ring_ = 1, base_ = -1, made_ = 0, split_ = -1, prefix_stop_ = 0;
    int level_count_ = 1;
    Row levels_[most_levels], reduced_, prefix_, prefix_buffers_[2];
    T* along_ = nullptr;
    S* column_buffer_;
    // Winners: how far cells of neighbouring rows are numbered apart, those of the row that is
    // written, and the columns that its windows begin at.
    std::int64_t row_apart_ = 0;
    I *won_ = nullptr, *first_ = nullptr;
    std::int64_t first_won_ = 0, rows_won_ = 0;  // not yet written
};

template <class Op> bool large_unit(const RowsJob& job, std::int64_t unit, char* scratch) {
    bool done = true;
    with_elements<Op>(job.x_dtype, [&](auto of) {
        typedef decltype(of) E;
        done = LargeUnit<typename E::Op, typename E::Source, typename E::Target>(job, unit, scratch)
                   .run();
    });
    return done;
}
template <class Op> std::int64_t large_scratch(const RowsJob& job) {
    std::int64_t bytes = 0;
    with_elements<Op>(job.x_dtype, [&](auto of) {
        typedef decltype(of) E;
        bytes =
            LargeUnit<typename E::Op, typename E::Source, typename E::Target>::scratch_bytes(job);
    });
    return bytes;
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
