"""Small windows over channels beside each other, in every element type and number of channels.

The same maps with their planes in one piece take another kernel: maxima agree to the bit, signs of
zero among them.
"""

from __future__ import annotations

import numpy as np
import pytest

import poolwise as pw
from _dense import agree, dtype_named, values
from poolwise import Windows, reducers

WINDOWS = {
    "2x2/2": Windows.sliding(2),
    "3x3/2": Windows.sliding(3, 2, 1),
    "3x3/3": Windows.sliding(3, 3),
    "2x3/3,1": Windows.sliding((2, 3), (3, 1), (1, 1)),
    "over the end": Windows.sliding(3, 2, 1, ceil_mode=True),
    "5x2/5,4": Windows.sliding((5, 2), (5, 4)),
}
CHANNELS = (1, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 200)


@pytest.mark.parametrize("special", [False, True], ids=["plain", "special"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "uint8", "int16"])
@pytest.mark.parametrize("windows", WINDOWS)
def test_channels_last(windows: str, dtype: str, special: bool) -> None:
    kind = dtype_named(dtype)
    for channels in CHANNELS:
        planes = values((2, channels, 13, 18), kind, special)
        x = np.ascontiguousarray(np.moveaxis(planes, 1, -1))
        for reducer in ("max", "min", "mean"):
            y = pw.pool(x, WINDOWS[windows], reducer, axes=(1, 2))
            expected = pw.pool(planes, WINDOWS[windows], reducer)
            agree(np.moveaxis(y, -1, 1), expected, reducer, dtype)


@pytest.mark.parametrize(
    "mean",
    [reducers.mean_with(count_include_pad=False), reducers.mean_with(divisor_override=5)],
    ids=["cells", "five"],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
def test_divisors(dtype: str, mean: reducers.Reducer) -> None:
    kind = dtype_named(dtype)
    planes = values((3, 48, 20, 21), kind, special=False)
    x = np.ascontiguousarray(np.moveaxis(planes, 1, -1))
    for windows in WINDOWS.values():
        y = np.moveaxis(pw.pool(x, windows, mean, axes=(1, 2)), -1, 1)
        agree(y, pw.pool(planes, windows, mean), "mean", str(y.dtype))


def test_volumes() -> None:
    planes = values((2, 40, 6, 9, 10), np.dtype("float32"), special=True)
    x = np.ascontiguousarray(np.moveaxis(planes, 1, -1))
    for reducer in ("max", "mean"):
        y = pw.pool(x, Windows.sliding(2), reducer, axes=(1, 2, 3))
        expected = pw.pool(planes, Windows.sliding(2), reducer, axes=(2, 3, 4))
        agree(np.moveaxis(y, -1, 1), expected, reducer, "float32")
