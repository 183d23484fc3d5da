"""Draws what a pooling reads: the map as a grid, its windows, the cells it misses and repeats.

matplotlib is imported on the way in, through its object interface and the Agg canvas, so that no
window system is needed and no global state is touched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poolwise.cli._explain_geometry import Reading
from poolwise.cli._explain_text import legend, title

if TYPE_CHECKING:
    from poolwise._axis import Int64Array
    from poolwise.windows import AxisPlan

SUFFIXES = (".pdf", ".png", ".svg")
LARGEST_SIDE = 2048  # beyond this a cell is less than a pixel, and a missed row could vanish
DOTS_PER_INCH = 150
PIXELS_PER_CELL = 3
MOST_ASPECT = 0.4  # maps more stretched than this are drawn with cells that are not square
NEVER, ONCE, AGAIN = "#d9482b", "#eef2f6", ("#b9d3ea", "#7fb0da", "#3f82bd", "#1f5c94")
OUTLINES = ("#1b1b1b", "#8a4fbf", "#1d8a5a", "#c27a00")
OUTLINED_PER_AXIS = 16  # with more windows than this only those in the corners are outlined
LINED_SIDE = 64  # maps larger than this have no lines between their cells


def draw(reading: Reading, path: Path) -> None:
    """Draw to a file; ModuleNotFoundError without matplotlib, OSError as writing does."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = reading.alone()
    columns = min(len(parts), 3)
    rows = -(-len(parts) // columns)
    height, width = _panel_inches(reading)
    size = (columns * (max(width, 4.5) + 0.8), rows * (height + 1.6) + 0.4)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title(reading), fontsize=13)
    panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for panel in panels[len(parts) :]:
        panel.set_axis_off()
    for panel, part in zip(panels, parts, strict=False):
        _draw_grid(panel, part)
        _label(panel, part, (height, width))
    figure.savefig(path, format=path.suffix[1:].lower(), bbox_inches="tight", pad_inches=0.15)


def _panel_inches(reading: Reading) -> tuple[float, float]:
    """Height and width of one map: at least a few pixels per cell, and no thin ribbon."""
    longest = max(reading.shape)
    inches = float(np.clip(PIXELS_PER_CELL * longest / DOTS_PER_INCH, 5.5, 41.0))
    height, width = (max(inches * side / longest, MOST_ASPECT * 5.5) for side in reading.shape)
    return height, width


def _draw_grid(panel: Any, part: Reading) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    height, width = part.shape
    colours = (NEVER, ONCE, *AGAIN)
    shown = np.minimum(part.coverage(), len(colours) - 1)
    bounds = [n - 0.5 for n in range(len(colours) + 1)]
    panel.imshow(
        shown,
        cmap=ListedColormap(colours),
        norm=BoundaryNorm(bounds, len(colours)),
        extent=(0, width, height, 0),
        interpolation="nearest",
        aspect="equal" if min(part.shape) >= MOST_ASPECT * max(part.shape) else "auto",
    )
    if max(part.shape) <= LINED_SIDE:
        panel.hlines(np.arange(height + 1), 0, width, colors="white", linewidth=0.8)
        panel.vlines(np.arange(width + 1), 0, height, colors="white", linewidth=0.8)
    rows, columns = part.grids[0].axes
    every = max(rows.count, columns.count) <= OUTLINED_PER_AXIS
    _draw_windows(panel, rows, columns, every)
    windows = "windows" if every else "windows, only those in the corners drawn"
    panel.set_title(f"{rows.count} x {columns.count} {windows}", fontsize=10)


def _label(panel: Any, part: Reading, inches: tuple[float, float]) -> None:
    """Row and column numbers, and below them what the colours mean."""
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    for axis, name, size, length in (
        (panel.yaxis, "row", part.shape[0], inches[0]),
        (panel.xaxis, "column", part.shape[1], inches[1]),
    ):
        ticks = _ticks(size, int(2.7 * length))
        axis.set_ticks(ticks + 0.5, labels=[str(tick) for tick in ticks])
        axis.set_tick_params(length=0, labelsize=8)
        axis.set_label_text(name)
    for spine in panel.spines.values():
        spine.set_visible(False)
    never, once, again = legend(part)
    rows, columns = part.grids[0].axes
    most = int(rows.coverage().max() * columns.coverage().max())
    handles = [Patch(color=NEVER, label=never), Patch(color=ONCE, label=once)]
    handles += [Patch(color=AGAIN[0], label=f"{again}, up to {most} times (darker)")] * (most > 1)
    below = panel.transAxes + ScaledTranslation(0, -0.45, panel.figure.dpi_scale_trans)
    panel.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=below,
        frameon=False,
        fontsize=9,
    )


def _draw_windows(panel: Any, rows: AxisPlan, columns: AxisPlan, every: bool) -> None:
    """Outline the windows, neighbours in other colours and insets so that overlaps stay apart."""
    from matplotlib.patches import Rectangle

    large = max(rows.size, columns.size) > LINED_SIDE
    row_edges, column_edges = (_edges(axis, every) for axis in (rows, columns))
    for i, top, bottom in row_edges:
        for j, left, right in column_edges:
            if bottom <= top or right <= left:
                continue  # padding alone: nothing of the map
            number = 2 * (i % 2) + j % 2
            inset = 0.05 * (1 + number)
            panel.add_patch(
                Rectangle(
                    (left + inset, top + inset),
                    right - left - 2 * inset,
                    bottom - top - 2 * inset,
                    fill=False,
                    edgecolor=OUTLINES[number],
                    linewidth=0.8 if large else 1.6,
                    zorder=3,  # above the lines between the cells
                )
            )


def _edges(axis: AxisPlan, every: bool) -> list[tuple[int, int, int]]:
    """Index, start and stop of the windows to outline along one axis."""
    chosen = range(axis.count) if every else sorted({0, 1, axis.count - 2, axis.count - 1})
    starts, stops = axis.starts, axis.stops
    return [(i, int(starts[i]), int(stops[i])) for i in chosen if 0 <= i < axis.count]


def _ticks(size: int, most: int) -> Int64Array:
    """At most about so many round row or column numbers, the last one always among them."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500) if size <= most * s or s == 500)
    ticks = np.arange(0, size, step)
    return np.append(ticks[ticks < size - 1 - step // 2], size - 1)
