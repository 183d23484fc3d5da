"""A program: hashes of what the core answers, for one instruction set and many thread counts.

``python _grid.py THREADS...`` prints JSON: the instruction set that ran, and for every case one
hash per thread count, over the bytes of values, indices and gradients with every NaN made the same.
test_native_isa.py runs it once per instruction set: two of them cannot live in one process.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache

import ml_dtypes
import numpy as np

import poolwise as pw
from poolwise import _native
from poolwise.reducers import lp, mean_with

FLOATS = ["float16", ml_dtypes.bfloat16, "float32", "float64"]
DTYPES = [*FLOATS, *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)), "bool"]
REDUCERS = ["max", "min", "sum", "mean", mean_with(False), mean_with(True, 3), lp(2), lp(3.5)]
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda x: x,
    "channels last": lambda x: np.ascontiguousarray(x.swapaxes(1, -1)).swapaxes(1, -1),
    "strided": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "reversed": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "transposed": lambda x: np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2),
    "batch last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0),
}
SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 0.0, 6e-8, 6e4]
SMALL_CASES = 500

# Windows, shape and dtype chosen for the path they take; see native/driver.cpp.
LARGE = {
    "one plane, 3 rows": (pw.Windows.sliding(3, 1, 1), (1, 1, 700, 900), "float32"),
    "one plane, two stacks": (pw.Windows.sliding(9, 2, 4), (1, 1, 700, 900), "float32"),
    "one plane, tall windows": (pw.Windows.sliding(31, 1), (1, 1, 700, 900), "float32"),
    "columns in tiles": (pw.Windows.sliding((40, 9), (3, 1)), (1, 1, 400, 1500), "float32"),
    "columns in tiles, f16": (pw.Windows.sliding((40, 9), (3, 2)), (1, 1, 300, 1500), "float16"),
    "dilated": (pw.Windows.sliding((9, 5), (2, 3), 4, (3, 7)), (1, 1, 400, 900), "float64"),
    "a signal": (pw.Windows.sliding((401,), (1,)), (1, 2, 100_000), "float32"),
    "a strided signal": (pw.Windows.sliding((401,), (3,)), (1, 2, 100_000), "int16"),
    "a dilated signal": (pw.Windows.sliding((40,), (1,), 0, (50,)), (1, 2, 60_000), "float64"),
    "volumes": (pw.Windows.sliding((5, 5, 5), 1, 2), (1, 2, 20, 40, 90), "float32"),
    "strided volumes": (pw.Windows.sliding((7, 3, 4), 2, 1), (1, 1, 30, 60, 90), "uint8"),
    "one bin": (pw.Windows.whole(), (1, 1, 1000, 1200), "float32"),
    "one bin, f16": (pw.Windows.whole(), (1, 2, 600, 700), "float16"),
    "a pyramid": (pw.Windows.pyramid((1, 2, 3, 6)), (1, 1, 700, 900), "float32"),
    "many bins": (pw.Windows.adaptive((50, 37)), (1, 2, 300, 400), "float64"),
    "narrow planes": (pw.Windows.sliding(3, 2, 1), (40, 70, 14, 14), "float32"),
    "narrow planes, bytes": (pw.Windows.sliding(2), (40, 70, 14, 14), "uint8"),
}
WIDE = {
    "NHWC": (pw.Windows.sliding(3, 2, 1), (1, 40, 40, 300), "float32"),
    "NHWC, lane blocks": (pw.Windows.sliding(13, 1), (1, 600, 40, 60), "float32"),
    "NHWC, bf16": (pw.Windows.sliding((9, 2), 1), (2, 300, 30, 40), ml_dtypes.bfloat16),
    "NHWC pyramid": (pw.Windows.pyramid((1, 2, 4)), (2, 300, 40, 50), "float32"),
}


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: object) -> np.ndarray:
    """Random values, some of them special, so that any change of order shows in the last bits."""
    made = np.dtype(dtype)
    if made.kind == "b":
        return rng.integers(0, 2, shape).astype(made)
    if made.kind in "iu":
        return rng.integers(0, 256, (*shape, made.itemsize), "uint8").view(made)[..., 0]
    x = rng.standard_normal(shape, "float32")
    x = np.where(rng.random(shape, "float32") < 1e-3, rng.choice(SPECIAL, shape), x)
    return x.astype(made)


def small_case(number: int) -> tuple[pw.Windows, tuple[int, ...], object]:
    """Random windows over one to three axes, with a shape and a dtype that suit them."""
    draw = random.Random(number)
    ndim = draw.choice([1, 2, 2, 2, 3])
    kernel = [draw.randint(1, 31 if ndim < 3 else 7) for _ in range(ndim)]
    stride = [draw.randint(1, 1 + k) for k in kernel]
    dilation = [draw.choice([1, 1, 1, 2, 3]) for _ in kernel]
    padding: object = [draw.randint(0, k) for k in kernel]
    padding = draw.choice([0, padding, "same_upper", "same_lower"])
    ceil_mode = draw.random() < 0.3 and not isinstance(padding, str)
    size = [d * (k - 1) + 1 + draw.randint(0, 40) for k, d in zip(kernel, dilation, strict=True)]
    windows = draw.choice(
        [pw.Windows.sliding(kernel, stride, padding, dilation, ceil_mode)] * 6
        + [pw.Windows.adaptive(kernel), pw.Windows.pyramid([1, stride, kernel])]
    )
    cells = int(np.prod(size))
    batch = (draw.randint(1, 3), draw.choice([1, 3, 17, max(1, min(64, 40_000 // cells))]))
    return windows, (*batch, *size), draw.choice(DTYPES)


def cases() -> Iterator[tuple[str, pw.Windows, object, np.ndarray]]:
    """Yield name, windows, reducer and input."""
    rng = np.random.default_rng(5)
    for number in range(SMALL_CASES):
        windows, shape, dtype = small_case(number)
        layout = list(LAYOUTS)[number % len(LAYOUTS)]
        reducer = REDUCERS[number // len(LAYOUTS) % len(REDUCERS)]
        x = LAYOUTS[layout](values(rng, shape, dtype))
        yield f"{number}: {windows} {reducer} {layout} {shape} {dtype}", windows, reducer, x
    for table, layout in ((LARGE, "plain"), (WIDE, "channels last")):
        for name, (windows, shape, dtype) in table.items():
            x = LAYOUTS[layout](values(rng, shape, dtype))
            for reducer in ("max", "mean"):
                yield f"{name}, {reducer}", windows, reducer, x


def answers(windows: pw.Windows, reducer: object, x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield all the core can say: values, the winners' indices, gradients."""
    axes = tuple(range(2, x.ndim))
    y = pw.pool(x, windows, reducer, axes=axes)
    yield y
    if reducer in ("max", "min"):
        from poolwise._engine import run_with_indices
        from poolwise.reducers import as_reducer

        yield from run_with_indices(x, windows, as_reducer(reducer), axes)[:2]
        if not windows.flat and x.dtype.kind in "fV" and taps_fit(windows, x):
            from _calls import Calls

            calls = Calls(x, windows, axes, "tap8", str(reducer))
            value, taps = calls.forward()
            yield value
            yield taps
            g = np.empty_like(taps, dtype=x.dtype)
            g[...] = gradient(y.shape, y.dtype)
            yield calls.backward(g, taps)
    if y.dtype == x.dtype and x.dtype in (np.dtype(d) for d in FLOATS):
        yield pw.pool_vjp(x, windows, reducer, axes=axes)[1](gradient(y.shape, y.dtype))


def taps_fit(windows: pw.Windows, x: np.ndarray) -> bool:
    """Whether eight bits can tell which cell of a window won."""
    grid = windows.over(x.shape[2:]).grids[0]
    cells = [
        int((axis.stops - axis.starts).max()) if axis.rule == "bins" else axis.kernel
        for axis in grid.axes
    ]
    return int(np.prod(cells)) <= 256


@lru_cache(maxsize=1)
def gradient(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return the same random gradient for the same output, whatever the number of threads."""
    return values(np.random.default_rng(len(shape)), shape, dtype)


def digest(arrays: Iterator[np.ndarray]) -> str:
    made = hashlib.blake2b(digest_size=12)
    for array in arrays:
        plain = array
        if array.dtype.kind not in "iub":
            plain = np.where(np.isnan(array), array.dtype.type(np.nan), array)
        made.update(np.ascontiguousarray(plain).view("uint8"))
    return made.hexdigest()


def main(threads: list[int]) -> None:
    found: dict[str, list[str]] = {}
    with np.errstate(all="ignore"):
        for name, windows, reducer, x in cases():
            found[name] = []
            for n in threads:
                pw.set_num_threads(n)
                found[name].append(digest(answers(windows, reducer, x)))
    isas = [pw.show_config()["isa"], _native.last_isa()]
    print(json.dumps({"isas": isas, "digests": found}))


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]])
