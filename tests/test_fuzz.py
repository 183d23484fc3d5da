"""Anything for every argument: an error of three kinds, or the reference's answer.

The memory the library believes in is set to 1 MiB, so an allocation beyond need shows in the peak
long before it could hurt.
"""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import poolwise as pw
from poolwise import _checks, reducers

NASTY = [0, -1, -2, 2**31, 2**32 + 1, 2**40, 2**63 - 1, 9132760301568586890, 2**63, -(2**63)]
JUNK = [None, True, 1.0, 2.5, math.nan, math.inf, "2", "same", b"2", 2j, (), {}, object(), [[1]]]
DTYPES = [
    *("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ">f4", ">i2"),
    ml_dtypes.bfloat16,
    *("c8", "g", "O", "U2", "M8[s]", [("a", "f4")]),
]

junk = st.sampled_from(JUNK)
small = st.integers(1, 3)
odd = st.sampled_from(NASTY) | st.just(np.int32(2)) | junk


def mostly(usual, unusual):
    """Draw the unusual about one time in ten, so that most calls have at most one thing wrong."""
    # Not at either end of the range: hypothesis is fond of ends.
    return st.integers(0, 9).flatmap(lambda n: unusual if n == 4 else usual)


number = mostly(small, odd)
sizes = mostly(small, number | st.lists(number, max_size=4).map(tuple) | st.tuples(small, small))
named = st.sampled_from(["same", "same_upper", "same_lower", "valid", "SAME"])
pairs = st.lists(st.tuples(st.integers(0, 3), number), min_size=1, max_size=3)
reducer = st.sampled_from(
    ["max", "min", "sum", "mean", "avg", None, reducers.lp(2), reducers.lp(math.inf),
     reducers.lp(1e-3), reducers.lp(1e300), reducers.mean_with(False), reducers.mean_with(True, 3)]
)  # fmt: skip


@st.composite
def arrays(draw, min_dims: int = 0, max_dims: int = 5, kinds=None):
    dims = draw(st.integers(min_dims, max_dims))
    shape = tuple(draw(mostly(st.integers(1, 6), st.integers(0, 2))) for _ in range(dims))
    made = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 4, shape)
    good, bad = st.sampled_from(DTYPES[:15]), st.sampled_from(DTYPES[15:])
    dtype = np.dtype(draw(mostly(good, bad) if kinds is None else kinds))
    if dtype.names:
        return np.zeros(shape, dtype)
    made = made.astype(dtype)
    if dims and draw(st.booleans()):
        made = made[::-1].T
    return made


floating = st.sampled_from(["f2", "f4", "f8", ml_dtypes.bfloat16])
boolean = mostly(st.booleans(), junk)
axes = mostly(st.none(), st.integers(-5, 5) | st.permutations(range(3)) | sizes)
outs = mostly(st.none(), arrays() | junk)
windows = (
    st.builds(
        lambda *a: (pw.Windows.sliding, a), sizes, st.none() | sizes, mostly(st.just(1), pairs)
    )
    | st.builds(lambda a: (pw.Windows.adaptive, (a,)), sizes)
    | st.builds(lambda a: (pw.Windows.pyramid, (a,)), st.lists(sizes, min_size=1).map(tuple))
    | st.just((pw.Windows.whole, ()))
)
maps = st.lists(arrays(min_dims=3, max_dims=3, kinds=st.just("f4")), max_size=3)

ARGUMENTS = {
    "x": mostly(arrays(min_dims=1), arrays() | junk),
    "y": arrays(min_dims=1),
    "indices": arrays(),
    "kernel_size": sizes,
    "stride": st.none() | sizes,
    "padding": mostly(st.integers(0, 3), sizes | named | pairs),
    "dilation": mostly(st.just(1), sizes),
    "ceil_mode": boolean,
    "return_indices": boolean,
    "count_include_pad": boolean,
    "keepdims": boolean,
    "divisor_override": mostly(st.none() | small, number),
    "norm_type": mostly(st.sampled_from([1, 2, 0.5, 3.0, math.inf, 1e-300, 1e300]), number),
    "output_size": sizes,
    "levels": mostly(st.lists(small, min_size=1, max_size=3).map(tuple), sizes),
    "bins": mostly(st.sampled_from(["adaptive", "training"]), junk),
    "axes": axes,
    "dtype": mostly(st.none(), st.sampled_from([*DTYPES, "bfloat16", "nonsense"])),
    "out": outs,
    "reducer": reducer,
    "windows": windows,
}
FUNCTIONS = {
    pw.max_pool: "x kernel_size stride padding dilation ceil_mode return_indices axes out",
    pw.min_pool: "x kernel_size stride padding dilation ceil_mode return_indices axes out",
    pw.avg_pool: "x kernel_size stride padding dilation ceil_mode count_include_pad "
    "divisor_override axes dtype out",
    pw.sum_pool: "x kernel_size stride padding dilation ceil_mode axes dtype out",
    pw.lp_pool: "x norm_type kernel_size stride padding dilation ceil_mode axes out",
    pw.adaptive_max_pool: "x output_size return_indices axes out",
    pw.adaptive_avg_pool: "x output_size axes out",
    pw.global_max_pool: "x axes keepdims",
    pw.global_avg_pool: "x axes keepdims",
    pw.max_unpool: "y indices output_size axes",
    pw.spatial_pyramid_pool: "x levels reducer bins out",
    pw.pool: "x windows reducer axes dtype out",
    pw.pool_vjp: "x windows reducer axes",
}
REQUIRED = {"x", "y", "indices", "kernel_size", "norm_type", "output_size", "windows"}


@pytest.fixture
def one_mebibyte(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_checks, "_LIMIT", 2**20)
    tracemalloc.start()
    yield
    tracemalloc.stop()


def call(function, arguments):
    """Return all arrays the call gives, or the error it raises."""
    arguments = dict(arguments)
    made = arguments.get("windows")
    try:
        if isinstance(made, tuple):
            arguments["windows"] = made[0](*made[1])
        result = function(**arguments)
        if function is pw.pool_vjp:
            y, pullback = result
            return [y, pullback(np.ones(y.shape, y.dtype))]
    except (ValueError, TypeError, MemoryError) as error:
        return error
    return [np.array(r) for r in (result if isinstance(result, tuple) else (result,))]


@settings(max_examples=80)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@given(data=st.data())
def test_anything_goes_to_an_error_or_the_right_answer(
    function, data, one_mebibyte, by_reference
) -> None:
    arguments = {}
    for name in FUNCTIONS[function].split():
        if name in REQUIRED or data.draw(st.booleans(), f"give {name}"):
            strategy = ARGUMENTS[name]
            if name == "x" and function is pw.spatial_pyramid_pool:
                strategy = arrays(min_dims=3, max_dims=4) | maps | strategy
            if name == "x" and function is pw.pool_vjp:
                strategy = mostly(arrays(min_dims=1, kinds=floating), strategy)
            if name == "indices":
                y = arguments["y"]
                strategy = mostly(
                    st.integers(-2, 9).map(lambda n, y=y: np.full(y.shape, n)), strategy
                )
            arguments[name] = data.draw(strategy, name)
    if function is pw.pool_vjp:
        arguments.setdefault("reducer", "max")
    tracemalloc.reset_peak()
    began = tracemalloc.get_traced_memory()[0]
    found = call(function, arguments)
    assert tracemalloc.get_traced_memory()[1] - began < 2**24
    with by_reference():
        expected = call(function, arguments)
    if isinstance(found, Exception):
        assert type(found) is type(expected)
        assert str(found)
        return
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        relative = {1: 0, 2: 2**-6, 4: 1e-5, 8: 1e-12}[ours.dtype.itemsize]
        if ours.dtype.kind in "iub":
            relative = 0
        if ours.size == 0:  # (approx would count the axes of an empty one, however long they are)
            continue
        assert ours.astype("f8") == pytest.approx(
            theirs.astype("f8"), rel=relative, abs=relative, nan_ok=True
        )


def test_an_axis_that_no_array_can_have(one_mebibyte, by_reference) -> None:
    """Found by the above: such an output has no elements, and NumPy another error for it."""
    arguments = {"x": np.zeros((2, 0, 5, 3)), "windows": pw.Windows.pyramid((1, 2**40))}
    arguments |= {"reducer": "max", "axes": (2, 3)}
    assert isinstance(call(pw.pool, arguments), MemoryError)
    with by_reference():
        assert isinstance(call(pw.pool, arguments), MemoryError)
