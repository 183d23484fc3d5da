"""Bad input, line by line, for every public function that takes the argument (docs/semantics.md).

The tables are data: a call that works for each function, and the bad values of each argument. Every
pair must raise one clear error that names the argument, and allocate next to nothing.
"""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest

import poolwise as pw

X = np.arange(32.0, dtype=np.float32).reshape(2, 4, 4)
INTS = np.arange(16).reshape(4, 4)
SLIDING = pw.Windows.sliding(2)

GOOD: dict[str, tuple[Any, dict[str, Any]]] = {
    "max_pool": (pw.max_pool, {"x": X, "kernel_size": 2}),
    "min_pool": (pw.min_pool, {"x": X, "kernel_size": 2}),
    "avg_pool": (pw.avg_pool, {"x": X, "kernel_size": 2}),
    "sum_pool": (pw.sum_pool, {"x": X, "kernel_size": 2}),
    "lp_pool": (pw.lp_pool, {"x": X, "norm_type": 2, "kernel_size": 2}),
    "adaptive_max_pool": (pw.adaptive_max_pool, {"x": X, "output_size": 2}),
    "adaptive_avg_pool": (pw.adaptive_avg_pool, {"x": X, "output_size": 2}),
    "global_max_pool": (pw.global_max_pool, {"x": X}),
    "global_avg_pool": (pw.global_avg_pool, {"x": X}),
    "max_unpool": (
        pw.max_unpool,
        {"y": X, "indices": np.zeros(X.shape, np.int64), "output_size": 8},
    ),
    "spatial_pyramid_pool": (pw.spatial_pyramid_pool, {"x": X}),
    "pool": (pw.pool, {"x": X, "windows": SLIDING}),
    "pool_vjp": (pw.pool_vjp, {"x": X, "windows": SLIDING, "reducer": "mean"}),
    "Windows.sliding": (pw.Windows.sliding, {"kernel_size": 2}),
    "Windows.adaptive": (pw.Windows.adaptive, {"output_size": 2}),
    "Windows.pyramid": (pw.Windows.pyramid, {"levels": (1, 2)}),
    "Windows.over": (SLIDING.over, {"shape": (4, 4)}),
    "set_num_threads": (pw.set_num_threads, {"n": 1}),
}

BOOLEANS = [1, 0, "yes", None, math.nan, np.ones(2, bool)]
NO_INTEGER = [2.0, True, np.True_, "3", math.nan, math.inf, 2j, object(), [[1]], np.array(2.5), {}]
TOO_LARGE = [2**63, 10**30, 10**5000, (1, 2**64)]
BEYOND = [2**31, 2**32 + 1, 2**63 - 1, 9132760301568586890]

# argument: bad values. A size that is only too large for an input needs an input, so BEYOND is
# given apart, to the functions that have one.
BAD: dict[str, list[Any]] = {
    "kernel_size": [*NO_INTEGER, None, *TOO_LARGE, 0, -1, -(2**63), (), [], (0, 1), (2, -1)],
    "stride": [*NO_INTEGER, *TOO_LARGE, 0, -1, (), (0, 1), (1, -1), (1.0, 1)],
    "padding": [*NO_INTEGER[:2], *NO_INTEGER[4:8], None, *TOO_LARGE, -1, (), (0, -1), "SAME", "",
                ((0, 1, 2), 0), ((0,), 0), ((0, 1.5), 0), ((0, -1), 0)],
    "dilation": [*NO_INTEGER, None, *TOO_LARGE, 0, -1, (), (0, 1)],
    "output_size": [*NO_INTEGER, None, *TOO_LARGE, 0, -1, (), (0, 1), (1, -1), (2.0, 2)],
    "levels": [*(v for v in NO_INTEGER if v != [[1]]), None, 3, (), (0,), (-1,), (2.0,), (True,),
               ("1",), ((),), ((0, 1),), (None,), (2**63,), ((1, 2), (1, 2, 3))],
    "shape": [*NO_INTEGER, None, *TOO_LARGE, -1, (), (0, 4), (4, 4, -1)],
    "axes": [*NO_INTEGER, *TOO_LARGE, 3, -4, (), (0, 0), (0, -3), (1, 3), (0, 1.0), (0, True)],
    "ceil_mode": BOOLEANS,
    "return_indices": BOOLEANS,
    "count_include_pad": BOOLEANS,
    "keepdims": BOOLEANS,
    "divisor_override": [*NO_INTEGER, *TOO_LARGE, 0, -1],
    "norm_type": [0, -1, -math.inf, math.nan, "2", None, True, 2j, 10**400, [2]],
    "dtype": [complex, object, bool, "U3", "M8[s]", np.longdouble, ">f4", "nonsense", 3.5, "i4"],
    "reducer": ["median", "", None, 3, max, "lp"],
    "windows": [None, 3, "max", pw.reducers.max, (2, 2)],
    "bins": ["appendix", None, 3, ["adaptive"]],
    "indices": [X, np.zeros(X.shape, bool), np.zeros((2, 4), int), np.zeros((2, 4, 4, 1), int),
                *(np.full(X.shape, n) for n in (-1, -2, 64, 2**40, -(2**63))),
                np.full(X.shape, 2**64 - 1, np.uint64), None, "cat"],
    "n": [*NO_INTEGER, None, *TOO_LARGE, 0, -1, 2**31],
    "out": [X, X[:1, :2, :2], [0], 3, np.zeros((2, 2, 2)), np.zeros((9, 9), np.float32)],
}  # fmt: skip
BAD["y"] = BAD["x"] = [
    *(X.astype(t) for t in (object, "U3", "S3", complex, "c8", "M8[s]", "m8[s]")),
    X.astype(np.longdouble),
    np.zeros((4, 4), [("a", "f4")]),
    np.zeros((4, 4), "V4"),
    np.float32(1),
    np.array(1.0),
    3,
    None,
    "text",
    {},
    {1, 2},
    object(),
    [[1, 2], [3]],
    [["a"]],
    [],
    np.ma.masked_array(X, X > 3),
    np.zeros((1,) * 33),
    np.zeros((0, 4, 0)),
    np.zeros((4, 0, 4)),
]
# What a message says instead of the argument's name.
ALSO = {
    "x": ("x", "pooled axis"),
    "y": ("y",),
    "kernel_size": ("windows are for",),
    "levels": ("bins",),
    "dtype": ("dtype",),
    "shape": ("pooled", "windows are for"),
}

CASES = [
    pytest.param(name, argument, value, id=f"{name}-{argument}-{i}")
    for name, (function, _) in GOOD.items()
    for argument in inspect.signature(function).parameters
    if argument in BAD
    for i, value in enumerate(BAD[argument])
]
HUGE = [
    pytest.param(name, argument, value, id=f"{name}-{argument}-{value}")
    for name, (function, arguments) in GOOD.items()
    for argument in ("kernel_size", "padding", "dilation", "output_size", "levels")
    if argument in inspect.signature(function).parameters and ("x" in arguments or "y" in arguments)
    for n in BEYOND
    for value in ((n, (n, n)) if argument != "levels" else ((n,), (1, (n, n))))
]


def attempt(name: str, argument: str, value: object) -> tuple[BaseException | None, int]:
    """Make the call with one bad value; return what it raised, and the peak of its memory."""
    function, arguments = GOOD[name]
    tracemalloc.start()
    try:
        function(**{**arguments, argument: value})
    except Exception as error:
        return error, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return None, 0


def test_the_good_calls_are_good() -> None:
    before = pw.get_num_threads()
    for function, arguments in GOOD.values():
        function(**arguments)
    pw.set_num_threads(before)


@pytest.mark.parametrize(("name", "argument", "value"), CASES)
def test_bad_values_are_named(name: str, argument: str, value: object) -> None:
    error, peak = attempt(name, argument, value)
    assert type(error) in (ValueError, TypeError), f"{error!r}"
    text = str(error)
    assert any(word in text for word in (argument, *ALSO.get(argument, ()))), text
    assert 10 < len(text) < 400
    assert peak < 2**20


@pytest.mark.parametrize(("name", "argument", "value"), HUGE)
def test_huge_numbers_allocate_nothing(name: str, argument: str, value: object) -> None:
    error, peak = attempt(name, argument, value)
    assert isinstance(error, ValueError | MemoryError), f"{error!r}"
    assert peak < 2**20


@pytest.mark.parametrize("name", GOOD)
def test_unknown_arguments(name: str) -> None:
    function, arguments = GOOD[name]
    with pytest.raises(TypeError):
        function(**arguments, kernal_size=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pw.max_pool(X, (2, 2), (2, 2, 2)), "kernel_size has 2, stride has 3"),
        (lambda: pw.max_pool(X, 2, (1, 1), (0, 0, 0)), "stride has 2, padding has 3"),
        (lambda: pw.avg_pool(X, (2,), dilation=(1, 1)), "kernel_size has 1, dilation has 2"),
        (lambda: pw.max_pool(X, (2, 2), axes=(0,)), "axes names 1 axes.* for 2"),
        (lambda: pw.max_pool(X, (2,) * 4), "for 4 axes, but x has 3"),
        (lambda: pw.adaptive_avg_pool(X[0, 0], (2, 2)), "for 2 axes, but x has 1"),
        (lambda: pw.adaptive_avg_pool(np.float32(1), 2), "x has 0 axes"),
        (lambda: pw.max_pool(X, 5), "spans 5 cells, wider than the padded input of 4"),
        (lambda: pw.max_pool(X, 3, padding=0, dilation=2), "dilation 2 spans 5.*size 4"),
        (lambda: pw.max_pool(X, 9, 1, 2, ceil_mode=True), "wider than the padded input of 8"),
        (lambda: pw.max_pool(X[:, :0], 1), "size 0; there is nothing to pool"),
        (lambda: pw.spatial_pyramid_pool(X, ((1, 2, 3),)), "levels must be"),
        (
            lambda: pw.max_unpool(X, np.full(X.shape, 64), 8),
            "indices must lie in 0 to 63.*64 to 64",
        ),
        (lambda: pw.max_unpool(X[:, :0], np.zeros((2, 0, 4), int), 8), "nothing to unpool"),
        (lambda: SLIDING.over((4, 0)), "size 0"),
        (lambda: pw.Windows.sliding((2, 2)).over(4), "for 2 axes, but 1"),
    ],
)
def test_arguments_that_do_not_fit_together(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_memory_error_gives_the_figure() -> None:
    with pytest.raises(MemoryError, match=r"GiB, and this machine has .* GiB"):
        pw.adaptive_avg_pool(X, 2**31)
    with pytest.raises(MemoryError, match="GiB"):
        pw.max_unpool(X, np.zeros(X.shape, int), 2**31)
    big = np.broadcast_to(np.float32(1), (2**24, 2**24, 4, 4))
    with pytest.raises(MemoryError, match="GiB"):
        pw.max_pool(big, 2)
    rows = np.broadcast_to(np.float32(1), (2**42, 4))
    with pytest.raises(MemoryError, match="GiB"):
        pw.pool_vjp(rows, pw.Windows.sliding(2), "sum")


def test_under_a_memory_limit() -> None:
    """The same calls in a process that may use 256 MiB more than it has: no bomb, no crash."""
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{len(CASES) + len(HUGE)} errors"


def main() -> None:
    """Run every case under a limit on the address space."""
    import resource
    from pathlib import Path

    pw.max_pool(X, 2)  # threads and tables come before the limit
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2**28
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    errors = 0
    for case in (*CASES, *HUGE):
        error, _ = attempt(*case.values)
        errors += isinstance(error, ValueError | TypeError | MemoryError)
    print(errors, "errors")


if __name__ == "__main__":
    main()
