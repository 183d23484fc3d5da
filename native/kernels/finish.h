// Where a unit of work lies in memory, and what becomes of its result rows: divided, rounded once,
// stored.
#pragma once

#include "operations.h"
#include "powers.h"

namespace poolwise::POOLWISE_ISA {
namespace {

constexpr int gathered_planes = 16;

// The base addresses of one unit: a plane with its lanes, or up to sixteen planes that become
// lanes.
struct Place {
    const char* x[gathered_planes] = {};
    char* y[gathered_planes] = {};
    char* indices[gathered_planes] = {};
    std::int64_t lanes = 1;
    bool gather = false;

    void locate(const Layout& layout, const char* x0, char* y0, char* i0, std::int64_t group,
                std::int64_t block, std::int64_t lane_block) {
        gather = layout.gather;
        if (gather) {
            const std::int64_t first = group * gathered_planes;
            lanes = smaller<std::int64_t>(gathered_planes, layout.planes - first);
            for (std::int64_t l = 0; l < lanes; ++l) locate_plane(layout, x0, y0, i0, first + l, l);
            return;
        }
        locate_plane(layout, x0, y0, i0, group, 0);
        const std::int64_t lane = block * lane_block;
        lanes = smaller(lane_block, layout.lanes - lane);
        x[0] += lane * layout.x_lane;
        if (y0) y[0] += lane * layout.y_lane;
        if (i0) indices[0] += lane * layout.i_lane;
    }

    template <class Acc>
    POOLWISE_APART void load(const Loader<Acc>& loader, const Layout& layout, std::int64_t offset,
                             std::int64_t columns, std::int64_t element_bytes, Acc* target) const {
        const std::int64_t stride = layout.x_axis[2];
        if (gather) {
            loader.planes(x, offset, stride, columns, lanes, target);
        } else if (lanes == 1) {
            loader.run(x[0] + offset, stride, columns, target);
        } else if (stride == lanes * element_bytes && layout.x_lane == element_bytes) {
            loader.run(x[0] + offset, element_bytes, columns * lanes, target);
        } else {
            for (std::int64_t c = 0; c < columns; ++c)
                loader.run(x[0] + offset + c * stride, layout.x_lane, lanes, target + c * lanes);
        }
    }

    template <class Acc>
    POOLWISE_APART void store(const Storer<Acc>& storer, const Acc* source, char* const* bases,
                              std::int64_t offset, std::int64_t column_stride,
                              std::int64_t lane_stride, std::int64_t columns,
                              std::int64_t element_bytes) const {
        if (gather) {
            storer.planes(source, columns, lanes, bases, offset, column_stride);
        } else if (lanes == 1) {
            storer.run(source, columns, bases[0] + offset, column_stride);
        } else if (column_stride == lanes * element_bytes && lane_stride == element_bytes) {
            storer.run(source, columns * lanes, bases[0] + offset, element_bytes);
        } else {
            for (std::int64_t c = 0; c < columns; ++c)
                storer.run(source + c * lanes, lanes, bases[0] + offset + c * column_stride,
                           lane_stride);
        }
    }

  private:
    void locate_plane(const Layout& layout, const char* x0, char* y0, char* i0, std::int64_t plane,
                      std::int64_t at) {
        std::int64_t x_offset = 0, y_offset = 0, i_offset = 0;
        for (int b = layout.batch_rank - 1; b >= 0; --b) {
            const std::int64_t i = plane % layout.batch_shape[b];
            plane /= layout.batch_shape[b];
            x_offset += i * layout.x_batch[b];
            y_offset += i * layout.y_batch[b];
            i_offset += i * layout.i_batch[b];
        }
        x[at] = x0 + x_offset;
        if (y0) y[at] = y0 + y_offset;
        if (i0) indices[at] = i0 + i_offset;
    }
};

// sum / divisor to the nearest integer, ties to even
template <class T> inline T divide_to_even(T sum, Int128 divisor) {
    const Int128 s = static_cast<Int128>(sum), d = divisor;
    Int128 quotient = s / d, rest = s % d;
    if (rest < 0) {
        rest += d;
        quotient -= 1;
    }
    if (rest > d - rest || (rest == d - rest && (quotient & 1) != 0)) quotient += 1;
    return static_cast<T>(quotient);
}

// sum / divisor, rounded once: a sum beyond double's 53 bits is divided as an integer with bits to
// spare, and what is left over only has to be seen to be there.
inline double divide_once(Int128 sum, Int128 divisor) {
    const Int128 limit = Int128(1) << 53;
    if (-limit <= sum && sum <= limit && divisor <= limit)
        return static_cast<double>(sum) / static_cast<double>(divisor);
    typedef unsigned __int128 Bits;
    Bits magnitude = sum < 0 ? -static_cast<Bits>(sum) : static_cast<Bits>(sum);
    double scale = 1;
    while (magnitude != 0 && (magnitude >> 126) == 0) {
        magnitude <<= 1;
        scale *= 0.5;
    }
    Bits quotient = magnitude / static_cast<Bits>(divisor);
    if (quotient * static_cast<Bits>(divisor) != magnitude) quotient |= 1;
    const double result = static_cast<double>(quotient) * scale;
    return sum < 0 ? -result : result;
}

// What the results of one unit have in common.
struct FinishRules {
    const Layout* layout;
    Dtype x_dtype, y_dtype;
    bool indices, divide, accumulate, patch_empty;
    const std::int64_t* divisors[3];
    std::int64_t divisor_override;
    const LpRule* lp;
};

template <class Op> class Finish {
    using T = typename Op::Value;
    using Row = typename Op::Row;

  public:
    void prepare(const RowsJob& job, const Place& place, std::int64_t column, std::int64_t columns,
                 Arena& arena) {
        const FinishRules rules{&job.layout,
                                job.x_dtype,
                                job.y_dtype,
                                job.indices != nullptr,
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
        uniform_ = true;
        if (rules.divide && rules.divisor_override == 0) {
            for (std::int64_t c = 1; c < columns; ++c)
                uniform_ = uniform_ && rules.divisors[2][column + c] == rules.divisors[2][column];
        }
        if constexpr (floating<T>) {
            if (!uniform_) {
                along_ = arena.template take<T>(length_);
                for (std::int64_t c = 0; c < columns; ++c)
                    for (std::int64_t l = 0; l < place.lanes; ++l)
                        along_[c * place.lanes + l] = static_cast<T>(rules.divisors[2][column + c]);
            }
        }
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
                divide(plane, row, result.v);
            } else if (is_float(rules_.y_dtype)) {
                divide_to_double(plane, row, result.v);
                place_->store(storer_for<double>(rules_.y_dtype), quotients_, place_->y, offset,
                              layout.y_axis[2], layout.y_lane, columns_, element_bytes_);
                stored = true;
            } else {
                for (std::int64_t c = 0; c < columns_; ++c)
                    for (std::int64_t l = 0; l < place_->lanes; ++l) {
                        T& v = result.v[c * place_->lanes + l];
                        v = divide_to_even(v, divisor(plane, row, c));
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
                Place back = *place_;
                for (int l = 0; l < (back.gather ? back.lanes : 1); ++l) back.x[l] = back.y[l];
                Layout reading;
                reading.x_axis[2] = layout.y_axis[2];
                reading.x_lane = layout.y_lane;
                back.load(loader_for<T>(rules_.y_dtype), reading, offset, columns_, element_bytes_,
                          previous_);
                for (std::int64_t n = 0; n < length_; ++n) result.v[n] = previous_[n] + result.v[n];
            }
        }
        if (!stored)
            place_->store(storer_, result.v, place_->y, offset, layout.y_axis[2], layout.y_lane,
                          columns_, element_bytes_);
        if constexpr (Op::indexed) {
            if (rules_.indices) store_indices(plane, row, result);
        }
    }

    Row buffer() const { return buffer_; }

  private:
    std::int64_t y_offset(std::int64_t plane, std::int64_t row) const {
        const Layout& layout = *rules_.layout;
        return plane * layout.y_axis[0] + row * layout.y_axis[1] + column_ * layout.y_axis[2];
    }

    // Windows may be wider than int64 can count cells; beyond 2^100 it no longer matters by how
    // much.
    Int128 divisor(std::int64_t plane, std::int64_t row, std::int64_t c) const {
        if (rules_.divisor_override) return rules_.divisor_override;
        const std::int64_t factors[3] = {rules_.divisors[0][plane], rules_.divisors[1][row],
                                         rules_.divisors[2][column_ + c]};
        Int128 product = factors[0];
        product *= factors[1];
        const Int128 most = Int128(1) << 100;
        if (factors[2] > 1 && product > most / factors[2]) return most;
        product *= factors[2];
        return product > 0 ? product : 1;  // a window of no cells: its sum is 0, and so is its mean
    }

    POOLWISE_APART void divide(std::int64_t plane, std::int64_t row, T* v) const {
        if (uniform_) {
            const Int128 cells = divisor(plane, row, 0);
            const T by = static_cast<T>(cells);
            if ((cells & (cells - 1)) == 0) {  // a power of two: its reciprocal is exact
                const T reciprocal = 1 / by;
                POOLWISE_LANES
                for (std::int64_t n = 0; n < length_; ++n) v[n] *= reciprocal;
                return;
            }
            POOLWISE_LANES
            for (std::int64_t n = 0; n < length_; ++n) v[n] /= by;
            return;
        }
        const T across = static_cast<T>(static_cast<double>(rules_.divisors[0][plane]) *
                                        static_cast<double>(rules_.divisors[1][row]));
        POOLWISE_LANES
        for (std::int64_t n = 0; n < length_; ++n) {
            const T by = across * along_[n];
            v[n] /= by > 0 ? by : T(1);
        }
    }

    void divide_to_double(std::int64_t plane, std::int64_t row, const T* v) const {
        for (std::int64_t c = 0; c < columns_; ++c) {
            const Int128 by = divisor(plane, row, c);
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

    POOLWISE_APART void store_indices(std::int64_t plane, std::int64_t row, Row result) {
        const Layout& layout = *rules_.layout;
        for (std::int64_t n = 0; n < length_; ++n)
            wide_[n] = static_cast<std::int64_t>(result.i[n]);
        if (rules_.patch_empty) {
            for (std::int64_t c = 0; c < columns_; ++c)
                for (std::int64_t l = 0; l < place_->lanes && is_empty(plane, row, c); ++l)
                    wide_[c * place_->lanes + l] = -1;
        }
        const std::int64_t offset =
            plane * layout.i_axis[0] + row * layout.i_axis[1] + column_ * layout.i_axis[2];
        place_->store(storer_of<std::int64_t, std::int64_t>(), wide_, place_->indices, offset,
                      layout.i_axis[2], layout.i_lane, columns_, 8);
    }

    FinishRules rules_;
    const Place* place_ = nullptr;
    std::int64_t column_ = 0, columns_ = 0, length_ = 0, element_bytes_ = 0;
    Storer<T> storer_;
    Row buffer_{};
    T* previous_ = nullptr;
    T* along_ = nullptr;
    double* quotients_ = nullptr;
    std::int64_t* wide_ = nullptr;
    bool direct_ = false, uniform_ = true;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
