"""Results as Markdown and CSV. Tables in the documents come from here and are never typed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.runner import Result


def markers(name: str) -> tuple[str, str]:
    """The two comments a generated table of this name stands between."""
    return f"<!-- {name}:start -->", f"<!-- {name}:end -->"


START, END = markers("benchmark")
BASE = "torch NCHW"  # the peer whose ratio has a column of its own
YARDSTICK = "copy"


def markdown(results: Sequence[Result], machine: str, notes: Iterable[str] = ()) -> str:
    """One table per number of threads, backward apart from forward, and the flatness in k."""
    parts = [f"Measured on: {machine}.", *notes]
    for threads in dict.fromkeys(result.threads for result in results):
        for direction in ("forward", "backward"):
            chosen = [r for r in results if (r.threads, r.case.direction) == (threads, direction)]
            if chosen:
                parts.append(_table(chosen, f"{direction}, {in_threads(threads)}"))
        parts += _flatness([result for result in results if result.threads == threads])
    return "\n\n".join(parts) + "\n"


def _table(results: Sequence[Result], title: str) -> str:
    peers = list(dict.fromkeys(name for result in results for name in result.timings))
    ratios = [f"{BASE} / ours"] * (BASE in peers) + [f"ours / {YARDSTICK}"] * (YARDSTICK in peers)
    header = [title, *(f"{name}, ms" for name in peers), *ratios]
    rows = []
    for result in results:
        cells = [result.case.name]
        cells += [_milliseconds(result, name) for name in peers]
        if BASE in peers:
            cells.append(number(result.ratio(BASE)))
        if YARDSTICK in peers:
            ratio = result.ratio(YARDSTICK)
            cells.append(number(None if ratio is None else 1 / ratio))
        rows.append(cells)
    return grid(header, rows)


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


def _milliseconds(result: Result, peer: str) -> str:
    timing = result.timings.get(peer)
    return number(None if timing is None else 1e3 * timing.best)


def _flatness(results: Sequence[Result]) -> list[str]:
    """`t(31) / t(5)`: about 1 says that the time does not grow with the window."""
    seconds = {result.case.name: result.ours for result in results}
    lines = []
    for op in ("max", "avg"):
        small, large = seconds.get(f"{op} 5x5/1 pad 2"), seconds.get(f"{op} 31x31/1 pad 15")
        if small and large:
            lines.append(
                f"Flat in k, {op}, {in_threads(results[0].threads)}: "
                f"t(31x31) / t(5x5) = {large / small:.2f}."
            )
    return lines


FIELDS = ("case", "group", "direction", "threads", "isa", "peer", "best_ms", "median_ms", "rounds")


def write_csv(path: Path, results: Iterable[Result], isa: str) -> None:
    """One line per case, thread count and peer: the form that is easy to compare later."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for result in results:
            case = result.case
            for peer, timing in result.timings.items():
                best, median = (f"{1e3 * t:.4f}" for t in (timing.best, timing.median))
                named = (case.name, case.group, case.direction, result.threads, isa, peer)
                writer.writerow([*named, best, median, timing.rounds])


def replace_between_markers(document: str, table: str, name: str = "benchmark") -> str:
    """The document with everything between the two markers of this name replaced by the table."""
    first, last = markers(name)
    head, start, rest = document.partition(first)
    _, end, tail = rest.partition(last)
    if not (start and end):
        raise ValueError(f"the document has no {first} followed by {last}")
    return f"{head}{first}\n\n{table}\n{last}{tail}"
