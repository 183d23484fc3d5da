"""Rows as Markdown and CSV. A row that misses its target or the floor says so at its end."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from benchmarks.networks.catalogue import LAYOUTS, Layout
from benchmarks.report import grid, in_threads, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.networks.runner import Row

MARKERS = "networks"  # the name of the README's markers
README_BATCH = 8
MISSED = "**missed**"


def markdown(rows: Sequence[Row], machine: str, notes: Iterable[str] = ()) -> str:
    """One table per number of threads with all rows, and a last line that counts the misses."""
    parts = [f"Measured on: {machine}.", *notes]
    for threads in dict.fromkeys(row.setting.threads for row in rows):
        chosen = [row for row in rows if row.setting.threads == threads]
        parts.append(_table(chosen, in_threads(threads)))
    missed = sum(row.missed for row in rows)
    parts.append(f"{missed} of {len(rows)} rows missed their target.")
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Row], title: str) -> str:
    header = [
        title,
        *("batch", "layout", "mode", "torch, ms", "poolwise, ms"),
        *("torch / poolwise", "quartiles", "of medians", "of bests", "target", ""),
    ]
    return grid(header, [_cells(row) for row in rows], names=4)


def _cells(row: Row) -> list[str]:
    setting, ratio = row.setting, row.ratio
    return [
        row.network.name,
        str(setting.batch),
        layout_name(setting.layout, len(row.network.shape)),
        setting.mode,
        *(number(1e3 * samples.median) for samples in (row.torch, row.poolwise)),
        f"{ratio.paired:.2f}",
        f"{ratio.low:.2f}–{ratio.high:.2f}",
        f"{ratio.of_medians:.2f}",
        f"{ratio.of_bests:.2f}",
        f"≥ {row.threshold:.2f}",
        MISSED if row.missed else "",
    ]


def layout_name(layout: Layout, axes: int) -> str:
    """The layout in PyTorch's words, for inputs of so many axes without the batch's."""
    if layout == "nchw":
        return "NCHW" if axes == 3 else "NCDHW"
    return "channels_last" if axes == 3 else "channels_last_3d"


def readme(rows: Sequence[Row], machine: str) -> str:
    """The README's short table: inference of a batch of 8, a line per network, both layouts."""
    parts = [f"Measured on: {machine}."]
    chosen = [r for r in rows if (r.setting.batch, r.setting.mode) == (README_BATCH, "inference")]
    if not chosen:
        raise ValueError(f"the README's table needs rows of batch {README_BATCH} in inference")
    for threads in dict.fromkeys(row.setting.threads for row in chosen):
        found = {
            (row.network.name, row.setting.layout): row
            for row in chosen
            if row.setting.threads == threads
        }
        header = [f"inference, batch {README_BATCH}, {in_threads(threads)}"]
        for layout in LAYOUTS:
            name = layout_name(layout, 3)
            header += [f"torch {name}, ms", "poolwise, ms", "ratio"]
        lines = [
            [name, *(cell for layout in LAYOUTS for cell in _short(found.get((name, layout))))]
            for name in dict.fromkeys(name for name, _ in found)
        ]
        parts.append(grid(header, lines))
    return "\n\n".join(parts) + "\n"


def _short(row: Row | None) -> list[str]:
    if row is None:
        return [number(None)] * 3
    times = [number(1e3 * samples.median) for samples in (row.torch, row.poolwise)]
    return [*times, f"{row.ratio.paired:.2f}"]


FIELDS = (
    *("network", "batch", "layout", "mode", "threads", "isa", "rounds"),
    *("torch_best_ms", "torch_median_ms", "poolwise_best_ms", "poolwise_median_ms"),
    *("ratio", "ratio_lower_quartile", "ratio_upper_quartile"),
    *("ratio_of_medians", "ratio_of_bests", "target", "missed"),
)


def write_csv(path: Path, rows: Iterable[Row], isa: str) -> None:
    """Everything that is known of each row, one line per row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for row in rows:
            setting = row.setting
            named = (row.network.name, setting.batch, setting.layout, setting.mode)
            both = (row.torch, row.poolwise)
            times = [f"{1e3 * t:.4f}" for samples in both for t in (samples.best, samples.median)]
            ratios = [f"{value:.4f}" for value in row.ratio]
            judged = (row.threshold, int(row.missed))
            rounds = len(row.torch.seconds)
            writer.writerow([*named, setting.threads, isa, rounds, *times, *ratios, *judged])
