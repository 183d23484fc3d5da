"""What a run leaves behind, and the CSV file that keeps it: tables are made from either.

A long run is done in parts, each with a file; read together, the later file's timing of a case
takes the place of the earlier's, whole, since ratios only hold inside one run.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.catalogue import CASES, TINY
from benchmarks.peers import COPY, OURS, READ, YARDSTICKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.cases import Case


@dataclass(frozen=True)
class Timing:
    """Seconds of one call."""

    best: float
    median: float
    rounds: int


@dataclass(frozen=True)
class Result:
    """One case with one number of threads: timings by the peer's name, and why some have none."""

    case: Case
    threads: int
    isa: str
    timings: dict[str, Timing]
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int, str]:
        return self.case.id, self.threads, self.isa

    @property
    def ours(self) -> float:
        return self.timings[OURS].best

    @property
    def fastest(self) -> str | None:
        """The fastest peer's name; yardsticks are no peers."""
        names = [name for name in self.timings if name not in (OURS, *YARDSTICKS)]
        return min(names, key=lambda name: self.timings[name].best, default=None)

    def seconds(self, peer: str | None) -> float | None:
        timing = self.timings.get(peer or "")
        return None if timing is None else timing.best

    def ratio(self, peer: str | None) -> float | None:
        """How many times longer the peer took: above 1, poolwise is the faster."""
        seconds = self.seconds(peer)
        return None if seconds is None else seconds / self.ours

    @property
    def yardstick(self) -> str:
        """The copy, or where hardly anything is written the reading."""
        return READ if self.case.reads_most and READ in self.timings else COPY

    def to_yardstick(self) -> float | None:
        """Our time as a multiple of the yardstick's."""
        ratio = self.ratio(self.yardstick)
        return None if ratio is None else 1 / ratio


FIELDS = (
    *("group", "case", "dtype", "layout", "direction", "size", "shape", "threads", "isa"),
    *("peer", "best_ms", "median_ms", "rounds", "note"),
)
_MACHINE = "# measured on: "


def write_csv(path: Path, results: Iterable[Result], machines: Iterable[str]) -> None:
    """One line per case, number of threads and peer, below a comment that names the machine."""
    with path.open("w", newline="", encoding="utf-8") as file:
        for machine in machines:
            file.write(f"{_MACHINE}{machine}\n")
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for result in results:
            writer.writerows(_lines(result))


def _lines(result: Result) -> Iterator[tuple[object, ...]]:
    case = result.case
    shape = "x".join(map(str, case.shape))
    named = (case.group, case.name, case.dtype, case.layout, case.direction, case.size, shape)
    for peer, timing in result.timings.items():
        best, median = (f"{1e3 * t:.6g}" for t in (timing.best, timing.median))
        yield *named, result.threads, result.isa, peer, best, median, timing.rounds, ""
    for peer, note in result.notes.items():
        yield *named, result.threads, result.isa, peer, "", "", "", note


def read_csv(
    paths: Sequence[Path], note: Callable[[str], None] = print
) -> tuple[list[Result], list[str]]:
    """The results of all files, in the catalogue's order, and the machines they come from."""
    cases = {case.id: case for case in (*TINY, *CASES)}
    order = {name: number for number, name in enumerate(cases)}
    results: dict[tuple[str, int, str], Result] = {}
    machines: dict[str, None] = {}
    for path in paths:
        found: dict[tuple[str, int, str], Result] = {}
        for row in _rows(path, machines):
            name = "|".join(
                row[key] for key in ("group", "case", "dtype", "layout", "direction", "size")
            )
            if name not in cases:
                note(f"{path.name}: {name} is no case any more; left out")
                continue
            key = name, int(row["threads"]), row["isa"]
            result = found.setdefault(key, Result(cases[name], key[1], key[2], {}))
            if row["note"]:
                result.notes[row["peer"]] = row["note"]
            else:
                best, median = (float(row[key]) / 1e3 for key in ("best_ms", "median_ms"))
                result.timings[row["peer"]] = Timing(best, median, int(row["rounds"]))
        results.update(found)
    timed = [result for result in results.values() if OURS in result.timings]
    return sorted(timed, key=lambda one: (order[one.case.id], -one.threads)), list(machines)


def _rows(path: Path, machines: dict[str, None]) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = []
        for line in file:
            if line.startswith(_MACHINE):
                machines[line.removeprefix(_MACHINE).strip()] = None
            else:
                lines.append(line)
    reader = csv.DictReader(lines)
    if tuple(reader.fieldnames or ()) != FIELDS:
        raise ValueError(f"{path} is no file of `python -m benchmarks run -o`")
    yield from reader
