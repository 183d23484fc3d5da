"""Reducers: what is made of the cells of a window, as values that know no geometry.

max, min, sum, mean and lp are monoids (an identity and an associative combine) with a finish, so
one fast algorithm per window kind serves them all. The value says which one, with its parameters,
and which dtype comes out; the loops are in `reference` and in the native core.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._checks import as_bool, as_int, show
from ._dtypes import as_dtype, check_dtype, is_float

__all__ = ["Reducer", "as_reducer", "lp", "max", "mean", "mean_with", "min", "sum"]

_NAMES = ("max", "min", "sum", "mean", "lp")


@dataclass(frozen=True)
class Reducer:
    """What is made of a window's cells. Use the names of this module rather than the class.

    Attributes
    ----------
    name : {"max", "min", "sum", "mean", "lp"}
        Which reduction.
    p : float
        The exponent of lp, above 0 or infinite; 0 for the others.
    count_include_pad : bool
        Whether the mean's divisor counts declared padding.
    divisor_override : int or None
        What the mean divides by instead, at least 1.

    Examples
    --------
    >>> from poolwise import reducers
    >>> reducers.lp(2).p
    2.0
    """

    name: str
    p: float = 0.0
    count_include_pad: bool = True
    divisor_override: int | None = None

    def __post_init__(self) -> None:
        if self.name not in _NAMES:
            raise ValueError(f"reducer must be one of {', '.join(_NAMES)}, got {show(self.name)}")
        if isinstance(self.p, bool) or not isinstance(self.p, float | int):
            raise TypeError(f"p must be a number, got {show(self.p)}")
        if isinstance(self.p, int) and abs(self.p) > 2**53:
            raise ValueError(f"p must be at most 2**53 or infinite, got {show(self.p)}")
        if not isinstance(self.count_include_pad, bool):
            raise TypeError(f"count_include_pad must be a bool, got {show(self.count_include_pad)}")
        if self.divisor_override is not None:
            as_int(self.divisor_override, "divisor_override", 1)
        if (self.name == "lp") != (self.p > 0):
            raise ValueError(f"p must be above 0 for lp and 0 otherwise, got {show(self.p)}")

    @property
    def picks(self) -> bool:
        """Whether the result is one of the window's cells, so that it has an index."""
        return self.name in ("max", "min")

    def result_dtype(self, input_dtype: DTypeLike, dtype: DTypeLike | None = None) -> np.dtype:
        """Return the output's dtype for an input's, or TypeError for a pair that has no meaning.

        Parameters
        ----------
        input_dtype : dtype
            What is pooled.
        dtype : dtype, optional
            What the user asks for; only sum and mean let one choose.

        Examples
        --------
        >>> from poolwise import reducers
        >>> reducers.mean.result_dtype("uint8"), reducers.sum.result_dtype("uint8")
        (dtype('float32'), dtype('uint64'))
        """
        given = check_dtype(np.dtype(input_dtype), "x")
        if dtype is None:
            return self._default_dtype(given)
        wanted = as_dtype(dtype)
        if self.name not in ("sum", "mean"):
            raise TypeError(
                f"dtype={wanted} cannot be chosen for {self.name}, only for sum and mean; "
                "convert the result with astype"
            )
        if wanted.kind == "b":
            raise TypeError("dtype=bool cannot hold a sum or a mean; use an integer or float type")
        if is_float(given) and not is_float(wanted):
            raise TypeError(
                f"dtype={wanted} would cut off fractions of x, which is {given}; "
                "use a float dtype and round the result yourself"
            )
        return wanted

    def _default_dtype(self, given: np.dtype) -> np.dtype:
        if self.picks or is_float(given):
            return given
        if self.name == "sum":
            return np.dtype(np.uint64 if given.kind == "u" else np.int64)
        return np.dtype(np.float32 if given.itemsize <= 2 else np.float64)

    def identity(self, dtype: np.dtype) -> Any:
        """Return the value of a window that sees no cell: what padding would be if it were data."""
        if not self.picks:
            return dtype.type(0)
        lowest = self.name == "max"
        if is_float(dtype):
            return dtype.type(-math.inf if lowest else math.inf)
        if dtype.kind == "b":
            return dtype.type(not lowest)
        limits = np.iinfo(dtype)
        return dtype.type(limits.min if lowest else limits.max)

    def combine(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
        """Combine the partial results of two parts of a window (for lp: of powers, or of |x|)."""
        ufunc: np.ufunc = np.add
        if self.name == "min":
            ufunc = np.minimum
        elif self.name == "max" or self.p == math.inf:
            ufunc = np.maximum
        return np.asarray(ufunc(left, right))


max = Reducer("max")
min = Reducer("min")
sum = Reducer("sum")
mean = Reducer("mean")


def lp(p: float) -> Reducer:
    """Return the reducer ``(sum |x|**p) ** (1/p)``; p is above 0, infinity means max of |x|.

    Examples
    --------
    >>> import poolwise as pw
    >>> pw.pool([3.0, 4.0], pw.Windows.whole(), pw.reducers.lp(2))
    array([5.])
    """
    if isinstance(p, bool | np.bool_ | str | bytes):
        raise TypeError(f"p (norm_type) must be a number, got {show(p)}")
    try:
        number = float(p)
    except OverflowError:
        raise ValueError("p (norm_type) is too large for a float; use math.inf") from None
    except (TypeError, ValueError):
        raise TypeError(f"p (norm_type) must be a number, got {show(p)}") from None
    if not number > 0:
        raise ValueError(f"p (norm_type) must be above 0 (infinity is allowed), got {number}")
    return Reducer("lp", p=number)


def mean_with(count_include_pad: bool = True, divisor_override: int | None = None) -> Reducer:
    """Return the mean with a chosen divisor.

    Parameters
    ----------
    count_include_pad : bool
        True counts declared padding in the divisor (ceil-mode overflow never counts); False
        counts the cells inside the input only.
    divisor_override : int, optional
        Divide by this number, at least 1, instead.

    Examples
    --------
    >>> import poolwise as pw
    >>> pw.pool([2.0, 4.0], pw.Windows.sliding(2, padding=1), pw.reducers.mean_with(False))
    array([2., 4.])
    """
    include = as_bool(count_include_pad, "count_include_pad")
    divisor = None if divisor_override is None else as_int(divisor_override, "divisor_override", 1)
    return Reducer("mean", count_include_pad=include, divisor_override=divisor)


_BY_NAME = {"max": max, "min": min, "sum": sum, "mean": mean, "avg": mean}


def as_reducer(reducer: str | Reducer) -> Reducer:
    """Return the reducer that a user names, or was given."""
    if isinstance(reducer, Reducer):
        return reducer
    if not isinstance(reducer, str):
        raise TypeError(f"reducer must be a name or a Reducer, got {show(reducer)}")
    if reducer not in _BY_NAME:
        raise ValueError(
            f"reducer must be one of {', '.join(_BY_NAME)} or reducers.lp(p), got {show(reducer)}"
        )
    return _BY_NAME[reducer]
