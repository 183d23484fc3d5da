// Across rows: two stacks (van Herk / Gil-Werman), so a window of any height costs three joins per
// row.
//
// A window [start, stop) is cut at its `split`: rows before it come from suffix reductions made
// when the split moved, rows after it from a running prefix. Nothing is ever subtracted: the error
// of a sum is bounded by its window, and an infinity or NaN stays inside the windows that see it.
// Low windows are joined directly. Sources: van Herk 1992, Gil and Werman 1993.
#pragma once

#include "operations.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// longer[n] = prefix, row; target[n] = suffix, longer
template <class Op>
POOLWISE_APART void join_onto(typename Op::Row target, typename Op::Row suffix,
                              typename Op::Row longer, typename Op::Row prefix,
                              typename Op::Row row, std::int64_t count) {
    POOLWISE_LANES
    for (std::int64_t n = 0; n < count; ++n) {
        const typename Op::Element e = Op::join(Op::get(prefix, n), Op::get(row, n));
        Op::put(longer, n, e);
        Op::put(target, n, Op::join(Op::get(suffix, n), e));
    }
}

template <class Op> class Stack {
    using Row = typename Op::Row;

  public:
    // Where rows are made `at_once`, their slots lie `pitch` apart, and aligned, so that as many
    // rows never wrap around.
    Stack(const RowProgram& program, std::int64_t length, Arena& arena, std::int64_t at_once = 1,
          std::int64_t pitch = 0)
        : p_(program), length_(length), ring_(ring_of(program, at_once)) {
        rows_ = arena.take<Row>(ring_);
        slots_ = arena.take<Row>(ring_);
        if (at_once > 1) {
            const Row block = arena.template row<Op>(ring_ * pitch);
            for (std::int64_t r = 0; r < ring_; ++r) slots_[r] = block.at(r * pitch);
        } else if (p_.ring > 1) {
            for (std::int64_t r = 0; r < ring_; ++r) slots_[r] = arena.template row<Op>(length);
        }
        if (p_.two_stack) prefix_buffer_ = arena.template row<Op>(length);
    }

    static std::int64_t ring_of(const RowProgram& program, std::int64_t at_once) {
        return (program.ring + 2 * at_once - 2) / at_once * at_once;
    }

    // produce(row, slot) -> where that row now lies (slot, or the input itself);
    // emit(window, write) calls write(target) with the place for that window's result.
    template <class Produce, class Emit>
    void run(std::int64_t first, std::int64_t last, Produce&& produce, Emit&& emit) {
        std::int64_t base = -1, pushed = 0, split = -1;
        for (std::int64_t e = first; e < last; ++e) {
            const RowWindow& w = p_.windows[e];
            if (w.start >= w.stop) {
                emit(w, [&](Row target) { fill_nothing<Op>(target, length_); });
                continue;
            }
            if (p_.ring == 1) {
                emit(w, [&](Row target) { single(w, target, produce); });
                continue;
            }
            if (w.base != base) {
                base = w.base;
                pushed = w.start;
                split = -1;
            }
            if (p_.exclusive) {
                emit(w, [&](Row target) {
                    Joiner<Op> joiner(target, length_);
                    for (std::int64_t j = w.start; j < w.stop; ++j) {
                        push(base, j, produce);
                        joiner.add(at(j));
                    }
                    joiner.finish();
                });
                continue;
            }
            if (pushed < w.start) pushed = w.start;
            if (p_.two_stack) {
                if (w.split != split) {
                    for (; pushed < w.split; ++pushed) push(base, pushed, produce);
                    split = w.split;
                    make_suffixes(w.start, split);
                    prefix_ = Row{};
                    for (std::int64_t j = split; j < pushed; ++j) extend_prefix(j);
                }
                for (; pushed < w.stop - 1; ++pushed) {
                    push(base, pushed, produce);
                    extend_prefix(pushed);
                }
                emit(w, [&](Row target) {
                    const bool last = pushed < w.stop;
                    if (last) push(base, pushed++, produce);
                    if (last && prefix_.v)  // as both of the below, in one pass
                        return extend_and_join(target, at(w.start), at(w.stop - 1));
                    if (last) extend_prefix(w.stop - 1);
                    Joiner<Op> joiner(target, length_);
                    joiner.add(at(w.start));
                    if (w.stop > split) joiner.add(prefix_);
                    joiner.finish();
                });
            } else {
                for (; pushed < w.stop; ++pushed) push(base, pushed, produce);
                emit(w, [&](Row target) {
                    Joiner<Op> joiner(target, length_);
                    for (std::int64_t j = w.start; j < w.stop; ++j) joiner.add(at(j));
                    joiner.finish();
                });
            }
        }
    }

  private:
    Row& at(std::int64_t j) { return rows_[j % ring_]; }

    template <class Produce> void push(std::int64_t base, std::int64_t j, Produce&& produce) {
        at(j) = produce(base + j * p_.step, slots_[j % ring_]);
    }

    template <class Produce> void single(const RowWindow& w, Row target, Produce&& produce) {
        const Row made = produce(w.base + w.start * p_.step, target);
        if (made.v != target.v) join_rows<Op, 1>(target, &made, length_);
    }

    // Rows [start, split) become the reductions of [row, split), from the last one up.
    void make_suffixes(std::int64_t start, std::int64_t split) {
        for (std::int64_t j = split - 2; j >= start; --j) {
            const Row both[2] = {at(j), at(j + 1)};
            join_rows<Op, 2>(slots_[j % ring_], both, length_);
            at(j) = slots_[j % ring_];
        }
    }

    void extend_prefix(std::int64_t j) {
        const Row row = at(j);
        if (!prefix_.v) {
            prefix_ = row;
            return;
        }
        const Row both[2] = {prefix_, row};
        join_rows<Op, 2>(prefix_buffer_, both, length_);
        prefix_ = prefix_buffer_;
    }

    // The prefix takes one more row, and the window is what it then makes with the suffix.
    void extend_and_join(Row target, Row suffix, Row row) {
        join_onto<Op>(target, suffix, prefix_buffer_, prefix_, row, length_);
        prefix_ = prefix_buffer_;
    }

    const RowProgram& p_;
    std::int64_t length_, ring_;
    Row* rows_;
    Row* slots_;
    Row prefix_buffer_{}, prefix_{};
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
