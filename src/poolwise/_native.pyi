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
    indices: tuple[Array, ...],
    axes: tuple[int, ...],
    accumulate: bool,
) -> None: ...
def set_num_threads(count: int) -> None: ...
def get_num_threads() -> int: ...
def config() -> dict[str, Any]: ...
def last_isa() -> str: ...
def shutdown() -> None: ...
