// What kernels hold in registers as they join: values, or values and the cells that they came from.
//
// Maxima with winners are maxima of pairs. A pair is two registers, and a row of pairs two rows
// beside each other in scratch; joining two is a comparison and two selections. Cells are numbered
// along the plane, `row_apart` from row to row: by the plane's own width their numbers are places
// in it, by the window's width two numbers differ by a tap. So no pass has to count, and only what
// is stored is seen from its window's first cell. NaN are lost like those of values: see large.h.
#pragma once

#include "outputs.h"

namespace poolwise::POOLWISE_ISA {
namespace {

template <class T> struct ValueRow {
    typedef Vec<T> Register;
    T* v = nullptr;
    ValueRow at(std::int64_t n) const { return {v + n}; }
    POOLWISE_INLINE inline Register get(std::int64_t n) const { return load_vector<Vec<T>>(v + n); }
    POOLWISE_INLINE inline void put(std::int64_t n, Register all) const {
        store_vector(v + n, all);
    }
};

template <class T> struct Pair {
    Vec<T> value;
    Vec<TapInt<T>> cell;
};
template <class T> struct PairRow {
    typedef Pair<T> Register;
    T* v = nullptr;
    TapInt<T>* cell = nullptr;
    PairRow at(std::int64_t n) const { return {v + n, cell + n}; }
    POOLWISE_INLINE inline Register get(std::int64_t n) const {
        return {load_vector<Vec<T>>(v + n), load_vector<Vec<TapInt<T>>>(cell + n)};
    }
    POOLWISE_INLINE inline void put(std::int64_t n, Register all) const {
        store_vector(v + n, all.value);
        store_vector(cell + n, all.cell);
    }
};

// The operations of joins.h on values, whole registers at a time; and the one on pairs.
template <class Op> struct Joins : Op {
    typedef ValueRow<typename Op::Value> Row;
    typedef typename Row::Register Register;
    static constexpr bool indexed = false;
    POOLWISE_INLINE static inline Register joined(Register earlier, Register later) {
        return Op::template join<false>(earlier, later);
    }
};
template <class T, bool Min> struct Joins<WinTaps<T, Min>> : PickTaps<T, Min> {
    typedef PairRow<T> Row;
    typedef typename Row::Register Register;
    static constexpr bool indexed = true;
    POOLWISE_INLINE static inline Register joined(Register earlier, Register later) {
        const auto beyond = Min ? later.value < earlier.value : later.value > earlier.value;
        return {beyond ? later.value : earlier.value, beyond ? later.cell : earlier.cell};
    }
};

// Where winners go, as places in a plane or as taps, widened or narrowed on their way to memory.
class Winners {
  public:
    Winners() = default;
    Winners(WinnerForm form, bool past_caches, std::int64_t count)
        : form_(form), places_(past_caches && form == WinnerForm::index64, count, true) {}

    // `cells` may be read a vector more.
    template <class I> POOLWISE_APART void write(char* out, const I* cells, std::int64_t count) {
        if (form_ != WinnerForm::index64)
            return winner_storer<I>(form_).run(cells, count, out, winner_bytes(form_));
        places_.write(reinterpret_cast<std::int64_t*>(out), count,
                      [&](std::int64_t n)
                          POOLWISE_INLINE { return widened<std::int64_t>(cells + n); });
    }
    void finish() { places_.finish(); }

  private:
    WinnerForm form_ = WinnerForm::none;
    Outputs<AsItIs<std::int64_t>, std::int64_t> places_;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
