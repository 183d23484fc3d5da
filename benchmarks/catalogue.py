"""The cases, as data: add a line, not a script. Groups are the sections of docs/speed.md.

26 MB of float32 is a large early layer of a network; 411 MB is beyond every cache, so that memory
is measured and nothing else. Small planes, volumes and pyramids have their own shapes of like size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.cases import Case, Direction, Dtype, Layout, Op, Size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OPS: tuple[Op, ...] = ("max", "avg")
LAYOUTS: tuple[Layout, ...] = ("nchw", "nhwc")
SIZES: tuple[Size, ...] = ("cache", "memory")
DTYPES: tuple[Dtype, ...] = ("f16", "bf16", "u8", "i16", "f64")  # beside f32

Shapes = dict[Size, tuple[int, ...]]
EARLY_LAYER: Shapes = {"cache": (8, 64, 112, 112), "memory": (128, 64, 112, 112)}
PLANES: tuple[Shapes, ...] = (
    {"small": (8, 1024, 7, 7), "cache": (128, 1024, 7, 7), "memory": (2048, 1024, 7, 7)},
    {"small": (8, 512, 14, 14), "cache": (64, 512, 14, 14), "memory": (1024, 512, 14, 14)},
)
CONV5: Shapes = {"small": (1, 256, 13, 13), "cache": (128, 256, 13, 13)}
CONV5_MEMORY: Shapes = {"memory": (2400, 256, 13, 13)}
VOLUME: Shapes = {"cache": (2, 64, 16, 56, 56), "memory": (32, 64, 16, 56, 56)}
YOLO: Shapes = {"cache": (32, 512, 20, 20), "memory": (512, 512, 20, 20)}
SIGNAL: Shapes = {"memory": (16, 64, 16384)}
PLANE: Shapes = {"memory": (1, 1, 8192, 8192)}
TINY_MAP: Shapes = {"small": (1, 64, 7, 7)}  # 12 kB: all overhead
RAGGED = tuple((7 + i % 13, 20 - i % 11) for i in range(64))  # rows and columns, none alike


class Slide(NamedTuple):
    """Sliding windows; a number stands for all axes. PyTorch's limit: padding ≤ kernel / 2."""

    kernel: int | tuple[int, ...]
    stride: int = 1
    padding: int | tuple[int, ...] = 0
    dilation: int = 1
    ceil_mode: bool = False

    def arguments(self, ndim: int) -> dict[str, Any]:
        """Named as papers name it: `3x3/2 pad 1`."""
        kernel, padding = _each(self.kernel, ndim), _each(self.padding, ndim)
        name = "x".join(map(str, kernel)) + f"/{self.stride}"
        if any(padding):
            name += " pad " + "x".join(map(str, dict.fromkeys(padding)))
        name += f" dilation {self.dilation}" * (self.dilation > 1) + " ceil" * self.ceil_mode
        return {
            "name": name,
            "kernel": kernel,
            "stride": _each(self.stride, ndim),
            "padding": padding,
            "dilation": _each(self.dilation, ndim),
            "ceil_mode": self.ceil_mode,
        }


def _each(value: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * ndim


# The windows of SPEED: what the README shows.
TABLE = (
    *(Slide(2, 2), Slide(3, 2, 1), Slide(3, 1, 1), Slide(5, 1, 2)),
    *(Slide(9, 1, 4), Slide(13, 1, 6), Slide(31, 1, 15)),
)
WINDOWS = (
    *TABLE,
    *(Slide(3, 2), Slide(7, 1, 3), Slide(63, 1, 31), Slide((1, 7), 1, (0, 3))),
    *(Slide((7, 1), 1, (3, 0)), Slide(3, 1, 1, dilation=2), Slide(3, 3), Slide(5, 3, 2)),
    *(Slide(3, 2, ceil_mode=True), Slide(3, 2, 1, ceil_mode=True)),
)
SOME = (Slide(2, 2), Slide(3, 2, 1), Slide(3, 1, 1), Slide(5, 1, 2), Slide(13, 1, 6))
BLOCKS = (Slide(4, 4), Slide(8, 8), Slide(16, 16), Slide(7, 4, 3))  # that share little


def sliding(
    group: str,
    windows: Sequence[Slide],
    shapes: Shapes,
    *,
    ops: Sequence[Op] = OPS,
    layouts: Sequence[Layout] = LAYOUTS,
    dtypes: Sequence[Dtype] = ("f32",),
    direction: Direction = "forward",
    chained: int = 1,
    note: str = "",
) -> Iterator[Case]:
    """Every combination; `note` ends the names, where a group has several shapes."""
    for dtype in dtypes:
        for size, shape in shapes.items():
            for layout in layouts:
                for op in ops:
                    for slide in windows:
                        given = slide.arguments(len(shape) - 2)
                        name = f"{op} {given.pop('name')}{note}"
                        fields = {**given, "dtype": dtype, "layout": layout, "size": size}
                        yield Case(
                            name, group, op, shape, **fields, chained=chained, direction=direction
                        )


def bins(
    group: str,
    shapes: Shapes,
    counts: Sequence[int],
    *,
    layouts: Sequence[Layout] = LAYOUTS,
    direction: Direction = "forward",
    ops: Sequence[Op] = OPS,
    note: str = "",
) -> Iterator[Case]:
    """Adaptive to each count, 0 for global pooling."""
    for size, shape in shapes.items():
        for layout in layouts:
            for op in ops:
                for count in counts:
                    name = f"{op} adaptive {count}x{count}" if count else f"{op} global"
                    grid = (count,) * (len(shape) - 2) if count else ()
                    yield Case(
                        name + note,
                        group,
                        op,
                        shape,
                        output_size=grid,
                        layout=layout,
                        direction=direction,
                        size=size,
                    )


def pyramids() -> Iterator[Case]:
    """SPP-net's vectors, of batches of one size and of maps that all differ."""
    for levels in ((1, 2, 4), (1, 2, 3, 6)):
        for op in OPS:
            name = f"{op} pyramid {','.join(map(str, levels))}"
            for size, shape in (CONV5 | CONV5_MEMORY).items():
                yield Case(name, "pyramid", op, shape, levels=levels, size=size)
            ragged = (len(RAGGED), 256, max(r for r, _ in RAGGED), max(c for _, c in RAGGED))
            yield Case(
                f"{name}, maps of {len(RAGGED)} sizes",
                "pyramid",
                op,
                ragged,
                levels=levels,
                maps=RAGGED,
                size="cache",
            )


def _planes() -> Iterator[Case]:
    for shapes in PLANES:
        rows, columns = next(iter(shapes.values()))[2:]
        note = f" of {rows}x{columns}"
        yield from sliding("planes", SOME[:4], shapes, note=note)
        yield from bins("planes", shapes, (0,), note=note)


NCHW: tuple[Layout, ...] = ("nchw",)
LARGE = (Slide(3, 1, 1), Slide(5, 1, 2), Slide(13, 1, 6), Slide(31, 1, 15), Slide(63, 1, 31))
CASES: tuple[Case, ...] = (
    *sliding("forward", WINDOWS, EARLY_LAYER),
    *sliding("blocks", BLOCKS, EARLY_LAYER),
    *bins("blocks", EARLY_LAYER, (28, 56)),
    *bins("bins", EARLY_LAYER, (0, 1, 2, 3, 6, 7)),
    *_planes(),
    *sliding("plane", LARGE, PLANE, layouts=NCHW),
    *sliding("chain", (Slide(5, 1, 2),), YOLO, ops=("max",), chained=3, note=", three in a row"),
    *sliding("backward", (*SOME, Slide(31, 1, 15)), EARLY_LAYER, direction="backward"),
    *bins("backward", EARLY_LAYER, (0, 7), direction="backward"),
    *sliding("argmax", (*SOME, Slide(31, 1, 15)), EARLY_LAYER, ops=("max",), direction="argmax"),
    *bins("argmax", EARLY_LAYER, (7,), ops=("max",), direction="argmax"),
    *sliding("dtypes", SOME, EARLY_LAYER, dtypes=DTYPES),
    *sliding("1d", (Slide(3, 1, 1), Slide(25, 1, 12), Slide(401, 1, 200)), SIGNAL, layouts=NCHW),
    *sliding("3d", (Slide(2, 2), Slide(3, 1, 1), Slide(3, 2, 1)), VOLUME),
    *pyramids(),
    *sliding("small", SOME[:4], TINY_MAP),
    *bins("small", TINY_MAP, (0, 2)),
)
GROUPS = tuple(dict.fromkeys(case.group for case in CASES))

# Only for the tests of the runner: big enough to have a border, small enough to take no time.
TINY: tuple[Case, ...] = (
    *sliding("tiny", (Slide(3, 2, 1),), {"small": (2, 3, 9, 8)}, ops=("max",), layouts=NCHW),
    *sliding(
        "tiny",
        (Slide(3),),
        {"small": (2, 3, 9, 8)},
        ops=("avg",),
        layouts=NCHW,
        direction="backward",
    ),
)

_README = {f"{op} {slide.arguments(2)['name']}" for op in OPS for slide in TABLE}


def in_readme(case: Case) -> bool:
    """Whether the README's table has this case."""
    return case.group == "forward" and case.size == "cache" and case.name in _README


def choose(
    wanted: Sequence[str] | None = None,
    *,
    sizes: Sequence[str] | None = None,
    layouts: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
) -> tuple[Case, ...]:
    """Cases by group or by a part of the name; None is all of them but the tiny ones."""
    chosen = tuple(
        case
        for case in (*CASES, *TINY)
        if (case.group != "tiny" if wanted is None else _named(case, wanted))
        and (sizes is None or case.size in sizes)
        and (layouts is None or case.layout in layouts)
        and (dtypes is None or case.dtype in dtypes)
    )
    if not chosen:
        raise ValueError(
            f"no case matches --cases {','.join(wanted or ('all',))} with these sizes, layouts and "
            f"dtypes; the groups are {', '.join(GROUPS)}, readme"
        )
    return chosen


def _named(case: Case, words: Sequence[str]) -> bool:
    return any(
        word == case.group
        or (word == "readme" and in_readme(case))
        or (case.group != "tiny" and word not in GROUPS and word in case.name)
        for word in words
    )
