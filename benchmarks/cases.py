"""The cases, as data: add a line, not a script.

Sizes are those of a large early layer of a network (8 x 64 x 112 x 112, 26 MB of float32), where
pooling is bound by memory, except the pyramid's: 256 maps of 13 x 13 are SPP-net's conv5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EARLY_LAYER = (8, 64, 112, 112)
CONV5 = (1, 256, 13, 13)


@dataclass(frozen=True)
class Case:
    """One pooling of one array. `shape` is (N, C, H, W) whatever the layout in memory is."""

    name: str
    group: str
    op: Literal["max", "avg"]
    shape: tuple[int, int, int, int] = EARLY_LAYER
    kernel: int = 0
    stride: int = 1
    padding: int = 0
    output_size: int = 0
    levels: tuple[int, ...] = ()
    layout: Literal["nchw", "nhwc"] = "nchw"
    direction: Literal["forward", "backward"] = "forward"

    @property
    def kind(self) -> Literal["sliding", "adaptive", "pyramid"]:
        if self.levels:
            return "pyramid"
        return "adaptive" if self.output_size else "sliding"


def sliding(
    op: Literal["max", "avg"],
    kernel: int,
    stride: int,
    padding: int = 0,
    *,
    group: str = "sliding",
    layout: Literal["nchw", "nhwc"] = "nchw",
    direction: Literal["forward", "backward"] = "forward",
) -> Case:
    """A sliding case named as papers name it: `max 3x3/2 pad 1`."""
    name = f"{op} {kernel}x{kernel}/{stride}" + (f" pad {padding}" if padding else "")
    if layout == "nhwc":
        name += " NHWC"
    if direction == "backward":
        name += " backward"
    return Case(
        name,
        group,
        op,
        kernel=kernel,
        stride=stride,
        padding=padding,
        layout=layout,
        direction=direction,
    )


OPS: tuple[Literal["max", "avg"], ...] = ("max", "avg")
# (kernel, stride, padding). PyTorch allows a padding of half the kernel and no more.
SIZES = ((2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 1, 2), (7, 1, 3), (9, 1, 4), (13, 1, 6), (31, 1, 15))
BACKWARD_SIZES = ((2, 2, 0), (3, 2, 1), (5, 1, 2), (13, 1, 6))
NHWC_SIZES = ((2, 2, 0), (3, 2, 1), (3, 1, 1), (13, 1, 6))

CASES: tuple[Case, ...] = (
    *(sliding(op, *size) for op in OPS for size in SIZES),
    *(Case(f"{op} adaptive 7x7", "bins", op, output_size=7) for op in OPS),
    *(Case(f"{op} global", "bins", op, output_size=1) for op in OPS),
    *(
        Case(f"{op} pyramid 1,2,4 of 256x13x13", "bins", op, shape=CONV5, levels=(1, 2, 4))
        for op in OPS
    ),
    *(sliding(op, *size, group="nhwc", layout="nhwc") for op in OPS for size in NHWC_SIZES),
    *(
        sliding(op, *size, group="backward", direction="backward")
        for op in OPS
        for size in BACKWARD_SIZES
    ),
)

# Only for the tests of the runner: big enough to have a border, small enough to take no time.
TINY: tuple[Case, ...] = (
    Case("tiny max 3x3/2 pad 1", "tiny", "max", (2, 3, 9, 8), kernel=3, stride=2, padding=1),
    Case(
        "tiny avg 3x3/1 backward",
        "tiny",
        "avg",
        (2, 3, 9, 8),
        kernel=3,
        direction="backward",
    ),
    Case("tiny max pyramid", "tiny", "max", (2, 3, 9, 8), levels=(1, 2)),
)


def choose(wanted: str | None) -> tuple[Case, ...]:
    """Cases by group or by a part of the name, comma-separated; None is all but the tiny ones."""
    if wanted is None:
        return CASES
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    chosen = [
        case
        for case in (*CASES, *TINY)
        if any(word == case.group or (word != "tiny" and word in case.name) for word in words)
    ]
    if not chosen:
        groups = ", ".join(sorted({case.group for case in (*CASES, *TINY)}))
        raise ValueError(f"no case matches {wanted!r}; the groups are {groups}")
    return tuple(chosen)
