"""The report's pictures, as SVG whose colours are the page's, so one file is light and dark.

matplotlib draws with stand-in colours, and their place is taken by CSS variables afterwards.
Figures are 4.6 inches wide: about a phone's screen, where they are shown at their own size.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

import poolwise.torch as pt
from poolwise.compare.dataset import Dataset
from poolwise.compare.methods import Body, Method
from poolwise.compare.statistics import ALPHA
from poolwise.compare.summary import Comparison
from poolwise.compare.train import Net, as_tensor, body_pool, fitted

INK, MUTED, LINE, ACCENT, GOOD, BAD = (f"#0{k}0{k}0{k}" for k in range(1, 7))
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    ACCENT: "--accent",
    GOOD: "--good",
    BAD: "--bad",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "figure.constrained_layout.use": True,
}
_WIDTH = 4.6
_ROW = 0.27
_MOST_BODIES = 5
_COLUMNS = 3
_WINNER = "#ff7a1a"


def errors(comparison: Comparison) -> str:
    """Test error of every method: each seed a small dot, the mean and its interval."""
    with mpl.rc_context(_STYLE):
        figure, axes = _rows(comparison)
        for k, row in enumerate(comparison.rows):
            each = 100 * (1 - np.array(row.accuracies["native"]))
            axes.plot(each, np.full(len(each), k + 0.3), "o", ms=3, color=MUTED, mew=0)
            colour = ACCENT if k == comparison.best else INK
            low, high = row.error.low, row.error.high
            if low is not None and high is not None:
                axes.plot([100 * max(low, 0), 100 * min(high, 1)], [k, k], color=colour, lw=1.6)
            axes.plot(100 * row.error.mean, k, "o", ms=6, color=colour, mew=0)
        axes.set_xlabel("test error, % (mean and 95 % interval over seeds)")
        return _svg(figure, "errors", "Test error of each method with its interval")


def differences(comparison: Comparison) -> str:
    """Each method against the baseline, paired by seed; colour where p (Holm) is below 0.05."""
    with mpl.rc_context(_STYLE):
        figure, axes = _rows(comparison, 1)
        axes.axvline(0, color=MUTED, lw=1)
        for k, row in enumerate(comparison.rows[1:]):
            found = row.difference
            assert found is not None
            sure = row.p_corrected is not None and row.p_corrected < ALPHA
            colour = (GOOD if found.mean < 0 else BAD) if sure else MUTED
            if found.low is not None and found.high is not None:
                axes.plot([100 * found.low, 100 * found.high], [k, k], color=colour, lw=1.6)
            axes.plot(100 * found.mean, k, "o", ms=6, color=colour, mew=0)
        base = comparison.baseline.method
        axes.set_xlabel(f"points of error against {base} (left is better)")
        return _svg(figure, "differences", "Paired differences to the baseline with intervals")


def error_against_time(comparison: Comparison) -> str:
    """What an image costs at inference, and what is wrong; numbers are the table's."""
    with mpl.rc_context({**_STYLE, "axes.grid.axis": "both", "ytick.labelcolor": MUTED}):
        figure = Figure(figsize=(_WIDTH, 3.2))
        axes = figure.subplots()
        for k, row in enumerate(comparison.rows):
            colour = ACCENT if k == comparison.best else INK
            place = (row.costs.inference_ms, 100 * row.error.mean)
            axes.plot(*place, "o", ms=6, color=colour, mew=0)
            axes.annotate(
                str(k + 1), place, (5, 3), textcoords="offset points", color=colour, fontsize=8
            )
        axes.set_xlim(left=0)
        axes.margins(y=0.12)
        axes.set_xlabel("inference, ms per image (one thread)")
        axes.set_ylabel("test error, %")
        return _svg(figure, "time", "Test error against inference time")


def sizes(comparison: Comparison) -> str:
    """Accuracy at each test size: a line per method, in the table's numbers."""
    with mpl.rc_context({**_STYLE, "axes.grid.axis": "y", "ytick.labelcolor": MUTED}):
        figure = Figure(figsize=(_WIDTH, 3.2))
        axes = figure.subplots()
        names = list(comparison.baseline.accuracies)
        right = np.array([[100 * row.accuracy(n) for n in names] for row in comparison.rows])
        labels_at = _apart(right[:, -1], float(np.ptp(right)) / 24)
        for k, (row, values) in enumerate(zip(comparison.rows, right, strict=True)):
            plain = k not in (0, comparison.best) and not row.method.multi
            colour = MUTED if plain else ACCENT if k == comparison.best else INK
            style = "--" if row.method.multi else "-"
            axes.plot(values, style, marker="o", ms=4, color=colour, lw=0.8 if plain else 1.6)
            place = (len(names) - 0.92, labels_at[k])
            axes.annotate(str(k + 1), place, color=colour, fontsize=8, va="center")
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.2, len(names) - 0.7)
        axes.set_ylabel("right answers, %")
        return _svg(figure, "sizes", "Accuracy at three test sizes")


@torch.inference_mode()
def winners(data: Dataset, net: Net, methods: Sequence[Method]) -> str:
    """One test image, a map of it, what each body pooling keeps of it, and the head's bins.

    All poolings are shown on the same map, from the baseline's first convolution, so what differs
    is the pooling.
    """
    index = _ordinary_image(data)
    first = methods[0]
    seen = fitted(as_tensor(data.images[index], "cpu"), first.fit, data.side)
    maps = net.features[:2](seen[None])
    channel = int(maps[0].std((1, 2), correction=0).argmax())
    one = maps[:, channel : channel + 1]
    last = net.features(seen[None])[0]
    strongest = last[int(last.std((1, 2), correction=0).argmax())]
    bodies = list(dict.fromkeys(method.body for method in methods))[:_MOST_BODIES]
    pictures: list[tuple[str, Any, Callable[[Axes], None]]] = [
        ("the image", data.images[index].transpose(1, 2, 0), _nothing),
        ("a map of it", one[0, 0], _nothing),
    ]
    for body in bodies:
        if body.kind == "max":
            mark = partial(_mark_winners, one=one, body=body)
            pictures.append((f"{body}: winners", one[0, 0], mark))
        pictures.append((f"{body}: kept", body_pool(body)(one)[0, 0], _nothing))
    pictures.append(("a last map", strongest, _nothing))
    mark = partial(_mark_bins, last=strongest, method=first)
    pictures.append((f"{first.head}: bins", strongest, mark))
    with mpl.rc_context({**_STYLE, "axes.grid": False, "axes.titlesize": 8}):
        rows = -(-len(pictures) // _COLUMNS)
        aspect = data.images[index].shape[1] / data.images[index].shape[2]
        height = rows * (1.45 * min(max(aspect, 0.4), 1.6) + 0.25)
        figure = Figure(figsize=(_WIDTH, height))
        grid = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
        for axes in grid:
            axes.set_axis_off()
        for axes, (title, picture, mark_on) in zip(grid, pictures, strict=False):
            axes.imshow(np.asarray(picture), cmap="viridis", interpolation="nearest")
            axes.set_title(title)
            mark_on(axes)
        return _svg(figure, "winners", "Feature maps of one test image under each pooling")


def _ordinary_image(data: Dataset) -> int:
    """Of the larger half of the test images, the one of middling contrast."""
    by_area = sorted(data.test, key=lambda i: data.images[i].size)
    larger = sorted(by_area[len(by_area) // 2 :], key=lambda i: float(data.images[i].std()))
    return int(larger[len(larger) // 2])


def _nothing(axes: Axes) -> None:
    pass


def _apart(values: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Where labels of these values can stand without covering each other, in their order."""
    placed = values.copy()
    for before, k in pairwise(np.argsort(values)):
        placed[k] = max(placed[k], placed[before] + gap)
    placed += float(values.mean() - placed.mean())
    return placed


def _mark_winners(axes: Axes, one: Tensor, body: Body) -> None:
    """A dot on every cell that wins a window; windows of nothing but zeros have no dot."""
    layer: Any = body_pool(body)
    values, indices = pt.max_pool2d(
        one, layer.kernel_size, layer.stride, layer.padding, 1, layer.ceil_mode, True
    )
    rows, columns = np.divmod(indices[values > 0].numpy(), one.shape[-1])
    axes.plot(columns, rows, "o", ms=1.8, color=_WINNER, mew=0)


def _mark_bins(axes: Axes, last: Tensor, method: Method) -> None:
    """Edges of the finest grid, and every level's winners, larger for coarser grids."""
    height, width = last.shape
    finest = max(method.head.levels)
    for i in range(1, finest):
        axes.axhline(i * height / finest - 0.5, color="white", lw=0.5, alpha=0.7)
        axes.axvline(i * width / finest - 0.5, color="white", lw=0.5, alpha=0.7)
    if method.head.reducer != "max":
        return
    for level in method.head.levels:
        _, indices = pt.adaptive_max_pool2d(last[None, None], level, return_indices=True)
        rows, columns = np.divmod(indices.flatten().numpy(), width)
        size = 3 + 6 / level
        axes.plot(columns, rows, "o", ms=size, mfc="none", mec=_WINNER, mew=1)


def _rows(comparison: Comparison, first: int = 0) -> tuple[Figure, Axes]:
    """A line per method from ``first`` on, top to bottom, numbered as in the table."""
    rows = comparison.rows[first:]
    figure = Figure(figsize=(_WIDTH, 0.75 + _ROW * max(len(rows), 1)))
    axes = figure.subplots()
    names = [f"{k} {row.method.short}" for k, row in enumerate(rows, first + 1)]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    return figure, axes


def _svg(figure: Figure, name: str, title: str) -> str:
    """The drawing as an element of a page: the page's colours, ids of its own, scalable."""
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{title}">{rest}'
