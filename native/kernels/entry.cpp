// One instruction set's kernels: this file is compiled once per level, with that level's flags and
// POOLWISE_ISA naming its namespace.
//
// What is compiled here may use instructions the machine lacks, so nothing in it may be shared: no
// STL container, no external inline function or template, no static constructor. Everything lives
// in unnamed namespaces but the one function below.
#include "finding.h"
#include "lp_gradient.h"
#include "rows.h"
#include "segments.h"
#include "whole.h"
#include "winners.h"

namespace poolwise::POOLWISE_ISA {
namespace {

void convert_strided(const char* source, Dtype source_dtype, std::int64_t source_stride,
                     char* target, Dtype target_dtype, std::int64_t target_stride,
                     std::int64_t count) {
    float buffer[512];
    const Loader<float> loader = loader_for<float>(source_dtype);
    const Storer<float> storer = storer_for<float>(target_dtype);
    for (std::int64_t at = 0; at < count; at += 512) {
        const std::int64_t n = smaller<std::int64_t>(512, count - at);
        loader.run(source + at * source_stride, source_stride, n, buffer);
        storer.run(buffer, n, target + at * target_stride, target_stride);
    }
}

template <class T> void offer_values(KernelTable& table, Accumulator accumulator) {
    const int a = static_cast<int>(accumulator);
    table.rows[static_cast<int>(Operation::max)][a] = rows_unit<Extreme<T, false>>;
    table.rows[static_cast<int>(Operation::min)][a] = rows_unit<Extreme<T, true>>;
    table.segments[static_cast<int>(Operation::max)][a] = segments_unit<Extreme<T, false>>;
    table.segments[static_cast<int>(Operation::min)][a] = segments_unit<Extreme<T, true>>;
}

template <class T> void offer_sum(KernelTable& table, Accumulator accumulator) {
    const int a = static_cast<int>(accumulator);
    table.rows[static_cast<int>(Operation::sum)][a] = rows_unit<Sum<T>>;
    table.segments[static_cast<int>(Operation::sum)][a] = segments_unit<Sum<T>>;
}

template <class T> void offer_whole(KernelTable& table, Accumulator accumulator) {
    const int a = static_cast<int>(accumulator);
    table.whole[static_cast<int>(Operation::max)][a] = whole_unit<Extreme<T, false>>;
    table.whole[static_cast<int>(Operation::min)][a] = whole_unit<Extreme<T, true>>;
    table.whole[static_cast<int>(Operation::sum)][a] = whole_unit<Sum<T>>;
}

template <class T, class I> void offer_winners(KernelTable& table, Accumulator accumulator) {
    const int a = static_cast<int>(accumulator);
    table.rows[static_cast<int>(Operation::argmax)][a] = rows_unit<Winner<T, I, false>>;
    table.rows[static_cast<int>(Operation::argmin)][a] = rows_unit<Winner<T, I, true>>;
    table.segments[static_cast<int>(Operation::argmax)][a] = segments_unit<Winner<T, I, false>>;
    table.segments[static_cast<int>(Operation::argmin)][a] = segments_unit<Winner<T, I, true>>;
}

}  // namespace

void fill_table(KernelTable& table) {
    table = KernelTable{};
    table.isa = compiled_isa();
    offer_values<float>(table, Accumulator::float32);
    offer_values<double>(table, Accumulator::float64);
    offer_values<std::int16_t>(table, Accumulator::int16);
    offer_values<std::int32_t>(table, Accumulator::int32);
    offer_values<std::int64_t>(table, Accumulator::int64);
    offer_values<std::uint8_t>(table, Accumulator::uint8);
    offer_values<std::uint64_t>(table, Accumulator::uint64);
    offer_sum<float>(table, Accumulator::float32);
    offer_sum<double>(table, Accumulator::float64);
    offer_sum<std::int32_t>(table, Accumulator::int32);
    offer_sum<std::int64_t>(table, Accumulator::int64);
    offer_sum<Int128>(table, Accumulator::int128);
    offer_winners<float, std::int32_t>(table, Accumulator::float32);
    offer_winners<double, std::int64_t>(table, Accumulator::float64);
    offer_winners<std::int32_t, std::int32_t>(table, Accumulator::int32);
    offer_winners<std::int64_t, std::int64_t>(table, Accumulator::int64);
    offer_winners<std::uint64_t, std::int64_t>(table, Accumulator::uint64);
    offer_whole<float>(table, Accumulator::float32);
    offer_whole<double>(table, Accumulator::float64);
    offer_small_windows(table);
    offer_small_extremes(table);
    offer_small_sums(table);
    offer_small_winners(table);
    offer_gradients(table);
    offer_large_windows(table);
    table.find_winners[0] = find_winners<float>;
    table.find_winners[1] = find_winners<double>;
    table.check_winners = winners_in_range;
    table.scatter = scatter_winners;
    table.convert_strided = convert_strided;
    table.lp_backward = lp_backward_unit;
    table.lp_scale_gradient = lp_scale_gradient;
    table.lp_apply_slope = lp_apply_slope;
}

}  // namespace poolwise::POOLWISE_ISA
