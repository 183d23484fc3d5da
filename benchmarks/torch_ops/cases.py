"""The calls, as data: names of `torch.nn.functional`, which `poolwise.torch` has as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Layout = Literal["nchw", "channels_last"]
Direction = Literal["forward", "forward+backward"]
LAYOUTS: tuple[Layout, ...] = ("nchw", "channels_last")
DIRECTIONS: tuple[Direction, ...] = ("forward", "forward+backward")
PEERS = ("torch", "compile")

EARLY_LAYER = (8, 64, 112, 112)  # 26 MB of float32: bound by memory
TINY_MAP = (1, 64, 7, 7)  # 12 kB: all overhead


@dataclass(frozen=True)
class Pooling:
    """One call: the function's name, and the arguments after the input."""

    name: str
    function: str
    arguments: tuple[int, ...]

    def bind(self, functions: Any) -> Callable[[Any], Any]:
        """The call of `functions`, which is `torch.nn.functional` or has its names."""
        function, arguments = getattr(functions, self.function), self.arguments
        return lambda x: function(x, *arguments)


def _sliding(op: str, kernel: int, stride: int, padding: int) -> Pooling:
    name = f"{op} {kernel}x{kernel}/{stride}" + (f" pad {padding}" if padding else "")
    return Pooling(name, f"{op}_pool2d", (kernel, stride, padding))


OPS = ("max", "avg")
SIZES = ((2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 1, 2), (13, 1, 6))
POOLINGS: tuple[Pooling, ...] = tuple(
    pooling
    for op in OPS
    for pooling in (
        *(_sliding(op, *size) for size in SIZES),
        Pooling(f"{op} adaptive 7x7", f"adaptive_{op}_pool2d", (7,)),
        Pooling(f"{op} global", f"adaptive_{op}_pool2d", (1,)),
    )
)


class Case(NamedTuple):
    """A pooling of one tensor. The shape is (N, C, H, W) whatever the layout in memory is."""

    pooling: Pooling
    layout: Layout
    direction: Direction
    shape: tuple[int, int, int, int]

    def __str__(self) -> str:
        return f"{self.pooling.name}, {self.layout}, {self.direction}"


def cases(
    poolings: Sequence[Pooling],
    layouts: Sequence[Layout],
    directions: Sequence[Direction],
    shape: tuple[int, int, int, int] = EARLY_LAYER,
) -> Iterator[Case]:
    """All combinations, a table's rows in their order."""
    for direction in directions:
        for layout in layouts:
            for pooling in poolings:
                yield Case(pooling, layout, direction, shape)


def choose(wanted: str | None) -> tuple[Pooling, ...]:
    """Poolings by parts of their names, comma-separated; None is all."""
    if wanted is None:
        return POOLINGS
    words = [word.strip().lower() for word in wanted.split(",") if word.strip()]
    chosen = tuple(p for p in POOLINGS if any(word in p.name for word in words))
    if not chosen:
        names = "; ".join(pooling.name for pooling in POOLINGS)
        raise ValueError(f"no pooling matches {wanted!r}; there are {names}")
    return chosen
