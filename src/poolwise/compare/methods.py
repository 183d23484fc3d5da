"""The spelling of what is compared: ``max:3/2+spp:1-2-4+multi``.

A method has four parts, each with a default, so a list names only what differs. Methods are
frozen values: claims are found by changing one part and looking whether that method was run too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from poolwise.compare.errors import CompareError

SPELLING = """\
a method is parts joined by +, methods are separated by commas; what is left out is the default
  body   max:2/2 (default)  max:3/2  avg:2/2  lp2:2/2 ...   reducer:window/stride
  head   spp:1-2-4 (default)  spp:4 ...  gap  gmp           pyramid of grids; global mean; maximum
  input  any size (default)  crop  warp                     every image cut or resized to a square
  train  one size (default)  multi                          every step at another size
as in: max:2/2,max:3/2,avg:3/2+gap,warp,spp:4+multi"""

# The survey's questions, one change each from the first.
DEFAULT_POOLS = (
    "max:2/2,max:3/2,avg:2/2,avg:3/2,lp2:2/2,spp:4,gap,gmp,crop,warp,multi"  # see claims.py
)

_LARGEST_WINDOW = 16
_LARGEST_GRID = 16


@dataclass(frozen=True)
class Body:
    """The pooling between convolutions: ``kind`` is max, avg or lp, ``power`` is lp's p."""

    kind: str = "max"
    kernel_size: int = 2
    stride: int = 2
    power: float = 0.0

    @property
    def overlaps(self) -> bool:
        return self.kernel_size > self.stride

    def __str__(self) -> str:
        power = f"{self.power:g}" if self.kind == "lp" else ""
        return f"{self.kind}{power}:{self.kernel_size}/{self.stride}"


@dataclass(frozen=True)
class Head:
    """What makes one vector of the last map: a pyramid of ``levels``, reduced by max or mean."""

    levels: tuple[int, ...] = (1, 2, 4)
    reducer: str = "max"

    @property
    def bins(self) -> int:
        """Numbers per channel."""
        return sum(level * level for level in self.levels)

    def __str__(self) -> str:
        if self.levels == (1,):
            return "gap" if self.reducer == "mean" else "gmp"
        return "spp:" + "-".join(map(str, self.levels))


@dataclass(frozen=True)
class Method:
    """One way to pool: what is trained and compared."""

    body: Body = Body()
    head: Head = Head()
    fit: str = "any"
    multi: bool = False

    @property
    def short(self) -> str:
        """As it would be typed: without the parts that are the default.

        >>> parse_pools("max:2/2+gap+multi")[0].short
        'gap+multi'
        """
        default = Method()
        parts = [str(self.body)] if self.body != default.body else []
        parts += [str(self.head)] if self.head != default.head else []
        parts += [self.fit] if self.fit != default.fit else []
        parts += ["multi"] if self.multi else []
        return "+".join(parts) or str(self.body)

    def __str__(self) -> str:
        fit = () if self.fit == "any" else (self.fit,)
        return "+".join((str(self.body), str(self.head), *fit, *(("multi",) if self.multi else ())))


def parse_pools(text: str) -> tuple[Method, ...]:
    """Methods from the command line, in order; the first is the baseline.

    Raises
    ------
    CompareError
        If a part is not understood, given twice, or a method appears twice; the message names it
        and shows the spelling.

    Examples
    --------
    >>> [str(method) for method in parse_pools("max:2/2, avg:3/2+gap, spp:4+warp+multi")]
    ['max:2/2+spp:1-2-4', 'avg:3/2+gap', 'max:2/2+spp:4+warp+multi']
    """
    methods: list[Method] = []
    for word in text.split(","):
        method = _method(word.strip())
        if method in methods:
            raise _wrong(f"{word.strip()!r} is {method}, which is in the list already")
        methods.append(method)
    return tuple(methods)


def _method(text: str) -> Method:
    method, given = Method(), set()
    for part in text.split("+"):
        name, method = _with_part(method, part.strip().lower(), text)
        if name in given:
            raise _wrong(f"{text!r} has two parts of one kind ({name}): {part.strip()!r}")
        given.add(name)
    return method


def _with_part(method: Method, part: str, text: str) -> tuple[str, Method]:
    """The method with one part changed, and which kind of part that is."""
    if part in ("crop", "warp"):
        return "input", replace(method, fit=part)
    if part == "multi":
        return "train", replace(method, multi=True)
    if part in ("gap", "gmp"):
        head = Head((1,), "mean" if part == "gap" else "max")
        return "head", replace(method, head=head)
    if found := re.fullmatch(r"spp:(\d+(?:-\d+)*)", part, re.ASCII):
        levels = tuple(int(number[:6]) for number in found[1].split("-"))
        if not all(1 <= level <= _LARGEST_GRID for level in levels):
            raise _wrong(f"grids have 1 to {_LARGEST_GRID} bins a side, not {part!r}")
        if len(set(levels)) != len(levels):
            raise _wrong(f"{part!r} has a grid twice")
        return "head", replace(method, head=Head(levels))
    if found := re.fullmatch(r"(max|avg|lp(\d+(?:\.\d+)?)):(\d+)/(\d+)", part, re.ASCII):
        kernel_size, stride = int(found[3][:6]), int(found[4][:6])
        if not 1 <= stride <= kernel_size <= _LARGEST_WINDOW:
            raise _wrong(f"1 <= stride <= window <= {_LARGEST_WINDOW} is wanted, not {part!r}")
        power = float(found[2] or 0)
        if found[2] and not 1 <= power <= 64:
            raise _wrong(f"the p of lp is from 1 to 64, not {part!r}")
        kind = "lp" if found[2] else found[1]
        return "body", replace(method, body=Body(kind, kernel_size, stride, power))
    where = f" in {text!r}" if part != text else ""
    raise _wrong(f"{part!r}{where} is no pooling")


def _wrong(message: str) -> CompareError:
    return CompareError(f"--pools: {message}\n{SPELLING}")
