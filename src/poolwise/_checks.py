"""Argument checks whose messages name the argument, the value and the remedy.

Every public function takes numbers from users, and docs/semantics.md lists the numbers
that must never crash or allocate. They are all caught by the few functions here, so that the code
above can assume plain Python integers that fit int64.
"""

from __future__ import annotations

import operator
import os
import reprlib
from collections.abc import Iterable
from typing import cast

import numpy as np

INT64_MAX = 2**63 - 1

# Tables that the geometry and the native core keep for one output position of one axis: starts,
# stops and divisors on both sides, and the core's row programs for both directions.
TABLE_BYTES = 160


def show(value: object) -> str:
    """Return a short text for `value` that is safe to put in a message, whatever it is."""
    try:
        return reprlib.repr(value)
    except Exception:  # a 5000-digit integer, or an object whose repr is broken
        return f"a value of type {type(value).__name__}"


def as_int(value: object, name: str, minimum: int = 0) -> int:
    """Return `value` as a Python int of at least `minimum`; bool and float are TypeErrors."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, got the bool {value}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{name} must be an integer, got {show(value)} of type {type(value).__name__}"
        ) from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {show(number)}")
    if number > INT64_MAX:
        raise ValueError(f"{name} must fit in 64 bits, got {show(number)}; use a smaller number")
    return number


def is_sequence(value: object) -> bool:
    """Whether `value` may list one number per axis: a tuple, a list or a 1-D array."""
    return isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim == 1)


def as_list(value: object, name: str) -> tuple[object, ...]:
    """Return a sequence as a tuple that is not empty."""
    entries = tuple(cast(Iterable[object], value))
    if not entries:
        raise ValueError(f"{name} is empty; give at least one entry")
    return entries


def as_ints(value: object, name: str, minimum: int = 0) -> int | tuple[int, ...]:
    """Return an int, or a non-empty tuple of ints when one number per axis was given."""
    if is_sequence(value):
        entries = as_list(value, name)
        return tuple(as_int(n, f"{name}[{i}]", minimum) for i, n in enumerate(entries))
    return as_int(value, name, minimum)


def as_bool(value: object, name: str) -> bool:
    """Return `value` if it is a bool; a number or a string in its place is usually a slip."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {show(value)}")
    return bool(value)


def common_length(**values: object) -> int | None:
    """Return how many axes the tuples among `values` speak of, or None if there is no tuple."""
    lengths = {name: len(v) for name, v in values.items() if isinstance(v, tuple)}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"arguments speak of different numbers of axes: {listed}; make them agree")
    return next(iter(lengths.values()), None)


def as_axes(axes: object, ndim: int) -> tuple[int, ...]:
    """Return `axes` counted from the front, in the order given, each one once and in range."""
    given = as_ints(axes, "axes", minimum=-INT64_MAX)
    found = []
    for axis in given if isinstance(given, tuple) else (given,):
        if not -ndim <= axis < ndim:
            raise ValueError(
                f"axes names axis {axis}, but x has {ndim} axes; use -{ndim} to {ndim - 1}"
            )
        found.append(axis % ndim)
    if len(set(found)) != len(found):
        raise ValueError(f"axes names an axis twice: {show(axes)}; name each axis once")
    return tuple(found)


def physical_memory() -> int:
    """Return the bytes of memory this machine has, or int64's limit where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # pragma: no cover - not on POSIX
        return INT64_MAX


_LIMIT = physical_memory()


def check_memory(need: int, what: str) -> None:
    """Raise MemoryError, before anything is allocated, when `need` bytes cannot be had."""
    if need > _LIMIT:
        raise MemoryError(
            f"{what} would take {need / 2**30:.3g} GiB, and this machine has "
            f"{_LIMIT / 2**30:.3g} GiB; use smaller sizes"
        )


def table_bytes(counts: Iterable[int]) -> int:
    """Return the bytes of per-axis tables for axes with these many output positions."""
    return TABLE_BYTES * sum(counts)
