"""JAX on the CPU: `lax.reduce_window`, jitted, in the case's own layout.

XLA's threads cannot be told how many to be once it runs: it is timed only where all cores are used.
It has no preallocated outputs either; each call waits for its result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import machine
from benchmarks.arrays import channels_first, channels_last
from benchmarks.peers import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")


class JAX:
    name = "JAX"
    checked = True
    threads_note = "all cores, always: left out where fewer are asked for"

    def __init__(self) -> None:
        self._threads = 1

    def set_threads(self, threads: int) -> None:
        self._threads = threads

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        if self._threads != machine.cores() or case.direction == "argmax" or case.levels:
            return None  # no indices, no adaptive windows
        if case.output_size and set(case.output_size) != {1}:
            return None
        pool = _chain(case)
        x = jnp.asarray(arrays.of(case))
        view = (lambda y: y) if case.layout == "nchw" else channels_first
        if case.direction == "backward":
            dy = arrays.gradient(case)
            grad = jnp.asarray(dy if case.layout == "nchw" else channels_last(dy))
            back = jax.jit(lambda x, dy: jax.vjp(lambda x: pool(x)[-1], x)[1](dy)[0])
            back = back.lower(x, grad).compile()
            return Run(lambda: back(x, grad).block_until_ready(), lambda dx: [view(np.asarray(dx))])
        forward = jax.jit(pool).lower(x).compile()
        return Run(lambda: jax.block_until_ready(forward(x)), lambda ys: [view(np.asarray(ys[-1]))])


def _chain(case: Case) -> Callable[[Any], list[Any]]:
    pool = _pool(case)

    def chain(x: Any) -> list[Any]:
        outs = []
        for _ in range(case.chained):
            x = pool(x)
            outs.append(x)
        return outs

    return chain


def _pool(case: Case) -> Callable[[Any], Any]:
    if not case.kernel:
        reduce = jnp.max if case.op == "max" else jnp.mean
        return lambda x: reduce(x, case.axes, keepdims=True)
    counts = case.output_shape[2:]
    after = [
        (n - 1) * s + d * (k - 1) + 1 - size - p
        for n, s, d, k, size, p in zip(
            counts,
            case.stride,
            case.dilation,
            case.kernel,
            case.spatial,
            case.padding,
            strict=True,
        )
    ]
    window = _placed(case, case.kernel, 1)
    strides = _placed(case, case.stride, 1)
    dilation = _placed(case, case.dilation, 1)
    # Floor mode may leave cells unread: no negative padding, which would say it too.
    padding = _placed(
        case, tuple((p, max(a, 0)) for p, a in zip(case.padding, after, strict=True)), (0, 0)
    )

    def reduce_window(x: Any, least: Any, join: Any) -> Any:
        return lax.reduce_window(x, least, join, window, strides, padding, window_dilation=dilation)

    if case.op == "max":

        def maximum(x: Any) -> Any:
            floats = jnp.issubdtype(x.dtype, jnp.floating)
            least = -jnp.inf if floats else jnp.iinfo(x.dtype).min
            return reduce_window(x, np.array(least, x.dtype), lax.max)

        return maximum
    divisors = _divisors(case)

    def mean(x: Any) -> Any:
        wide = x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)
        total = reduce_window(wide, np.array(0, wide.dtype), lax.add) / divisors.astype(wide.dtype)
        return total.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else total

    return mean


def _placed(case: Case, values: tuple[Any, ...], other: Any) -> tuple[Any, ...]:
    """One value per axis of the array in memory: `other` for samples and channels."""
    if case.layout == "nchw":
        return other, other, *values
    return other, *values, other


def _divisors(case: Case) -> np.ndarray:
    """How many cells of each window lie within the declared padding, which may be all: a number."""
    product = np.ones((), np.float64)
    for k, s, p, d, size, count in zip(
        case.kernel,
        case.stride,
        case.padding,
        case.dilation,
        case.spatial,
        case.output_shape[2:],
        strict=True,
    ):
        cells = np.arange(count)[:, None] * s + np.arange(k) * d
        product = np.multiply.outer(product, (cells < size + 2 * p).sum(axis=1))
    if (product == product.flat[0]).all():
        return np.asarray(product.flat[0])
    shape = (1, 1, *product.shape) if case.layout == "nchw" else (1, *product.shape, 1)
    return product.reshape(shape)
