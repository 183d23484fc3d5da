"""Small windows over dense volumes, whose planes are pooled once and then joined.

What is laid out otherwise takes another kernel, so every answer has somebody to agree with: maxima
to the bit, signs of zero among them.
"""

from __future__ import annotations

import numpy as np
import pytest

import poolwise as pw
from _dense import agree, dtype_named, fits, values
from poolwise import Windows, reducers

pytestmark = pytest.mark.usefixtures("eight_threads")

WINDOWS = {
    "2x2x2/2": Windows.sliding(2),
    "3x3x3/1": Windows.sliding(3, 1, 1),
    "3x3x3/2": Windows.sliding(3, 2, 1),
    "1x3x3/1": Windows.sliding((1, 3, 3), 1, (0, 1, 1)),
    "3x1x1/1": Windows.sliding((3, 1, 1), 1, (1, 0, 0)),
    "5x2x3/1,2": Windows.sliding((5, 2, 3), (1, 2, 2), (2, 0, 1)),
    "2x3x3/4,3,3": Windows.sliding((2, 3, 3), (4, 3, 3)),
    "over the end": Windows.sliding(3, 2, 1, ceil_mode=True),
    "without padding": Windows.sliding(3, 1),
}
# Several volumes; one alone, in bands of planes; one plane deep; rows too short for the kernel.
SHAPES = [(3, 5, 9, 24), (1, 40, 12, 56), (2, 4, 30, 30), (2, 3, 2, 33, 64), (2, 1, 8, 40),
          (2, 6, 9, 11)]  # fmt: skip


@pytest.mark.parametrize("special", [False, True], ids=["plain", "special"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "uint8", "int16"])
@pytest.mark.parametrize("windows", WINDOWS)
def test_dense_volumes(windows: str, dtype: str, special: bool) -> None:
    kind = dtype_named(dtype)
    for shape in SHAPES:
        if not fits(WINDOWS[windows], shape[-3:]):
            continue
        x = values(shape, kind, special)
        axes = (x.ndim - 3, x.ndim - 2, x.ndim - 1)
        for reducer in ("max", "min", "mean"):
            y = pw.pool(x, WINDOWS[windows], reducer, axes=axes)
            other = pw.pool(np.asfortranarray(x), WINDOWS[windows], reducer, axes=axes)
            agree(y, other, reducer, dtype)


@pytest.mark.parametrize(
    "mean",
    [reducers.mean_with(count_include_pad=False), reducers.mean_with(divisor_override=5)],
    ids=["cells", "five"],
)
def test_divisors(mean: reducers.Reducer) -> None:
    x = values((2, 7, 20, 40), np.dtype("float32"), special=False)
    for windows in WINDOWS.values():
        y = pw.pool(x, windows, mean, axes=(1, 2, 3))
        other = pw.pool(np.asfortranarray(x), windows, mean, axes=(1, 2, 3))
        agree(y, other, "mean", "float32")


def test_bits_do_not_depend_on_threads() -> None:
    x = values((1, 48, 16, 40), np.dtype("float32"), special=False)
    several = pw.pool(x, WINDOWS["3x3x3/1"], "mean", axes=(1, 2, 3))
    pw.set_num_threads(1)
    assert np.array_equal(several, pw.pool(x, WINDOWS["3x3x3/1"], "mean", axes=(1, 2, 3)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "uint8"])
@pytest.mark.parametrize("special", [False, True], ids=["plain", "special"])
def test_planes_that_fill_a_cache_are_made_a_few_rows_at_a_time(dtype: str, special: bool) -> None:
    kind = dtype_named(dtype)
    uneven = reducers.mean_with(count_include_pad=False)
    for shape, axes in (((4, 260, 255), (0, 1, 2)), ((1, 4, 41, 40, 96), (1, 2, 3))):
        x = values(shape, kind, special)
        for windows in (Windows.sliding(3, 1, 1), Windows.sliding(3, (2, 1, 1), (0, 1, 0))):
            for reducer, name in (("max", "max"), ("mean", "mean"), (uneven, "mean")):
                y = pw.pool(x, windows, reducer, axes=axes)
                other = pw.pool(np.asfortranarray(x), windows, reducer, axes=axes)
                agree(y, other, name, dtype)
