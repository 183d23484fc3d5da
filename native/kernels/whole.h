// Whole maps of dense planes: each plane is one run of memory, reduced without a look at its rows.
//
// Cost per cell: one load and one join. A float sum goes through double every block of 1024 cells,
// so its error does not grow with the map. Elements of other types are converted block by block.
// Small planes are reduced as many at once as a vector has lanes: halving their vectors two by two
// costs three moves a plane, where halving one vector costs eight that wait for each other.
#pragma once

#include "segments.h"

namespace poolwise::POOLWISE_ISA {
namespace {

constexpr std::int64_t whole_block = 1024;

// Two vectors of `Groups` groups each, halved within their groups and put behind each other.
template <int Groups, class V, class Join> inline V halved_together(V a, V b, const Join& join) {
    decltype(V{} == V{}) low{}, high{};
    constexpr int lanes = static_cast<int>(sizeof(V) / sizeof(a[0])), size = lanes / Groups;
    for (int l = 0; l < lanes; ++l) {
        const int group = l / (size / 2);
        low[l] = group / Groups * lanes + group % Groups * size + l % (size / 2);
        high[l] = low[l] + size / 2;
    }
    return join(__builtin_shuffle(a, b, low), __builtin_shuffle(a, b, high));
}
// Lane l of the result is vector l, halved until one value is left.
template <int Groups, class V, class Join>
POOLWISE_INLINE inline V halved_all(V* v, const Join& join) {
    constexpr int left = static_cast<int>(sizeof(V) / sizeof(v[0][0])) / Groups;
    if constexpr (left == 1) {
        return v[0];
    } else {
        for (int i = 0; i < left / 2; ++i)
            v[i] = halved_together<Groups>(v[2 * i], v[2 * i + 1], join);
        return halved_all<2 * Groups>(v, join);
    }
}

template <class Op> class WholeUnit {
    using T = typename Op::Value;

  public:
    WholeUnit(const WholeJob& job, std::int64_t unit, char* scratch)
        : job_(job),
          first_(unit * job.planes_per_unit),
          last_(smaller(first_ + job.planes_per_unit, job.layout.planes)),
          loader_(loader_for<T>(job.x_dtype)),
          storer_(storer_for<T>(job.y_dtype)),
          block_(reinterpret_cast<T*>(scratch)) {}

    void run() const {
        const Layout& layout = job_.layout;
        std::int64_t plane = first_;
        if constexpr (together > 0) {
            const bool in_place = loader_.in_place && storer_.in_place;
            if (in_place && job_.cells <= whole_block && job_.cells >= together)
                while (plane + together <= last_ && reduce_together(plane)) plane += together;
        }
        for (; plane < last_; ++plane) {
            T value = reduce(job_.x + batch_offset(layout, layout.x_batch, plane));
            if constexpr (floating<T> && !Op::idempotent) {
                if (job_.divisor != 0) value /= static_cast<T>(job_.divisor);
            }
            char* const y = job_.y + batch_offset(layout, layout.y_batch, plane);
            if (storer_.in_place)
                *reinterpret_cast<T*>(y) = value;
            else
                storer_.run(&value, 1, y, 0);
        }
    }

  private:
    // Planes that are reduced at once; 0: none.
    static constexpr int together = floating<T> ? vector_lanes<T> : 0;

    // False, and nothing done, where one of them calls for care.
    POOLWISE_APART bool reduce_together(std::int64_t plane) const {
        using V = Vec<T>;
        constexpr int lanes = vector_lanes<T>;
        const auto join = [](V earlier, V later)
                              POOLWISE_INLINE { return joined_quickly<Op>(earlier, later); };
        const std::int64_t count = job_.cells;
        const auto rest = static_cast<TapInt<T>>(count % lanes);
        Vec<TapInt<T>> seen{};
        V all[lanes];
        const T* planes[lanes];
        const Layout& layout = job_.layout;
        const bool apart = layout.batch_rank > 1;
        const char* const first = job_.x + batch_offset(layout, layout.x_batch, plane);
        for (int p = 0; p < lanes; ++p) {
            const char* const x = apart ? job_.x + batch_offset(layout, layout.x_batch, plane + p)
                                        : first + p * layout.x_batch[0];
            planes[p] = reinterpret_cast<const T*>(x);
            ask_for<0>(x + 4096, count * sizeof(T));
            if constexpr (Op::idempotent) {  // the last vector overlaps the one before it
                const V begin = load_vector<V>(planes[p]),
                        end = load_vector<V>(planes[p] + count - lanes);
                seen |= unordered<T>(begin, end);
                V most = join(begin, end);
                for (std::int64_t at = lanes; at + lanes < count; at += lanes) {
                    const V next = load_vector<V>(planes[p] + at);
                    seen |= next != next;
                    most = join(most, next);
                }
                all[p] = most;
                continue;
            }
            switch (count / lanes) {
                case 1: all[p] = sum_few<1>(planes[p], count, rest); continue;
                case 2: all[p] = sum_few<2>(planes[p], count, rest); continue;
                case 3: all[p] = sum_few<3>(planes[p], count, rest); continue;
                case 4: all[p] = sum_few<4>(planes[p], count, rest); continue;
                default: all[p] = sum_many(planes[p], count, rest);
            }
        }
        V values = halved_all<1>(all, join);
        if constexpr (Op::idempotent) {
            if (any_lane(seen)) return false;
            if (any_lane(values == 0))
                for (int p = 0; p < lanes; ++p)
                    if (values[p] == 0) values[p] = first_zero(planes[p], count);
        } else if (job_.divisor != 0) {
            values /= static_cast<T>(job_.divisor);
        }
        char* const y = job_.y + batch_offset(layout, layout.y_batch, plane);
        if (!apart && layout.y_batch[0] == sizeof(T)) {
            store_vector(reinterpret_cast<T*>(y), values);
            return true;
        }
        for (int p = 0; p < lanes; ++p)
            *reinterpret_cast<T*>(job_.y + batch_offset(layout, layout.y_batch, plane + p)) =
                values[p];
        return true;
    }
    // The sums of a plane's cells n, n + lanes, …, as reduce_run_by does: cell n goes to
    // accumulator n % 32, and those are halved. `rest` cells lie behind its last whole vector.
    using Sums = Vec<T>;
    static constexpr int sum_lanes = vector_lanes<T>, sums_beside = accumulators_beside / sum_lanes;
    static Sums halved_sums(Sums* sums) {
        for (int half = sums_beside / 2; half > 0; half /= 2)
            for (int w = 0; w < half; ++w) sums[w] = sums[w] + sums[w + half];
        return sums[0];
    }
    template <int Whole>
    POOLWISE_INLINE static Sums sum_few(const T* x, std::int64_t count, TapInt<T> rest) {
        const T neutral = neutral_of<Op>();
        Sums sums[sums_beside];
        for (int w = 0; w < sums_beside; ++w) sums[w] = broadcast<Sums>(neutral);
        for (int v = 0; v < Whole; ++v)
            sums[v % sums_beside] = sums[v % sums_beside] + load_vector<Sums>(x + v * sum_lanes);
        if (rest)
            sums[Whole % sums_beside] =
                sums[Whole % sums_beside] + last_of<Sums>(x, count, rest, neutral);
        return halved_sums(sums);
    }
    POOLWISE_INLINE static Sums sum_many(const T* x, std::int64_t count, TapInt<T> rest) {
        const T neutral = neutral_of<Op>();
        Sums sums[sums_beside];
        for (int w = 0; w < sums_beside; ++w) sums[w] = broadcast<Sums>(neutral);
        std::int64_t at = 0;
        for (; at + sums_beside * sum_lanes <= count; at += sums_beside * sum_lanes)
            for (int w = 0; w < sums_beside; ++w)
                sums[w] = sums[w] + load_vector<Sums>(x + at + w * sum_lanes);
        for (int w = 0; w < sums_beside; ++w, at += sum_lanes)
            if (at + sum_lanes <= count)
                sums[w] = sums[w] + load_vector<Sums>(x + at);
            else if (at < count)
                sums[w] = sums[w] + last_of<Sums>(x, count, rest, neutral);
        return halved_sums(sums);
    }
    // Lanes are not joined in order, which the sign of a zero can tell: the first one's.
    static T first_zero(const T* x, std::int64_t count) {
        for (std::int64_t n = 0; n < count; ++n)
            if (x[n] == 0) return x[n];
        return 0;
    }

    T reduce(const char* x) const {
        // (maxima in any order, sums block by block)
        if (Op::idempotent && loader_.in_place) return reduce_block(x, job_.cells);
        if (job_.cells <= whole_block) return reduce_block(x, job_.cells);
        const std::int64_t bytes = size_of(job_.x_dtype);
        if constexpr (same<T, float> && !Op::idempotent) {
            double total = 0;
            for (std::int64_t at = 0; at < job_.cells; at += whole_block)
                total += static_cast<double>(
                    reduce_block(x + at * bytes, smaller(whole_block, job_.cells - at)));
            return static_cast<float>(total);
        } else {
            T total = reduce_block(x, whole_block);
            for (std::int64_t at = whole_block; at < job_.cells; at += whole_block)
                total =
                    Op::join({total},
                             {reduce_block(x + at * bytes, smaller(whole_block, job_.cells - at))})
                        .v;
            return total;
        }
    }
    T reduce_block(const char* x, std::int64_t count) const {
        const T* values = reinterpret_cast<const T*>(x);
        if (!loader_.in_place) {
            loader_.run(x, size_of(job_.x_dtype), count, block_);
            values = block_;
        }
        const T value = reduce_run<Op>(values, count);
        if constexpr (floating<T> && Op::idempotent) {
            if (value == 0) return first_zero(values, count);
        }
        return value;
    }

    const WholeJob& job_;
    std::int64_t first_, last_;
    Loader<T> loader_;
    Storer<T> storer_;
    T* block_;
};

template <class Op> void whole_unit(const WholeJob& job, std::int64_t unit, char* scratch) {
    WholeUnit<Op>(job, unit, scratch).run();
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
