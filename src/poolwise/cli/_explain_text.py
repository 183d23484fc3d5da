"""The report of `poolwise explain` as lines of text, without colours, the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from poolwise._axis import Int64Array
from poolwise.cli._explain_geometry import AXIS_NAMES, Pair, Reading, remedies
from poolwise.windows import AxisPlan

SHOWN_WINDOWS = 8
SHOWN_RUNS = 8
LABEL_WIDTH = 14


def report(reading: Reading) -> list[str]:
    """The whole report: the pooling, its windows, what it misses and repeats, what would help."""
    rows, columns = reading.shape
    lines = [
        _line("map", f"{rows} x {columns} = {reading.cells} cells"),
        _line("pooling", reading.spec.options()),
    ]
    lines += [_line("not possible", problem) for problem in reading.problems]
    for part, level in zip(reading.alone(), reading.spec.levels or ((0, 0),), strict=True):
        lines += ["", *_grid_lines(part, level)]
    if len(reading.grids) > 1:
        lines += ["", *_together_lines(reading)]
    lines.append("")
    if reading.reads_everything():
        lines.append(_line("to change", "nothing: every cell is read"))
        return lines
    label = "to read all"
    for remedy in remedies(reading):
        lines.append(_line(label, f"{remedy.spec.options()}   (output {_output(remedy)})"))
        label = ""
        if remedy.spec.sliding is None and len(remedy.grids) == 1:
            lines += _window_lines(remedy)
    return lines


def _grid_lines(part: Reading, level: Pair) -> list[str]:
    """One grid: its output, its windows, and what it never reads or reads more than once."""
    never, _, more = part.totals()
    never_where = [_name_runs(name, _where(part, axis, 0)) for axis, name in enumerate(AXIS_NAMES)]
    more_where = [_name_runs(name, _where(part, axis, 2)) for axis, name in enumerate(AXIS_NAMES)]
    output = _line("output", _output(part))
    if part.problems:
        output = _line("would be", f"{_output(part)}, built as the formula says")
    return [
        output,
        *_formula_lines(part, level),
        *_window_lines(part),
        _line("never read", share(never, part.cells) + _listed(never_where)),
        _line("read again", share(more, part.cells) + _listed(more_where) + _at_most(part)),
    ]


def _formula_lines(part: Reading, level: Pair) -> list[str]:
    """How the bins follow from the map's size, with the numbers put in."""
    if part.spec.sliding is not None:
        return []
    texts = []
    for a, n in zip(part.shape, level, strict=True):
        if part.spec.training:
            size, stride = -(-a // n), a // n
            texts.append(f"size ceil({a}/{n}) = {size}, stride floor({a}/{n}) = {stride}")
        else:
            texts.append(f"bin i is floor(i*{a}/{n}):ceil((i+1)*{a}/{n})")
    if texts[0] == texts[1]:
        return [_line("formula", texts[0])]
    return [_line(f"{name} formula", text) for name, text in zip(AXIS_NAMES, texts, strict=True)]


def _at_most(part: Reading) -> str:
    """How often the most-read cell is read, where that is more than once."""
    most = int(part.axis_coverage(0).max() * part.axis_coverage(1).max())
    return f"; up to {most} times" if most > 1 else ""


def _together_lines(reading: Reading) -> list[str]:
    never, once, more = reading.totals()
    return [
        _line("all levels", f"{_output(reading)} = {_numbers(reading)} numbers per channel"),
        _line("never read", share(never, reading.cells)),
        _line("read once", share(once, reading.cells)),
        _line("read again", share(more, reading.cells) + ", as a pyramid should"),
    ]


def _output(reading: Reading) -> str:
    shapes = (grid.output_shape for grid in reading.grids)
    return " + ".join(f"{rows} x {columns}" for rows, columns in shapes)


def _numbers(reading: Reading) -> int:
    shapes = (grid.output_shape for grid in reading.grids)
    return sum(rows * columns for rows, columns in shapes)


def _window_lines(part: Reading) -> list[str]:
    rows, columns = part.grids[0].axes
    if _windows(rows) == _windows(columns):
        return [_line("windows", f"{_windows(rows)}   (rows and columns)")]
    return [_line("row windows", _windows(rows)), _line("column windows", _windows(columns))]


def _windows(axis: AxisPlan) -> str:
    """The windows as Python slices, clipped to the map; the middle ones of many left out."""
    step = f":{axis.dilation}" if axis.dilation > 1 and axis.rule == "sliding" else ""
    slices = [f"{start}:{stop}{step}" for start, stop in zip(axis.starts, axis.stops, strict=True)]
    if len(slices) > SHOWN_WINDOWS:
        slices = [*slices[: SHOWN_WINDOWS - 2], "...", slices[-1], f"({len(slices)} windows)"]
    return "  ".join(slices)


def _where(part: Reading, axis: int, times: int) -> Int64Array:
    """The rows or columns that windows along their axis never read (0), or read again (2)."""
    coverage = part.axis_coverage(axis)
    return np.flatnonzero(coverage == 0 if times == 0 else coverage >= times)


def _name_runs(name: str, indices: Int64Array) -> str:
    """`rows 3, 6-8`, or "" for none; the middle of a long list is left out."""
    if indices.size == 0:
        return ""
    breaks = np.flatnonzero(np.diff(indices) > 1) + 1
    runs = [(int(run[0]), int(run[-1])) for run in np.split(indices, breaks)]
    words = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    if len(words) > SHOWN_RUNS:
        words = [*words[: SHOWN_RUNS - 2], "...", f"{words[-1]} ({indices.size} in all)"]
    return f"{name}{'s' if indices.size > 1 else ''} {', '.join(words)}"


def _listed(where: Iterable[str]) -> str:
    named = [text for text in where if text]
    return f": {'; '.join(named)}" if named else ""


def share(count: int, cells: int) -> str:
    """`27 of 196 cells (13.8 %)`, or `none`; never 0.0 % for some nor 100.0 % for not all."""
    if count == 0:
        return "none"
    percent = 100 * count / cells
    text = f"{percent:.1f}"
    if text == "0.0":
        text = "< 0.1"
    elif text == "100.0" and count < cells:
        text = "> 99.9"
    return f"{count} of {cells} cells ({text} %)"


def _line(label: str, text: str) -> str:
    return f"{label:<{LABEL_WIDTH}}  {text}"


def title(reading: Reading) -> str:
    """One line for the head of a picture."""
    rows, columns = reading.shape
    return f"{rows} x {columns} map, {reading.spec.options().replace('--', '')}"


def legend(part: Reading) -> Sequence[str]:
    """The three captions of a picture: never read, read once, read more than once."""
    never, once, more = part.totals()
    where = _listed(_name_runs(name, _where(part, a, 0)) for a, name in enumerate(AXIS_NAMES))
    return (
        f"never read: {share(never, part.cells)}{where if never else ''}",
        f"read once: {share(once, part.cells)}",
        f"read again: {share(more, part.cells)}",
    )
