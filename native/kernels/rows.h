// The rows kernel: windows over one to three axes, in three passes that each touch a row once.
//
// Along a row (here): fold `stride` cells into one, then double: M4[i] = M1[i..i+3], M16[i] =
// M4[i], M4[i+4], … so a window of k costs about log4(k) passes over a row in L1 instead of k.
// Maxima may overlap their last terms; sums add the base-4 digits of k. Across rows and planes: see
// stack.h. Lanes (channels beside each other) only change the distance of neighbours from 1 to
// `lanes`, so NHWC is the same code. Cost per output: about log4(kw) + 3 vector operations per
// lane. Order is row-major throughout.
#pragma once

#include "finish.h"
#include "stack.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class Op> class RowsUnit {
    using T = typename Op::Value;
    using I = typename Op::Index;
    using Row = typename Op::Row;

  public:
    RowsUnit(const RowsJob& job, std::int64_t unit, char* scratch)
        : job_(job), g_(*job.geometry), row_(g_.row), arena_{scratch} {
        band_ = unit % job.bands;
        unit /= job.bands;
        const std::int64_t tile = unit % job.column_tiles;
        unit /= job.column_tiles;
        const std::int64_t block = unit % job.lane_blocks, group = unit / job.lane_blocks;
        place_.locate(job.layout, job.x, job.y, job.indices, group, block, job.lane_block);
        lanes_ = place_.lanes;
        column_ = tile * job.column_tile;
        columns_ = smaller(job.column_tile, row_.output_size - column_);
        length_ = columns_ * lanes_;
        loader_ = loader_for<T>(job.x_dtype);
        take_scratch();
        finish_.prepare(job, place_, column_, columns_, arena_);
    }

    void run() {
        const RowProgram& planes = g_.program[0];
        const RowProgram& rows = g_.program[1];
        const std::int64_t first = band_ * job_.band, last = smaller(first + job_.band, rows.count);
        if (planes.source_size == 1 && planes.output_size == 1 && planes.ring == 1 &&
            planes.windows[0].stop == 1) {
            reduce_plane(0, first, last, [&](const RowWindow& w, auto&& write) {
                const Row target = finish_.begin(0, w.out);
                write(target);
                finish_.end(0, w.out, target);
            });
            return;
        }
        // Three axes: a pooled plane is a row of the outermost program.
        const std::int64_t band_rows = last - first, plane_length = band_rows * length_;
        Stack<Op> stack(planes, plane_length, arena_);
        const Row whole = arena_.template row<Op>(plane_length);
        stack.run(
            0, planes.count,
            [&](std::int64_t d, Row slot) {
                std::int64_t local = 0;
                reduce_plane(d, first, last, [&](const RowWindow&, auto&& write) {
                    write(slot.at(local * length_));
                    ++local;
                });
                return slot;
            },
            [&](const RowWindow& plane, auto&& write) {
                write(whole);
                for (std::int64_t r = 0; r < band_rows; ++r) {
                    const std::int64_t out = rows.windows[first + r].out;
                    finish_.end(plane.out, out, whole.at(r * length_));
                }
            });
    }

    bool saw_nan() const { return watch_.any(); }

  private:
    POOLWISE_APART void take_scratch() {
        if (row_.mode == RowMode::intervals) {
            low_ = 0;
            source_columns_ = g_.source_size[2];
        } else {
            low_ = column_ * row_.stride - row_.pad;
            source_columns_ = (columns_ - 1) * row_.stride + (row_.kernel - 1) * row_.dilation + 1;
        }
        const std::int64_t n = source_columns_ * lanes_;
        pitch_ = n;
        source_ = arena_.template row<Op>(n * job_.rows_at_once);
        for (Row& t : temporary_) t = arena_.template row<Op>(n * job_.rows_at_once);
        raw_ = arena_.template take<T>(larger(n, g_.source_size[2] * lanes_));
        if constexpr (Op::indexed) {
            columns_of_ = arena_.template take<I>(n);
            for (std::int64_t c = 0; c < source_columns_; ++c) {
                const std::int64_t index = index_of_column(low_ + c);
                for (std::int64_t l = 0; l < lanes_; ++l)
                    columns_of_[c * lanes_ + l] = static_cast<I>(index);
            }
            source_.i = columns_of_;
        }
    }

    // Padding left of the map carries the index of the first cell its windows really see: when
    // everything in a window is the identity, that cell is the answer, and padding comes first in
    // the window.
    std::int64_t index_of_column(std::int64_t column) const {
        if (column >= 0) return column < row_.source_size ? column : -1;
        const std::int64_t steps = (-column + row_.dilation - 1) / row_.dilation;
        const std::int64_t first = column + steps * row_.dilation;
        return first < row_.source_size ? first : -1;
    }

    template <class Emit>
    void reduce_plane(std::int64_t d, std::int64_t first, std::int64_t last, Emit&& emit) {
        Arena mark = arena_;
        {
            Stack<Op> stack(g_.program[1], length_, arena_, job_.rows_at_once, pitch_);
            made_from_ = made_to_ = 0;
            stack.run(
                first, last,
                [&](std::int64_t h, Row slot) {
                    return job_.rows_at_once > 1 ? reduce_rows(d, h, slot) : reduce_row(d, h, slot);
                },
                emit);
        }
        arena_ = mark;
    }

    // ---- along one row

    // Short rows are reduced several at once, one behind the other, into as many slots: what comes
    // of cells that are not one row's lies between the rows, and is of no account.
    Row reduce_rows(std::int64_t d, std::int64_t h, Row slot) {
        if (h < made_from_ || h >= made_to_) {
            made_from_ = h;
            made_to_ = smaller(h - h % job_.rows_at_once + job_.rows_at_once, g_.source_size[1]);
            const std::int64_t count = made_to_ - h;
            const Row first = source_;
            for (std::int64_t r = 0; r < count; ++r) {
                source_ = first.at(r * pitch_);
                const Row row = read_row(d, h + r);
                if (row.v != source_.v) copy_run(source_.v, row.v, pitch_);
            }
            source_ = first;
            slide(source_, slot, row_.kernel, (count - 1) * pitch_ + length_, row_.dilation);
        }
        return slot;
    }

    POOLWISE_APART Row reduce_row(std::int64_t d, std::int64_t h, Row slot) {
        const Row source = read_row(d, h);
        Row result = slot;
        switch (row_.mode) {
            case RowMode::identity:
                result.v = source.v;
                if (source.v == source_.v) {  // the buffer is used again for the next row
                    for (std::int64_t n = 0; n < length_; ++n) slot.v[n] = source.v[n];
                    result.v = slot.v;
                }
                if constexpr (Op::indexed)
                    for (std::int64_t n = 0; n < length_; ++n) slot.i[n] = source.i[n];
                break;
            case RowMode::slide: slide_row(source, slot); break;
            case RowMode::intervals: interval_row(source, slot); break;
        }
        if constexpr (Op::indexed) {
            const I base = static_cast<I>((d * g_.source_size[1] + h) * g_.source_size[2]);
            POOLWISE_LANES
            for (std::int64_t n = 0; n < length_; ++n) slot.i[n] += base;
        }
        return result;
    }

    Row read_row(std::int64_t d, std::int64_t h) {
        const Row row = load_row(d, h);
        if constexpr (Op::watched) scan_run(row.v, source_columns_ * lanes_, watch_);
        return row;
    }

    POOLWISE_APART Row load_row(std::int64_t d, std::int64_t h) {
        const Layout& layout = job_.layout;
        const std::int64_t width = g_.source_size[2];
        const std::int64_t offset = d * layout.x_axis[0] + h * layout.x_axis[1];
        Row row = source_;
        // The columns [from, to) of the real row that this tile needs, and where they stand in the
        // tile.
        const bool sliding = row_.mode != RowMode::intervals;
        const std::int64_t expand = sliding ? row_.expand : 1;
        const std::int64_t from =
            sliding ? larger<std::int64_t>(0, (low_ + expand - 1) / expand) : 0;
        const std::int64_t end = low_ + source_columns_;
        const std::int64_t to = smaller(width, end <= 0 ? 0 : (end + expand - 1) / expand);
        const bool complete = expand == 1 && low_ >= 0 && end <= width;
        const std::int64_t element_bytes = sizeof(T);
        const bool dense = layout.x_axis[2] == lanes_ * element_bytes &&
                           (lanes_ == 1 || layout.x_lane == element_bytes);
        if (complete && loader_.in_place && dense && !place_.gather &&
            job_.divide != Divide::source && !job_.lp) {
            row.v = reinterpret_cast<T*>(const_cast<char*>(place_.x[0] + offset)) + low_ * lanes_;
            return row;
        }
        T* target = row.v;
        if (!complete) {
            // Padding, or the gaps between strided gradients, around what is loaded below.
            const bool around = expand == 1 && from < to;
            const std::int64_t before = around ? from - low_ : source_columns_;
            const std::int64_t after = around ? to - low_ : source_columns_;
            for (std::int64_t n = 0; n < before * lanes_; ++n) target[n] = Op::identity;
            for (std::int64_t n = after * lanes_; n < source_columns_ * lanes_; ++n)
                target[n] = Op::identity;
            if (from >= to) return row;
        }
        T* loaded = expand == 1 ? target + (from - low_) * lanes_ : raw_;
        place_.load(loader_, place_.x, offset + from * layout.x_axis[2], layout.x_axis[2],
                    layout.x_lane, to - from, size_of(job_.x_dtype), loaded);
        if (job_.divide == Divide::source) divide_source(d, h, from, to, loaded);
        if constexpr (same<T, double>) {
            if (job_.lp) raise_all(loaded, (to - from) * lanes_, job_.lp->p);
        }
        if (expand > 1) {
            for (std::int64_t c = from; c < to; ++c)
                for (std::int64_t l = 0; l < lanes_; ++l)
                    target[(c * expand - low_) * lanes_ + l] = loaded[(c - from) * lanes_ + l];
        }
        return row;
    }

    POOLWISE_APART void divide_source(std::int64_t d, std::int64_t h, std::int64_t from,
                                      std::int64_t to, T* values) const {
        if constexpr (floating<T>) {
            const T across = static_cast<T>(static_cast<double>(job_.divisors[0][d]) *
                                            static_cast<double>(job_.divisors[1][h]));
            for (std::int64_t c = from; c < to; ++c) {
                const T divisor = job_.divisor_override
                                      ? static_cast<T>(job_.divisor_override)
                                      : across * static_cast<T>(job_.divisors[2][c]);
                T* at = values + (c - from) * lanes_;
                for (std::int64_t l = 0; l < lanes_; ++l) at[l] /= divisor;
            }
        }
    }

    POOLWISE_APART void interval_row(Row source, Row target) const {
        const std::int64_t step = row_.step;
        for (std::int64_t c = 0; c < columns_; ++c) {
            std::int64_t u = row_.starts[column_ + c];
            const std::int64_t stop = row_.stops[column_ + c];
            for (std::int64_t l = 0; l < lanes_; ++l)
                Op::put(target, c * lanes_ + l, Op::nothing());
            bool started = false;
            for (; u < stop; u += step) {
                const Row cell = source.at(u * lanes_), to = target.at(c * lanes_);
                for (std::int64_t l = 0; l < lanes_; ++l) {
                    const typename Op::Element e = Op::get(cell, l);
                    Op::put(to, l, started ? Op::join(Op::get(to, l), e) : e);
                }
                started = true;
            }
        }
    }

    POOLWISE_APART void slide_row(Row source, Row target) {
        const std::int64_t s = row_.stride, k = row_.kernel, d = row_.dilation;
        if (s == 1) {
            slide(source, target, k, length_, d);
        } else if (d == 1) {
            const std::int64_t q = k / s, r = k % s;
            if (k <= s || k <= 4) {  // every tap at once: no stride-1 result is ever made
                fold(source, target, columns_, k);
                return;
            }
            fold(source, temporary_[0], columns_ - 1 + q, s);
            if (r == 0) {
                slide(temporary_[0], target, q, length_, 1, 1);
                return;
            }
            fold(source.at(q * s * lanes_), temporary_[1], columns_, r);
            const Row tail = temporary_[1];
            if (q == 1) {
                const Row both[2] = {temporary_[0], tail};
                join_rows<Op, 2>(target, both, length_);
                return;
            }
            // The ladder below needs temporaries of its own.
            slide(temporary_[0], target, q, length_, 1, 2);
            const Row both[2] = {target, tail};
            join_rows<Op, 2>(target, both, length_);
        } else {
            const std::int64_t dense_columns = (columns_ - 1) * s + 1;
            slide(source, temporary_[3], k, dense_columns * lanes_, d);
            for (std::int64_t c = 0; c < columns_; ++c)
                for (std::int64_t l = 0; l < lanes_; ++l)
                    Op::put(target, c * lanes_ + l, Op::get(temporary_[3], c * s * lanes_ + l));
        }
    }

    // target[c] = the first `width` cells of source block c, which begins at c * stride.
    POOLWISE_APART void fold(Row source, Row target, std::int64_t columns,
                             std::int64_t width) const {
        if (lanes_ == 1) {
            switch (row_.stride) {
                case 2: return fold_by<2>(source, target, columns, width);
                case 3: return fold_by<3>(source, target, columns, width);
                case 4: return fold_by<4>(source, target, columns, width);
                default: break;
            }
        }
        const std::int64_t pitch = row_.stride * lanes_;
        for (std::int64_t c = 0; c < columns; ++c) {
            const Row block = source.at(c * pitch), to = target.at(c * lanes_);
            POOLWISE_LANES
            for (std::int64_t l = 0; l < lanes_; ++l) Op::put(to, l, Op::get(block, l));
            for (std::int64_t t = 1; t < width; ++t) {
                POOLWISE_LANES
                for (std::int64_t l = 0; l < lanes_; ++l)
                    Op::put(to, l, Op::join(Op::get(to, l), Op::get(block, t * lanes_ + l)));
            }
        }
    }

    template <int Stride>
    static void fold_by(Row source, Row target, std::int64_t columns, std::int64_t width) {
        switch (width) {
            case 1: return fold_exactly<Stride, 1>(source, target, columns);
            case 2: return fold_exactly<Stride, 2>(source, target, columns);
            case 3: return fold_exactly<Stride, 3>(source, target, columns);
            default: return fold_exactly<Stride, 4>(source, target, columns);
        }
    }
    template <int Stride, int Width>
    static void fold_exactly(Row source, Row target, std::int64_t columns) {
        POOLWISE_LANES
        for (std::int64_t c = 0; c < columns; ++c) {
            typename Op::Element e = Op::get(source, c * Stride);
            if constexpr (Width > 1) e = Op::join(e, Op::get(source, c * Stride + 1));
            if constexpr (Width > 2) e = Op::join(e, Op::get(source, c * Stride + 2));
            if constexpr (Width > 3) e = Op::join(e, Op::get(source, c * Stride + 3));
            Op::put(target, c, e);
        }
    }

    // target[n] = `width` cells of source from n on, `step` columns apart, for `count` elements.
    // Temporaries from `spare` on are free.
    POOLWISE_APART void slide(Row source, Row target, std::int64_t width, std::int64_t count,
                              std::int64_t step, int spare = 0) {
        const std::int64_t shift = step * lanes_;
        Row taps[rows_joined];
        if (width <= 5) {
            for (std::int64_t t = 0; t < width; ++t) taps[t] = source.at(t * shift);
            join_some<Op>(target, taps, static_cast<int>(width), count);
            return;
        }
        Row current = source;
        std::int64_t reach = 1;  // cells in each element of `current`
        std::int64_t available = count + (width - 1) * shift;
        int turn = spare;
        const auto quadruple = [&] {
            for (int t = 0; t < 4; ++t) taps[t] = current.at(t * reach * shift);
            available -= 3 * reach * shift;
            const Row next = temporary_[turn];
            turn = turn == spare ? spare + 1 : spare;
            join_rows<Op, 4>(next, taps, available);
            current = next;
            reach *= 4;
        };
        if constexpr (Op::idempotent) {
            while (width > 4 * reach) quadruple();
            const std::int64_t terms = (width + reach - 1) / reach;
            for (std::int64_t t = 0; t < terms; ++t)
                taps[t] = current.at(smaller(t * reach, width - reach) * shift);
            join_some<Op>(target, taps, static_cast<int>(terms), count);
        } else {
            std::int64_t at = 0, rest = width;
            bool started = false;
            for (;;) {
                const std::int64_t digit = rest % 4;
                int held = 0;
                if (started) taps[held++] = target;
                for (std::int64_t t = 0; t < digit; ++t)
                    taps[held++] = current.at((at + t * reach) * shift);
                if (digit) {
                    join_some<Op>(target, taps, held, count);
                    started = true;
                }
                at += digit * reach;
                rest /= 4;
                if (rest == 0) break;
                quadruple();
            }
        }
    }

    const RowsJob& job_;
    const RowsGeometry& g_;
    const RowReduction& row_;
    Arena arena_;
    Place place_;
    Finish<Op> finish_;
    Loader<T> loader_;
    std::int64_t band_, lanes_, column_, columns_, length_, low_, source_columns_;
    std::int64_t pitch_ = 0, made_from_ = 0, made_to_ = 0;
    Row source_, temporary_[4];
    T* raw_;
    I* columns_of_ = nullptr;
    typename WatchOf<Op>::Type watch_;
};

template <class Op> void rows_unit(const RowsJob& job, std::int64_t unit, char* scratch) {
    if (job.large) return RowsUnit<Op>(job, unit, scratch).run();  // it has a NaN
    run_unit<RowsUnit, Op>(job, unit, scratch);
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
