// The segments kernel: bins, pyramids and whole maps, reading the input once for all of them.
//
// The axes are cut at every bin edge of every grid. Each segment is reduced once (rows first, lane
// by lane, then along the row), and every bin of every level combines whole segments, of which
// there are few. Adaptive bins overlap by a cell at most, so there are about twice as many segments
// as bins. Cost per input element: one load and one join.
#pragma once

#include "finish.h"
#include "groups.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// The lanes of a vector joined to one: with those half a vector on, then a quarter, and so on.
template <int Half, class V, class Join> inline V halved(V v, const Join& join) {
    if constexpr (Half == 0) {
        return v;
    } else {
        decltype(V{} == V{}) turned{};
        constexpr int lanes = static_cast<int>(sizeof(V) / sizeof(v[0]));
        for (int l = 0; l < lanes; ++l) turned[l] = (l + Half) % lanes;
        return halved<Half / 2>(join(v, __builtin_shuffle(v, turned)), join);
    }
}

// The last `rest` elements of a run, fewer than a vector, and behind them what changes nothing.
template <class V, class T>
POOLWISE_INLINE inline V last_of(const T* x, std::int64_t count, TapInt<T> rest, T neutral) {
    constexpr int lanes = static_cast<int>(sizeof(V) / sizeof(T));
    const V v = broadcast<V>(neutral);
    decltype(V{} == V{}) place{};
    for (int l = 0; l < lanes; ++l) place[l] = static_cast<TapInt<T>>(l);
    if (count < lanes) {
        const Piece<T, lanes> piece(x + count - rest, rest);
        return place < rest ? load_vector<V>(piece.elements) : v;
    }
    const V end = load_vector<V>(x + count - lanes);
    const V turned =
        __builtin_shuffle(end, (place + TapInt<T>(lanes - rest)) & TapInt<T>(lanes - 1));
    return place < rest ? turned : v;
}

// Sums of a run have as many accumulators on every machine, whatever its registers.
inline constexpr int accumulators_beside = 32;

// (maxima may lose a NaN)
template <class Op, class V> POOLWISE_INLINE inline V joined_quickly(V earlier, V later) {
    if constexpr (!Op::idempotent) {
        return earlier + later;
    } else {
        typedef typename Op::Value T;
        return extreme<T, Op::identity != Limits<T>::low>(earlier, later);
    }
}
// What changes nothing: of sums -0.0, which even a sum of -0.0 survives.
template <class Op> inline constexpr typename Op::Value neutral_of() {
    if constexpr (floating<typename Op::Value> && !Op::idempotent) return -Op::identity;
    return Op::identity;
}

// One value of a run: of sums, cell n goes to accumulator n % 32, and then they are halved: the
// same bits on every machine. Maxima are one instruction each; if a NaN was among them (`again`),
// the run has to be done exactly.
template <class Op, bool Exact>
POOLWISE_APART typename Op::Value reduce_run_by(const typename Op::Value* x, std::int64_t count,
                                                bool& again) {
    using T = typename Op::Value;
    if constexpr (sizeof(T) > 8) {
        typename Op::Element total = {x[0]};
        for (std::int64_t at = 1; at < count; ++at) total = Op::join(total, {x[at]});
        return total.v;
    } else {
        constexpr int beside =
            Op::idempotent ? larger(accumulators_beside, 4 * vector_lanes<T>) : accumulators_beside;
        constexpr int bytes = smaller(vector_bytes, beside * int(sizeof(T)));
        constexpr int lanes = bytes / int(sizeof(T)), wide = beside / lanes;
        constexpr bool watched = floating<T> && Op::idempotent && !Exact;
        using V = Vec<T, bytes>;
        using N = Vec<TapInt<T>, bytes>;
        const auto join = [](V earlier, V later) POOLWISE_INLINE -> V {
            if constexpr (Op::idempotent && floating<T> && Exact) {
                const auto beyond =
                    Op::identity == Limits<T>::low ? later > earlier : later < earlier;
                return (beyond | (later != later)) ? later : earlier;
            }
            return joined_quickly<Op>(earlier, later);
        };
        const T neutral = neutral_of<Op>();
        N seen{};
        V sums[wide];
        for (int w = 0; w < wide; ++w) sums[w] = broadcast<V>(neutral);
        std::int64_t at = 0;
        for (; at + beside <= count; at += beside) {
            if constexpr (Op::idempotent)  // (sums are done block by block: the next one is known)
                ask_for<0>(reinterpret_cast<const char*>(x + at) + 4096, beside * sizeof(T));
            V next[wide];
            for (int w = 0; w < wide; ++w) next[w] = load_vector<V>(x + at + w * lanes);
            if constexpr (watched)
                for (int w = 0; w < wide; w += 2)
                    if constexpr (bytes == vector_bytes)
                        seen |= unordered<T>(next[w], next[w + 1]);
                    else
                        seen |= (next[w] != next[w]) | (next[w + 1] != next[w + 1]);
            for (int w = 0; w < wide; ++w) sums[w] = join(sums[w], next[w]);
        }
        for (int w = 0; w < wide; ++w, at += lanes) {
            if (at >= count) continue;  // (not the end of the loop: that would not be unrolled)
            const V next = at + lanes <= count
                               ? load_vector<V>(x + at)
                               : last_of<V>(x, count, static_cast<TapInt<T>>(count - at), neutral);
            if constexpr (watched) seen |= next != next;
            sums[w] = join(sums[w], next);
        }
        if constexpr (watched) again = any_lane(seen);
        for (int half = wide / 2; half > 0; half /= 2)
            for (int w = 0; w < half; ++w) sums[w] = join(sums[w], sums[w + half]);
        return halved<lanes / 2>(sums[0], join)[0];
    }
}
template <class Op>
inline typename Op::Value reduce_run(const typename Op::Value* x, std::int64_t count) {
    bool again = false;
    const auto value = reduce_run_by<Op, false>(x, count, again);
    return again ? reduce_run_by<Op, true>(x, count, again) : value;
}

// target[n] = a joined over `Count` rows, in order, of at least a vector; target may be the first.
// What lies `ahead` bytes behind what is read is asked for meanwhile, line by line.
template <class Op, int Count, class T = typename Op::Value>
POOLWISE_APART void join_asking(T* target, const typename Op::Row* rows, std::int64_t count,
                                std::int64_t ahead, typename WatchOf<Op>::Type& watch) {
    using V = Vec<T>;
    constexpr std::int64_t lanes = vector_lanes<T>;
    const T* r[Count];
    for (int t = 0; t < Count; ++t) r[t] = rows[t].v;
    Vec<TapInt<T>> seen{};
    const auto join = [&](std::int64_t n) POOLWISE_INLINE {
        V v[Count];
        for (int t = 0; t < Count; ++t) v[t] = load_vector<V>(r[t] + n);
        if constexpr (Op::watched) {
            for (int t = 0; t + 1 < Count; t += 2) seen |= unordered<T>(v[t], v[t + 1]);
            if (Count % 2) seen |= v[Count - 1] != v[Count - 1];
        }
        for (int t = 1; t < Count; ++t) v[0] = joined_quickly<Op>(v[0], v[t]);
        return v[0];
    };
    const std::int64_t last = count - lanes;
    const V end = join(last);  // (before any of it is written)
    std::int64_t n = 0;
    for (; n + lanes <= count; n += lanes) {
        for (int t = 0; t < Count; ++t)
            ask_for<0>(reinterpret_cast<const char*>(r[t] + n) + ahead, vector_bytes);
        store_vector(target + n, join(n));
    }
    if (n < count) store_vector(target + last, end);
    if constexpr (Op::watched) watch.seen |= seen;
}

// The same for a Joiner.
template <class Op> struct JoinAsking {
    std::int64_t ahead;
    typename WatchOf<Op>::Type& watch;
    void operator()(typename Op::Row target, const typename Op::Row* rows, int how_many,
                    std::int64_t count) const {
        switch (how_many) {
            case 1: return join_asking<Op, 1>(target.v, rows, count, ahead, watch);
            case 2: return join_asking<Op, 2>(target.v, rows, count, ahead, watch);
            case 3: return join_asking<Op, 3>(target.v, rows, count, ahead, watch);
            case 4: return join_asking<Op, 4>(target.v, rows, count, ahead, watch);
            case 5: return join_asking<Op, 5>(target.v, rows, count, ahead, watch);
            default: return join_asking<Op, 6>(target.v, rows, count, ahead, watch);
        }
    }
};

template <class Op> class SegmentsUnit {
    using T = typename Op::Value;
    using I = typename Op::Index;
    using Row = typename Op::Row;

  public:
    SegmentsUnit(const SegmentsJob& job, std::int64_t unit, char* scratch)
        : job_(job), arena_{scratch}, layout_(job.targets[0].layout) {
        for (int a = 0; a < 3; ++a) segments_[a] = job.axes[a].segment_count;
        piece_ = job.combine ? 0 : unit % job.pieces;
        if (!job.combine) unit /= job.pieces;
        block_ = unit % job.lane_blocks;
        group_ = unit / job.lane_blocks;
        place_.locate(layout_, job.x, nullptr, nullptr, group_, block_, job.lane_block);
        lanes_ = place_.lanes;
        loader_ = loader_for<T>(job.x_dtype);
        const std::int64_t bytes = sizeof(T);
        const bool dense =
            layout_.x_axis[2] == lanes_ * bytes && (lanes_ == 1 || layout_.x_lane == bytes);
        in_place_ = loader_.in_place && dense && !place_.gather && !job.targets[0].lp;
        const std::int64_t cells = segments_[0] * segments_[1] * segments_[2] * job.lane_block;
        if (job.cells) {
            Arena shared{job.cells + unit * job.cell_bytes};
            cells_ = shared.template row<Op>(cells);
        } else {
            cells_ = arena_.template row<Op>(cells);
        }
    }

    void run() {
        if (!job_.combine) reduce_segments();
        if (job_.combine || !job_.cells) {
            for (int t = 0; t < job_.target_count; ++t) make_bins(job_.targets[t]);
        }
    }

    bool saw_nan() const { return watch_.any(); }

  private:
    static constexpr int row_buffers = rows_held;
    // (vectors join as single values do)
    static constexpr bool asks = floating<T> && !Op::indexed && (Op::watched || !Op::idempotent);

    Row cell(std::int64_t s0, std::int64_t s1, std::int64_t s2) const {
        return cells_.at(((s0 * segments_[1] + s1) * segments_[2] + s2) * lanes_);
    }

    void reduce_segments() {
        const Arena mark = arena_;
        const std::int64_t width = job_.axes[2].size, length = width * lanes_;
        if (job_.at_once) {
            const std::int64_t cells = job_.axes[0].size * job_.axes[1].size * width;
            plane_ = arena_.template take<T>(cells * lanes_);
            place_.load(loader_, place_.x, 0, layout_.x_axis[2], layout_.x_lane, cells,
                        size_of(job_.x_dtype), plane_);
        }
        const Row reduced = arena_.template row<Op>(length);
        Row buffers[row_buffers];
        for (Row& b : buffers) b = arena_.template row<Op>(length);
        const std::int64_t pairs = segments_[0] * segments_[1];
        const std::int64_t first = pairs * piece_ / job_.pieces,
                           last = pairs * (piece_ + 1) / job_.pieces;
        for (std::int64_t pair = first; pair < last; ++pair) {
            const std::int64_t s0 = pair / segments_[1], s1 = pair % segments_[1];
            if (!job_.axes[0].used[s0] || !job_.axes[1].used[s1]) continue;
            const auto join_all = [&](auto&& joiner) {
                int turn = 0;
                for (std::int64_t d = job_.axes[0].edges[s0]; d < job_.axes[0].edges[s0 + 1]; ++d)
                    for (std::int64_t h = job_.axes[1].edges[s1]; h < job_.axes[1].edges[s1 + 1];
                         ++h)
                        joiner.add(read_row(d, h, buffers[turn++ % row_buffers]));
                joiner.finish();
            };
            const bool vectors = length >= vector_lanes<T>;
            bool asked = false;
            if constexpr (asks) {
                // (rows that lie elsewhere are near)
                const std::int64_t ahead = in_place_ ? (rows_joined - 1) * layout_.x_axis[1] : 0;
                asked = vectors && (in_place_ || Op::watched);
                if (asked) join_all(Joiner<Op, JoinAsking<Op>>(reduced, length, {ahead, watch_}));
            }
            if (!asked) join_all(Joiner<Op>(reduced, length));
            for (std::int64_t s2 = 0; s2 < segments_[2]; ++s2) {
                if (!job_.axes[2].used[s2]) continue;
                reduce_columns(reduced, job_.axes[2].edges[s2], job_.axes[2].edges[s2 + 1],
                               cell(s0, s1, s2));
            }
        }
        arena_ = mark;
    }

    Row read_row(std::int64_t d, std::int64_t h, Row buffer) {
        const std::int64_t width = job_.axes[2].size;
        const std::int64_t offset = d * layout_.x_axis[0] + h * layout_.x_axis[1];
        Row row = buffer;
        const LpRule* lp = job_.targets[0].lp;
        if (in_place_)
            row.v = asks ? at(offset) : ask_ahead(offset);
        else if (job_.at_once)
            row.v = plane_ + (d * job_.axes[1].size + h) * width * lanes_;
        else
            place_.load(loader_, place_.x, offset, layout_.x_axis[2], layout_.x_lane, width,
                        size_of(job_.x_dtype), buffer.v);
        if constexpr (same<T, double>) {
            if (lp) raise_all(buffer.v, width * lanes_, lp->p);
        }
        if constexpr (Op::indexed) {
            const std::int64_t base = (d * job_.axes[1].size + h) * width;
            for (std::int64_t c = 0; c < width; ++c)
                for (std::int64_t l = 0; l < lanes_; ++l)
                    buffer.i[c * lanes_ + l] = static_cast<I>(base + c);
        }
        if constexpr (Op::watched) {
            const std::int64_t length = width * lanes_;
            if (length < vector_lanes<T>) scan_run(row.v, length, watch_);
        }
        return row;
    }

    T* at(std::int64_t offset) const {
        return reinterpret_cast<T*>(const_cast<char*>(place_.x[0] + offset));
    }
    // Where the join does not ask for what comes next. (Rows beyond the map are only hints.)
    T* ask_ahead(std::int64_t offset) const {
        const std::int64_t ahead = (rows_joined + 2) * layout_.x_axis[1];
        ask_for<0>(place_.x[0] + offset + ahead,
                   job_.axes[2].size * lanes_ * static_cast<std::int64_t>(sizeof(T)));
        return at(offset);
    }

    void reduce_columns(Row row, std::int64_t from, std::int64_t to, Row cell) const {
        if constexpr (!Op::indexed) {
            if (lanes_ == 1) {
                const T* const run = row.v + from;
                cell.v[0] = to - from == 1 ? run[0] : reduce_long_run(run, to - from);
                return;
            }
        }
        if constexpr (Op::indexed) {
            copy_lanes(cell, row.at(from * lanes_));
            for (std::int64_t c = from + 1; c < to; ++c) join_lanes(cell, row.at(c * lanes_));
        } else {
            const T* const first = row.v + from * lanes_;
            each_lane(cell.v, [&](auto at, std::int64_t n) POOLWISE_INLINE {
                typedef decltype(at) A;
                auto all = A::load(first + n);
                for (std::int64_t c = 1; c < to - from; ++c)
                    all = A::join(all, A::load(first + c * lanes_ + n));
                return all;
            });
        }
    }

    // to[l] = make(how lanes from l on are loaded and joined, l), in registers: vectors, the last
    // of which overlaps the one before it, or lane by lane.
    struct Vectors {
        static POOLWISE_INLINE inline Vec<T> load(const T* at) { return load_vector<Vec<T>>(at); }
        static POOLWISE_INLINE inline Vec<T> join(Vec<T> a, Vec<T> b) {
            if constexpr (Op::idempotent && floating<T> && !Op::watched) {
                const auto beyond = Op::identity == Limits<T>::low ? b > a : b < a;
                return (beyond | (b != b)) ? b : a;
            } else {
                return joined_quickly<Op>(a, b);
            }
        }
    };
    struct Values {
        static inline T load(const T* at) { return *at; }
        static inline T join(T a, T b) { return Op::join({a}, {b}).v; }
    };
    template <class Make> POOLWISE_INLINE inline void each_lane(T* to, const Make& make) const {
        if constexpr (sizeof(T) <= 8) {
            constexpr std::int64_t lanes = vector_lanes<T>;
            for (std::int64_t l = 0; l < lanes_ && lanes_ >= lanes; l += lanes) {
                const std::int64_t n = smaller(l, lanes_ - lanes);
                store_vector(to + n, make(Vectors{}, n));
            }
            if (lanes_ >= lanes) return;
        }
        for (std::int64_t l = 0; l < lanes_; ++l) to[l] = make(Values{}, l);
    }
    void copy_lanes(Row to, Row from) const {
        for (std::int64_t l = 0; l < lanes_; ++l) Op::put(to, l, Op::get(from, l));
    }

    // to[l] = to[l] joined with what[l], whichever comes first.
    void join_lanes(Row to, Row what) const {
        if constexpr (Op::indexed && floating<T> && sizeof(T) == sizeof(I)) {
            if (lanes_ >= vector_lanes<T>) return join_winners_of(to, what);
        }
        POOLWISE_LANES
        for (std::int64_t l = 0; l < lanes_; ++l)
            Op::put(to, l, Op::join_unordered(Op::get(to, l), Op::get(what, l)));
    }
    // ... of winners, all of them cells: of equals the first, of NaN the last. (The last vector
    // overlaps the one before it: what was joined stays.)
    void join_winners_of(Row to, Row what) const {
        using V = Vec<T>;
        using N = Vec<TapInt<T>>;
        for (std::int64_t l = 0; l < lanes_; l += vector_lanes<T>) {
            const std::int64_t n = smaller(l, lanes_ - vector_lanes<T>);
            const V a = load_vector<V>(to.v + n), b = load_vector<V>(what.v + n);
            const N i = load_vector<N>(to.i + n), j = load_vector<N>(what.i + n);
            const N beyond = Op::identity == Limits<T>::high ? b < a : b > a;
            const N wins = beyond | ((b == a) & (j < i)) | ((b != b) & ((a == a) | (j > i)));
            store_vector(to.v + n, wins ? b : a);
            store_vector(to.i + n, wins ? j : i);
        }
    }

    // A float sum over a long row goes through double every block, so its error does not grow with
    // the row.
    static T reduce_long_run(const T* x, std::int64_t count) {
        if constexpr (same<T, float> && !Op::idempotent) {
            constexpr std::int64_t block = 1024;
            if (count > block) {
                double total = 0;
                for (std::int64_t at = 0; at < count; at += block)
                    total +=
                        static_cast<double>(reduce_run<Op>(x + at, smaller(block, count - at)));
                return static_cast<float>(total);
            }
        }
        if constexpr (!Op::indexed) return reduce_run<Op>(x, count);
        return x[0];
    }

    void make_bins(const SegmentsTarget& target) {
        const Arena mark = arena_;
        const SegmentGrid& grid = *target.grid;
        Place place;
        place.locate(target.layout, job_.x, target.y, target.indices, group_, block_,
                     job_.lane_block);
        Finish<Op> finish;
        const FinishRules rules{&target.layout,
                                job_.x_dtype,
                                job_.y_dtype,
                                job_.winners,
                                target.form,
                                job_.divide,
                                false,
                                false,
                                {target.divisors[0], target.divisors[1], target.divisors[2]},
                                job_.divisor_override,
                                target.lp};
        finish.prepare(rules, place, 0, grid.output_size[2], arena_);
        for (std::int64_t i0 = 0; i0 < grid.output_size[0]; ++i0) {
            for (std::int64_t i1 = 0; i1 < grid.output_size[1]; ++i1) {
                const Row row = finish.begin(i0, i1);
                for (std::int64_t i2 = 0; i2 < grid.output_size[2]; ++i2) {
                    const std::int64_t i[3] = {i0, i1, i2};
                    make_bin(grid, i, row.at(i2 * lanes_));
                }
                finish.end(i0, i1, row);
            }
        }
        arena_ = mark;
    }

    void make_bin(const SegmentGrid& grid, const std::int64_t i[3], Row bin) const {
        std::int64_t from[3], to[3];
        for (int a = 0; a < 3; ++a) {
            from[a] = grid.first[a][i[a]];
            to[a] = grid.last[a][i[a]];
        }
        if constexpr (Op::indexed) {
            bool started = false;
            for (std::int64_t s0 = from[0]; s0 < to[0]; ++s0)
                for (std::int64_t s1 = from[1]; s1 < to[1]; ++s1)
                    for (std::int64_t s2 = from[2]; s2 < to[2]; ++s2) {
                        started ? join_lanes(bin, cell(s0, s1, s2))
                                : copy_lanes(bin, cell(s0, s1, s2));
                        started = true;
                    }
        } else {
            // Along rows of segments, then down: rows do not wait for each other.
            const std::int64_t columns = to[2] - from[2];
            each_lane(bin.v, [&](auto at, std::int64_t n) POOLWISE_INLINE {
                typedef decltype(at) A;
                auto all = A::load(cell(from[0], from[1], from[2]).v + n);
                for (std::int64_t s0 = from[0]; s0 < to[0]; ++s0)
                    for (std::int64_t s1 = from[1]; s1 < to[1]; ++s1) {
                        const T* const first = cell(s0, s1, from[2]).v + n;
                        auto row = A::load(first);
                        for (std::int64_t c = 1; c < columns; ++c)
                            row = A::join(row, A::load(first + c * lanes_));
                        const bool starts = s0 == from[0] && s1 == from[1];
                        all = starts ? row : A::join(all, row);
                    }
                return all;
            });
        }
        if constexpr (floating<T> && Op::idempotent && !Op::indexed) {
            TapInt<T> zeros = 0;  // (whether there is one: most bins have none)
            POOLWISE_LANES
            for (std::int64_t l = 0; l < lanes_; ++l) zeros |= bin.v[l] == 0;
            for (std::int64_t l = 0; l < lanes_ && zeros; ++l)
                if (bin.v[l] == 0) bin.v[l] = first_zero(from, to, l);
        }
    }

    // Segments are not combined in row-major order, which only the sign of a zero can tell. Zeros
    // that win are looked up: the first cell of a dead channel ends the search.
    T first_zero(const std::int64_t from[3], const std::int64_t to[3], std::int64_t lane) const {
        const char* base = place_.gather ? place_.x[lane] : place_.x[0] + lane * layout_.x_lane;
        T value = 0;
        for (std::int64_t d = job_.axes[0].edges[from[0]]; d < job_.axes[0].edges[to[0]]; ++d)
            for (std::int64_t h = job_.axes[1].edges[from[1]]; h < job_.axes[1].edges[to[1]]; ++h)
                for (std::int64_t w = job_.axes[2].edges[from[2]]; w < job_.axes[2].edges[to[2]];
                     ++w) {
                    loader_.run(base + d * layout_.x_axis[0] + h * layout_.x_axis[1] +
                                    w * layout_.x_axis[2],
                                size_of(job_.x_dtype), 1, &value);
                    if (value == 0) return value;
                }
        return 0;
    }

    const SegmentsJob& job_;
    T* plane_ = nullptr;
    Arena arena_;
    const Layout& layout_;
    Place place_;
    Loader<T> loader_;
    Row cells_{};
    typename WatchOf<Op>::Type watch_;
    std::int64_t segments_[3], piece_, block_, group_, lanes_;
    bool in_place_ = false;  // rows are joined where they lie
};

template <class Op> void segments_unit(const SegmentsJob& job, std::int64_t unit, char* scratch) {
    if (job.combine) return SegmentsUnit<Op>(job, unit, scratch).run();
    run_unit<SegmentsUnit, Op>(job, unit, scratch);
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
