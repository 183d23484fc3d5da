"""What torch's pooling functions take as arguments, checked and spelled for the operators.

Everything here works on plain Python values and is cached, so a call that was made before costs one
look-up. `torch.compile` runs it while it traces and keeps the answer.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, TypeVar

import torch

from .._checks import as_bool, as_int, as_ints, as_list, is_sequence, show
from ..reducers import Reducer, as_reducer, lp, mean_with
from ..windows import Windows
from .spelling import reducer_text, windows_text

R = TypeVar("R")

_is_compiling = torch.compiler.is_compiling

_KEPT = 2048
_NAMES = ("same", "same_upper", "same_lower", "valid")


def plain_value(value: Any) -> Any:
    """Return a value that can be looked up: lists as tuples, whatever counts as an int as one."""
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int | torch.SymInt):
        return operator.index(value)  # of a number that is symbolic to torch.compile: its value
    if isinstance(value, list | tuple):
        return tuple(plain_value(entry) for entry in value)
    return value


_PLAIN_TYPES = frozenset({int, bool, str, float, type(None)})


def _is_value(value: object) -> bool:
    """Whether equal arguments mean the same: numbers by type, not objects that may change."""
    kind = type(value)
    if kind is tuple:
        return all(type(entry) is int for entry in value)  # type: ignore[attr-defined]
    return kind in _PLAIN_TYPES


def cached(function: Callable[..., R]) -> Callable[..., R]:
    """Cache by argument values and types; a value that cannot be hashed is worked out anew.

    `torch.compile` runs the function as it is, outside of what it traces, and keeps the answer.
    """
    kept = lru_cache(maxsize=_KEPT, typed=True)(function)

    @torch.compiler.assume_constant_result
    def constant(*args: Any) -> R:
        return function(*args)

    @wraps(function)
    def call(*args: Any) -> R:
        if _is_compiling():
            return constant(*[plain_value(a) for a in args])  # type: ignore[no-any-return]
        if not all(map(_is_value, args)):
            args = tuple(map(plain_value, args))
            if not all(map(_is_value, args)):
                return function(*args)
        return kept(*args)

    return call


def per_axis(value: object, name: str, ndim: int, minimum: int) -> tuple[int, ...]:
    """Return one int per axis, from one number, a sequence of one, or one per axis."""
    if not is_sequence(value):
        return (as_int(value, name, minimum),) * ndim
    entries = as_list(value, name)
    numbers = tuple(as_int(n, f"{name}[{i}]", minimum) for i, n in enumerate(entries))
    if len(numbers) == 1:
        numbers *= ndim
    if len(numbers) != ndim:
        raise ValueError(
            f"{name} must be a number or {ndim} numbers, one per axis, got {show(value)}"
        )
    return numbers


def _stride(value: object, kernel: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    if value is None or (is_sequence(value) and len(value) == 0):  # type: ignore[arg-type]
        return kernel
    return per_axis(value, "stride", ndim, 1)


def _padding(value: object, spans: Sequence[int], ndim: int) -> Any:
    """Return padding as `Windows.sliding` takes it; plain numbers obey torch's limit."""
    if isinstance(value, str):
        if value not in _NAMES:
            raise ValueError(
                f"padding must be numbers or one of {', '.join(_NAMES)}, got {value!r}"
            )
        return value
    if is_sequence(value) and any(is_sequence(entry) for entry in value):  # type: ignore[attr-defined]
        pairs = as_list(value, "padding")
        if len(pairs) != ndim:
            raise ValueError(f"padding must have {ndim} (before, after) pairs, got {show(value)}")
        return tuple(plain_value(pair) for pair in pairs)
    pads = per_axis(value, "padding", ndim, 0)
    for pad, span in zip(pads, spans, strict=True):
        if pad > span // 2:
            raise ValueError(
                f"padding must be at most half the window, got padding {pad} and a window of "
                f"{span} cells; use (before, after) pairs for more"
            )
    return pads


@cached
def sliding(
    ndim: int,
    kernel_size: object,
    stride: object,
    padding: object,
    dilation: object,
    ceil_mode: object,
) -> str:
    """Spell sliding windows over the last `ndim` axes."""
    kernel = per_axis(kernel_size, "kernel_size", ndim, 1)
    dilations = per_axis(dilation, "dilation", ndim, 1)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _padding(padding, spans, ndim)
    windows = Windows.sliding(
        kernel, _stride(stride, kernel, ndim), pads, dilations, as_bool(ceil_mode, "ceil_mode")
    )
    return windows_text(windows)


@cached
def adaptive(ndim: int, output_size: object) -> str:
    """Spell adaptive windows over the last `ndim` axes; None keeps an axis as it is."""
    if output_size is None or is_sequence(output_size):
        entries = [None] * ndim if output_size is None else list(output_size)  # type: ignore[call-overload]
        if len(entries) == 1:
            entries *= ndim
        if len(entries) != ndim:
            raise ValueError(
                f"output_size must be a number or {ndim} numbers, got {show(output_size)}"
            )
        return windows_text(Windows.adaptive(entries))
    return windows_text(Windows.adaptive((as_int(output_size, "output_size", 1),) * ndim))


@cached
def pyramid(levels: object, bins: object) -> tuple[str, tuple[int, ...]]:
    """Spell a pyramid over two axes, and say how many bins each level has."""
    windows = Windows.pyramid(levels, bins)  # type: ignore[arg-type]
    if windows.ndim not in (None, 2):
        raise ValueError(f"levels must be numbers or (rows, columns), got {show(levels)}")
    sizes = (as_ints(level, "levels", 1) for level in levels)  # type: ignore[attr-defined]
    bins_of = tuple(math.prod(n) if isinstance(n, tuple) else n * n for n in sizes)
    return windows_text(windows), bins_of


@cached
def mean(count_include_pad: object, divisor_override: object) -> str:
    """Spell the mean with torch's arguments."""
    include = as_bool(count_include_pad, "count_include_pad")
    if divisor_override is not None and divisor_override == 0:
        raise ValueError("divisor_override must not be 0")
    return reducer_text(mean_with(include, divisor_override))  # type: ignore[arg-type]


@cached
def norm(norm_type: object) -> str:
    """Spell lp."""
    return reducer_text(lp(norm_type))  # type: ignore[arg-type]


@cached
def named(reducer: str | Reducer) -> str:
    """Spell a reducer that a user names."""
    return reducer_text(as_reducer(reducer))


@cached
def _unpooling(
    ndim: int, kernel_size: object, stride: object, padding: object
) -> tuple[tuple[int, int, int], ...]:
    """Return kernel, stride and padding of each axis."""
    kernel = per_axis(kernel_size, "kernel_size", ndim, 1)
    strides = _stride(stride, kernel, ndim)
    return tuple(zip(kernel, strides, per_axis(padding, "padding", ndim, 0), strict=True))


def unpooled(
    sizes: Sequence[int],
    kernel_size: object,
    stride: object,
    padding: object,
    output_size: Any,
) -> list[int]:
    """Return the sizes that a pooling came from: ``(n - 1) * stride - 2 * padding + kernel``.

    A given `output_size` may differ from that by less than a stride. Sizes may be symbolic.
    """
    ndim = len(sizes)
    axes = _unpooling(ndim, kernel_size, stride, padding)
    least = [(n - 1) * s - 2 * p + k for n, (k, s, p) in zip(sizes, axes, strict=True)]
    if output_size is None:
        if any(n < 1 for n in least):
            raise ValueError(f"the unpooled sizes would be {least}; use less padding")
        return least
    if not isinstance(output_size, list | tuple) or not ndim <= len(output_size) <= ndim + 2:
        raise ValueError(
            f"output_size must list {ndim} sizes, or the result's whole shape, "
            f"got {show(output_size)}"
        )
    wanted = list(output_size[-ndim:])
    for n, near, (_, s, _) in zip(wanted, least, axes, strict=True):
        if not isinstance(n, int | torch.SymInt) or not (near - s < n < near + s and n > 0):
            raise ValueError(
                f"output_size must lie between {max(near - s, 0) + 1} and {near + s - 1} along "
                f"an axis, got {show(n)}"
            )
    return wanted
