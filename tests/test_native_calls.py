"""Calls by address: winners as taps are the winners as indices, and gradients follow either alike.

Small windows have kernels of their own for both directions (direct.h, spread.h), larger ones others
(rows.h, winners.h), and which one runs depends on geometry and layout: every pair must agree, with
the NumPy face and with each other.
"""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import poolwise as pw
from _calls import Calls

RNG = np.random.default_rng(11)
GEOMETRIES = [
    (2, 2, 0, 1),
    (3, 2, 1, 1),
    (3, 1, 1, 1),
    (5, 1, 2, 1),
    (3, 3, 0, 1),
    (2, 3, 0, 1),
    (4, 2, 1, 1),
    (3, 1, 1, 2),
    (5, 2, 2, 1),
    (5, 3, 2, 1),
    (7, 1, 3, 1),
    (13, 1, 6, 1),
    (1, 2, 0, 1),
]
# (shape, pooled axes): rows, lanes, narrow planes in odd groups, single planes, volumes, signals
MAPS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((3, 5, 9, 8), (2, 3)),
    ((2, 37, 17, 19), (2, 3)),
    ((2, 9, 8, 40), (1, 2)),
    ((2, 9, 70, 5), (1, 2)),
    ((2, 3, 70, 90), (2, 3)),
    ((1, 1, 40, 3000), (2, 3)),
    ((2, 3, 6, 7, 9), (2, 3, 4)),
    ((1, 6, 7, 9, 33), (1, 2, 3)),
    ((3, 100), (1,)),
    ((2, 4, 200), (2,)),
]


def made(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Ties, NaN, and planes of nothing but -inf."""
    x = RNG.integers(-2, 3, shape).astype(dtype)
    x[RNG.random(shape) < 0.02] = np.nan
    x[RNG.random(shape) < 0.3] = -np.inf
    x[0] = -np.inf
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16])
@pytest.mark.parametrize(("shape", "axes"), MAPS)
def test_taps_are_the_indices(shape, axes, dtype) -> None:
    for k, s, p, d in GEOMETRIES:
        if any((k - 1) * d + 1 > shape[a] + 2 * p for a in axes) or k ** len(axes) > 256:
            continue
        windows = pw.Windows.sliding((k,) * len(axes), s, p, d)
        x = made(shape, dtype)
        y, where = pw.max_pool(x, (k,) * len(axes), s, p, d, axes=axes, return_indices=True)
        shares = RNG.integers(-5, 6, y.shape)
        gradients = []
        for form in ("tap8", "index32", "index64"):
            calls = Calls(x, windows, axes, form)
            value, winners = calls.forward()
            assert np.array_equal(value.astype("f8"), y.astype("f8"), equal_nan=True), (k, s, p, d)
            if form != "tap8":
                assert np.array_equal(winners, where), (k, s, p, d, form)
            dy = np.empty_like(winners, dtype=dtype)  # of the winners' layout
            dy[...] = shares
            gradients.append(calls.backward(dy, winners))
            for threads in (1, 3):
                again = calls.backward(dy, calls.forward(threads)[1], threads)
                assert np.array_equal(again, gradients[-1])
        for one, other in itertools.pairwise(gradients):
            assert np.array_equal(one, other), (k, s, p, d)


@pytest.mark.parametrize("kernel", [2, 3, 13])
@pytest.mark.parametrize("form", ["tap8", "index32", "index64"])
def test_bad_winners_are_refused(form: str, kernel: int) -> None:
    x = RNG.standard_normal((2, 3, 20, 20), dtype="f4")
    calls = Calls(x, pw.Windows.sliding((kernel, kernel), 1), (2, 3), form)
    y, winners = calls.forward()
    bad = [kernel**2, 255] if form == "tap8" else [-1, -2, 400, 2**31 - 1]
    for number in bad:
        wrong = winners.copy()
        wrong[1, 2, 3, 1] = number
        with pytest.raises(ValueError, match="indices"):
            calls.backward(y, wrong)


def test_a_nan_anywhere_comes_through_the_quick_kernel() -> None:
    """Maxima take one instruction per tap that loses NaN: planes that hold one are done again."""
    for width in (*range(1, 40), 63, 64, 65, 200):
        for place in {0, 1 % width, width // 2, width - 1}:
            x = np.zeros((2, 5, width), "f4")
            x[1, 3, place] = np.nan
            y = pw.max_pool(x, (3, min(3, width)), 1, (1, 0))
            expected = pw.max_pool(x.astype("f8"), (3, min(3, width)), 1, (1, 0))
            assert np.array_equal(np.isnan(y), np.isnan(expected)), (width, place)
            assert np.isnan(y).any()
