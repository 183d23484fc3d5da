"""The compiled core: one normal form in, results written in place (see native/bindings.cpp).

Arrays need native byte order and alignment; any strides. bfloat16 arrays come as uint16 views with
the dtype named. `axes` ascend. One result array per grid of the plan.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Indices = NDArray[np.int64]
# size, count, kernel, stride, dilation, pad_before, pad_after, starts, stops
AxisForm = tuple[int, int, int, int, int, int, int, Indices | None, Indices | None]

class Plan:
    def __init__(self, grids: tuple[tuple[AxisForm, ...], ...]) -> None: ...

def forward(
    plan: Plan,
    x: Array,
    x_dtype: str,
    ys: Iterable[Array],
    y_dtype: str,
    indices: Iterable[Array] | None,
    axes: tuple[int, ...],
    reducer: str,
    p: float,
    count_include_pad: bool,
    divisor: int,
) -> None: ...
def forward_many(
    jobs: Sequence[tuple[Plan, Array, Sequence[Array], Sequence[Array] | None]],
    x_dtype: str,
    y_dtype: str,
    axes: tuple[int, ...],
    reducer: str,
    p: float,
    count_include_pad: bool,
    divisor: int,
) -> None: ...
def backward(
    plan: Plan,
    dx: Array,
    dtype: str,
    dys: Iterable[Array],
    axes: tuple[int, ...],
    reducer: str,
    p: float,
    count_include_pad: bool,
    divisor: int,
    x: Array | None = None,
) -> None: ...
def scatter(
    dx: Array,
    dtype: str,
    dys: tuple[Array, ...],
    indices: tuple[Array, ...],  # int64; or uint8, taps of the plan's windows
    axes: tuple[int, ...],
    accumulate: bool,
    plan: Plan | None = None,
) -> None: ...

# shape, strides in bytes, offset in bytes from the address given to `run`
View = tuple[tuple[int, ...], tuple[int, ...], int]

class ForwardCall:
    """A forward call by address: `run(x, y, winners)`, winners 0 for none. Thread-safe."""

    def __init__(
        self,
        plan: Plan,
        x: View,
        x_dtype: str,
        ys: tuple[View, ...],
        y_dtype: str,
        winners: str,  # "tap8", "index32", "index64", or "" for none
        winner_views: tuple[View, ...],
        axes: tuple[int, ...],
        reducer: str,
        p: float,
        count_include_pad: bool,
        divisor: int,
        threads: int,
        of_team: bool = True,  # whether these are threads of the team that was lent
    ) -> None: ...
    def run(self, x: int, y: int, winners: int, /) -> None: ...
    # of one grid, on arrays of the layout that the call was made for; ValueError if they are not
    def run_arrays(self, x: Array, y: Array, winners: Array | None, /) -> None: ...
    # the same; False, and nothing done, if their memory might overlap
    def run_apart(self, x: Array, y: Array, /) -> bool: ...

class BackwardCall:
    """The gradient of sum, mean and lp by address: `run(dx, dy, x)`; x for lp alone."""

    def __init__(
        self,
        plan: Plan,
        dx: View,
        dtype: str,
        dys: tuple[View, ...],
        axes: tuple[int, ...],
        reducer: str,
        p: float,
        count_include_pad: bool,
        divisor: int,
        x: tuple[View, ...],
        threads: int,
        /,
    ) -> None: ...
    def run(self, dx: int, dy: int, x: int, /) -> None: ...

class ScatterCall:
    """Winners' gradients, or unpooling, by address: `run(dx, dy, winners)`."""

    def __init__(
        self,
        plan: Plan | None,
        dx: View,
        dtype: str,
        dys: tuple[View, ...],
        winners: str,
        winner_views: tuple[View, ...],
        axes: tuple[int, ...],
        accumulate: bool,
        threads: int,
    ) -> None: ...
    def run(self, dx: int, dy: int, winners: int, /) -> None: ...

def lend_team(address: int) -> None: ...
def assume_last_cache(bytes: int) -> None: ...  # 0: the machine's own
def set_num_threads(count: int) -> None: ...
def get_num_threads() -> int: ...
def config() -> dict[str, Any]: ...
def last_isa() -> str: ...
def shutdown() -> None: ...
