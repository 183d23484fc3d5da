// Windows that share little: blocks of any size, over dense rows.
//
// The rows of a window are joined first, cell by cell, straight from memory, four at a time into a
// row in L1, which has identities beside it for the padding. Along that row M2[i] = M1[i] ∘
// M1[i+1], M4[i] = M2[i] ∘ M2[i+2], …, vector by vector, and an output picks what makes up its
// window: of maxima the widest of them and itself again, of sums one for every binary digit of the
// width. Short rows stand behind each other and are made together.
//
// Cost per vector of the input: a load and a join, once for every window that sees it. Per vector
// of a joined row log2(kw) joins, with two loads and a store each; per output a load and a join for
// each of what it picks. A unit that holds a NaN is done again by the patient kernel. Down before
// along is not row-major order, which tells where zeros of both signs are a window's maximum: where
// a -0.0 was read, the sign of every zero is looked up.
#pragma once

#include "outputs.h"
#include "patient.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class Op, class Careful, class S, class D> class BlocksUnit {
    using T = typename Op::Value;
    using V = Vec<T>;
    static constexpr std::int64_t lanes = vector_lanes<T>;
    static constexpr bool adds = !Op::watched && floating<T>;
    // Whether zeros of both signs are equal. (Those of 16-bit floats are suspects.)
    static constexpr bool zeros = Op::watched && floating<T>;
    using I = TapInt<T>;
    using N = Vec<I>;

  public:
    BlocksUnit(const DirectJob& job, std::int64_t unit, char* scratch)
        : job_(job),
          f_(*job.form),
          unit_(unit),
          scratch_(scratch),
          arena_{scratch},
          columns_(f_.count[2]),
          outputs_(job.past_caches, columns_, true) {}

    void run() {
        take_scratch();
        fill_scratch();
        each_output_row(job_, unit_, [&](std::int64_t plane, std::int64_t d, std::int64_t h) {
            add_row(plane, d, h);
        });
        make_rows();
        outputs_.finish();
        if constexpr (Op::watched) {
            if (any_lane(seen_.lanes)) PatientUnit<Careful>(job_, unit_, scratch_).run();
        }
    }

    static std::int64_t scratch_bytes(const DirectJob& job) {
        BlocksUnit first(job, 0, reinterpret_cast<char*>(64));
        first.take_scratch();
        const std::int64_t bytes = first.arena_.next - reinterpret_cast<char*>(64);
        if constexpr (Op::watched) return larger(bytes, PatientUnit<Careful>::scratch_bytes(job));
        return bytes;
    }

  private:
    static constexpr std::int64_t run_elements = 512, most_rows_at_once = 16;
    static constexpr int most_levels = 32, rows_at_once = 4;

    void take_scratch() {
        const std::int64_t taps = f_.taps[2], reach = (columns_ - 1) * f_.stride[2] + taps;
        from_ = larger<std::int64_t>(0, -f_.pad[2]);
        cells_ = smaller(f_.size[2], reach - f_.pad[2]) - from_;
        pitch_ = (reach + lanes - 1) / lanes * lanes;
        at_once_ = smaller(larger<std::int64_t>(run_elements / pitch_, 1), most_rows_at_once);
        for (level_count_ = 1; std::int64_t(1) << level_count_ <= taps;) ++level_count_;
        run_ = at_once_ * pitch_ + taps + lanes;
        for (int l = 0; l <= kept(level_count_ - 1); ++l)
            levels_[l] = arena_.template take<T>(run_);
        result_ = arena_.template take<T>(columns_ + lanes);
        rows_ = arena_.template take<const S*>(f_.taps[0] * f_.taps[1]);
        if (job_.divide && adds) along_ = arena_.template take<T>(columns_ + lanes);
    }

    // Which of the levels' buffers has level l in the end: of maxima all but the first share one.
    static int kept(int l) { return adds ? l : smaller(l, 1); }

    void fill_scratch() {
        for (int l = 0; l <= kept(level_count_ - 1); ++l)
            for (std::int64_t n = 0; n < run_; ++n) levels_[l][n] = Op::identity;
        if constexpr (adds) {
            if (job_.divide)
                divider_.prepare(job_.divisors, job_.divisor_override, 0, columns_, 1, along_);
        }
        choose_terms();
    }

    // Where in which level an output finds the parts of its window.
    void choose_terms() {
        const std::int64_t taps = f_.taps[2];
        if constexpr (adds) {
            std::int64_t at = 0;
            for (int l = level_count_ - 1; l >= 0; --l)
                if (taps >> l & 1) {
                    terms_[term_count_++] = levels_[l] + at;
                    at += std::int64_t(1) << l;
                }
        } else {
            const std::int64_t widest = std::int64_t(1) << (level_count_ - 1);
            const T* const level = levels_[kept(level_count_ - 1)];
            terms_[term_count_++] = level;
            if (taps > widest) terms_[term_count_++] = level + (taps - widest);
        }
    }

    // ---- downwards

    struct Made {
        D* out;
        std::int64_t plane, d, h;
    };
    std::int64_t first_row(int a, std::int64_t o) const {
        return larger<std::int64_t>(0, f_.first[a][o]);
    }
    std::int64_t last_row(int a, std::int64_t o) const {
        return smaller(f_.size[a], f_.first[a][o] + f_.taps[a]);
    }
    // visit(the cells from from_ on of each row that the windows of output row (d, h) see).
    template <class Visit>
    void each_row(std::int64_t plane, std::int64_t d, std::int64_t h, Visit&& visit) const {
        const Layout& layout = job_.layout;
        const char* const x = job_.x + batch_offset(layout, layout.x_batch, plane) +
                              from_ * static_cast<std::int64_t>(sizeof(S));
        for (std::int64_t z = first_row(0, d); z < last_row(0, d); ++z)
            for (std::int64_t y = first_row(1, h); y < last_row(1, h); ++y)
                visit(reinterpret_cast<const S*>(x + z * layout.x_axis[0] + y * layout.x_axis[1]));
    }

    // The rows of output row (d, h)'s windows, joined: the next row of the run.
    void add_row(std::int64_t plane, std::int64_t d, std::int64_t h) {
        const Layout& layout = job_.layout;
        int count = 0;
        each_row(plane, d, h, [&](const S* row) { rows_[count++] = row; });
        T* const target = levels_[0] + held_ * pitch_ + f_.pad[2] + from_;
        if (cells_ < lanes) {
            join_narrow(target, count);
        } else {
            int r = count >= rows_at_once ? rows_at_once : 1;
            r == 1 ? join_rows<1, false>(target, rows_)
                   : join_rows<rows_at_once, false>(target, rows_);
            for (; r + rows_at_once <= count; r += rows_at_once)
                join_rows<rows_at_once, true>(target, rows_ + r);
            for (; r < count; ++r) join_rows<1, true>(target, rows_ + r);
        }
        made_[held_++] = {
            reinterpret_cast<D*>(job_.y + batch_offset(layout, layout.y_batch, plane) +
                                 d * layout.y_axis[0] + h * layout.y_axis[1]),
            plane, d, h};
        if (held_ == at_once_) make_rows();
    }

    // target = (target if `Onto`, and) Count rows, joined in order. The last vector overlaps.
    template <int Count, bool Onto> POOLWISE_APART void join_rows(T* target, const S* const* rows) {
        const S* row[Count];
        for (int r = 0; r < Count; ++r) row[r] = rows[r];
        Suspects<Op> seen;
        N low = low_;
        const auto join = [&](std::int64_t n) POOLWISE_INLINE {
            V next[Count];
            for (int r = 0; r < Count; ++r) {
                next[r] = Op::load(row[r] + n);
                look_for_zeros(next[r], low);
            }
            V all = next[0];
            if constexpr (Count == 1) {
                seen(all);
            } else {  // (in pairs: sums of many rows are the better for it)
                seen(next[0], next[1]);
                seen(next[2], next[3]);
                all = Op::template join<false>(Op::template join<false>(next[0], next[1]),
                                               Op::template join<false>(next[2], next[3]));
            }
            return Onto ? Op::template join<false>(load_vector<V>(target + n), all) : all;
        };
        static_assert(Count == 4 || Count == 1, "rows are joined four at a time, or singly");
        const std::int64_t last = cells_ - lanes;
        const V end = join(last);
        for (std::int64_t n = 0; n < last; n += lanes) {
            for (int r = 0; r < Count; ++r)
                ask_for<0>(reinterpret_cast<const char*>(row[r] + n) + read_ahead,
                           lanes * sizeof(S));
            store_vector(target + n, join(n));
        }
        store_vector(target + last, end);
        seen_.lanes |= seen.lanes;
        low_ = low;
    }
    // The same for rows narrower than a register, joined in the same order.
    POOLWISE_APART void join_narrow(T* target, int count) {
        const auto next = [&](int r) {
            const Piece<S, lanes> piece(rows_[r], cells_);
            const V v = Op::load(piece.elements);
            seen_(v);
            look_for_zeros(v, low_);
            return v;
        };
        const auto join = [](V earlier, V later) {
            return Op::template join<false>(earlier, later);
        };
        V all{};
        for (int r = 0; r < count;) {
            const bool four = r + rows_at_once <= count;
            V some = next(r);
            if (four) some = join(join(some, next(r + 1)), join(next(r + 2), next(r + 3)));
            all = r == 0 ? some : join(all, some);
            r += four ? rows_at_once : 1;
        }
        __builtin_memcpy(target, reinterpret_cast<const char*>(&all),
                         static_cast<std::size_t>(cells_) * sizeof(T));
    }

    // The least of what was read, as integers, tells whether a -0.0 was.
    static POOLWISE_INLINE inline void look_for_zeros(V v, N& low) {
        if constexpr (zeros) low = extreme<I, true>(low, reinterpret_cast<N>(v));
    }
    bool saw_negative_zero() const {
        if constexpr (zeros) return any_lane(low_ == N{} + Limits<I>::low);
        return false;
    }

    // ---- along rows, and out

    void make_rows() {
        if (held_ == 0) return;
        std::int64_t reach = 1, available = held_ * pitch_;
        for (int l = 1; l < level_count_; ++l, reach *= 2)
            double_up(levels_[kept(l)], levels_[kept(l - 1)], reach, available);
        const bool sign = saw_negative_zero();
        for (std::int64_t r = 0; r < held_; ++r) {
            pick(r * pitch_);
            if constexpr (zeros)
                if (sign) sign_zeros(made_[r]);
            write(made_[r]);
        }
        held_ = 0;
    }
    // (in place, too: what is read lies ahead of what is written)
    POOLWISE_APART static void double_up(T* target, const T* source, std::int64_t reach,
                                         std::int64_t count) {
        for (std::int64_t n = 0; n < count; n += lanes)
            store_vector(target + n, Op::template join<false>(load_vector<V>(source + n),
                                                              load_vector<V>(source + n + reach)));
    }
    void pick(std::int64_t at) {
        if (term_count_ == 1) return pick_some<1>(at);
        if (term_count_ == 2) return pick_some<2>(at);
        if (term_count_ == 3) return pick_some<3>(at);
        pick_some<0>(at);
    }
    template <int Known> POOLWISE_APART void pick_some(std::int64_t at) {
        const std::int64_t stride = f_.stride[2];
        const int count = Known ? Known : term_count_;
        T* POOLWISE_RESTRICT const result = result_;
        for (std::int64_t q = 0; q < columns_; ++q) {
            const std::int64_t cell = at + q * stride;
            T all = terms_[0][cell];
            for (int t = 1; t < count; ++t) all = Op::template join<false>(all, terms_[t][cell]);
            result[q] = all;
        }
    }
    // Of results that are zeros, the first of their window's zeros, in row-major order.
    POOLWISE_APART void sign_zeros(const Made& row) {
        for (std::int64_t q = 0; q < columns_; ++q) {
            if (result_[q] != 0) continue;
            const std::int64_t first = q * f_.stride[2] - f_.pad[2] - from_;
            const std::int64_t from = larger<std::int64_t>(0, first),
                               to = smaller(cells_, first + f_.taps[2]);
            bool found = false;
            each_row(row.plane, row.d, row.h, [&](const S* cells) {
                for (std::int64_t n = from; n < to && !found; ++n) {
                    found = cells[n] == 0;
                    if (found) result_[q] = cells[n];
                }
            });
        }
    }
    void write(const Made& row) {
        const auto finish = [&](const auto& after) {
            outputs_.write(row.out, columns_, [&](std::int64_t n) POOLWISE_INLINE {
                return after(load_vector<V>(result_ + n), n);
            });
        };
        if constexpr (adds) {
            if (job_.divide) return divider_.with(row.d, row.h, finish);
        }
        finish(Keep{});
    }

    const DirectJob& job_;
    const WindowForm& f_;
    std::int64_t unit_;
    char* scratch_;
    Arena arena_;
    const std::int64_t columns_;
    Outputs<Op, D> outputs_;
    Divider<T> divider_;
    Suspects<Op> seen_;
    N low_{};
    std::int64_t from_ = 0, cells_ = 0;  // the columns that are read
    std::int64_t pitch_ = 0, at_once_ = 1, run_ = 0, held_ = 0;
    int level_count_ = 1, term_count_ = 0;
    T *levels_[most_levels] = {}, *result_ = nullptr, *along_ = nullptr;
    const T* terms_[most_levels] = {};
    const S** rows_ = nullptr;
    Made made_[most_rows_at_once];
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
