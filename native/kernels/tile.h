// The tile kernel: small windows over dense rows, one register wide, walking down the plane.
//
// A tile is as many neighbouring outputs as a register holds. For each row of the input the tile's
// windows are reduced along the row, straight from memory; the rows so reduced that the next
// windows see again stay in registers, and what they are joined to is stored: no pass reads what
// another one wrote. Tiles walk down a few rows, one after the other, so that the rows of a walk
// stay in the first cache; meanwhile what the next walk reads is asked for. Where outputs go past
// the caches a walk's are gathered first: whole lines are written, wherever rows begin.
//
// Cost per vector of outputs: kw loads (kw - 1 of them across lines) and joins along the row,
// kh - 1 joins downwards, a store; a walk reduces kh - stride rows again. Tiles that see a row's
// end shut out by gates what is not theirs; rows that are not there are rows of nothing.
//
// Winners are pairs (see pairs.h): cells are numbered by their tap, and the row and the window are
// added. NaN are looked for as cells are loaded; a unit that has one is done again, exactly, by
// the direct kernel. Sums add zeros for the padding along a row, as the direct kernel's do.
#pragma once

#include "direct.h"
#include "pairs.h"

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

  public:
    TileUnit(const DirectJob& job, std::int64_t unit, char* scratch)
        : job_(job),
          f_(*job.form),
          unit_(unit),
          scratch_(scratch),
          arena_{scratch},
          outputs_(job.past_caches, f_.count[2], true),
          winners_(job.winners, job.past_caches, f_.count[2]) {
        band_ = unit % job.bands;
        first_plane_ = unit / job.bands * job.groups_per_unit;
        last_plane_ = smaller(first_plane_ + job.groups_per_unit, job.groups);
        width_ = f_.size[2];
        height_ = f_.size[1];
        columns_ = f_.count[2];
    }

    void run() {
        take_scratch();
        fill_scratch();
        for (std::int64_t plane = first_plane_; plane < last_plane_; ++plane) make_plane(plane);
        outputs_.finish();
        if constexpr (Op::indexed) winners_.finish();
        if (job_.past_caches) drain_streams();
        if (met_suspects()) DirectUnit<Careful>(job_, unit_, scratch_).run_exactly();
    }

    static std::int64_t scratch_bytes(const DirectJob& job) {
        char* const base = reinterpret_cast<char*>(64);
        TileUnit first(job, 0, base);
        return first.take() - base;
    }

    // For who makes planes one by one: where the scratch that they take ends, what is in it, and
    // the planes (or what of them is in this unit's band).
    char* take() {
        take_scratch();
        return arena_.next;
    }
    void fill() { fill_scratch(); }
    void make_plane(std::int64_t number) {
        const Plane plane = locate(number);
        const std::int64_t last = smaller((band_ + 1) * job_.band, f_.count[1]);
        for (std::int64_t o = band_ * job_.band; o < last;) {
            // Outputs that are divided alike.
            const std::int64_t most = smaller(last, o + walk_);
            std::int64_t end = o + 1;
            while (end < most && same_divisors(o, end)) ++end;
            make_rows(plane, o, end);
            o = end;
        }
    }
    bool met_suspects() const {
        if constexpr (Op::watched) return any_lane(seen_.lanes);
        return false;
    }

  private:
    static constexpr std::int64_t walk_bytes = 12 << 10, shortest_walk = 8;
    static constexpr int most_taps = 5;
    static constexpr bool divides = !Op::watched && floating<T>;

    POOLWISE_APART void take_scratch() {
        const std::int64_t stride = f_.stride[2], taps = f_.taps[2];
        groups_ = (taps + stride - 1) / stride;
        // The last tile overlaps the one before it, or is the only one and runs over the end.
        tiles_ = (columns_ + lanes - 1) / lanes;
        const std::int64_t padded = tiles_ * lanes;
        for (std::int64_t g = 0; g < groups_; ++g)
            gates_[g] = arena_.template take<T>((padded + lanes) * stride);
        if (job_.divide) along_ = arena_.template take<T>(padded + lanes);
        if constexpr (divides) factors_ = arena_.template take<T>(padded + lanes);
        row_cells_ = f_.pad[2] + larger(width_, padded * stride - f_.pad[2]) + groups_ * stride;
        nothing_ = arena_.template take<S>(row_cells_);
        for (std::int64_t k = 0; k < f_.taps[1]; ++k)
            copies_[k] = arena_.template take<S>(row_cells_);
        const std::int64_t read = width_ * f_.stride[1] * static_cast<std::int64_t>(sizeof(S)),
                           written = columns_ * static_cast<std::int64_t>(
                                                    sizeof(D) + (Op::indexed ? sizeof(I) : 0));
        walk_ = smaller(f_.count[1], larger(shortest_walk, walk_bytes / larger(read, written)));
        gathered_ = arena_.template take<D>(walk_ * columns_ + lanes);
        if constexpr (Op::indexed) {
            won_ = arena_.template take<I>(walk_ * columns_ + lanes);
            first_tap_ = arena_.template take<I>((padded + lanes) * stride);
        }
    }

    POOLWISE_APART void fill_scratch() {
        const std::int64_t stride = f_.stride[2], pad = f_.pad[2], taps = f_.taps[2];
        const std::int64_t cells = (tiles_ + 1) * lanes * stride;
        for (std::int64_t g = 0; g < groups_; ++g)
            for (std::int64_t n = 0; n < cells; ++n) {
                const std::int64_t cell = g * stride + n - pad;
                gates_[g][n] = cell < 0 || cell >= width_ ? Op::closed : Op::open;
            }
        for (std::int64_t n = 0; n < row_cells_; ++n) {
            nothing_[n] = nothing_of<Op, S>();
            for (std::int64_t k = 0; k < f_.taps[1]; ++k) copies_[k][n] = S{};
        }
        if constexpr (Op::indexed) {
            places_ = job_.winners != WinnerForm::tap8;
            row_apart_ = places_ ? width_ : taps;
            for (std::int64_t n = 0; n < cells; ++n)
                first_tap_[n] = static_cast<I>(larger<std::int64_t>(0, pad - n));
        }
        if constexpr (divides) {
            if (job_.divide)
                divider_.prepare(job_.divisors, job_.divisor_override, 0, columns_, 1, along_);
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
        const std::int64_t before = f_.pad[2], behind = row_cells_ - before - width_;
        const std::int64_t cells = height_ * width_, ahead = job_.planes_run_on ? plane * cells : 0,
                           after = job_.planes_run_on ? (job_.groups - plane - 1) * cells : 0;
        const auto rows = [&](std::int64_t missing) {
            return missing > 0 ? (missing + width_ - 1) / width_ : 0;
        };
        at.from = rows(before - ahead);
        at.to = height_ - rows(behind - after);
        return at;
    }
    // (Of rows that are in use at the same time each has a `copy` of its own.)
    POOLWISE_INLINE const S* row_of(const Plane& plane, std::int64_t h, int copy = 0) const {
        if (h >= plane.from && h < plane.to) return plane.x + h * width_;
        return row_aside(plane, h, copy);
    }
    POOLWISE_APART const S* row_aside(const Plane& plane, std::int64_t h, int copy) const {
        if (h < 0 || h >= height_) return nothing_ + f_.pad[2];
        S* const row = copies_[copy] + f_.pad[2];
        for (std::int64_t n = 0; n < width_; ++n) row[n] = plane.x[h * width_ + n];
        return row;
    }

    bool same_divisors(std::int64_t a, std::int64_t b) const {
        return !divides || !job_.divide || job_.divisor_override ||
               job_.divisors[1][a] == job_.divisors[1][b];
    }

    // ---- walks: output rows [o, end)

    struct Walk {
        const Plane& plane;
        std::int64_t o, end;
        D* out;  // where the first row goes
        bool stream;
        mutable const char* soon;  // what the walk after this one reads, asked for line by line
    };

    void make_rows(const Plane& plane, std::int64_t o, std::int64_t end) {
        D* const out = plane.y + o * columns_;
        const bool lines = lanes * sizeof(D) == 64 && columns_ % lanes == 0 &&
                           reinterpret_cast<std::uintptr_t>(out) % 64 == 0;
        // (where much less is written than read, it is not worth a pass of its own)
        const bool many = Op::indexed || f_.stride[1] * f_.stride[2] == 1;
        const bool gathers = columns_ < lanes || (job_.past_caches && !lines && many);
        const char* const soon = reinterpret_cast<const char*>(
            plane.x + (f_.first[1][o] + (end - o) * f_.stride[1] + f_.taps[1] - 1) * width_);
        const Walk walk{plane, o, end, gathers ? gathered_ : out, job_.past_caches && lines, soon};
        if constexpr (divides)
            finish(o) ? make_walk(walk, OverEach<T>{1, factors_})
                      : make_walk(walk, TimesEach<T>{factors_});
        else
            make_walk(walk, Keep{});
        const std::int64_t count = (end - o) * columns_;
        if (gathers) write_copy(outputs_, out, gathered_, count);
        if constexpr (Op::indexed)
            winners_.write(plane.winners + o * columns_ * winner_bytes(job_.winners), won_, count);
    }
    // Sums are divided by factors_, or multiplied: returns whether it is the one. (Two kinds of
    // walks are enough.)
    bool finish(std::int64_t o) {
        const std::int64_t row = !job_.divide || job_.divisor_override ? 0 : job_.divisors[1][o];
        if (row == finished_) return over_;
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
        return over_;
    }

    template <class After> void make_walk(const Walk& walk, const After& after) {
        const std::int64_t kw = f_.taps[2], sw = f_.stride[2];
        const bool square = f_.taps[1] == kw && f_.stride[1] == sw;
        if (square && kw == 3 && sw == 1) return walk_tiles<3, 1, true>(walk, after);
        if (square && kw == 5 && sw == 1) return walk_tiles<5, 1, true>(walk, after);
        if (square && kw == 3 && sw == 2) return walk_tiles<3, 2, true>(walk, after);
        if (square && kw == 2 && sw == 2) return walk_tiles<2, 2, true>(walk, after);
        if (square && kw == 3 && sw == 3) return walk_tiles<3, 3, true>(walk, after);
        if (sw == 1) return walk_tiles<0, 1, false>(walk, after);
        if (sw == 2) return walk_tiles<0, 2, false>(walk, after);
        walk_tiles<0, 3, false>(walk, after);
    }
    // Kernel: along a row, 0 if not known; and downwards too if it is `Square`. Likewise strides.
    template <int Kernel, int Stride, bool Square, class After>
    void walk_tiles(const Walk& walk, const After& after) {
        // Tiles that gates are needed for come first and last.
        std::int64_t begin = 0, end = tiles_;
        while (begin < end && first_cell<Stride>(begin) < 0) ++begin;
        while (begin < end &&
               first_cell<Stride>(end - 1) + (lanes - 1) * Stride + f_.taps[2] > width_)
            --end;
        const bool apart = Square ? Kernel <= Stride : f_.taps[1] <= f_.stride[1];
        if constexpr (!Square || Kernel <= Stride) {
            if (apart) {
                if (begin > 0) go_across<Kernel, Stride, Square, true>(walk, 0, begin, after);
                go_across<Kernel, Stride, Square, false>(walk, begin, end, after);
                if (end < tiles_) go_across<Kernel, Stride, Square, true>(walk, end, tiles_, after);
            }
        }
        if constexpr (!Square || Kernel > Stride) {
            for (std::int64_t t = 0; t < tiles_ && !apart; ++t)
                if (begin <= t && t < end)
                    walk_down<Kernel, Stride, Square, false>(walk, t, after);
                else
                    walk_down<Kernel, Stride, Square, true>(walk, t, after);
        }
        if constexpr (Op::watched) look_at_ends(walk);
    }
    // A tile's first output, and the first cell that it sees.
    std::int64_t output_of(std::int64_t t) const {
        return larger<std::int64_t>(0, smaller(t * lanes, columns_ - lanes));
    }
    template <int Stride> std::int64_t first_cell(std::int64_t t) const {
        return output_of(t) * Stride - f_.pad[2];
    }

    // Rows' last cells, which are no tile's first taps.
    POOLWISE_APART void look_at_ends(const Walk& walk) {
        const std::int64_t first = f_.first[1][walk.o],
                           last = f_.first[1][walk.end - 1] + f_.taps[1];
        const std::int64_t cell = larger<std::int64_t>(0, width_ - lanes);
        for (std::int64_t h = first; h < last; ++h) seen_(Op::load(row_of(walk.plane, h) + cell));
    }

    // What shuts out the taps of a group that lie beyond the row for windows from q on; null if
    // none does.
    template <int Stride> const T* gate_of(int group, std::int64_t q) const {
        const std::int64_t first = (q + group) * Stride - f_.pad[2],
                           last = first + lanes * Stride - 1;
        return first < 0 || last >= width_ ? gates_[group] + q * Stride : nullptr;
    }

    // What a tile knows of its cells.
    template <int Stride, bool Edge> struct Tile {
        const T* gates[most_taps];
        const I* first_tap;
        N column{};

        Tile(const TileUnit& unit, std::int64_t q) : first_tap(unit.first_tap_ + q * Stride) {
            for (int g = 0; Edge && g < unit.groups_; ++g)
                gates[g] = unit.template gate_of<Stride>(g, q);
            // Winners are places in the plane, or taps: seen from their window's first cell.
            for (int l = 0; Op::indexed && unit.places_ && l < lanes; ++l)
                column[l] = static_cast<I>((q + l) * Stride - unit.f_.pad[2]);
        }
    };

    // visit(Width<k>{}) for k in [from, to), unrolled if they are known.
    template <int From, int To, class Visit>
    static POOLWISE_INLINE void each_row(int from, int to, Visit&& visit) {
        if constexpr (From < To)
            each_width<From, To>([&](auto k) POOLWISE_INLINE { visit(decltype(k)::value); });
        else
            for (int k = from; k < to; ++k) visit(k);
    }

    // Tile t, down all rows of the walk.
    template <int Kernel, int Stride, bool Square, bool Edge, class After>
    POOLWISE_APART void walk_down(const Walk& walk, std::int64_t t, const After& after) {
        constexpr int Taps = Square ? Kernel : 0,
                      Kept = Square && Kernel > Stride ? Kernel - Stride : 0;
        const int taps = Square ? Kernel : static_cast<int>(f_.taps[1]);
        const int stride = Square ? Stride : static_cast<int>(f_.stride[1]);
        const int kept = taps - stride;
        const std::int64_t q = output_of(t), cell = q * Stride - f_.pad[2];
        const Plane plane = walk.plane;
        const Tile<Stride, Edge> tile(*this, q);
        const char* soon = walk.soon;
        constexpr std::int64_t step = Stride * lanes * static_cast<std::int64_t>(sizeof(S));
        Suspects<Op> seen;
        Register held[Square ? Kernel : most_taps];
        std::int64_t h = f_.first[1][walk.o];
        const auto reduce_row = [&](int k) POOLWISE_INLINE {
            const S* const at = row_of(plane, h + k) + cell;
            ask_for<0>(soon, step);
            soon += step;
            held[k] = reduce<Kernel, Stride, Edge>(at, h + k, tile, seen);
        };
        Out out(*this, walk);
        each_row<0, Kept>(0, kept, reduce_row);
        for (std::int64_t o = walk.o; o < walk.end; ++o, h += stride) {
            each_row<Kept, Taps>(kept, taps, reduce_row);
            Register all = held[taps - 1];
            each_row<1, Taps>(
                1, taps, [&](int k) POOLWISE_INLINE { all = Op::joined(held[taps - 1 - k], all); });
            out.template put<Stride>(all, q, tile.column, h, after);
            out.next_row();
            each_row<0, Kept>(0, kept, [&](int k) POOLWISE_INLINE { held[k] = held[k + stride]; });
        }
        walk.soon = soon;
        seen_.lanes |= seen.lanes;
    }

    // Tiles [first, last), row by row: no window sees another one's rows.
    template <int Kernel, int Stride, bool Square, bool Edge, class After>
    POOLWISE_APART void go_across(const Walk& walk, std::int64_t first, std::int64_t last,
                                  const After& after) {
        constexpr int Taps = Square ? Kernel : 0;
        const int taps = Square ? Kernel : static_cast<int>(f_.taps[1]);
        const std::int64_t pad = f_.pad[2], columns = columns_, down = f_.stride[1];
        const Plane plane = walk.plane;
        constexpr std::int64_t step = Stride * lanes * static_cast<std::int64_t>(sizeof(S));
        Suspects<Op> seen;
        Out out(*this, walk);
        std::int64_t h = f_.first[1][walk.o];
        for (std::int64_t o = walk.o; o < walk.end; ++o, h += down) {
            const S* rows[Square ? Kernel : most_taps];
            for (int k = 0; k < taps; ++k) rows[k] = row_of(plane, h + k, k) - pad;
            // (one after the other, whatever number of rows: what lies side by side comes sooner)
            const char* soon = reinterpret_cast<const char*>(plane.x + h * width_) + read_ahead;
            for (std::int64_t t = first; t < last; ++t) {
                const std::int64_t q = larger<std::int64_t>(0, smaller(t * lanes, columns - lanes));
                const Tile<Stride, Edge> tile(*this, q);
                Register all{};
                each_row<0, Taps>(0, taps, [&](int k) POOLWISE_INLINE {
                    const S* const at = rows[k] + q * Stride;
                    ask_for<0>(soon, step);
                    soon += step;
                    const Register row = reduce<Kernel, Stride, Edge>(at, h + k, tile, seen);
                    all = k == 0 ? row : Op::joined(all, row);
                });
                out.template put<Stride>(all, q, tile.column, h, after);
            }
            out.next_row();
        }
        seen_.lanes |= seen.lanes;
    }

    // Where a row of outputs goes, and the next one.
    struct Out {
        D* out;
        I* won;
        std::int64_t apart, row_apart;
        bool stream;
        Out(const TileUnit& unit, const Walk& walk)
            : out(walk.out),
              won(unit.won_),
              apart(unit.columns_),
              row_apart(unit.places_ ? 0 : unit.row_apart_),
              stream(walk.stream) {}

        template <int Stride, class After>
        POOLWISE_INLINE void put(const Register& all, std::int64_t q, N column, std::int64_t h,
                                 const After& after) const {
            if constexpr (Op::indexed) {
                const auto from = static_cast<I>(-h * row_apart);
                store_vector(won + q, Picked<I, Stride>::in_order(all.cell) + column + from);
                put_values(q, Picked<T, Stride>::in_order(all.value));
            } else {
                put_values(q, after(Picked<T, Stride>::in_order(all), q));
            }
        }
        POOLWISE_INLINE void put_values(std::int64_t q, V v) const {
            if (stream)
                stream_vector(out + q, Op::template stored<D>(v));
            else
                store_whole<Op>(out + q, v);
        }
        POOLWISE_INLINE void next_row() {
            out += apart;
            if constexpr (Op::indexed) won += apart;
        }
    };

    // The tile's windows along a row, the first of which begins at `at`.
    template <int Kernel, int Stride, bool Edge>
    POOLWISE_INLINE Register reduce(const S* at, std::int64_t row, const Tile<Stride, Edge>& tile,
                                    Suspects<Op>& seen) const {
        const int taps = Kernel ? Kernel : static_cast<int>(f_.taps[2]);
        Register all{};
        for (int t = 0; t < taps; t += Stride) {
            if (t == 0) seen.template run<Stride>(at);
            Picked<T, Stride> cells;
            cells.template load<Op>(at + t, Edge ? tile.gates[t / Stride] : nullptr);
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

    const DirectJob& job_;
    const WindowForm& f_;
    std::int64_t unit_;
    char* scratch_;
    Arena arena_;
    Copies<D> outputs_;
    Winners winners_;
    Divider<T> divider_;
    Suspects<Op> seen_;
    std::int64_t band_, first_plane_, last_plane_, width_, height_, columns_;
    std::int64_t groups_ = 0, tiles_ = 0, row_cells_ = 0, walk_ = 1, row_apart_ = 0;
    T* gates_[most_taps] = {};
    T *along_ = nullptr, *factors_ = nullptr;
    std::int64_t finished_ = -1;  // the row's divisor that factors_ are of
    bool over_ = false;
    S *nothing_ = nullptr, *copies_[most_taps] = {};
    D* gathered_ = nullptr;
    // Winners, and for every window the first of its taps that lies in the plane.
    I *won_ = nullptr, *first_tap_ = nullptr;
    bool places_ = false;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
