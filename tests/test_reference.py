"""The reference against what it claims to define: PyTorch, SciPy, plain NumPy, exact arithmetic."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from poolwise import Windows, reducers, reference

RNG = np.random.default_rng(7)
GEOMETRIES = [
    (kernel, stride, padding, ceil_mode)
    for kernel, stride, padding, ceil_mode in itertools.product(
        (1, 2, 3), (1, 2, 3), (0, 1), (False, True)
    )
    if padding <= kernel // 2
]


def run(x, windows, reducer, axes=None, dtype=None):
    """Forward over one grid: values and indices."""
    x = np.asarray(x)
    axes = tuple(range(x.ndim - (windows.ndim or 1), x.ndim)) if axes is None else axes
    plan = windows.over(tuple(x.shape[a] for a in axes))
    made = reducer.result_dtype(x.dtype, dtype)
    return reference.forward_with_indices(x, plan.grids[0], reducer, axes, made)


def gradient(x, dy, windows, reducer, axes):
    plan = windows.over(tuple(x.shape[a] for a in axes))
    return reference.backward(dy, x, plan.grids[0], reducer, axes)


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil_mode"), GEOMETRIES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_forward_and_gradient_are_pytorchs(ndim, kernel, stride, padding, ceil_mode) -> None:
    import torch
    from torch.nn import functional

    x = np.abs(RNG.standard_normal((2, *(6, 5, 4)[:ndim]))) + 0.1
    axes = tuple(range(1, 1 + ndim))
    windows = Windows.sliding(kernel, stride, padding, 1, ceil_mode)
    same = {"stride": stride, "ceil_mode": ceil_mode}
    cases = [(reducers.max, f"max_pool{ndim}d", {"padding": padding})]
    for include in (True, False):
        mean = reducers.mean_with(include)
        cases.append((mean, f"avg_pool{ndim}d", {"padding": padding, "count_include_pad": include}))
    if not padding:
        cases.append((reducers.lp(3), f"lp_pool{ndim}d", {"norm_type": 3.0}))
    for reducer, name, more in cases:
        tensor = torch.tensor(x, requires_grad=True)
        expected = getattr(functional, name)(tensor, kernel_size=kernel, **same, **more)
        if reducer.name == "lp" and ceil_mode:
            continue  # PyTorch scales the windows that ceil mode cuts off; a norm does not
        y, _ = run(x, windows, reducer, axes)
        assert y == pytest.approx(expected.detach().numpy(), rel=1e-12)
        dy = RNG.standard_normal(y.shape)
        expected.backward(torch.tensor(dy))
        dx = gradient(x, dy, windows, reducer, axes)
        assert dx == pytest.approx(tensor.grad.numpy(), rel=1e-9, abs=1e-12)


def test_max_indices_are_pytorchs() -> None:
    import torch
    from torch.nn import functional

    x = RNG.integers(0, 3, (2, 3, 7, 8)).astype(np.float32)  # many ties
    expected = functional.max_pool2d(torch.tensor(x), 3, 2, 1, return_indices=True)
    y, indices = run(x, Windows.sliding((3, 3), 2, 1), reducers.max)
    assert np.array_equal(y, expected[0])
    assert np.array_equal(indices, expected[1])


def test_extremes_are_scipys_filters() -> None:
    from scipy import ndimage

    x = RNG.standard_normal((9, 11))
    same = Windows.sliding((3, 5), 1, "same")
    for reducer, filtered in [
        (reducers.max, ndimage.maximum_filter(x, (3, 5), mode="constant", cval=-np.inf)),
        (reducers.min, ndimage.minimum_filter(x, (3, 5), mode="constant", cval=np.inf)),
        (reducers.mean, ndimage.uniform_filter(x, (3, 5), mode="constant")),
    ]:
        assert run(x, same, reducer)[0] == pytest.approx(filtered, rel=1e-12, abs=1e-14)


def test_four_pooled_axes() -> None:
    x = RNG.standard_normal((2, 4, 6, 2, 4))
    blocks = x.reshape(2, 2, 2, 3, 2, 1, 2, 2, 2)
    y, _ = run(x, Windows.sliding((2, 2, 2, 2)), reducers.max)
    assert np.array_equal(y, blocks.max(axis=(2, 4, 6, 8)))
    y, _ = run(x, Windows.sliding((2, 2, 2, 2)), reducers.mean)
    assert y == pytest.approx(blocks.mean(axis=(2, 4, 6, 8)))


def test_ties_nans_and_infinities() -> None:
    nan, inf = math.nan, math.inf
    three = Windows.sliding(3)
    y, i = run([-0.0, 0.0, 0.0, 1, nan, nan, -inf, -inf, -inf], three, reducers.max)
    assert np.signbit(y[0])
    assert np.isnan(y[1])
    assert (y[2], i.tolist()) == (-inf, [0, 5, 6])
    y, i = run([0.0, -0.0, 0.0, nan, nan, 1, inf, inf, inf], three, reducers.min)
    assert not np.signbit(y[0])
    assert (y[2], i.tolist()) == (inf, [0, 4, 6])
    y, i = run([-inf, 1.0], Windows.sliding(2, 1, 1), reducers.max)
    assert (y.tolist(), i.tolist()) == ([-inf, 1, 1], [0, 1, 1])
    y, _ = run([inf, 1, 1, nan, 1, 1, inf, -inf, 1, 1, 1, 1], three, reducers.sum)
    assert np.array_equal(y, [inf, nan, nan, 3], equal_nan=True)


def test_integers_pad_with_nothing() -> None:
    x = np.array([-128, -5], dtype=np.int8)
    y, i = run(x, Windows.sliding(2, 1, 1), reducers.max)
    assert (y.tolist(), i.tolist(), y.dtype) == ([-128, -5, -5], [0, 1, 1], np.int8)


def test_windows_that_see_nothing() -> None:
    windows = Windows.sliding(1, 1, 2)
    x = np.array([3.0])
    empty = {"max": -math.inf, "min": math.inf, "sum": 0.0, "mean": 0.0, "lp": 0.0}
    for reducer in (*map(reducers.as_reducer, ("max", "min", "sum", "mean")), reducers.lp(2)):
        y, i = run(x, windows, reducer)
        assert y.tolist() == [empty[reducer.name]] * 2 + [3] + [empty[reducer.name]] * 2
        dx = gradient(x, np.arange(1.0, 6), windows, reducer, (0,))
        assert dx.tolist() == [3.0]
        if reducer.picks:
            assert i.tolist() == [-1, -1, 0, -1, -1]
    assert run(x, windows, reducers.mean_with(False))[0].tolist() == [0, 0, 3, 0, 0]


def test_integer_sums_are_exact_and_wrap() -> None:
    big = np.array([2**63 - 1, 2**63 - 1, -(2**63), 5])
    assert run(big, Windows.sliding(2), reducers.sum)[0].tolist() == [-2, 5 - 2**63]
    assert run(big, Windows.sliding(2), reducers.mean)[0].tolist() == [2.0**63, (5 - 2**63) / 2]
    mean, _ = run(big, Windows.sliding(2), reducers.mean, dtype="int64")
    assert mean[0] == 2**63 - 1
    small = np.array([100, 100, 250, 250], dtype=np.uint8)
    assert run(small, Windows.sliding(2), reducers.sum)[0].tolist() == [200, 500]
    assert run(small, Windows.sliding(2), reducers.sum, dtype="int8")[0].tolist() == [-56, -12]


def test_integer_mean_rounds_half_to_even() -> None:
    x = np.array([0, 1, 1, 2, 2, 3, -1, 0, -1, -2], dtype=np.int16)
    y, _ = run(x, Windows.sliding(2), reducers.mean, dtype="int16")
    assert y.tolist() == [0, 2, 2, 0, -2]
    assert [round(Fraction(n, 2)) for n in (1, 3, 5, -1, -3)] == y.tolist()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_types_round_once(dtype) -> None:
    x = np.array([1] + [2**-12] * 15, dtype=dtype)  # each addend alone would be lost
    y, _ = run(x, Windows.sliding(16), reducers.sum)
    assert y[0] == np.float32(1 + 15 * 2**-12).astype(dtype)
    y, _ = run(np.full(4, 60000, dtype), Windows.sliding(4), reducers.mean)
    assert y[0] == dtype(60000)
    dx = gradient(x, np.ones(31, dtype), Windows.sliding(16, 1, 15), reducers.sum, (0,))
    assert dx.dtype == np.float32


def test_lp() -> None:
    x = np.array([3.0, -4.0, 0.0, 0.0, -np.inf, 1.0, np.nan, 1.0])
    two = Windows.sliding(2)
    y, _ = run(x, two, reducers.lp(2))
    assert np.array_equal(y, [5, 0, np.inf, np.nan], equal_nan=True)
    y, _ = run(x, two, reducers.lp(math.inf))
    assert np.array_equal(y, [4, 0, np.inf, np.nan], equal_nan=True)
    huge = np.array([3e38, -3e38], dtype=np.float32)
    assert np.isinf(run(huge, two, reducers.lp(1))[0]).all()
    assert run(huge, two, reducers.lp(40))[0] == pytest.approx([3e38 * 2 ** (1 / 40)])
    assert gradient(x[:4], np.ones(2), two, reducers.lp(2), (0,)) == pytest.approx(
        [0.6, -0.8, 0, 0]
    )
    assert gradient(x[:4], np.ones(2), two, reducers.lp(math.inf), (0,)).tolist() == [0, -1, 0, 0]
    ints = np.array([3, -4], dtype=np.int8)
    assert run(ints, two, reducers.lp(2))[0].dtype == np.float32


def test_scatter() -> None:
    y, i = np.array([1.0, 2.0, 3.0]), np.array([2, 0, 2])
    assert reference.scatter(y, i, [4], (0,), accumulate=True).tolist() == [2, 0, 4, 0]
    assert reference.scatter(y, i, [4], (0,), accumulate=False).tolist() == [2, 0, 3, 0]
    lost = np.array([-1, 0, -1])
    assert reference.scatter(y, lost, [2], (0,), accumulate=True).tolist() == [2, 0]
    for bad, accumulate in [(-1, False), (4, False), (-2, True), (4, True)]:
        with pytest.raises(ValueError, match="outside"):
            reference.scatter(y, np.array([0, 0, bad]), [4], (0,), accumulate)


def test_empty_batch() -> None:
    y, _ = run(np.zeros((0, 3, 4)), Windows.sliding((2, 2)), reducers.mean)
    assert y.shape == (0, 1, 2)
