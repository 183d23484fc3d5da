// What becomes of result rows: divided, rooted, rounded once, stored.
#pragma once

#include "divide.h"
#include "place.h"
#include "powers.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// What the results of one unit have in common.
struct FinishRules {
    const Layout* layout;
    Dtype x_dtype, y_dtype;
    WinnerForm winners;
    const WindowForm* form;
    bool divide, accumulate, patch_empty;
    const std::int64_t* divisors[3];
    std::int64_t divisor_override;
    const LpRule* lp;
};

// Which tap of its window a winner is, its place told by its flat index.
inline std::int64_t tap_of(const WindowForm& form, std::int64_t plane, std::int64_t row,
                           std::int64_t column, std::int64_t index) {
    const std::int64_t w = index % form.size[2], rest = index / form.size[2];
    const std::int64_t h = rest % form.size[1], d = rest / form.size[1];
    const std::int64_t tap = (d - form.first[0][plane]) / form.dilation[0] * form.taps[1] +
                             (h - form.first[1][row]) / form.dilation[1];
    return tap * form.taps[2] + (w - form.first[2][column]) / form.dilation[2];
}

template <class Op> class Finish {
    using T = typename Op::Value;
    using Row = typename Op::Row;

  public:
    void prepare(const RowsJob& job, const Place& place, std::int64_t column, std::int64_t columns,
                 Arena& arena) {
        const FinishRules rules{&job.layout,
                                job.x_dtype,
                                job.y_dtype,
                                job.winners,
                                job.form,
                                job.divide == Divide::result,
                                job.accumulate,
                                job.patch_empty,
                                {job.divisors[0], job.divisors[1], job.divisors[2]},
                                job.divisor_override,
                                job.lp};
        prepare(rules, place, column, columns, arena);
    }

    POOLWISE_APART void prepare(const FinishRules& rules, const Place& place, std::int64_t column,
                                std::int64_t columns, Arena& arena) {
        rules_ = rules;
        place_ = &place;
        column_ = column;
        columns_ = columns;
        length_ = columns * place.lanes;
        storer_ = storer_for<T>(rules.y_dtype);
        element_bytes_ = size_of(rules.y_dtype);
        buffer_ = arena.template row<Op>(length_);
        const Layout& layout = *rules.layout;
        direct_ = storer_.in_place && !place.gather && !rules.accumulate &&
                  layout.y_axis[2] == place.lanes * element_bytes_ &&
                  (place.lanes == 1 || layout.y_lane == element_bytes_);
        if (rules.accumulate) previous_ = arena.template take<T>(length_);
        if (rules.divide && !floating<T>) quotients_ = arena.template take<double>(length_);
        if constexpr (Op::indexed) wide_ = arena.template take<std::int64_t>(length_);
        if (rules.divide)
            divider_.prepare(rules.divisors, rules.divisor_override, column, columns, place.lanes,
                             floating<T> ? arena.template take<T>(length_) : nullptr);
    }

    // The place to make row (plane, row) of the output in: the output itself where that is
    // possible.
    Row begin(std::int64_t plane, std::int64_t row) const {
        Row target = buffer_;
        if (direct_) target.v = reinterpret_cast<T*>(place_->y[0] + y_offset(plane, row));
        return target;
    }

    POOLWISE_APART void end(std::int64_t plane, std::int64_t row, Row result) {
        const Layout& layout = *rules_.layout;
        const std::int64_t offset = y_offset(plane, row);
        bool stored = direct_ && result.v == reinterpret_cast<T*>(place_->y[0] + offset);
        if (rules_.divide) {
            if constexpr (floating<T>) {
                divider_.divide(plane, row, result.v);
            } else if (is_float(rules_.y_dtype)) {
                divide_to_double(plane, row, result.v);
                place_->store(storer_for<double>(rules_.y_dtype), quotients_, place_->y, offset,
                              layout.y_axis[2], layout.y_lane, columns_, element_bytes_);
                stored = true;
            } else {
                for (std::int64_t c = 0; c < columns_; ++c)
                    for (std::int64_t l = 0; l < place_->lanes; ++l) {
                        T& v = result.v[c * place_->lanes + l];
                        v = divide_to_even(v, divider_.of(plane, row, c));
                    }
            }
        }
        if constexpr (Op::idempotent) {
            if (rules_.patch_empty) patch_values(plane, row, result.v);
        }
        if constexpr (same<T, double> && !Op::indexed) {
            if (rules_.lp) take_roots(plane, row, result.v);
        }
        if constexpr (floating<T> && !Op::indexed) {
            if (rules_.accumulate) {
                place_->load(loader_for<T>(rules_.y_dtype), place_->y, offset, layout.y_axis[2],
                             layout.y_lane, columns_, element_bytes_, previous_);
                for (std::int64_t n = 0; n < length_; ++n) result.v[n] = previous_[n] + result.v[n];
            }
        }
        if (!stored)
            place_->store(storer_, result.v, place_->y, offset, layout.y_axis[2], layout.y_lane,
                          columns_, element_bytes_);
        if constexpr (Op::indexed) {
            if (rules_.winners != WinnerForm::none) store_winners(plane, row, result);
        }
    }

    Row buffer() const { return buffer_; }

  private:
    std::int64_t y_offset(std::int64_t plane, std::int64_t row) const {
        const Layout& layout = *rules_.layout;
        return plane * layout.y_axis[0] + row * layout.y_axis[1] + column_ * layout.y_axis[2];
    }

    void divide_to_double(std::int64_t plane, std::int64_t row, const T* v) const {
        for (std::int64_t c = 0; c < columns_; ++c) {
            const Int128 by = divider_.of(plane, row, c);
            for (std::int64_t l = 0; l < place_->lanes; ++l) {
                const std::int64_t n = c * place_->lanes + l;
                quotients_[n] = divide_once(static_cast<Int128>(v[n]), by);
            }
        }
    }

    bool is_empty(std::int64_t plane, std::int64_t row, std::int64_t c) const {
        return rules_.divisors[0][plane] == 0 || rules_.divisors[1][row] == 0 ||
               rules_.divisors[2][column_ + c] == 0;
    }

    // Windows of no cells get the limit of the result's own dtype, which may be narrower than T.
    POOLWISE_APART void patch_values(std::int64_t plane, std::int64_t row, T* v) const {
        const bool least = Op::identity == Limits<T>::high;
        T limit = Op::identity;
        if constexpr (!floating<T>) {
            const auto bits = 8 * size_of(rules_.y_dtype);
            const bool is_signed = rules_.y_dtype >= Dtype::int8 && rules_.y_dtype <= Dtype::int64;
            const std::uint64_t ones = ~std::uint64_t(0) >> (64 - bits + (is_signed ? 1 : 0));
            const std::uint64_t low = is_signed ? ~ones : 0;
            limit = static_cast<T>(least ? ones : low);
            if (rules_.y_dtype == Dtype::boolean) limit = static_cast<T>(least);
        }
        for (std::int64_t c = 0; c < columns_; ++c)
            for (std::int64_t l = 0; l < place_->lanes && is_empty(plane, row, c); ++l)
                v[c * place_->lanes + l] = limit;
    }

    POOLWISE_APART void take_roots(std::int64_t plane, std::int64_t row, double* v) const {
        const LpRule& lp = *rules_.lp;
        const Powers powers(lp.p);
        for (std::int64_t c = 0; c < columns_; ++c)
            for (std::int64_t l = 0; l < place_->lanes; ++l) {
                double& y = v[c * place_->lanes + l];
                if (powers.infinite)
                    y = y <= 0 ? 0 : y;  // a window of no cells, or of -0.0
                else if (lp.safe || (lp.p >= least_power && y > 0x1p-900 && y < 0x1p1000))
                    y = powers.root(y);
                else
                    y = norm_from_cells(plane, row, column_ + c, l);
            }
    }

    double norm_from_cells(std::int64_t plane, std::int64_t row, std::int64_t column,
                           std::int64_t lane) const {
        const LpRule& lp = *rules_.lp;
        const Layout& layout = *rules_.layout;
        const Loader<double> loader = loader_for<double>(rules_.x_dtype);
        const char* base = place_->gather ? place_->x[lane] : place_->x[0] + lane * layout.x_lane;
        const auto each_cell = [&](auto&& visit) {
            for (std::int64_t d = lp.starts[0][plane]; d < lp.stops[0][plane]; d += lp.step[0])
                for (std::int64_t h = lp.starts[1][row]; h < lp.stops[1][row]; h += lp.step[1])
                    for (std::int64_t w = lp.starts[2][column]; w < lp.stops[2][column];
                         w += lp.step[2]) {
                        double x = 0;
                        loader.run(base + d * layout.x_axis[0] + h * layout.x_axis[1] +
                                       w * layout.x_axis[2],
                                   size_of(rules_.x_dtype), 1, &x);
                        visit(magnitude(x));
                    }
        };
        return window_norm(Powers(lp.p), each_cell).norm;
    }

    // A window of no cells has no winner: index -1, or tap 0, which lies outside the input.
    POOLWISE_APART void store_winners(std::int64_t plane, std::int64_t row, Row result) {
        const Layout& layout = *rules_.layout;
        const bool taps = rules_.winners == WinnerForm::tap8;
        for (std::int64_t n = 0; n < length_; ++n)
            wide_[n] = static_cast<std::int64_t>(result.i[n]);
        for (std::int64_t c = 0; c < columns_ && (taps || rules_.patch_empty); ++c) {
            const bool empty = rules_.patch_empty && is_empty(plane, row, c);
            for (std::int64_t l = 0; l < place_->lanes; ++l) {
                std::int64_t& at = wide_[c * place_->lanes + l];
                if (empty)
                    at = taps ? 0 : -1;
                else if (taps)
                    at = tap_of(*rules_.form, plane, row, column_ + c, at);
            }
        }
        const std::int64_t offset =
            plane * layout.i_axis[0] + row * layout.i_axis[1] + column_ * layout.i_axis[2];
        place_->store(winner_storer<std::int64_t>(rules_.winners), wide_, place_->indices, offset,
                      layout.i_axis[2], layout.i_lane, columns_, winner_bytes(rules_.winners));
    }

    FinishRules rules_;
    const Place* place_ = nullptr;
    std::int64_t column_ = 0, columns_ = 0, length_ = 0, element_bytes_ = 0;
    Storer<T> storer_;
    Divider<T> divider_;
    Row buffer_{};
    T* previous_ = nullptr;
    double* quotients_ = nullptr;
    std::int64_t* wide_ = nullptr;
    bool direct_ = false;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
