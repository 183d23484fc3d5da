"""`poolwise explain`: which cells of a map a pooling reads, never or again, and what would fix it.

The survey ends on a doubt: on a 14 x 14 map the 4 x 4 grid seems to leave the last row and column
unread. This command answers it for anyone's numbers.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli._explain_geometry import Pair, Reading, SlidingSpec, Spec, read
from poolwise.cli._explain_text import report

LARGEST = 65536  # of any number on the command line: more is a typing error, not a map
MOST_LEVELS = 12


class Rule(StrEnum):
    """How bins are laid out: SPP-net's Appendix A (adaptive) or the formula it trained with."""

    adaptive = "adaptive"
    training = "training"


def explain(
    size: Annotated[str, typer.Option("--size", metavar="HxW", help="The map: 14, or 14x20.")],
    bins: Annotated[
        str | None, typer.Option("--bins", metavar="N", help="A grid of bins: 4, or 4x6.")
    ] = None,
    levels: Annotated[
        str | None, typer.Option("--levels", metavar="N,N", help="A pyramid of grids: 1,2,4.")
    ] = None,
    rule: Annotated[
        Rule | None, typer.Option("--rule", help="Of bins and levels; adaptive if not given.")
    ] = None,
    kernel: Annotated[
        str | None, typer.Option("--kernel", metavar="K", help="Sliding windows: 3, or 3x2.")
    ] = None,
    stride: Annotated[
        str | None, typer.Option("--stride", metavar="S", help="The kernel's size if not given.")
    ] = None,
    padding: Annotated[
        str | None, typer.Option("--padding", metavar="P", help="Cells on both sides.")
    ] = None,
    dilation: Annotated[
        str | None, typer.Option("--dilation", metavar="D", help="Distance of a window's cells.")
    ] = None,
    ceil_mode: Annotated[
        bool, typer.Option("--ceil-mode", help="Round the number of windows up.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw it: a .png, .svg or .pdf file.")
    ] = None,
) -> None:
    """Show which cells of a map a pooling reads once, again, or never, and what would fix it.

    Windows are printed as Python slices of the map, their stop left out.
    """
    shape = _pair(size, "--size", 1)
    if sum(option is not None for option in (bins, levels, kernel)) != 1:
        raise typer.BadParameter("give one of --bins, --levels and --kernel")
    if kernel is not None:
        if rule is not None:
            raise typer.BadParameter("--rule is for --bins and --levels, not for --kernel")
        spec = Spec(sliding=_sliding(kernel, stride, padding, dilation, ceil_mode))
    else:
        if ceil_mode or any(option is not None for option in (stride, padding, dilation)):
            raise typer.BadParameter("--stride, --padding, --dilation, --ceil-mode need --kernel")
        spec = _bins(bins, levels, rule is Rule.training)
    if output is not None:
        _check_drawable(output, shape)
    try:
        reading = read(spec, shape)
    except (ValueError, MemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    for line in report(reading):
        typer.echo(line.rstrip())
    if output is not None:
        _draw(reading, output)


def _pair(text: str, name: str, least: int) -> Pair:
    """`14` or `14x20` as (rows, columns)."""
    words = text.lower().split("x")
    try:
        numbers = [int(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(least <= n <= LARGEST for n in numbers):
        raise typer.BadParameter(
            f"{name} takes one number or ROWSxCOLUMNS, each from {least} to {LARGEST}, such as "
            f"14 or 14x20; got {text[:40]!r}"
        )
    return numbers[0], numbers[-1]


def _sliding(
    kernel: str, stride: str | None, padding: str | None, dilation: str | None, ceil_mode: bool
) -> SlidingSpec:
    size = _pair(kernel, "--kernel", 1)
    return SlidingSpec(
        kernel=size,
        stride=size if stride is None else _pair(stride, "--stride", 1),
        padding=(0, 0) if padding is None else _pair(padding, "--padding", 0),
        dilation=(1, 1) if dilation is None else _pair(dilation, "--dilation", 1),
        ceil_mode=ceil_mode,
    )


def _bins(bins: str | None, levels: str | None, training: bool) -> Spec:
    if levels is None:
        return Spec(levels=(_pair(bins or "", "--bins", 1),), training=training)
    words = levels.split(",")
    if len(words) > MOST_LEVELS:
        raise typer.BadParameter(f"--levels takes at most {MOST_LEVELS} grids, got {len(words)}")
    grids = tuple(_pair(word.strip(), "--levels", 1) for word in words)
    return Spec(levels=grids, training=training, is_pyramid=True)


def _check_drawable(output: Path, shape: Pair) -> None:
    from poolwise.cli._explain_picture import LARGEST_SIDE, SUFFIXES

    if output.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"-o takes a name ending in {', '.join(SUFFIXES)}; got {output}")
    if max(shape) > LARGEST_SIDE:
        raise typer.BadParameter(
            f"-o draws maps up to {LARGEST_SIDE} x {LARGEST_SIDE}, where each cell is a pixel or "
            "more; leave -o out for the text, which has no such limit"
        )


def _draw(reading: Reading, output: Path) -> None:
    from poolwise.cli._explain_picture import draw

    try:
        draw(reading, output)
    except ModuleNotFoundError as error:
        message = f"drawing needs {error.name}: pip install matplotlib"
    except OSError as error:
        message = f"{output} could not be written: {error.strerror or error}"
    else:
        typer.echo(f"\n{output} drawn")
        return
    typer.echo(message, err=True)
    raise typer.Exit(1)
