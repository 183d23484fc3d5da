"""Reducers as values: their dtypes, their monoids, their arguments."""

from __future__ import annotations

import math
import pickle

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolwise import Reducer, reducers
from poolwise.reducers import as_reducer

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(t) for t in ("float16", "float32", "float64")] + [BFLOAT16]
SIGNED = [np.dtype(t) for t in ("bool", "int8", "int16", "int32", "int64")]
UNSIGNED = [np.dtype(t) for t in ("uint8", "uint16", "uint32", "uint64")]
ALL = [
    reducers.max,
    reducers.min,
    reducers.sum,
    reducers.mean,
    reducers.lp(2),
    reducers.lp(math.inf),
]


@pytest.mark.parametrize("dtype", FLOATS + SIGNED + UNSIGNED, ids=str)
def test_default_dtypes(dtype: np.dtype) -> None:
    is_float = dtype in FLOATS
    mean = dtype if is_float else np.dtype("f4" if dtype.itemsize <= 2 else "f8")
    total = dtype if is_float else np.dtype("i8" if dtype in SIGNED else "u8")
    assert reducers.max.result_dtype(dtype) == reducers.min.result_dtype(dtype) == dtype
    assert reducers.sum.result_dtype(dtype) == total
    assert reducers.mean.result_dtype(dtype) == reducers.lp(3).result_dtype(dtype) == mean


def test_chosen_dtypes() -> None:
    assert reducers.sum.result_dtype("int8", "int16") == np.int16
    assert reducers.mean.result_dtype("int8", "uint8") == np.uint8
    assert reducers.mean.result_dtype("float16", np.float64) == np.float64
    assert reducers.mean.result_dtype("float32", "bfloat16") == BFLOAT16


@pytest.mark.parametrize(
    ("reducer", "given", "wanted", "message"),
    [
        (reducers.max, "f4", "f8", "dtype=float64 cannot be chosen for max"),
        (reducers.lp(2), "f4", "f4", "cannot be chosen for lp"),
        (reducers.mean, "f4", "i4", "cut off fractions"),
        (reducers.sum, BFLOAT16, "i4", "cut off fractions"),
        (reducers.sum, "i4", "bool", "dtype=bool"),
        (reducers.sum, "i4", "c8", "complex64"),
        (reducers.sum, "i4", ">i4", "byte order"),
        (reducers.sum, "i4", "nonsense", "dtype must be"),
        (reducers.sum, "i4", 3.5, "dtype must be"),
        (reducers.sum, "c16", None, "complex128"),
        (reducers.sum, "O", None, "object"),
        (reducers.sum, "M8[s]", None, "datetime64"),
    ],
)
def test_dtypes_without_meaning(reducer, given, wanted, message) -> None:
    with pytest.raises(TypeError, match=message):
        reducer.result_dtype(given, wanted)


@given(st.lists(st.integers(-100, 100), min_size=3, max_size=3))
@pytest.mark.parametrize("reducer", ALL, ids=str)
def test_combine_is_a_monoid(reducer: Reducer, numbers: list[int]) -> None:
    a, b, c = (np.array([float(abs(n))]) for n in numbers)
    unit = np.array([reducer.identity(np.dtype("f8"))])
    assert reducer.combine(unit, a) == a
    assert reducer.combine(reducer.combine(a, b), c) == reducer.combine(a, reducer.combine(b, c))


@pytest.mark.parametrize(
    ("dtype", "lowest", "highest"),
    [("int8", -128, 127), ("uint8", 0, 255), ("bool", False, True), ("f4", -math.inf, math.inf),
     (BFLOAT16, -math.inf, math.inf)],
)  # fmt: skip
def test_identities(dtype, lowest, highest) -> None:
    assert reducers.max.identity(np.dtype(dtype)) == lowest
    assert reducers.min.identity(np.dtype(dtype)) == highest
    assert reducers.sum.identity(np.dtype(dtype)) == 0


def test_names() -> None:
    assert as_reducer("avg") is as_reducer("mean") is reducers.mean
    assert as_reducer(reducers.lp(2)) == reducers.lp(2.0)
    assert pickle.loads(pickle.dumps(reducers.lp(2))) == reducers.lp(2)
    assert reducers.lp(np.float32(1.5)).p == 1.5


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: as_reducer("median"), ValueError),
        (lambda: as_reducer("lp"), ValueError),
        (lambda: as_reducer(None), TypeError),
        (lambda: as_reducer(max), TypeError),
        (lambda: Reducer("median"), ValueError),
        (lambda: Reducer("lp"), ValueError),
        (lambda: reducers.lp(0), ValueError),
        (lambda: reducers.lp(-1), ValueError),
        (lambda: reducers.lp(math.nan), ValueError),
        (lambda: reducers.lp(10**400), ValueError),
        (lambda: reducers.lp("2"), TypeError),
        (lambda: reducers.lp(True), TypeError),
        (lambda: reducers.lp(None), TypeError),
        (lambda: reducers.lp(2j), TypeError),
        (lambda: reducers.mean_with(1), TypeError),
        (lambda: reducers.mean_with(True, 0), ValueError),
        (lambda: reducers.mean_with(True, -3), ValueError),
        (lambda: reducers.mean_with(True, 2**63), ValueError),
        (lambda: reducers.mean_with(True, 2.0), TypeError),
        (lambda: reducers.mean_with(True, math.nan), TypeError),
    ],
)
def test_bad_arguments(make, error) -> None:
    with pytest.raises(error):
        make()
