// Runs of outputs on their way to memory, whole vectors of them.
//
// A vector of accumulators becomes elements of the output's type (Op::stored), and goes to memory
// through the caches or, where the output is larger than they are, past them: then a line is not
// fetched to be overwritten, which is a third of what stride 1 would move. Measured on 26 MB beside
// a last cache of 32 MB, 3x3/1, one thread: 1.2 ms through, 0.9 past, 0.8 for copying it.
#pragma once

#include "groups.h"
#include "joins.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// How far ahead of a loop its input and its output are asked for. Nearer (2048) every pass of 26 MB
// took half as long again; farther changed nothing.
inline constexpr std::int64_t read_ahead = 6144, write_ahead = 4096;

template <class Op, class D> inline void store_whole(D* out, Vec<typename Op::Value> v) {
    store_vector(out, Op::template stored<D>(v));
}
// As much of a vector as there is room for, in few moves.
template <class Op, class D>
inline void store_some(D* out, Vec<typename Op::Value> v, std::int64_t room) {
    if (room >= vector_lanes<typename Op::Value>) return store_whole<Op>(out, v);
    const auto whole = Op::template stored<D>(v);
    const char* source = reinterpret_cast<const char*>(&whole);
    char* target = reinterpret_cast<char*>(out);
    const std::int64_t bytes = room * static_cast<std::int64_t>(sizeof(D));
    const auto move = [&](auto width) POOLWISE_INLINE {
        constexpr std::int64_t some = decltype(width)::value;
        if constexpr (some < static_cast<std::int64_t>(sizeof(whole))) {  // (less than all of it)
            if (!(bytes & some)) return;
            __builtin_memcpy(target, source, some);
            target += some;
            source += some;
        }
    };
    move(Width<32>{});
    move(Width<16>{});
    move(Width<8>{});
    move(Width<4>{});
    move(Width<2>{});
    move(Width<1>{});
}

// A run shorter than this has too many ends to be written past the caches.
inline constexpr std::int64_t least_streamed_bytes = 1024;

// out[0, count) = the vectors at(0), at(lanes), … `at` may be asked again for what it gave before.
// Past the caches go whole lines alone: a line that is also written through them costs more than
// all that the others save. So where the output goes on behind the run (`goes_on`) its last line
// may be left to the next one: returns how many elements were.
template <class Op, class D, class At>
POOLWISE_INLINE inline std::int64_t write_run(D* out, std::int64_t count, bool past_caches,
                                              bool goes_on, const At& at) {
    constexpr std::int64_t lanes = vector_lanes<typename Op::Value>, size = sizeof(D);
    constexpr std::int64_t line = lanes * size < 64 ? 64 : lanes * size;
    std::int64_t n = 0;
    if (past_caches && count * size >= least_streamed_bytes) {
        const auto address = reinterpret_cast<std::uintptr_t>(out);
        const std::int64_t head = static_cast<std::int64_t>((line - address % line) % line / size);
        const std::int64_t end = head + (count - head) / (line / size) * (line / size);
        for (; n < head; n += lanes) store_some<Op>(out + n, at(n), head - n);
        for (n = head; n < end; n += lanes) stream_vector(out + n, Op::template stored<D>(at(n)));
        if (goes_on) return count - end;
        for (; n < count; n += lanes) store_some<Op>(out + n, at(n), count - n);
        return 0;
    }
    for (; n + 2 * lanes <= count; n += 2 * lanes) {
        ask_for<1>(reinterpret_cast<const char*>(out + n) + write_ahead, 2 * lanes * size);
        const auto first = at(n), second = at(n + lanes);
        store_whole<Op>(out + n, first);
        store_whole<Op>(out + n + lanes, second);
    }
    for (; n < count; n += lanes) {
        const std::int64_t q = n + lanes <= count ? n : larger<std::int64_t>(0, count - lanes);
        store_some<Op>(out + q, at(q), count - q);
    }
    return 0;
}

// out[0, count) = from[0, count), which a vector more may be read of.
template <class D>
POOLWISE_APART void write_as_it_is(D* out, const D* from, std::int64_t count, bool past_caches) {
    using E = typename LaneInteger<sizeof(D)>::Type;
    write_run<AsItIs<E>>(reinterpret_cast<E*>(out), count, past_caches, false,
                         [&](std::int64_t n) POOLWISE_INLINE {
                             return load_vector<Vec<E>>(reinterpret_cast<const E*>(from) + n);
                         });
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
