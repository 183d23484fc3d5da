"""Gradients: PyTorch's, finite differences', and the sums that must be preserved."""

from __future__ import annotations

import itertools
import math

import ml_dtypes
import numpy as np
import pytest

import poolwise as pw
from poolwise import Windows, reducers
from poolwise._engine import run_with_indices

RNG = np.random.default_rng(5)
WINDOWS = {
    "plain": Windows.sliding(2),
    "overlapping": Windows.sliding(3, 2, 1),
    "dilated": Windows.sliding(2, 1, 1, 2),
    "uneven": Windows.sliding((3, 2), (1, 2), [(0, 1), (2, 0)], ceil_mode=True),
    "same": Windows.sliding(3, 1, "same"),
    "adaptive": Windows.adaptive(3),
    "upsampling": Windows.adaptive(9),
    "whole": Windows.whole(),
    "pyramid": Windows.pyramid((1, 2, 3)),
    "wide padding": Windows.sliding(2, 1, 3),
}
REDUCERS = {
    "max": reducers.max,
    "min": reducers.min,
    "sum": reducers.sum,
    "mean": reducers.mean,
    "mean of inside": reducers.mean_with(False),
    "mean by 5": reducers.mean_with(divisor_override=5),
    "lp 2": reducers.lp(2),
    "lp 0.5": reducers.lp(0.5),
    "lp 3": reducers.lp(3),
    "lp inf": reducers.lp(math.inf),
}


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("axes", [(1, 2), (0, 2), (2, 0)])
def test_finite_differences(windows: str, reducer: str, axes) -> None:
    x = RNG.permutation(5 * 6 * 7).reshape(5, 6, 7) / 20 + 0.3
    x *= RNG.choice([-1.0, 1.0], x.shape)
    if reducer == "lp inf":
        x = np.abs(x)
    call = (WINDOWS[windows], REDUCERS[reducer])
    y, pullback = pw.pool_vjp(x, *call, axes=axes)
    assert np.array_equal(y, pw.pool(x, *call, axes=axes))
    dy = RNG.standard_normal(y.shape)
    dx = pullback(dy)
    assert (dx.shape, dx.dtype) == (x.shape, x.dtype)
    step = 1e-6
    for _ in range(4):
        direction = RNG.standard_normal(x.shape)
        up, down = (pw.pool(x + s * direction, *call, axes=axes) for s in (step, -step))
        with np.errstate(invalid="ignore"):  # windows that see no cell stay infinite
            slope = np.nansum((up - down) / (2 * step) * dy)
        scale = np.abs(dx * direction).sum() + 1
        assert (dx * direction).sum() == pytest.approx(slope, rel=1e-5, abs=2e-7 * scale)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_pytorchs(ndim: int, dtype: str) -> None:
    import torch
    from torch.nn import functional

    x = RNG.random((2, 3, *(9, 8, 7)[:ndim])).astype(dtype) + np.dtype(dtype).type(0.1)
    axes = tuple(range(2, 2 + ndim))
    for kernel, stride, padding in itertools.product((2, 3), (1, 2, 3), (0, 1)):
        sliding = Windows.sliding(kernel, stride, padding)
        cases = [
            ("max_pool", (kernel, stride, padding), sliding, "max"),
            ("avg_pool", (kernel, stride, padding), sliding, "mean"),
            (
                "avg_pool",
                (kernel, stride, padding, False, False),
                sliding,
                reducers.mean_with(False),
            ),
            ("adaptive_max_pool", (kernel,), Windows.adaptive(kernel), "max"),
            ("adaptive_avg_pool", (kernel,), Windows.adaptive(kernel), "avg"),
        ]
        if not padding:
            cases.append(("lp_pool", (2.5, kernel, stride), sliding, reducers.lp(2.5)))
        for name, arguments, windows, reducer in cases:
            tensor = torch.tensor(x, requires_grad=True)
            expected = getattr(functional, f"{name}{ndim}d")(tensor, *arguments)
            y, pullback = pw.pool_vjp(x, windows, reducer, axes=axes)
            assert y == pytest.approx(expected.detach().numpy(), rel=1e-5)
            dy = RNG.standard_normal(y.shape).astype(dtype)
            expected.backward(torch.tensor(dy))
            assert pullback(dy) == pytest.approx(tensor.grad.numpy(), rel=1e-4, abs=1e-5), name


def test_ties_and_nan_go_to_the_recorded_winner() -> None:
    for values, winner in [([1, 1, 0], 0), ([math.nan, 2, math.nan], 2), ([-math.inf] * 3, 0)]:
        _, pullback = pw.pool_vjp(np.array(values, "f4"), Windows.whole(), "max")
        assert pullback(np.array([5.0])).tolist() == [5.0 * (i == winner) for i in range(3)]


@pytest.mark.parametrize("windows", ["plain", "dilated", "adaptive", "upsampling", "whole"])
@pytest.mark.parametrize("reducer", ["max", "min", "mean of inside"])
def test_the_sum_is_preserved(windows: str, reducer: str) -> None:
    y, pullback = pw.pool_vjp(RNG.random((2, 8, 8)), WINDOWS[windows], REDUCERS[reducer])
    dy = RNG.random(y.shape)
    assert pullback(dy).sum() == pytest.approx(dy.sum(), rel=1e-12)


def test_padding_in_the_divisor_loses_its_share() -> None:
    _, pullback = pw.pool_vjp(np.ones(2), Windows.sliding(2, 2, 1), "mean")
    assert pullback(np.array([1.0, 1.0])).tolist() == [0.5, 0.5]


def test_overlapping_windows_add() -> None:
    x = np.array([0.0, 9.0, 0.0])
    _, pullback = pw.pool_vjp(x, Windows.sliding(2, 1), "max")
    assert pullback(np.array([3.0, 4.0])).tolist() == [0, 7, 0]
    _, pullback = pw.pool_vjp(x, Windows.sliding(2, 1), "mean")
    assert pullback(np.array([3.0, 4.0])).tolist() == [1.5, 3.5, 2]
    _, pullback = pw.pool_vjp(x, Windows.pyramid((1, 1)), "sum")
    assert pullback(np.array([3.0, 4.0])).tolist() == [7, 7, 7]


def test_a_2x2_pooling_turns_64_cells_into_16_gradients() -> None:
    x = RNG.random((8, 8))
    y, pullback = pw.pool_vjp(x, Windows.sliding(2), "max")
    dx = pullback(np.ones(y.shape))
    assert y.size == 16
    assert (dx == 1).sum() == 16
    assert (dx == 0).sum() == 48


def test_lp_gradient_at_zero() -> None:
    x = np.array([0.0, 0.0, 0.0, 2.0, -3.0, 0.0])
    for p in (0.5, 1, 2, math.inf):
        _, pullback = pw.pool_vjp(x, Windows.sliding(2), reducers.lp(p))
        dx = pullback(np.ones(3))
        assert dx.tolist() == [0, 0, 0, 1, -1, 0]


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("reducer", REDUCERS)
def test_half_types_are_added_in_float32(dtype, reducer: str) -> None:
    x = (RNG.random((2, 8, 8)) + 0.5).astype(dtype)
    windows, made = Windows.sliding(5, 1, 2), REDUCERS[reducer]
    y, pullback = pw.pool_vjp(x, windows, made)
    dy = RNG.random(y.shape).astype(dtype)
    _, exact = pw.pool_vjp(x.astype("f8"), windows, made)
    dx = pullback(dy)
    assert dx.dtype == np.dtype(dtype)
    coarse = 2**-9 if dtype == "float16" else 2**-6
    assert dx.astype("f8") == pytest.approx(exact(dy.astype("f8")), rel=coarse, abs=coarse)
    ones = np.ones(2**12, dtype)
    _, pullback = pw.pool_vjp(np.ones(1, dtype), Windows.adaptive(2**12), "max")
    assert pullback(ones)[0] == 2**12  # in float16 the sum would stop at 2048


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("reducer", REDUCERS)
def test_the_core_and_the_reference_agree(windows: str, reducer: str, by_reference) -> None:
    x = RNG.standard_normal((6, 2, 7, 3)).astype("f4").transpose(0, 3, 1, 2)
    call = (WINDOWS[windows], REDUCERS[reducer])
    y, pullback = pw.pool_vjp(x, *call, axes=(0, 3))
    dy = RNG.standard_normal(y.shape[::-1]).astype("f4").T
    dx = pullback(dy)
    assert np.array_equal(dx, pullback(dy))
    with by_reference():
        _, slow = pw.pool_vjp(x, *call, axes=(0, 3))
        assert dx == pytest.approx(slow(dy), rel=1e-4, abs=2e-5)


def test_same_bits_for_any_number_of_threads() -> None:
    x = RNG.standard_normal((3, 20, 41, 40)).astype("f4")
    before = pw.get_num_threads()
    for windows, reducer in itertools.product(
        (Windows.sliding(3, 2, 1), Windows.pyramid((1, 2, 4))), ("max", "mean", reducers.lp(2))
    ):
        results = []
        y = pw.pool(x, windows, reducer)
        dy = RNG.standard_normal(y.shape).astype("f4")
        try:
            for n in (1, 2, 5):
                pw.set_num_threads(n)
                results.append(pw.pool_vjp(x, windows, reducer)[1](dy))
        finally:
            pw.set_num_threads(before)
        assert np.array_equal(results[0], results[1])
        assert np.array_equal(results[0], results[2])


@pytest.mark.parametrize("axes", [(2, 3), (1, 2)], ids=["contiguous", "channels last"])
def test_places_of_windows_over_256_cells_take_four_bytes(axes: tuple[int, int]) -> None:
    rng = np.random.default_rng(11)
    x = rng.integers(0, 9, (2, 24, 30, 24)).astype(np.float32)  # many ties
    windows = Windows.sliding(17, 1, 8)
    y, winners, _ = run_with_indices(x, windows, reducers.max, axes, compact=True)
    assert winners.dtype == np.int32
    _, indices = pw.max_pool(x, 17, 1, 8, return_indices=True, axes=axes)
    np.testing.assert_array_equal(winners, indices)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    rows, columns = (x.shape[a] for a in axes)
    maps = np.moveaxis(np.zeros_like(x), axes, (-2, -1)).reshape(-1, rows * columns)
    told = np.moveaxis(winners, axes, (-2, -1)).reshape(len(maps), -1)
    given = np.moveaxis(dy, axes, (-2, -1)).reshape(len(maps), -1)
    for plane, places, gradients in zip(maps, told, given, strict=True):
        np.add.at(plane, places, gradients)
    _, pullback = pw.pool_vjp(x, windows, "max", axes=axes)
    dx = np.moveaxis(pullback(dy), axes, (-2, -1)).reshape(maps.shape)
    np.testing.assert_array_equal(dx, maps)


def test_more_than_three_axes() -> None:
    x = RNG.random((2, 2, 4, 2, 4))
    for reducer in ("max", "mean", reducers.lp(2)):
        y, pullback = pw.pool_vjp(x, Windows.sliding((2, 2, 2, 2)), reducer)
        assert y.shape == (2, 1, 2, 1, 2)
        assert pullback(np.ones(y.shape)).shape == x.shape


def test_empty_batch_and_forgiving_dy() -> None:
    y, pullback = pw.pool_vjp(np.zeros((0, 4, 4), "f4"), Windows.sliding(2), "mean")
    assert pullback(y).shape == (0, 4, 4)
    _, pullback = pw.pool_vjp(np.ones((2, 2), "f4"), Windows.sliding(2), "sum")
    for dy in ([[2.0]], np.array([[2.0]]), np.array([[2.0]], ">f4"), np.array([[2.0]], "f2")):
        dx = pullback(dy)
        assert (dx.dtype, dx.tolist()) == (np.float32, [[2, 2], [2, 2]])


@pytest.mark.parametrize(
    ("dy", "error", "message"),
    [
        (np.ones((2, 3)), ValueError, "dy has shape"),
        (np.ones((2, 2, 1)), ValueError, "dy has shape"),
        (np.ones(4), ValueError, "dy has shape"),
        (1.0, ValueError, "dy has 0 axes"),
        (np.ones((2, 2), int), TypeError, "dy has dtype int64"),
        (np.ones((2, 2), complex), TypeError, "dy has dtype complex128"),
        (np.ones((2, 2), object), TypeError, "dy has dtype object"),
        (None, TypeError, "dy must be an array"),
    ],
)
@pytest.mark.parametrize("reducer", ["max", "mean", reducers.lp(2)])
def test_bad_dy(dy, error, message, reducer) -> None:
    _, pullback = pw.pool_vjp(np.ones((4, 4)), Windows.sliding(2), reducer)
    with pytest.raises(error, match=message):
        pullback(dy)


@pytest.mark.parametrize("dtype", ["int8", "uint64", "bool"])
def test_integers_have_no_gradient(dtype: str) -> None:
    with pytest.raises(TypeError, match=f"x has dtype {dtype}.*float32"):
        pw.pool_vjp(np.ones((4, 4), dtype), Windows.sliding(2), "mean")


@pytest.mark.parametrize("reducer", ["max", "mean", reducers.lp(2)])
def test_the_gradient_is_written_where_asked(reducer: object) -> None:
    x = np.random.default_rng(3).standard_normal((2, 5, 6))
    y, pullback = pw.pool_vjp(x, pw.Windows.sliding(3, 2, 1), reducer)
    expected = pullback(np.ones_like(y))
    out = np.full((2, 6, 5), np.nan).transpose(0, 2, 1)
    assert pullback(np.ones_like(y), out=out) is out
    np.testing.assert_array_equal(out, expected)
    with pytest.raises(ValueError, match="out has shape"):
        pullback(np.ones_like(y), out=np.empty((2, 5, 5)))
    with pytest.raises(TypeError, match="out has dtype"):
        pullback(np.ones_like(y), out=np.empty((2, 5, 6), np.float32))
