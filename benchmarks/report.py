"""Results as Markdown. Tables in the documents come from here and are never typed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.peers import COPY, OURS
from benchmarks.runner import DIFFERS
from benchmarks.targets import FLAT_LIMIT, SCALING, Judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.results import Result

MISS = "✗"


def markers(name: str) -> tuple[str, str]:
    """The two comments a generated table of this name stands between."""
    return f"<!-- {name}:start -->", f"<!-- {name}:end -->"


START, END = markers("benchmark")
LEGEND = (
    "Times are the best of interleaved rounds, in ms. `copy` copies as many bytes as the case must "
    f"move; where hardly anything is written, `read` reads the input instead (r). {MISS} marks a "
    "missed target, with what was reached for what is wanted."
)


def markdown(
    results: Sequence[Result],
    machines: Iterable[str],
    notes: Iterable[str] = (),
    *,
    wide: bool = False,
) -> str:
    """A table per group, direction, dtype, layout, size, ISA and threads, then the comparisons."""
    parts = [*(f"Measured on: {machine}." for machine in machines), *notes, LEGEND]
    parts += tables(results, Judge(results), wide=wide)
    parts += [part for part in (flatness(results), scaling(results)) if part]
    parts += [*differences(results), summary(results)]
    return "\n\n".join(parts) + "\n"


def tables(results: Sequence[Result], judge: Judge, *, wide: bool = False) -> list[str]:
    """The tables alone; `judge` may know more results than are shown."""
    titles = dict.fromkeys(_title(result) for result in results)
    return [
        table([r for r in results if _title(r) == title], title, judge, wide=wide)
        for title in titles
    ]


def _title(result: Result) -> str:
    case = result.case
    words = [case.group, case.dtype, case.layout.upper(), case.size]
    if case.direction not in (case.group, "forward"):
        words.insert(1, case.direction)
    return f"{', '.join(words)}, {in_threads(result.threads)}, {result.isa}"


def table(results: Sequence[Result], title: str, judge: Judge, *, wide: bool = False) -> str:
    """Ours, the fastest peer, the yardstick and the verdict; `wide` has every peer's time too."""
    others = list(dict.fromkeys(name for r in results for name in r.timings)) if wide else []
    others = [name for name in others if name != OURS]
    head = ["ours", "fastest peer", "", "fastest / ours", COPY, f"ours / {COPY}", "verdict"]
    rows = []
    for result in results:
        misses = judge.missed(result)
        rows.append(
            [
                result.case.name,
                _ms(result, OURS),
                _ms(result, result.fastest),
                result.fastest or "-",
                number(result.ratio(result.fastest)),
                _ms(result, result.yardstick),
                number(result.to_yardstick()) + " r" * (result.yardstick != COPY),
                f"{MISS} {'; '.join(map(str, misses))}" if misses else "✓",
                *(_ms(result, name) for name in others),
            ]
        )
    return grid([title, *head, *others], rows)


def flatness(results: Sequence[Result]) -> str:
    """Our time for a large kernel over that for 5x5: about 1 says it does not grow with k."""
    sizes = ("5x5/1 pad 2", "31x31/1 pad 15", "63x63/1 pad 31")
    rows = []
    for small in results:
        case = small.case
        if case.group not in ("forward", "plane") or case.name != f"{case.op} {sizes[0]}":
            continue
        run = f"{in_threads(small.threads)}, {small.isa}"
        cells = [f"{case.op} {case.layout.upper()} {case.size}, {run}"]
        for size in sizes[1:]:
            large = _like(results, small, f"{case.op} {size}")
            cells.append("-" if large is None else _flat(large.ours / small.ours))
        rows.append([f"{case.group}: {cells[0]}", *cells[1:]])
    return grid(["flat in k", "t(31) / t(5)", "t(63) / t(5)"], rows) if rows else ""


def _flat(value: float) -> str:
    return number(value) + f" {MISS}" * (value > FLAT_LIMIT)


def _like(results: Iterable[Result], one: Result, name: str) -> Result | None:
    wanted = replace(one.case, name=name)
    return next((r for r in results if (r.case.id, *r.key[1:]) == (wanted.id, *one.key[1:])), None)


def scaling(results: Sequence[Result]) -> str:
    """How much faster two threads are than one, forward and in cache: per layout, all cases."""
    seconds = {result.key: result.ours for result in results}
    rows = []
    for result in results:
        case, one = result.case, (result.case.id, 1, result.isa)
        if result.threads != 2 or one not in seconds or case.group not in ("forward", "plane"):
            continue
        if case.group == "forward" and case.size != "cache":
            continue
        speedup = seconds[one] / result.ours
        miss = f" {MISS}" * (speedup < SCALING)
        name = f"{case.group}: {case.name} {case.layout.upper()}"
        rows.append([name, number(1e3 * seconds[one]), _ms(result, OURS), number(speedup) + miss])
    header = ["two threads, forward", "1 thread, ms", "2 threads, ms", "times as fast"]
    return grid(header, rows) if rows else ""


def differences(results: Iterable[Result]) -> list[str]:
    """A line for each peer that was not timed because its answer was not ours."""
    return [
        f"{MISS} {result.case.id}, {in_threads(result.threads)}: {peer} gave {note}."
        for result in results
        for peer, note in result.notes.items()
        if note.startswith(DIFFERS)
    ]


def summary(results: Sequence[Result]) -> str:
    """How many cells meet each target, and how many meet all that they have."""
    judge = Judge(results)
    met: Counter[str] = Counter()
    of_all: Counter[str] = Counter()
    good = 0
    for result in results:
        verdicts = judge.verdicts(result)
        good += all(verdict.met for verdict in verdicts)
        for verdict in verdicts:
            met[verdict.target] += verdict.met
            of_all[verdict.target] += 1
    each = ", ".join(f"`{name}` {met[name]} of {count}" for name, count in of_all.items())
    text = f"{good} of {len(results)} cells meet all their targets"
    return f"{text}: {each}." if each else f"{text}."


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """A Markdown table: the first `names` columns are names, the others numbers, to the right."""
    rule = ["---"] * names + ["---:"] * (len(header) - names)
    return "\n".join(_row(cells) for cells in (header, rule, *rows))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def in_threads(count: int) -> str:
    """`1 thread`, `2 threads`."""
    return f"{count} thread{'s' if count > 1 else ''}"


def number(value: float | None) -> str:
    """Three digits, or a dash for what was not measured."""
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _ms(result: Result, peer: str | None) -> str:
    seconds = result.seconds(peer)
    return number(None if seconds is None else 1e3 * seconds)


def replace_between_markers(document: str, table: str, name: str = "benchmark") -> str:
    """The document with everything between the two markers of this name replaced by the table."""
    first, last = markers(name)
    head, start, rest = document.partition(first)
    _, end, tail = rest.partition(last)
    if not (start and end):
        raise ValueError(f"the document has no {first} followed by {last}")
    return f"{head}{first}\n\n{table}\n{last}{tail}"
