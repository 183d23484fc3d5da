// Small windows that skip cells, over planes no wider than a register.
//
// A row of such a plane is one vector, and the taps of its windows are that vector in other orders,
// with identities for what lies beyond the row's ends: a load, then a permutation and a join per
// tap. Rows that the next windows see again stay in registers. So a plane of 14x14 costs seven
// rows of 2x2/2 windows some ten cycles each; making the window at every cell and picking some, as
// the sheet kernel does where rows are wider, took twice as long.
//
// Rows of outputs are stored whole, and what is none of theirs is stored over by the next one. NaN
// are looked for as rows are loaded; a unit that has one is done again, exactly, by the direct
// kernel. Sums are in the sheet kernel's order, zeros for the padding among them.
#pragma once

#include "direct.h"
#include "pairs.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class Elementary, class Careful, class S, class D> class NarrowUnit {
    using Op = Joins<Elementary>;
    using T = typename Op::Value;
    using V = Vec<T>;
    using N = Vec<TapInt<T>>;
    static constexpr std::int64_t lanes = vector_lanes<T>;

  public:
    // Whether lanes are put in any order by one instruction, and the job's rows are such.
    static constexpr bool possible = vector_bytes >= 32 && sizeof(T) >= 4;
    static bool suits(const DirectJob& job) {
        const WindowForm& form = *job.form;
        return form.size[2] <= lanes && form.count[1] * form.count[2] < form.size[1] * form.size[2];
    }

    NarrowUnit(const DirectJob& job, std::int64_t unit, char* scratch)
        : job_(job), f_(*job.form), unit_(unit), scratch_(scratch), arena_{scratch} {
        first_plane_ = unit * job.groups_per_unit;
        last_plane_ = smaller(first_plane_ + job.groups_per_unit, job.groups);
    }

    void run() {
        take_scratch();
        fill_scratch();
        make_planes();
        if (Op::watched && any_lane(seen_.lanes))
            DirectUnit<Careful>(job_, unit_, scratch_).run_exactly();
    }

    static std::int64_t scratch_bytes(const DirectJob& job) {
        char* const base = reinterpret_cast<char*>(64);
        NarrowUnit first(job, 0, base);
        first.take_scratch();
        return first.arena_.next - base;
    }

  private:
    static constexpr bool divides = !Op::watched && floating<T>;
    static constexpr int most_taps = 5;

    POOLWISE_APART void take_scratch() {
        copy_ = arena_.template take<S>(lanes);
        if constexpr (divides) {
            along_ = arena_.template take<T>(2 * lanes);
            factors_ = arena_.template take<T>(f_.count[1] * lanes);
        }
    }

    POOLWISE_APART void fill_scratch() {
        for (int t = 0; t < f_.taps[2]; ++t)
            for (int q = 0; q < lanes; ++q) {
                const std::int64_t cell = q * f_.stride[2] + t - f_.pad[2];
                const bool inside = q < f_.count[2] && cell >= 0 && cell < f_.size[2];
                order_[t][q] = static_cast<TapInt<T>>(inside ? cell : lanes);
            }
        for (std::int64_t n = 0; n < lanes; ++n) copy_[n] = S{};
        if constexpr (divides) prepare_factors();
    }
    // Sums of every row are divided by factors, or all of them are multiplied.
    void prepare_factors() {
        over_ = false;
        for (std::int64_t n = 0; n < f_.count[1] * lanes; ++n) factors_[n] = 1;
        if (!job_.divide) return;
        divider_.prepare(job_.divisors, job_.divisor_override, 0, f_.count[2], 1, along_);
        for (int pass = 0; pass < 2; ++pass)  // (the first one tells which)
            for (std::int64_t o = 0; o < f_.count[1]; ++o)
                divider_.with(0, o, [&](const auto& after) {
                    over_ = over_ || after.divides;
                    for (std::int64_t q = 0; q < f_.count[2]; ++q) {
                        const T factor = after.factor(q);
                        // (the reciprocal is of a power of two)
                        factors_[o * lanes + q] = over_ && !after.divides ? 1 / factor : factor;
                    }
                });
    }

    void make_planes() {
        const std::int64_t kw = f_.taps[2], kh = f_.taps[1], sh = f_.stride[1];
        if (kw == 2 && kh == 2 && sh == 2) return make<2, 2, 2>();
        if (kw == 3 && kh == 3 && sh == 2) return make<3, 3, 2>();
        make<0, 0, 0>();
    }

    template <int Columns, int Rows, int Stride> POOLWISE_APART void make() {
        constexpr int most = Rows ? Rows : most_taps;
        const int taps = Rows ? Rows : static_cast<int>(f_.taps[1]);
        const int stride = Rows ? Stride : static_cast<int>(f_.stride[1]);
        const int kept = taps > stride ? taps - stride : 0;
        const std::int64_t width = f_.size[2], height = f_.size[1], cells = width * height,
                           columns = f_.count[2], rows = f_.count[1];
        const S* const end = reinterpret_cast<const S*>(job_.x) + job_.groups * cells;
        const S* x = reinterpret_cast<const S*>(job_.x) + first_plane_ * cells;
        D* out = reinterpret_cast<D*>(job_.y) + first_plane_ * rows * columns;
        D* const last = reinterpret_cast<D*>(job_.y) + last_plane_ * rows * columns;
        N order[Columns ? Columns : most_taps];
        for (int t = 0; t < (Columns ? Columns : static_cast<int>(f_.taps[2])); ++t)
            order[t] = order_[t];
        const V closed = broadcast<V>(Op::closed);
        const ByEach<T> after{factors_, over_};
        Suspects<Op> seen;
        V held[most];
        for (std::int64_t p = first_plane_; p < last_plane_; ++p, x += cells) {
            const auto reduce = [&](std::int64_t h) POOLWISE_INLINE {
                if (h < 0 || h >= height) return closed;
                const S* at = x + h * width;
                if (end - at < lanes) at = copied(at);
                const V row = Op::load(at);
                seen(row);
                V all = __builtin_shuffle(row, closed, order[0]);
                const auto join = [&](int t) POOLWISE_INLINE {
                    all = Op::template join<false>(all, __builtin_shuffle(row, closed, order[t]));
                };
                if constexpr (Columns > 0)
                    each_width<1, Columns>([&](auto t)
                                               POOLWISE_INLINE { join(decltype(t)::value); });
                else
                    for (int t = 1; t < f_.taps[2]; ++t) join(t);
                return all;
            };
            std::int64_t h = f_.first[1][0];
            for (int k = 0; k < kept; ++k) held[k] = reduce(h + k);
            for (std::int64_t o = 0; o < rows; ++o, h += stride, out += columns) {
                ask_for<0>(reinterpret_cast<const char*>(x + h * width) + read_ahead,
                           stride * width * static_cast<std::int64_t>(sizeof(S)));
                for (int k = kept; k < taps; ++k) held[k] = reduce(h + k);
                V all = held[taps - 1];
                for (int k = taps - 2; k >= 0; --k) all = Op::template join<false>(held[k], all);
                if constexpr (divides) all = after(all, o * lanes);
                store_some<Op>(out, all, last - out);
                for (int k = 0; k < kept; ++k) held[k] = held[k + stride];
            }
        }
        seen_.lanes |= seen.lanes;
    }
    POOLWISE_APART const S* copied(const S* row) const {
        for (std::int64_t n = 0; n < f_.size[2]; ++n) copy_[n] = row[n];
        return copy_;
    }

    const DirectJob& job_;
    const WindowForm& f_;
    std::int64_t unit_;
    char* scratch_;
    Arena arena_;
    Divider<T> divider_;
    Suspects<Op> seen_;
    std::int64_t first_plane_, last_plane_;
    N order_[most_taps];
    S* copy_ = nullptr;
    T *along_ = nullptr, *factors_ = nullptr;
    bool over_ = false;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
