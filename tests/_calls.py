"""Calls by address on NumPy arrays, as the torch face makes them of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from poolwise import Windows, _native
from poolwise._dtypes import core_name

Array = np.ndarray[Any, Any]
WINNERS = {"tap8": np.uint8, "index32": np.int32, "index64": np.int64}


def view(array: Array) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    return array.shape, array.strides, 0


def address(array: Array) -> int:
    return array.__array_interface__["data"][0]


def like(x: Array, shape: Sequence[int], dtype: object) -> Array:
    """A new array whose axes lie in memory in the order of x's."""
    order = np.argsort([-abs(stride) for stride in x.strides], kind="stable")
    return np.empty([shape[a] for a in order], dtype).transpose(np.argsort(order))


class Calls:
    """Max or min pooling of x told as `form`, and the gradient that follows its winners."""

    def __init__(
        self, x: Array, windows: Windows, axes: Sequence[int], form: str, reducer: str = "max"
    ) -> None:
        plan = windows.over(tuple(x.shape[a] for a in axes))
        self.x, self.axes, self.form, self.reducer = x, tuple(axes), form, reducer
        self.name = core_name(x.dtype)
        self.plan = _native.Plan(
            tuple(tuple(axis.native() for axis in grid.axes) for grid in plan.grids)
        )
        shape = list(x.shape)
        for a, n in zip(axes, plan.output_shape, strict=True):
            shape[a] = n
        self.shape = tuple(shape)

    def forward(self, threads: int = 0) -> tuple[Array, Array]:
        y, winners = (like(self.x, self.shape, d) for d in (self.x.dtype, WINNERS[self.form]))
        call = _native.ForwardCall(
            self.plan,
            view(self.x),
            self.name,
            (view(y),),
            self.name,
            self.form,
            (view(winners),),
            self.axes,
            self.reducer,
            0.0,
            True,
            0,
            threads,
        )
        call.run(address(self.x), address(y), address(winners))
        return y, winners

    def backward(self, dy: Array, winners: Array, threads: int = 0) -> Array:
        dx = like(self.x, self.x.shape, self.x.dtype)
        call = _native.ScatterCall(
            self.plan,
            view(dx),
            self.name,
            (view(dy),),
            self.form,
            (view(winners),),
            self.axes,
            True,
            threads,
        )
        call.run(address(dx), address(dy), address(winners))
        return dx
