// The tile kernel: small windows over dense rows, several rows of outputs at a time, tile by tile.
//
// A tile is as many neighbouring outputs as a register holds, of a few output rows at once. The
// rows of the input that they see are reduced along the tile, straight from memory, and joined
// downwards in registers: no pass reads what another one wrote. Tiles go along the rows, so memory
// is read and written in a few streams side by side. Where outputs go past the caches, what a tile
// leaves of a line unfinished waits in a register for the next tile, one per row; a row's last part
// waits for the next row's first one. Where rows do not end with a tile, or a tile is no line,
// short rows are gathered, and long ones go through the caches.
//
// Where the input's elements are not what is joined, rows of a plane are converted first, once for
// all of their taps, if that pays: maxima of 16-bit floats whose windows share cells, 5x5 means of
// anything narrower than float32; and for maxima of bytes, of which registers are as long as rows,
// they are copied. Tiles read them, with their padding, out of the first cache.
// (26 MB of float32's, as float16, one thread: maxima 5x5 3.3 -> 1.6 ms, means 5x5 2.6 -> 2.0; but
// 3x3 means of bytes 1.6 -> 2.1, and with channels last 3x3 means 1.4 -> 1.9.)
//
// Channels last are rows of all channels in which taps lie a pixel apart; dilated windows, rows in
// which they lie several apart, and rows that join those a dilation below.
//
// Cost per vector of outputs: kw loads (kw - 1 of them across lines) and joins along the row,
// kh - 1 joins downwards, a store; of every few rows, kh - stride are reduced again. Tiles that see
// a row's end shut out by gates what is not theirs; rows that are not there are rows of nothing.
//
// Winners are pairs (see pairs.h): cells are numbered by their tap, and the row and the window are
// added. NaN are looked for as cells are loaded; a unit that has one is done again, exactly, by
// the direct kernel (dilated windows by the patient one). Sums add zeros for the padding along a
// row, as the direct kernel's do.
#pragma once

#include "direct.h"
#include "pairs.h"
#include "patient.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// What changes nothing that it is joined to, not even the sign of a zero.
template <class Op, class S> inline S nothing_of() {
    if constexpr (same<S, Half> || same<S, Brain>) {
        constexpr std::uint16_t sign = 0x8000, infinity = same<S, Half> ? 0x7c00 : 0x7f80;
        if (!Op::watched) return {sign};
        return {static_cast<std::uint16_t>(Op::least ? infinity : infinity | sign)};
    } else if constexpr (Op::watched || same<S, typename Op::Value>) {
        return floating<S> && !Op::watched ? S(-0.0) : S(Op::identity);
    } else {
        return S(0);
    }
}

template <bool First, class A, class B> struct Either {
    typedef A Type;
};
template <class A, class B> struct Either<false, A, B> {
    typedef B Type;
};

// Elementary joins values of T; the input's elements are S and the output's D. Careful is the
// operation of the direct kernel for the same.
template <class Elementary, class Careful, class S, class D> class TileUnit {
    using Op = Joins<Elementary>;
    using T = typename Op::Value;
    using V = Vec<T>;
    using I = TapInt<T>;
    using N = Vec<I>;
    using Register = typename Op::Register;
    static constexpr std::int64_t lanes = vector_lanes<T>;
    // What tiles read: the input's elements; or, ready to be joined, rows that were converted, or
    // copied, with their padding, and need no gates. (Of bytes a register holds so many that hardly
    // a tile of a row would do without.) A kernel is 0 if its loops are not unrolled.
    static constexpr bool prepared(std::int64_t kernel, std::int64_t stride) {
        if (same<S, T>) return sizeof(T) == 1;
        return Op::watched ? kernel == 0 || kernel > stride : kernel == 5;
    }
    template <int Kernel, int Stride, bool Apart>
    static constexpr bool is_ready = !Apart && prepared(Kernel, Stride);
    template <bool Ready> using Cell = typename Either<Ready, T, S>::Type;

  public:
    TileUnit(const DirectJob& job, std::int64_t unit, char* scratch)
        : job_(job),
          f_(*job.form),
          unit_(unit),
          scratch_(scratch),
          arena_{scratch},
          width_(f_.size[2] * job.layout.lanes),
          height_(f_.size[1]),
          columns_(f_.count[2] * job.layout.lanes),
          pad_(f_.pad[2] * job.layout.lanes),
          apart_(f_.dilation[2] * job.layout.lanes),
          outputs_(job.past_caches, columns_, true),
          copies_(job.past_caches, columns_, true),
          winners_(job.winners, job.past_caches, columns_) {
        band_ = unit % job.bands;
        first_plane_ = unit / job.bands * job.groups_per_unit;
        last_plane_ = smaller(first_plane_ + job.groups_per_unit, job.groups);
    }

    void run() {
        take_scratch();
        fill_scratch();
        for (std::int64_t plane = first_plane_; plane < last_plane_; ++plane) make_plane(plane);
        outputs_.finish();
        copies_.finish();
        winners_.finish();
        if (!met_suspects()) return;
        if (f_.dense)
            DirectUnit<Careful>(job_, unit_, scratch_).run_exactly();
        else
            redo_patiently();
    }

    static std::int64_t scratch_bytes(const DirectJob& job) {
        char* const base = reinterpret_cast<char*>(64);
        TileUnit first(job, 0, base);
        const std::int64_t bytes = first.take() - base;
        if constexpr (Op::watched) return larger(bytes, PatientUnit<Careful>::scratch_bytes(job));
        return bytes;
    }

    // For who makes planes one by one: where the scratch that they take ends, what is in it, and
    // the planes: what of them is in this unit's band, or some of their rows.
    char* take() {
        take_scratch();
        return arena_.next;
    }
    void fill() { fill_scratch(); }
    void make_plane(std::int64_t number) {
        make_rows_of(number, band_ * job_.band, smaller((band_ + 1) * job_.band, f_.count[1]));
    }
    void make_rows_of(std::int64_t number, std::int64_t first, std::int64_t last) {
        const Plane plane = locate(number);
        for (std::int64_t o = first, end; o < last; o = end) {
            // Outputs that are divided alike.
            const std::int64_t most = smaller<std::int64_t>(last, o + rows_at_once());
            end = o + 1;
            while (end < most && same_divisors(o, end)) ++end;
            if (end == last) o = begin_of_last(o, first, last);
            make_rows(plane, o, static_cast<int>(end - o));
        }
    }
    bool met_suspects() const {
        if constexpr (Op::watched) return any_lane(seen_.lanes);
        return false;
    }

  private:
    // Rows of outputs at once: every one more is one less that reduces rows for itself alone. Long
    // rows, which often lie a power of two apart, share their cache sets. (Instrumented, what is
    // unrolled takes ten minutes to compile.)
#if defined(POOLWISE_FEW_ROWS)
    static constexpr int most_long_rows = 2, most_rows = 2;
    static constexpr bool unrolls_ends = false;
#else
    static constexpr int most_long_rows = 4, most_rows = Op::indexed ? 4 : 8;
    static constexpr bool unrolls_ends = true;
#endif
    static constexpr int most_taps = 5, most_stride = 3;
    static constexpr int most_reach = (most_rows - 1) * most_stride + most_taps;
    static constexpr bool divides = !Op::watched && floating<T>;
    static constexpr std::int64_t asks_ahead = 4 << 10;
    // Hardware follows a few long rows by itself.
    static constexpr std::int64_t long_row_bytes = 4 << 10;
    static constexpr std::int64_t most_gathered_bytes = 32 << 10;
    static constexpr std::int64_t most_converted_bytes = 24 << 10;

    // The last rows [o, last) are fewer than fit, and so not unrolled; they are if some before
    // them, not more than half and divided alike, are made once more. Where they begin then.
    std::int64_t begin_of_last(std::int64_t o, std::int64_t first, std::int64_t last) const {
        const std::int64_t fit = rows_at_once(), from = last - fit;
        if (!unrolled_ || job_.past_caches || columns_ < lanes || from < first ||
            2 * (o - from) > fit)
            return o;
        for (std::int64_t row = from; row < o; ++row)
            if (!same_divisors(row, o)) return o;
        return from;
    }

    bool lies_apart() const { return apart_ > 1; }
    void redo_patiently() {
        if constexpr (Op::watched) PatientUnit<Careful>(job_, unit_, scratch_).run();
    }

    // The rows that a few rows of outputs see.
    std::int64_t reach_of(std::int64_t rows) const {
        return (rows - 1) * f_.stride[1] + (f_.taps[1] - 1) * f_.dilation[1] + 1;
    }
    // Rows between windows are not worth being reduced, and there is room for most_reach.
    int rows_at_once() const {
        const std::int64_t stride = f_.stride[1];
        if (stride > f_.taps[1]) return 1;
        const std::int64_t fitting = (most_reach - reach_of(1)) / stride + 1;
        return static_cast<int>(
            smaller<std::int64_t>(lies_apart() ? most_long_rows : most_rows, fitting));
    }

    POOLWISE_APART void take_scratch() {
        const std::int64_t stride = f_.stride[2], taps = f_.taps[2];
        groups_ = static_cast<int>((taps + stride - 1) / stride);
        // The last tile overlaps the one before it, or is the only one and runs over the end.
        tiles_ = (columns_ + lanes - 1) / lanes;
        const std::int64_t padded = tiles_ * lanes;
        if (job_.divide) along_ = arena_.template take<T>(padded + lanes);
        if constexpr (divides) factors_ = arena_.template take<T>(padded + lanes);
        row_cells_ = pad_ + larger(width_, padded * stride - pad_) + groups_ * stride * apart_;
        unrolled_ = f_.taps[1] == taps && f_.stride[1] == stride && knows(taps, stride);
        converts_ = !lies_apart() && prepared(unrolled_ ? taps : 0, stride);
        const std::int64_t row_bytes = row_cells_ * (converts_ ? sizeof(T) : sizeof(S));
        nothing_ = arena_.template take<char>(row_bytes);
        fence_ = arena_.template take<T>(row_cells_);
        const std::int64_t at_once = rows_at_once(), reach = reach_of(at_once);
        for (std::int64_t r = 0; r < reach; ++r) asides_[r] = arena_.template take<char>(row_bytes);
        together_ = converts_ ? larger<std::int64_t>(
                                    1, most_converted_bytes / (reach * stride * vector_bytes))
                              : tiles_;
        gathered_ = arena_.template take<D>(at_once * columns_ + lanes);
        if constexpr (Op::indexed) {
            won_ = arena_.template take<I>(at_once * columns_ + lanes);
            first_tap_ = arena_.template take<I>((padded + lanes) * stride);
        }
    }

    POOLWISE_APART void fill_scratch() {
        const auto fill_row = [&](char* row, auto cell) {
            for (std::int64_t n = 0; n < row_cells_; ++n)
                reinterpret_cast<decltype(cell)*>(row)[n] = cell;
        };
        converts_ ? fill_row(nothing_, nothing_of<Op, T>())
                  : fill_row(nothing_, nothing_of<Op, S>());
        for (std::int64_t r = 0; converts_ && r < reach_of(rows_at_once()); ++r)
            fill_row(asides_[r], T(Op::identity));
        for (std::int64_t n = 0; n < row_cells_; ++n)
            fence_[n] = n >= pad_ && n < pad_ + width_ ? T(Op::open) : T(Op::closed);
        if constexpr (Op::indexed) {
            places_ = job_.winners != WinnerForm::tap8;
            row_apart_ = places_ ? width_ : f_.taps[2];
            for (std::int64_t n = 0; n < (tiles_ + 1) * lanes * f_.stride[2]; ++n)
                first_tap_[n] = static_cast<I>(larger<std::int64_t>(0, pad_ - n));
        }
        if constexpr (divides) {
            if (job_.divide)
                divider_.prepare(job_.divisors, job_.divisor_override, 0, f_.count[2],
                                 job_.layout.lanes, along_);
            finished_ = -1;
        }
    }

    // ---- planes and their rows

    struct Plane {
        const S* x;
        D* y;
        char* winners;
        std::int64_t from, to;  // rows that may be read where they lie, and what is beside them
    };

    Plane locate(std::int64_t plane) const {
        const Layout& layout = job_.layout;
        const auto offset = [&](const std::int64_t* strides) {
            return layout.batch_rank ? plane * strides[0] : 0;
        };
        Plane at{};
        at.x = reinterpret_cast<const S*>(job_.x + offset(layout.x_batch));
        at.y = reinterpret_cast<D*>(job_.y + offset(layout.y_batch));
        if constexpr (Op::indexed) at.winners = job_.indices + offset(layout.i_batch);
        const std::int64_t behind = row_cells_ - pad_ - width_;
        const std::int64_t cells = height_ * width_, ahead = job_.planes_run_on ? plane * cells : 0,
                           after = job_.planes_run_on ? (job_.groups - plane - 1) * cells : 0;
        const auto rows = [&](std::int64_t missing) {
            return missing > 0 ? (missing + width_ - 1) / width_ : 0;
        };
        at.from = rows(pad_ - ahead);
        at.to = height_ - rows(behind - after);
        return at;
    }
    // Row h, the row number r in use, as tiles read it, from its padding on.
    void find_row(const Plane& plane, std::int64_t h, int r) {
        const bool inside = h >= 0 && h < height_;
        const S* const row = inside ? plane.x + h * width_ : nullptr;
        raw_[r] = row;
        if (!inside)
            source_[r] = nothing_;
        else if (converts_)
            source_[r] = asides_[r];
        else if (h >= plane.from && h < plane.to)
            source_[r] = reinterpret_cast<const char*>(row - pad_);
        else
            source_[r] = row_aside(row, asides_[r]);
    }
    template <bool Ready> const Cell<Ready>* source(int r) const {
        return reinterpret_cast<const Cell<Ready>*>(source_[r]);
    }
    // Rows in use up to a cell, counted with the padding.
    void convert(int rows, std::int64_t end) {
        const std::int64_t last = smaller(end - pad_, width_);
        for (int r = 0; r < rows; ++r)
            if (raw_[r])
                convert_row(raw_[r], reinterpret_cast<T*>(asides_[r]) + pad_, converted_, last);
        if (last > converted_)
            converted_ = converted_ + (last - converted_ + lanes - 1) / lanes * lanes;
    }
    POOLWISE_APART void convert_row(const S* row, T* wide, std::int64_t first, std::int64_t last) {
        Suspects<Op> seen;
        if (width_ < lanes) {
            const Piece<S, lanes> piece(row, width_);
            const V v = Op::load(piece.elements);
            seen(v);
            const N place = lanes_from<T>(0);
            store_vector(wide, place < static_cast<I>(width_) ? v : V{} + T(Op::identity));
            last = first;
        }
        for (std::int64_t n = first; n < last; n += lanes) {
            const std::int64_t cell = smaller(n, width_ - lanes);
            const V v = Op::load(row + cell);
            seen(v);
            store_vector(wide + cell, v);
        }
        seen_.lanes |= seen.lanes;
    }
    POOLWISE_APART const char* row_aside(const S* row, char* aside) const {
        for (std::int64_t n = 0; n < row_cells_; ++n) {
            const std::int64_t cell = n - pad_;
            reinterpret_cast<S*>(aside)[n] = cell >= 0 && cell < width_ ? row[cell] : S{};
        }
        return aside;
    }

    bool same_divisors(std::int64_t a, std::int64_t b) const {
        return !divides || !job_.divide || job_.divisor_override ||
               job_.divisors[1][a] == job_.divisors[1][b];
    }

    // ---- output rows [o, o + rows)

    // How outputs go to memory: as they are made; rows gathered, and then written; or lines, of
    // which tiles leave parts to each other.
    enum class Way { straight, gathered, lines };

    struct Rows {
        const Plane& plane;
        std::int64_t o, h;  // the first one, and the first row that it sees
        int count;
        D* out;
        Way way;
        std::int64_t beyond;  // how far `out` lies behind the beginning of its line
    };

    void make_rows(const Plane& plane, std::int64_t o, int count) {
        D* const out = plane.y + o * columns_;
        const std::int64_t written = count * columns_ * static_cast<std::int64_t>(sizeof(D));
        Way way = Way::straight;
        if (job_.past_caches) {
            if (Line::carries && lanes * sizeof(D) == 64 && columns_ % lanes == 0)
                way = Way::lines;
            else if (written <= most_gathered_bytes)
                way = Way::gathered;
        }
        if (columns_ < lanes) way = Way::gathered;
        Rows rows{plane, o, f_.first[1][o], count, way == Way::gathered ? gathered_ : out, way, 0};
        if (way == Way::lines) rows.beyond = outputs_.begin(out);
        const int reach = static_cast<int>(reach_of(count));
        for (int r = 0; r < reach; ++r) find_row(plane, rows.h + r, r);
        converted_ = 0;
        if constexpr (divides) find_factors(o);
        make_tiles(rows);
        if (way == Way::lines) {
            D* line = out - rows.beyond;
            for (int r = 0; r < count; ++r, line += columns_)
                outputs_.append_row(line, columns_, firsts_[r], lasts_[r]);
        }
        if (way == Way::gathered) write_copy(copies_, out, gathered_, count * columns_);
        if constexpr (Op::indexed)
            winners_.write(plane.winners + o * columns_ * winner_bytes(job_.winners), won_,
                           count * columns_);
    }
    // What sums of row o are divided by, or multiplied.
    void find_factors(std::int64_t o) {
        const std::int64_t row = !job_.divide || job_.divisor_override ? 0 : job_.divisors[1][o];
        if (row == finished_) return;
        finished_ = row;
        const auto fill = [&](bool over, const auto& factor) {
            over_ = over;
            for (std::int64_t q = 0; q < columns_ + lanes; ++q) factors_[q] = factor(q);
        };
        if (job_.divide)
            divider_.with(0, o, [&](const auto& after) {
                fill(after.divides, [&](std::int64_t q) { return after.factor(q); });
            });
        else
            fill(false, [](std::int64_t) { return T(1); });
    }

    // Squares whose loops are unrolled.
    static constexpr bool knows(std::int64_t size, std::int64_t stride) {
        return stride == 1 ? size == 3 || size == 5 : size == 3 || (size == 2 && stride == 2);
    }
    void make_tiles(const Rows& rows) {
        const std::int64_t kw = f_.taps[2], sw = f_.stride[2];
        const bool square = f_.taps[1] == kw && f_.stride[1] == sw;
        if constexpr (!Op::indexed) {
            if (lies_apart()) {
                // (no others: see tiles.cpp)
                if (f_.dilation[1] == 2) return make_tiles<3, 1, true, true, 2>(rows);
                if (kw == 3) return make_tiles<3, 1, true, true>(rows);
                return make_tiles<5, 1, true, true>(rows);
            }
        }
        if (square && kw == 3 && sw == 1) return make_tiles<3, 1, true, false>(rows);
        if (square && kw == 5 && sw == 1) return make_tiles<5, 1, true, false>(rows);
        if (square && kw == 3 && sw == 2) return make_tiles<3, 2, true, false>(rows);
        if (square && kw == 2 && sw == 2) return make_tiles<2, 2, true, false>(rows);
        if (square && kw == 3 && sw == 3) return make_tiles<3, 3, true, false>(rows);
        if (sw == 1) return make_tiles<0, 1, false, false>(rows);
        if (sw == 2) return make_tiles<0, 2, false, false>(rows);
        make_tiles<0, 3, false, false>(rows);
    }
    // Kernel: along a row, 0 if not known; and downwards too if it is `Square`. Likewise strides.
    // `Apart`: taps lie apart_ cells apart along a row, and Down rows.
    template <int Kernel, int Stride, bool Square, bool Apart, int Down = 1>
    void make_tiles(const Rows& rows) {
        // Tiles that see a row's end come first and last, where padding has to be shut out. (The
        // latter show all of their cells to the watch, and so the row's last ones.)
        const std::int64_t reach = (f_.taps[2] - 1) * apart_;
        std::int64_t begin = 0, end = tiles_;
        constexpr bool Ready = is_ready<Kernel, Stride, Apart>;
        while (!Ready && begin < end && first_cell<Stride>(begin) < 0) ++begin;
        while (!Ready && begin < end &&
               (output_of(end - 1) + lanes > columns_ - apart_ ||
                first_cell<Stride>(end - 1) + (lanes - 1) * Stride + reach >= width_))
            --end;
        constexpr int most = Apart ? most_long_rows : most_rows;
        const bool full = Square && rows.count == most;
        if (Square && !full) begin = end = tiles_;
        for (std::int64_t first = 0, last; first < tiles_; first = last) {
            last = smaller(first + together_, tiles_);
            if constexpr (Ready)
                convert(static_cast<int>(reach_of(rows.count)),
                        (output_of(last - 1) + lanes) * Stride + reach);
            const auto ends = [&](std::int64_t from, std::int64_t to) {
                if (from >= to) return;
                if constexpr (Square && unrolls_ends) {
                    if (full)
                        return some_tiles<Kernel, Stride, true, Apart, Down, true>(rows, from, to);
                }
                some_tiles<Kernel, Stride, false, Apart, Down, true>(rows, from, to);
            };
            ends(first, smaller(begin, last));
            some_tiles<Kernel, Stride, Square, Apart, Down, false>(rows, larger(first, begin),
                                                                   smaller(end, last));
            ends(larger(first, end), last);
        }
    }
    // A tile's first output, and the first cell that it sees.
    std::int64_t output_of(std::int64_t t) const {
        return larger<std::int64_t>(0, smaller(t * lanes, columns_ - lanes));
    }
    template <int Stride> std::int64_t first_cell(std::int64_t t) const {
        return output_of(t) * Stride - pad_;
    }

    // visit(k) for k in [from, to), unrolled if they are known.
    template <int From, int To, class Visit>
    static POOLWISE_INLINE void each_row(int from, int to, Visit&& visit) {
        if constexpr (From < To)
            each_width<From, To>([&](auto k) POOLWISE_INLINE { visit(decltype(k)::value); });
        else
            for (int k = from; k < to; ++k) visit(k);
    }

    // Tiles [first, last) of the rows. Those of as many rows as fit (`Full`) are unrolled, and stay
    // in registers; the others, which are few, are not. (Windows of all sizes cannot share those:
    // 3x3/1 on planes of 28 columns took 7 per cent longer.)
    template <int Kernel, int Stride, bool Full, bool Apart, int Down, bool Edge>
    POOLWISE_APART void some_tiles(const Rows& rows, std::int64_t first, std::int64_t last) {
        if (first >= last) return;
        constexpr bool Ready = is_ready<Kernel, Stride, Apart>;
        constexpr int Taps = Full ? Kernel : 0,
                      Count = !Full   ? 0
                              : Apart ? most_long_rows
                                      : most_rows,
                      Reach = Full ? (Count - 1) * Stride + (Kernel - 1) * Down + 1 : 0;
        const int taps = Full ? Kernel : static_cast<int>(f_.taps[1]);
        const int stride = Full ? Stride : static_cast<int>(f_.stride[1]);
        const int count = Full ? Count : rows.count,
                  reach = (count - 1) * stride + (taps - 1) * Down + 1, fresh = count * stride;
        // Line after line of the rows after these, whichever tile is made meanwhile.
        constexpr std::int64_t step = Stride * lanes * static_cast<std::int64_t>(sizeof(S));
        const bool asks = width_ * static_cast<std::int64_t>(sizeof(S)) < long_row_bytes;
        const char* soon = reinterpret_cast<const char*>(rows.plane.x + rows.h * width_) +
                           (asks ? first * step * fresh + asks_ahead : 0);
        const std::int64_t then =
            asks ? step : 0;  // (the same line again costs less than a branch)
        const auto by = Line::shifts_by(lanes - rows.beyond);
        // Local copies: what is stored below might be them, for all the compiler knows.
        const Way way = rows.way;
        const std::int64_t columns = columns_, beyond = rows.beyond;
        D* const target = rows.out;
        I* const won = won_;
        const ByEach<T> after{factors_, over_};
        Suspects<Op> seen;
        for (std::int64_t t = first; t < last; ++t) {
            const std::int64_t q = output_of(t), cell = q * Stride;
            const Tile<Stride, Apart, Edge> tile(*this, q);
            Register reduced[Full ? Reach : most_reach];
            const auto write = [&](int r) POOLWISE_INLINE {
                const Register* const window = reduced + r * stride;
                Register all = window[(taps - 1) * Down];
                each_row<1, Taps>(1, taps, [&](int k) POOLWISE_INLINE {
                    all = Op::joined(window[(taps - 1 - k) * Down], all);
                });
                V value;
                if constexpr (Op::indexed) {
                    const std::int64_t h = rows.h + r * stride;
                    const auto from = static_cast<I>(places_ ? 0 : -h * row_apart_);
                    store_vector(won + r * columns + q,
                                 Picked<I, Stride>::in_order(all.cell) + tile.column + from);
                    value = Picked<T, Stride>::in_order(all.value);
                } else {
                    value = Picked<T, Stride>::in_order(all);
                    if constexpr (divides) value = after(value, q);
                }
                D* const out = target + r * columns + q;
                if (way != Way::lines) return store_whole<Op>(out, value);
                const auto elements = Line::bits(value);
                if (t > 0)
                    stream_vector(out - beyond, Line::shifted(lasts_[r], elements, by));
                else
                    firsts_[r] = elements;
                lasts_[r] = elements;
            };
            // (as soon as a row's windows are whole, so that few registers wait)
            int next = 0;
            each_row<0, Reach>(0, reach, [&](int r) POOLWISE_INLINE {
                if (r < fresh) {
                    ask_for<0>(soon, step);
                    soon += then;
                }
                const auto* const at = source<Ready>(r) + cell;
                reduced[r] = reduce<Kernel, Stride, Apart, Edge, Ready>(at, rows.h + r, tile, seen);
                if constexpr (in_pairs<Stride, Edge> && !Ready) {
                    if (r % 2 == 1)
                        seen(Op::load(source<Ready>(r - 1) + cell), Op::load(at));
                    else if (r + 1 == reach)
                        seen(Op::load(at));
                }
                if (r == next * stride + (taps - 1) * Down) write(next++);
            });
        }
        seen_.lanes |= seen.lanes;
    }

    // What a tile knows of its cells.
    template <int Stride, bool Apart, bool Edge> struct Tile {
        std::int64_t apart;
        const T* gates;
        const I* first_tap;
        N column{};

        POOLWISE_INLINE Tile(const TileUnit& unit, std::int64_t q)
            : apart(unit.apart_),
              gates(unit.fence_ + q * Stride),
              first_tap(unit.first_tap_ + q * Stride) {
            // Winners are places in the plane, or taps: seen from their window's first cell.
            for (int l = 0; Op::indexed && unit.places_ && l < lanes; ++l)
                column[l] = static_cast<I>((q + l) * Stride - unit.pad_);
        }
    };

    // Whether a row's cells are looked at together with those of the row before.
    template <int Stride, bool Edge> static constexpr bool in_pairs = Stride == 1 && !Edge;

    // The tile's windows along a row, the first of which begins at `at`.
    template <int Kernel, int Stride, bool Apart, bool Edge, bool Ready>
    POOLWISE_INLINE Register reduce(const Cell<Ready>* at, std::int64_t row,
                                    const Tile<Stride, Apart, Edge>& tile,
                                    Suspects<Op>& seen) const {
        const int taps = Kernel ? Kernel : static_cast<int>(f_.taps[2]);
        Register all{};
        for (int t = 0; t < taps; t += Stride) {
            const std::int64_t place = Apart ? t * tile.apart : t;
            const auto* const from = at + place;
            if (!Ready && !in_pairs<Stride, Edge>) {
                // (its first and its last taps' cells, and no others between them)
                constexpr bool both_suffice = Edge && !Apart && Stride * lanes >= most_taps - 1;
                if (both_suffice) {
                    for (int n = 0; t == 0 && n < Stride; ++n)
                        seen(Op::load(from + n * lanes),
                             Op::load(at + (taps - 1) / Stride * Stride + n * lanes));
                } else if (t == 0 || Edge) {
                    seen.template run<Stride>(from);
                }
            }
            Picked<T, Stride> cells;
            cells.template load<Op>(from, Edge ? tile.gates + place : nullptr);
            const V first = cells.template phase<0>();
            all = t == 0 ? begun<Stride, Edge>(first, tile.first_tap)
                         : Op::joined(all, numbered(first, t));
            if constexpr (Stride > 1) {
                if (t + 1 < taps) all = Op::joined(all, numbered(cells.template phase<1>(), t + 1));
            }
            if constexpr (Stride > 2) {
                if (t + 2 < taps) all = Op::joined(all, numbered(cells.template phase<2>(), t + 2));
            }
        }
        // (a row above the plane stands for its first one)
        if constexpr (Op::indexed)
            all.cell += static_cast<I>(larger<std::int64_t>(0, row) * row_apart_);
        return all;
    }
    static POOLWISE_INLINE Register numbered(V v, int tap) {
        if constexpr (Op::indexed)
            return {v, N{} + static_cast<I>(tap)};
        else
            return v;
    }
    // Padding never wins: where all is the identity, the first cell inside does.
    template <int Stride, bool Edge>
    static POOLWISE_INLINE Register begun(V v, const I* first_tap) {
        if constexpr (Op::indexed && Edge) {
            Picked<I, Stride> taps;
            taps.template load<PickTaps<I, false>>(first_tap, nullptr);
            return {v, taps.template phase<0>()};
        } else {
            return numbered(v, 0);
        }
    }

    using Line = Outputs<Op, D>;

    const DirectJob& job_;
    const WindowForm& f_;
    std::int64_t unit_;
    char* scratch_;
    Arena arena_;
    // In elements: of channels last, a row has all channels.
    const std::int64_t width_, height_, columns_, pad_, apart_;
    Line outputs_;
    Copies<D> copies_;
    Winners winners_;
    Divider<T> divider_;
    Suspects<Op> seen_;
    std::int64_t band_, first_plane_, last_plane_;
    std::int64_t tiles_ = 0, row_cells_ = 0, row_apart_ = 0;
    int groups_ = 0;
    T *along_ = nullptr, *factors_ = nullptr;
    std::int64_t finished_ = -1;  // the row's divisor that factors_ are of
    bool over_ = false;
    const char* source_[most_reach];  // the rows that are seen, from the padding on
    char *nothing_ = nullptr, *asides_[most_reach] = {};
    T* fence_ = nullptr;  // a row of gates
    bool unrolled_ = false, converts_ = false;
    const S* raw_[most_reach];  // those that are converted, up to a cell; null: the others
    std::int64_t converted_ = 0, together_ = 1;  // … for so many tiles at once
    D* gathered_ = nullptr;
    typename Line::V firsts_[most_rows], lasts_[most_rows];  // of every row
    // Winners, and for every window the first of its taps that lies in the plane.
    I *won_ = nullptr, *first_tap_ = nullptr;
    bool places_ = false;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
