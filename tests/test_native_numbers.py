"""What numbers become in the core: rounding once, exact integers, NaN, infinities, signed zeros."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import poolwise as pw

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(17)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SIXTEEN = [np.dtype("f2"), BFLOAT16]
ALL_BITS = np.arange(65536, dtype="u2")


@pytest.fixture(autouse=True)
def _quiet_numpy() -> Iterator[None]:
    """NumPy, the oracle, warns of overflow and of signalling NaNs: both are asked for here."""
    with np.errstate(all="ignore"):
        yield


def assert_same(found: Array, expected: Array) -> None:
    """Equal to the bit, -0.0 apart from 0.0, and every NaN the same."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(found), nan)
    unsigned = f"u{found.itemsize}"
    assert np.array_equal(found.view(unsigned)[~nan], expected.view(unsigned)[~nan])


def layouts(row: Array) -> list[tuple[Array, int]]:
    """One row of numbers as a long row, narrow planes, channels, and steps; and the axis to pool"""
    spaced = np.zeros(3 * len(row), row.dtype)
    spaced[::3] = row
    return [
        (row, 0),
        (row.reshape(-1, 16), 1),
        (row.reshape(-1, 4, 64), 1),
        (spaced[::3], 0),
        (row[::-1], 0),
    ]


@pytest.mark.parametrize("dtype", SIXTEEN, ids=str)
@pytest.mark.parametrize("reducer", ["max", "min", "sum", "mean"])
def test_all_16_bit_floats_go_through_unchanged(dtype, reducer) -> None:
    for x, axis in layouts(ALL_BITS.view(dtype)):
        for stride in (1, 2):  # in place, and through the folding of strides
            windows = pw.Windows.sliding((1,), (stride,))
            y = pw.pool(x, windows, reducer, axes=axis)
            cut = [slice(None)] * x.ndim
            cut[axis] = slice(None, None, stride)
            assert_same(y, x[tuple(cut)])


@pytest.mark.parametrize("dtype", SIXTEEN, ids=str)
def test_16_bit_sums_and_means_round_once(dtype) -> None:
    pairs = RNG.choice(ALL_BITS, 2**18).view(dtype)
    near = pairs[::2].view("u2") + RNG.integers(-40, 40, len(pairs) // 2)
    pairs[1::2] = near.astype("u2").view(dtype)
    wide = pairs.astype("f4").reshape(-1, 2)
    for x, axis in layouts(pairs):
        total = np.stack([x.take(range(n, x.shape[axis], 2), axis).astype("f4") for n in (0, 1)])
        expected = total[0] + total[1]
        assert_same(pw.sum_pool(x, (2,), axes=axis), expected.astype(dtype))
        assert_same(pw.avg_pool(x, (2,), axes=axis), (expected / 2).astype(dtype))
        third = pw.avg_pool(x, (2,), axes=axis, divisor_override=3)
        assert_same(third, (expected / np.float32(3)).astype(dtype))
    assert_same(pw.sum_pool(pairs, (2,), dtype="f4"), wide[:, 0] + wide[:, 1])


def test_float16_at_its_limits() -> None:
    smallest, largest = 2.0**-24, 65504.0
    cases = [
        ((largest, 8.0), largest),
        ((largest, 15.0), largest),
        ((largest, 16.0), np.inf),  # a tie, and the even neighbour is infinity
        ((-largest, -largest), -np.inf),
        ((smallest, smallest), 2 * smallest),
        ((1.0, 2.0**-11), 1.0),
        ((1.0 + 2.0**-10, 2.0**-11), 1.0 + 2.0**-9),
    ]
    for pair, total in cases:
        assert pw.sum_pool(np.array(pair, "f2"), 2)[0] == np.float16(total), pair
    halves = np.array([smallest, 0, 3 * smallest, 0, -smallest, 0, -0.0, -0.0], "f2")
    expected = np.array([0.0, 2 * smallest, -0.0, -0.0], "f2")
    assert_same(pw.avg_pool(halves, 2), expected)
    # The sum overflows float16, the mean does not: only the result is rounded.
    assert pw.avg_pool(np.full(8, largest, "f2"), 8)[0] == largest


@pytest.mark.parametrize("dtype", SIXTEEN, ids=str)
def test_wider_numbers_round_once_to_16_bits(dtype) -> None:
    ties = (ALL_BITS[:-1].view(dtype).astype("f8") + ALL_BITS[1:].view(dtype).astype("f8")) / 2
    ties = ties[np.isfinite(ties)]
    for nudge in (0.0, 2.0**-40, -(2.0**-40)):
        x = np.stack([ties, ties * nudge], 1).reshape(-1)
        for source in (x, x.astype("f4")):
            low, high = source.astype("f8").reshape(-1, 2).T
            if source.dtype == "f4":
                exact = (low.astype("f4") + high.astype("f4")).astype("f8")
            else:
                exact = low + high
            down = exact.astype("f4")
            inexact = (down != exact) & np.isfinite(down) & (down.view("u4") & 1 == 0)
            toward = np.where(np.abs(down) < np.abs(exact), np.copysign(np.inf, exact), 0)
            odd = np.where(inexact, np.nextafter(down, toward.astype("f4")), down)
            assert_same(pw.sum_pool(source, 2, dtype=dtype), odd.astype(dtype))
    whole = RNG.integers(-(2**20), 2**20, 40_000)
    expected = whole.reshape(-1, 2).sum(1).astype("f4").astype(dtype)
    assert_same(pw.sum_pool(whole, 2, dtype=dtype), expected)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (1, 7), (10, 4)])
def test_means_of_integers_are_exact_and_round_half_to_even(dtype, kernel) -> None:
    limits = np.iinfo(dtype)
    x = RNG.integers(limits.min, limits.max, (3, 20, 40), dtype, endpoint=True)
    x[0] = RNG.choice(np.array([limits.min, limits.max, limits.max - 1], dtype), x[0].shape)
    x[1] = RNG.integers(0, 3, x[1].shape)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, (1, 2))
    cells = windows.reshape(-1, kernel[0] * kernel[1]).astype(object)
    sums = cells.sum(1)
    rounded = [round(Fraction(int(s), cells.shape[1])) for s in sums]
    y = pw.avg_pool(x, kernel, 1, dtype=dtype)
    assert y.dtype == dtype
    assert y.reshape(-1).tolist() == rounded
    last = pw.avg_pool(np.moveaxis(x, 0, -1), kernel, 1, axes=(0, 1), dtype=dtype)
    assert np.moveaxis(last, -1, 0).reshape(-1).tolist() == rounded
    mean = pw.avg_pool(x, kernel, 1)
    exact = np.array([int(s) / cells.shape[1] for s in sums])
    if x.itemsize <= 2:
        assert np.array_equal(mean.reshape(-1), exact.astype("f4"))
    else:
        np.testing.assert_allclose(mean.reshape(-1), exact, rtol=4e-16)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
@pytest.mark.parametrize("function", [pw.max_pool, pw.min_pool])
@pytest.mark.parametrize("padding", [(1, 2), (2, 6)], ids=["ties with padding", "empty windows"])
def test_padding_of_integers_at_their_limits(dtype, function, padding, by_reference) -> None:
    made = np.dtype(dtype)
    limits = [0, 1] if made.kind == "b" else [np.iinfo(made).min, np.iinfo(made).max]
    for value in limits:
        for shape in ((2, 9, 40), (40, 9, 7), (1, 7, 5)):
            x = np.full(shape, value, made)
            y, i = function(x, (3, 5), 2, padding, return_indices=True)
            plain = function(x, (3, 5), 2, padding)
            with by_reference():
                expected, where = function(x, (3, 5), 2, padding, return_indices=True)
            # Bytes: a bool other than 0 and 1 is equal to True, and undefined in C.
            assert plain.tobytes() == expected.tobytes()
            assert y.tobytes() == expected.tobytes()
            assert np.array_equal(i, where)


@pytest.mark.parametrize("dtype", ["f2", BFLOAT16, "f4", "f8"], ids=str)
def test_every_width_from_1_to_80(dtype, by_reference) -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.0, -0.0, 1.0, -2.0])
    for width in range(1, 81):
        kernel, stride = 1 + width % 9, 1 + width % 4
        x = RNG.choice(special, (1 + width % 18, 3, width)).astype(dtype)
        if width % 2:
            x = np.ascontiguousarray(np.moveaxis(x, 0, -1))
            x = np.moveaxis(x, -1, 0)
        windows = pw.Windows.sliding((2, kernel), (1, stride), (0, kernel), (1, 1 + width % 2))
        for chosen in (windows, pw.Windows.adaptive((2, kernel))):
            for name in ("max", "min"):
                found = (pw.pool(x, chosen, name), *_picked(x, chosen, name))
                with by_reference():
                    expected, where = _picked(x, chosen, name)
                assert_same(found[0], expected)
                assert_same(found[1], expected)
                assert np.array_equal(found[2], where)
            small = RNG.integers(-9, 9, x.shape).astype(dtype)
            for name in ("sum", "mean"):
                found = pw.pool(small, chosen, name)
                with by_reference():
                    assert_same(found, pw.pool(small, chosen, name))


def _picked(x: Array, windows: pw.Windows, name: str) -> tuple[Array, Array]:
    from poolwise._engine import run_with_indices

    return run_with_indices(x, windows, getattr(pw.reducers, name))[:2]


def test_windows_of_no_cells() -> None:
    for shape in ((1, 40), (20, 6)):
        x = np.ones((*shape[:1], shape[1]), "f4")
        pad = 7
        for function, identity in ((pw.max_pool, -np.inf), (pw.min_pool, np.inf)):
            y, i = function(x, (2,), 1, pad, return_indices=True)
            assert (y[:, :6] == identity).all()
            assert (i[:, :6] == -1).all()
            assert (i[:, -6:] == -1).all()
            assert (y[:, 6:-6] == 1).all()
            assert (function(x.astype("i2"), (2,), 1, pad)[:, 0] != 1).all()
        for include in (True, False):
            mean = pw.avg_pool(x, (2,), 1, pad, count_include_pad=include)
            assert (mean[:, :6] == 0).all()
        y, pullback = pw.pool_vjp(x, pw.Windows.sliding((2,), 1, pad), "max")
        assert pullback(np.ones_like(y)).sum() == shape[0] * (shape[1] + 1)


@pytest.mark.parametrize("value", [np.inf, np.nan, 3e38, 1e30])
@pytest.mark.parametrize("shape", [(1, 300, 400), (20, 40, 21), (40, 33, 34)])
def test_a_number_stays_inside_the_windows_that_see_it(value, shape) -> None:
    x = RNG.standard_normal(shape).astype("f4")
    bad = x.copy()
    bad[0, 17, 16] = value
    for kernel, stride in (((3, 3), 1), ((9, 9), 1), ((11, 5), (2, 3)), ((8, 16), 4)):
        geometry = pw.Windows.sliding(kernel, stride)
        for axes_last in (False, True):
            a, b = (np.moveaxis(v, 0, -1).copy() if axes_last else v for v in (x, bad))
            axes = (0, 1) if axes_last else (1, 2)
            clean, touched = (pw.pool(v, geometry, "mean", axes=axes) for v in (a, b))
            marked = np.zeros_like(a)
            marked[(17, 16, 0) if axes_last else (0, 17, 16)] = 1
            outside = pw.pool(marked, geometry, "max", axes=axes) == 0
            assert np.array_equal(clean[outside], touched[outside])
            assert not np.array_equal(clean, touched)


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_the_mean_of_a_large_map_is_as_good_as_its_parts(dtype) -> None:
    # Numbers of its own: what the others drew must not decide how close this one comes.
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((2, 1000, 1200)) + 100).astype(dtype)
    exact = x.astype("f8").mean((1, 2))
    tolerance = {"f4": 3e-7, "f2": 2**-11}[dtype]
    np.testing.assert_allclose(pw.global_avg_pool(x), exact, rtol=tolerance)
    last = pw.global_avg_pool(np.moveaxis(x, 0, -1).copy(), axes=(0, 1))
    np.testing.assert_allclose(last, exact, rtol=tolerance)
    line = x.reshape(2, -1)
    np.testing.assert_allclose(pw.global_avg_pool(line, axes=1), exact, rtol=tolerance)
    whole = pw.avg_pool(x, (1000, 1200))
    np.testing.assert_allclose(whole[:, 0, 0], exact, rtol=10 * tolerance)
