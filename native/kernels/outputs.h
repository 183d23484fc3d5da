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
#if defined(__AVX512BW__)
    if constexpr (sizeof(whole) == 64) {
        const auto bits = reinterpret_cast<__m512i>(whole);
        const auto some = (std::uint64_t(1) << room) - 1;
        if constexpr (sizeof(D) == 1) return _mm512_mask_storeu_epi8(out, some, bits);
        if constexpr (sizeof(D) == 2)
            return _mm512_mask_storeu_epi16(out, static_cast<__mmask32>(some), bits);
        if constexpr (sizeof(D) == 4)
            return _mm512_mask_storeu_epi32(out, static_cast<__mmask16>(some), bits);
        if constexpr (sizeof(D) == 8)
            return _mm512_mask_storeu_epi64(out, static_cast<__mmask8>(some), bits);
    }
#endif
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

// Where lines are not carried from run to run, shorter ones have too many ends to be written past
// the caches.
inline constexpr std::int64_t least_streamed_bytes = 1024;

// Where the outputs of a unit go, run after run. Past the caches go whole lines alone: one that is
// also written through them is read first, and written twice. (411 MB copied in runs of 448 bytes
// that begin 16 bytes beside a line, one thread: 59 ms with two such lines a run, 32 with none; in
// runs of 12 KB 44 and 37.) So what a run leaves of a line unfinished waits in a register for the
// run that goes on behind it.
template <class Op, class D> class Outputs {
    using T = typename Op::Value;
    static constexpr std::int64_t lanes = vector_lanes<T>, size = sizeof(D), piece = lanes * size;
    using Element = typename LaneInteger<sizeof(D)>::Type;

  public:
    // Whether an instruction or two shift a vector by any number of elements.
    static constexpr bool carries =
        vector_bytes >= 64 ? size >= 2 : vector_bytes >= 32 && size >= 4;
    using V = Vec<Element, static_cast<int>(piece)>;  // what a vector becomes

    Outputs() = default;
    // Of runs of `count` elements; `go_on`: most of them begin where the one before ended.
    Outputs(bool past_caches, std::int64_t count, bool go_on)
        : streams_(past_caches && ((carries && go_on) || count * size >= least_streamed_bytes)) {}

    // out[0, count) = the vectors at(0), at(lanes), …, the last of which may run over the end. `at`
    // may be asked again for what it gave before.
    template <class At>
    POOLWISE_INLINE inline void write(D* out, std::int64_t count, const At& at) {
        if (!streams_) return write_through(out, count, at);
        if constexpr (carries)
            carry(out, count, at);
        else if (count * size >= least_streamed_bytes)
            write_lines(out, count, at);
        else
            write_through(out, count, at);
    }

    // For who makes rows side by side, each of whole vectors, and writes whole lines itself: begins
    // at `out`, and returns how far that lies behind the beginning of its line…
    std::int64_t begin(D* out) {
        if (out != next_) begin_line(out);
        return held_;
    }
    // … and goes on by a row, of which the first and the last vector are given: its first line
    // begins with what is left of the row before.
    void append_row(D* line, std::int64_t count, V first, V last) {
        put(line, shifted(carried_, first, shifts_by(lanes - held_)));
        carried_ = last;
        next_ = line + held_ + count;
    }

    // When a unit is done, before anybody is told so or makes it again.
    void finish() {
        if (!streams_) return;
        end_line();
        next_ = nullptr;
        drain_streams();
    }

    static POOLWISE_INLINE inline V bits(Vec<T> v) {
        const auto elements = Op::template stored<D>(v);
        static_assert(sizeof(elements) == sizeof(V), "a vector of elements");
        return reinterpret_cast<const V&>(elements);
    }
    static POOLWISE_INLINE inline V shifts_by(std::int64_t n) {
        V order{};
        for (int l = 0; l < lanes; ++l) order[l] = static_cast<Element>(l);
        return order + static_cast<Element>(n);
    }
    static POOLWISE_INLINE inline V shifted(V earlier, V later, V by) {
        return __builtin_shuffle(earlier, later, by);
    }

  private:
    // What is carried stands in the register's last lanes; the first `missing_` elements of its
    // line are somebody else's.
    template <class At>
    POOLWISE_INLINE inline void carry(D* out, std::int64_t count, const At& at) {
        if (out != next_) begin_line(out);
        V carried = carried_;
        const V by = shifts_by(lanes - held_);
        D* line = out - held_;
        std::int64_t n = 0;
        for (; n + lanes <= count; n += lanes, line += lanes) {
            const V v = bits(at(n));
            put(line, shifted(carried, v, by));
            carried = v;
        }
        const std::int64_t rest = count - n;
        if (rest > 0) {
            const V v = bits(at(n));
            if (held_ + rest >= lanes) put(line, shifted(carried, v, by));
            carried = shifted(carried, v, shifts_by(rest));
            held_ = (held_ + rest) % lanes;
        }
        carried_ = carried;
        next_ = out + count;
    }
    POOLWISE_INLINE inline void put(D* line, V v) {
        if (missing_ == 0) return stream_vector(line, v);
        put_some(line, v, missing_, lanes);
        missing_ = 0;
    }
    POOLWISE_APART static void put_some(D* line, V v, std::int64_t from, std::int64_t to) {
        __builtin_memcpy(line + from, reinterpret_cast<const char*>(&v) + from * size,
                         static_cast<std::size_t>((to - from) * size));
    }
    POOLWISE_APART void begin_line(D* out) {
        end_line();
        held_ = missing_ = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(out) %
                                                     static_cast<std::uintptr_t>(piece)) /
                           size;
    }
    POOLWISE_APART void end_line() {
        if (held_ > missing_)
            put_some(next_ - held_, shifted(carried_, carried_, shifts_by(lanes - held_)), missing_,
                     held_);
        held_ = missing_ = 0;
    }

    // Whole lines past the caches, what is beside them through them.
    template <class At>
    POOLWISE_INLINE inline void write_lines(D* out, std::int64_t count, const At& at) {
        constexpr std::int64_t line = piece < 64 ? 64 : piece;
        const auto address = reinterpret_cast<std::uintptr_t>(out);
        const std::int64_t head = static_cast<std::int64_t>((line - address % line) % line / size);
        const std::int64_t end = head + (count - head) / (line / size) * (line / size);
        std::int64_t n = 0;
        for (; n < head; n += lanes) store_some<Op>(out + n, at(n), head - n);
        for (n = head; n < end; n += lanes) stream_vector(out + n, Op::template stored<D>(at(n)));
        for (; n < count; n += lanes) store_some<Op>(out + n, at(n), count - n);
    }

    template <class At>
    POOLWISE_INLINE inline void write_through(D* out, std::int64_t count, const At& at) {
        std::int64_t n = 0;
        for (; n + 2 * lanes <= count; n += 2 * lanes) {
            ask_for<1>(reinterpret_cast<const char*>(out + n) + write_ahead, 2 * piece);
            const auto first = at(n), second = at(n + lanes);
            store_whole<Op>(out + n, first);
            store_whole<Op>(out + n + lanes, second);
        }
        // (The last vector stands where the others end: one over them would be made of, and leave,
        // what two stores wrote; see shifts.h.)
        for (; n < count; n += lanes) store_some<Op>(out + n, at(n), count - n);
    }

    bool streams_ = false;
    std::int64_t held_ = 0, missing_ = 0;
    D* next_ = nullptr;
    V carried_{};
};

// Outputs that are made already, of whatever type they are.
template <class D> struct CopiesOf {
    typedef typename LaneInteger<sizeof(D)>::Type Element;
    typedef Outputs<AsItIs<Element>, Element> Type;
};
template <class D> using Copies = typename CopiesOf<D>::Type;

// out[0, count) = from[0, count), which a vector more may be read of.
template <class D>
POOLWISE_APART void write_copy(Copies<D>& outputs, D* out, const D* from, std::int64_t count) {
    typedef typename CopiesOf<D>::Element E;
    outputs.write(reinterpret_cast<E*>(out), count, [&](std::int64_t n) POOLWISE_INLINE {
        return load_vector<Vec<E>>(reinterpret_cast<const E*>(from) + n);
    });
}

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
