"""The generated parts of README.md and docs/speed.md, from results that were timed before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import report
from benchmarks.catalogue import in_readme
from benchmarks.instructions import STORE, counts_table
from benchmarks.targets import Judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Result

ROOT = Path(__file__).resolve().parent.parent
README, SPEED = ROOT / "README.md", ROOT / "docs" / "speed.md"

# A section of docs/speed.md: its heading and its groups.
SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Forward, sliding windows", ("forward",)),
    ("Forward, blocks", ("blocks",)),
    ("Forward, bins and whole maps", ("bins",)),
    ("Forward, small planes", ("planes",)),
    ("Forward, one plane of 8192×8192", ("plane",)),
    ("Forward, SPPF's three in a row", ("chain",)),
    ("Backward", ("backward",)),
    ("Forward with indices", ("argmax",)),
    ("Types", ("dtypes",)),
    ("One and three dimensions", ("1d", "3d")),
    ("Spatial pyramids", ("pyramid",)),
    ("Small calls", ("small",)),
)


def readme(results: Sequence[Result], machines: Sequence[str]) -> None:
    """Writes SPEED's cases into the README; `ValueError` if they were not timed."""
    chosen = [result for result in results if in_readme(result.case)]
    if not chosen:
        raise ValueError("these results have no case of the README; time --cases readme")
    judge = Judge(chosen)
    head = [f"Measured on: {machine}." for machine in machines]
    parts = [*head, report.LEGEND, *report.tables(chosen, judge), report.flatness(chosen)]
    _write(README, "benchmark", [*parts, report.summary(chosen)])


def speed(results: Sequence[Result], machines: Sequence[str]) -> None:
    """Writes everything into docs/speed.md."""
    judge = Judge(results)
    parts = [*(f"Measured on: {machine}." for machine in machines), report.LEGEND]
    parts.append(report.summary(results))
    for heading, groups in SECTIONS:
        chosen = [result for result in results if result.case.group in groups]
        if chosen:
            parts += [f"## {heading}", report.summary(chosen), *report.tables(chosen, judge)]
    comparisons = (
        ("Flat in the kernel", report.flatness(results)),
        ("Two threads", report.scaling(results)),
        ("Instructions per output", counts_table(json.loads(STORE.read_text(encoding="utf-8")))),
        ("Peers that gave another answer", "\n\n".join(report.differences(results))),
    )
    for heading, text in comparisons:
        if text:
            parts += [f"## {heading}", text]
    _write(SPEED, "speed", parts)


def _write(path: Path, name: str, parts: Sequence[str]) -> None:
    text = path.read_text(encoding="utf-8")
    body = "\n\n".join(part for part in parts if part) + "\n"
    path.write_text(report.replace_between_markers(text, body, name), encoding="utf-8")
