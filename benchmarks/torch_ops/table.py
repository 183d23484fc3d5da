"""The two tables of `torch-ops` as Markdown, and everything that was measured as CSV."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from benchmarks.report import grid, in_threads, number
from benchmarks.torch_ops.cases import PEERS, TINY_MAP
from benchmarks.torch_ops.runner import OVERHEAD_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.torch_ops.runner import Overhead, Timed


def markdown(timed: Sequence[Timed], overheads: Sequence[Overhead], machine: str) -> str:
    """A table per direction, layout and number of threads, and one of the cost of a call."""
    parts = [f"Measured on: {machine}. Medians of times, and of the ratios of pairs of calls."]
    titles = dict.fromkeys(_title(one) for one in timed)
    parts += [_table(title, [one for one in timed if _title(one) == title]) for title in titles]
    if overheads:
        parts.append(_overhead_table(overheads))
    return "\n\n".join(parts) + "\n"


def _title(timed: Timed) -> str:
    case = timed.case
    size = "x".join(map(str, case.shape))
    return f"{case.direction}, {size}, {case.layout}, {in_threads(timed.threads)}"


def _table(title: str, timed: Sequence[Timed]) -> str:
    peers = [peer for peer in PEERS if any(peer in one.samples for one in timed)]
    header = [title, *(f"{peer}, ms" for peer in ("poolwise", *peers))]
    header += [f"{peer} / poolwise" for peer in peers]
    rows = []
    for one in timed:
        medians = {peer: 1e3 * samples.median for peer, samples in one.samples.items()}
        times = [number(medians.get(peer)) for peer in ("poolwise", *peers)]
        rows.append([one.case.pooling.name, *times, *(number(one.ratio(peer)) for peer in peers)])
    return grid(header, rows)


def _overhead_table(overheads: Sequence[Overhead]) -> str:
    header = [f"one call on {'x'.join(map(str, TINY_MAP))}"]
    for kind in OVERHEAD_KINDS:
        header += [f"poolwise {kind}, µs", f"torch {kind}, µs", "poolwise / torch"]
    rows = []
    for one in overheads:
        cells = [one.pooling.name]
        for kind in OVERHEAD_KINDS:
            cells += [number(1e6 * one.samples[kind, p].median) for p in ("poolwise", "torch")]
            cells.append(f"{one.times_torch(kind):.2f}")
        rows.append(cells)
    return grid(header, rows)


FIELDS = (
    *("pooling", "layout", "direction", "shape", "threads", "isa"),
    *("peer", "best_us", "median_us", "rounds"),
)


def write_csv(
    path: Path, timed: Iterable[Timed], overheads: Iterable[Overhead], threads: int, isa: str
) -> None:
    """One line per case and peer; a tiny tensor's cases are told by their shape."""
    lines: list[tuple[Any, ...]] = [
        (case.pooling.name, case.layout, case.direction, case.shape, one.threads, peer, samples)
        for one in timed
        for case in (one.case,)
        for peer, samples in one.samples.items()
    ]
    lines += [
        (one.pooling.name, "nchw", f"forward, {kind}", TINY_MAP, threads, peer, samples)
        for one in overheads
        for (kind, peer), samples in one.samples.items()
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for *named, shape, count, peer, samples in lines:
            size = "x".join(map(str, shape))
            times = [f"{1e6 * seconds:.3f}" for seconds in (samples.best, samples.median)]
            writer.writerow([*named, size, count, isa, peer, *times, len(samples.seconds)])
