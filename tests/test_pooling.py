"""The NumPy face: named poolings against PyTorch, any pooling against the reference."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import poolwise as pw

RNG = np.random.default_rng(11)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = ["float16", "float32", "float64", BFLOAT16]
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
DTYPES = [*FLOATS, *INTEGERS, "bool"]


def make(shape, dtype="float64", high=9):
    """Small whole numbers: every sum of them is exact in every float type."""
    dtype = np.dtype(dtype)
    low = 0 if dtype.kind in "ub" else -high
    return RNG.integers(low, 2 if dtype.kind == "b" else high, shape).astype(dtype)


def bits(a):
    """The array as integers, so that NaN and -0.0 are compared too."""
    a = np.asarray(a)
    return a.view(f"u{a.itemsize}") if a.dtype.kind in "fV" or a.dtype == BFLOAT16 else a


def same_bits(a, b) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(bits(a), bits(b))


SLIDING = [
    (k, s, p, d, c)
    for k, s, p, d, c in itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 1), (1, 2), (False, True))
    if p <= k // 2
]


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_max_pool_is_pytorchs(ndim: int) -> None:
    import torch
    from torch.nn import functional

    x = RNG.integers(-2, 3, (2, 2, *(9, 10, 11)[:ndim])).astype(np.float32)
    function = getattr(functional, f"max_pool{ndim}d")
    for kernel, stride, padding, dilation, ceil_mode in SLIDING[:: 1 if ndim < 3 else 5]:
        y, i = function(
            torch.tensor(x), kernel, stride, padding, dilation, ceil_mode, return_indices=True
        )
        geometry = ((kernel,) * ndim, stride, padding, dilation)
        ours, where = pw.max_pool(x, *geometry, ceil_mode=ceil_mode, return_indices=True)
        assert np.array_equal(ours, y)
        assert np.array_equal(where, i)
        assert where.dtype == np.int64
        mirrored, there = pw.min_pool(-x, *geometry, ceil_mode=ceil_mode, return_indices=True)
        assert np.array_equal(mirrored, -ours)
        assert np.array_equal(there, where)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_avg_pool_is_pytorchs(ndim: int) -> None:
    import torch
    from torch.nn import functional

    x = RNG.standard_normal((2, 2, *(9, 10, 11)[:ndim])).astype(np.float32)
    function = getattr(functional, f"avg_pool{ndim}d")
    for kernel, stride, padding, dilation, ceil_mode in SLIDING[:: 1 if ndim < 3 else 5]:
        if dilation > 1:
            continue
        for include, divisor in ((True, None), (False, None), (True, 7)):
            if ndim == 1 and divisor:
                continue
            more = {} if ndim == 1 else {"divisor_override": divisor}
            y = function(torch.tensor(x), kernel, stride, padding, ceil_mode, include, **more)
            ours = pw.avg_pool(
                *(x, (kernel,) * ndim, stride, padding),
                ceil_mode=ceil_mode,
                count_include_pad=include,
                divisor_override=divisor,
            )
            assert ours == pytest.approx(y.numpy(), rel=2e-6, abs=2e-6)


@pytest.mark.parametrize("norm_type", [1, 2, 3.5, np.inf])
def test_lp_pool_is_pytorchs(norm_type: float) -> None:
    import torch
    from torch.nn import functional

    x = np.abs(RNG.standard_normal((2, 3, 9, 8))).astype(np.float32) + 0.01
    if norm_type == np.inf:
        y = functional.max_pool2d(torch.tensor(x), 3, 2)
    else:
        y = functional.lp_pool2d(torch.tensor(x), norm_type, 3, 2)
    assert pw.lp_pool(x, norm_type, 3, 2) == pytest.approx(y.numpy(), rel=1e-5)
    assert pw.lp_pool(-x, norm_type, 3, 2) == pytest.approx(y.numpy(), rel=1e-5)


def test_adaptive_and_global_are_pytorchs() -> None:
    import torch
    from torch.nn import functional

    x = RNG.standard_normal((2, 3, 7, 10))
    tensor = torch.tensor(x)
    for size in [1, 3, 7, 12, (2, 5), (None, 4), (9, None)]:
        expected, i = functional.adaptive_max_pool2d(tensor, size, return_indices=True)
        y, where = pw.adaptive_max_pool(x, size, return_indices=True)
        assert np.array_equal(y, expected)
        assert np.array_equal(where, i)
        y = pw.adaptive_avg_pool(x, size)
        assert y == pytest.approx(functional.adaptive_avg_pool2d(tensor, size).numpy(), rel=1e-12)
    assert np.array_equal(pw.global_max_pool(x), x.max(axis=(2, 3)))
    assert pw.global_avg_pool(x, axes=1) == pytest.approx(x.mean(axis=1))
    assert pw.global_avg_pool(x, axes=(0, 3), keepdims=True).shape == (1, 3, 7, 1)
    assert pw.global_avg_pool(x, axes=(0, 1, 2, 3)) == pytest.approx(x.mean())
    assert pw.global_max_pool(x[0, 0, 0]).shape == ()
    assert pw.global_avg_pool([1, 2]) == 1.5


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype, by_reference) -> None:
    x = make((3, 2, 9, 7), dtype, high=3)
    for call in (
        lambda: pw.max_pool(x, 3, 2, 1),
        lambda: pw.min_pool(x, 3, 2, 1),
        lambda: pw.sum_pool(x, 3, 2, 1),
        lambda: pw.avg_pool(x, 2, 2, 1),
        lambda: pw.avg_pool(x, (4, 4), 1, dtype=None if np.dtype(dtype).kind in "fV" else "int16"),
        lambda: pw.adaptive_max_pool(x, 4),
        lambda: pw.max_pool(x, (2, 3), axes=(1, 2)),
    ):
        y = call()
        with by_reference():
            assert same_bits(y, call())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_nan_infinity_and_signed_zero(dtype, by_reference) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0]).astype(dtype)
    x = RNG.choice(values, (2, 3, 40, 41))
    for kernel, stride in [(2, 1), (3, 2), (7, 1), (13, 3)]:
        for function in (pw.max_pool, pw.min_pool):
            y, i = function(x, kernel, stride, padding=1, return_indices=True)
            plain = function(x, kernel, stride, padding=1)
            with by_reference():
                expected, where = function(x, kernel, stride, padding=1, return_indices=True)
            assert np.array_equal(i, where)
            for found in (y, plain):
                nan = np.isnan(expected.astype("f4"))
                assert np.array_equal(nan, np.isnan(found.astype("f4")))
                assert np.array_equal(bits(found)[~nan], bits(expected)[~nan])
        for call in (pw.avg_pool, pw.sum_pool):
            finite = np.where(RNG.random(x.shape) < 0.98, np.ones(1, x.dtype), x)
            y = call(finite, kernel, stride).astype("f8")
            with by_reference():
                expected = call(finite, kernel, stride).astype("f8")
            assert y == pytest.approx(expected, rel=0.01, nan_ok=True)


def test_integers_at_their_limits(by_reference) -> None:
    for dtype in INTEGERS:
        limits = np.iinfo(dtype)
        x = RNG.choice(np.array([limits.min, limits.max, 0, 1], dtype), (3, 30, 31))
        for call in (
            lambda x=x: pw.max_pool(x, 3, 1, 1),
            lambda x=x: pw.min_pool(x, 3, 1, 1),
            lambda x=x: pw.sum_pool(x, 5, 2),
            lambda x=x: pw.sum_pool(x, 5, 2, dtype="int16"),
            lambda x=x: pw.avg_pool(x, 2, 1, dtype=x.dtype),
            lambda x=x: pw.avg_pool(x, 9, 2, dtype=x.dtype),
        ):
            y = call()
            with by_reference():
                assert same_bits(y, call()), dtype
        y = pw.avg_pool(x, 4, 1)
        with by_reference():
            assert y == pytest.approx(pw.avg_pool(x, 4, 1), rel=1e-6 if y.itemsize == 4 else 4e-16)


def test_zero_strides_and_zero_batches() -> None:
    x = np.broadcast_to(np.float32(3), (2, 4, 4))
    assert np.array_equal(pw.sum_pool(x, 2), np.full((2, 2, 2), 12, "f4"))
    rows = np.broadcast_to(np.arange(4.0), (3, 4, 4))
    assert np.array_equal(pw.max_pool(rows, 2), np.broadcast_to([1.0, 3.0], (3, 2, 2)))
    for shape in [(0, 3, 4, 4), (2, 0, 4, 4), (0, 0, 4, 4)]:
        x = np.zeros(shape, "f4")
        y, i = pw.max_pool(x, 2, return_indices=True)
        assert y.shape == i.shape == (*shape[:2], 2, 2)
        assert pw.global_avg_pool(x).shape == shape[:2]
        assert pw.pool(x, pw.Windows.pyramid((1, 2))).shape == (*shape[:2], 5)
        assert pw.max_unpool(y, i, 4).shape == shape


def test_axes_pair_with_entries_in_any_order() -> None:
    x = make((6, 7, 8))
    expected = pw.max_pool(x, (2, 3), (1, 2), axes=(0, 2))
    assert np.array_equal(pw.max_pool(x, (3, 2), (2, 1), axes=(-1, 0)), expected)
    moved = pw.max_pool(np.moveaxis(x, 0, 1), (2, 3), (1, 2))
    assert np.array_equal(np.moveaxis(moved, 1, 0), expected)
    assert np.array_equal(pw.max_pool(x, 2, axes=1), pw.max_pool(x, (1, 2, 1)))
    y, i = pw.max_pool(x, (3, 2), axes=(2, 0), return_indices=True)
    y2, i2 = pw.max_pool(x, (2, 3), axes=(0, 2), return_indices=True)
    assert np.array_equal(i, i2)
    assert np.array_equal(y, y2)
    levels = pw.pool(x, pw.Windows.pyramid([(2, 3)]), axes=(2, 0))
    bins = pw.adaptive_max_pool(x, (3, 2), axes=(0, 2))
    assert np.array_equal(levels, bins.transpose(0, 2, 1).reshape(6, 7))


def test_default_axes() -> None:
    x = make((4, 4, 4))
    assert pw.max_pool(x, 2).shape == (4, 2, 2)
    assert pw.max_pool(x, (2,)).shape == (4, 4, 2)
    assert pw.max_pool(x, 2, (2, 2, 2)).shape == (2, 2, 2)
    assert pw.max_pool(x[0, 0], 2).shape == (2,)
    assert pw.max_pool([5, 1, 3, 2], 2).tolist() == [5, 3]


def test_more_than_three_axes() -> None:
    x = make((2, 4, 2, 4, 2))
    blocks = x.reshape(1, 2, 2, 2, 1, 2, 2, 2, 1, 2)
    assert np.array_equal(pw.max_pool(x, (2,) * 5), blocks.max(axis=(1, 3, 5, 7, 9)))
    assert np.array_equal(pw.sum_pool(x, (2,) * 4, axes=(0, 1, 2, 3)).shape, (1, 2, 1, 2, 2))
    y, i = pw.max_pool(x, (2,) * 4, return_indices=True)
    flat = x.reshape(2, -1)
    assert np.array_equal(np.take_along_axis(flat, i.reshape(2, -1), 1), y.reshape(2, -1))
    back = pw.max_unpool(y, i, (4, 2, 4, 2))
    assert np.array_equal(pw.max_pool(back, (2,) * 4), np.maximum(y, 0))
    out = np.empty((2, 21), x.dtype)
    plain = make((2, 3, 3, 3, 3))
    got = pw.pool(plain, pw.Windows.pyramid([1, 2]), axes=(1, 2, 3, 4), out=out[:, :17])
    assert np.array_equal(got[:, 0], plain.reshape(2, -1).max(1))


def test_a_pyramid_stands_where_the_first_axis_stood() -> None:
    x = make((2, 5, 6, 3))
    y = pw.pool(x, pw.Windows.pyramid((1, 2)), "sum", axes=(1, 2))
    assert y.shape == (2, 5, 3)
    assert np.array_equal(y[:, 0], x.sum(axis=(1, 2)))
    assert np.array_equal(y[:, 4], x[:, 2:, 3:].sum(axis=(1, 2)))
    y = pw.pool(x, pw.Windows.pyramid((2,)), "sum", axes=(0, 2))
    assert y.shape == (4, 5, 3)
    assert np.array_equal(y[1], x[0, :, 3:].sum(axis=1))


def test_max_unpool_is_pytorchs() -> None:
    import torch
    from torch.nn import functional

    x = RNG.standard_normal((2, 3, 8, 9)).astype("f4")
    y, i = pw.max_pool(x, 2, return_indices=True)
    expected = functional.max_unpool2d(torch.tensor(y), torch.tensor(i), 2, output_size=(8, 9))
    assert np.array_equal(pw.max_unpool(y, i, (8, 9)), expected)
    y, i = np.moveaxis(y, 1, -1), np.moveaxis(i, 1, -1)
    last = np.moveaxis(pw.max_unpool(y, i, (8, 9), axes=(1, 2)), -1, 1)
    assert np.array_equal(last, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_max_unpool_of_every_dtype(dtype) -> None:
    x = make((3, 8), dtype)
    y, i = pw.max_pool(x, (2,), return_indices=True)
    back = pw.max_unpool(y, i.astype("uint32"), (8,))
    assert back.dtype == x.dtype
    assert same_bits(np.take_along_axis(back, i, 1), y)
    assert (back != 0).sum() == (y != 0).sum()
    assert pw.max_unpool(np.array([1, 2, 3], "i2"), [0, 0, 0], 2).tolist() == [3, 0]


def test_threads_and_config() -> None:
    before = pw.get_num_threads()
    x = RNG.standard_normal((4, 16, 60, 61)).astype("f4")
    results = []
    try:
        for n in (1, 2, 7):
            pw.set_num_threads(n)
            assert pw.get_num_threads() == n
            results.append(pw.avg_pool(x, 30, 29, 3))
    finally:
        pw.set_num_threads(before)
    assert same_bits(results[0], results[1])
    assert same_bits(results[0], results[2])
    assert pw.show_config()["threads"] == before


AXIS = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))


@st.composite
def calls(draw):
    """A valid pooling of 1 to 3 axes at any positions of an array of any dtype and layout."""
    pooled = draw(st.integers(1, 3))
    geometry = [draw(AXIS) for _ in range(pooled)]
    shape = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 2)))]
    axes = []
    for kernel, _, padding, dilation in geometry:
        least = max(dilation * (kernel - 1) + 1 - 2 * padding, 1)
        place = draw(st.integers(0, len(shape)))
        axes = [a + (a >= place) for a in axes] + [place]
        shape.insert(place, draw(st.integers(least, least + 12)))
    dtype = draw(st.sampled_from(DTYPES))
    order = draw(st.permutations(range(len(shape))))
    x = make([shape[a] for a in order], dtype, high=5).transpose(np.argsort(order))
    kernel, stride, padding, dilation = zip(*geometry, strict=True)
    ceil_mode = draw(st.booleans())
    windows = draw(
        st.sampled_from(
            [
                pw.Windows.sliding(kernel, stride, padding, dilation, ceil_mode),
                pw.Windows.adaptive(stride),
                pw.Windows.pyramid([1, stride]),
                pw.Windows.whole(),
            ]
        )
    )
    return x, windows, tuple(axes)


@settings(max_examples=250)
@given(
    calls(),
    st.sampled_from(["max", "min", "sum", "mean", pw.reducers.mean_with(False), pw.reducers.lp(2)]),
)
def test_any_pooling_is_the_references(by_reference, call, reducer) -> None:
    x, windows, axes = call
    y = pw.pool(x, windows, reducer, axes=axes)
    with by_reference():
        expected = pw.pool(x, windows, reducer, axes=axes)
    if reducer in ("max", "min", "sum"):  # sums of small whole numbers are exact
        assert same_bits(y, expected)
        return
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
    wide = 2 if y.dtype.itemsize == 2 else 8
    # The reference's lp adds up to a thousand rounded ratios, so it is what errs by 2^-53 a cell.
    tolerance = {2: 2**-7, 4: 2**-21, 8: 2**-43}[y.dtype.itemsize] * wide / 8
    assert y.astype("f8") == pytest.approx(expected.astype("f8"), rel=tolerance, abs=tolerance)
