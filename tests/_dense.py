"""Dense arrays with awkward values, and the same answer from other kernels or the reference."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import poolwise as pw
from poolwise import Windows, reducers, reference

DTYPES = ["float32", "float64", "float16", "bfloat16", "uint8", "int16", "int8", "uint16", "int32"]
# How close two sums are, that were added in another order.
CLOSE = {"float32": 1e-5, "float64": 1e-12, "float16": 2e-3, "bfloat16": 2e-2}


def dtype_named(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def values(shape: tuple[int, ...], dtype: np.dtype, special: bool) -> NDArray:
    rng = np.random.default_rng(math.prod(shape))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(max(limits.min, -9999), min(limits.max, 9999), shape).astype(dtype)
    x = (rng.standard_normal(shape) * 20).astype(dtype)
    if special:  # NaN, both zeros next to each other, and nothing above -inf
        for value, share in ((np.nan, 0.01), (-0.0, 0.1), (0.0, 0.1), (-np.inf, 0.05)):
            x[rng.random(shape) < share] = value
    return x


def same_bits(a: NDArray, b: NDArray) -> bool:
    a, b = a.astype(np.float64), b.astype(np.float64)
    signs = np.signbit(a) == np.signbit(b)
    return bool(np.all((np.isnan(a) & np.isnan(b)) | ((a == b) & signs)))


def other_way(x: NDArray, windows: Windows, reducer: str) -> NDArray:
    made = getattr(reducers, reducer)
    if x.size < 4000:
        plan = windows.over(x.shape[-2:])
        axes = (x.ndim - 2, x.ndim - 1)
        return reference.forward(x, plan.grids[0], made, axes, made.result_dtype(x.dtype))
    return pw.pool(np.asfortranarray(x), windows, made)


def fits(windows: Windows, shape: tuple[int, ...]) -> bool:
    """Whether no window is wider than the map."""
    try:
        windows.over(shape)
    except ValueError:
        return False
    return True


def agree(y: NDArray, expected: NDArray, reducer: str, dtype: str) -> None:
    """Asserts it: maxima and integers to the bit, sums of floats as close as `CLOSE` says."""
    if reducer != "mean":
        assert same_bits(y, expected)
    elif dtype not in CLOSE:
        assert np.array_equal(y, expected)
    else:
        np.testing.assert_allclose(
            *(np.asarray(a, np.float64) for a in (y, expected)),
            rtol=CLOSE[dtype],
            atol=20 * CLOSE[dtype],
        )
