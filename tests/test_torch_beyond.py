"""What the torch face has and torch has not, against the NumPy face.

Named and asymmetric padding, integers at their limits, sums and minima, and spatial pyramid pooling
of one map, a batch, a list and nested tensors of differently sized maps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import poolwise as pw
import poolwise.torch as pt

DIMS = [1, 2, 3]
SHAPES = {1: (2, 3, 11), 2: (2, 3, 9, 10), 3: (2, 2, 6, 7, 8)}
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
NAMED = ["same", "same_upper", "same_lower", "valid"]
SLIDING = ["max_pool", "min_pool", "sum_pool", "avg_pool"]
PROTOTYPE = "ignore:The PyTorch API of nested tensors:UserWarning"


def close(x: torch.Tensor, expected: np.ndarray[Any, Any]) -> None:
    torch.testing.assert_close(x.detach(), torch.tensor(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", DIMS)
@pytest.mark.parametrize("padding", NAMED)
@pytest.mark.parametrize("name", SLIDING)
def test_named_padding(name: str, padding: str, n: int) -> None:
    x = torch.randn(SHAPES[n], generator=torch.Generator().manual_seed(1))
    ours, numpys = getattr(pt, f"{name}{n}d"), getattr(pw, name)
    for kernel, stride, dilation in [(2, 1, 1), (3, 2, 1), (4, 3, 1), (3, 1, 2), (2, 2, 1)]:
        call = ((kernel,) * n, stride, padding)
        y = ours(x, *call, dilation=dilation)
        close(y, numpys(x.numpy(), *call, dilation=dilation))
        if padding != "valid":
            assert y.shape[2:] == tuple(-(-size // stride) for size in x.shape[2:])


@pytest.mark.parametrize("n", DIMS)
@pytest.mark.parametrize("name", SLIDING)
def test_a_pair_of_paddings_per_axis(name: str, n: int) -> None:
    x = torch.randn(SHAPES[n], generator=torch.Generator().manual_seed(2))
    pairs = [(0, 2), (1, 0), (2, 1)][:n]
    call: dict[str, Any] = {"kernel_size": (4,) * n, "stride": 2, "padding": pairs}
    y = getattr(pt, f"{name}{n}d")(x, **call)
    close(y, getattr(pw, name)(x.numpy(), **call))
    if name == "max_pool":
        flat = [entry for pair in reversed(pairs) for entry in pair]
        padded = functional.pad(x, flat, value=-torch.inf)
        assert torch.equal(y, getattr(functional, f"max_pool{n}d")(padded, 4, 2))
        _, i = pt_indices(n, x, call)
        _, expected = pw.max_pool(x.numpy(), **call, return_indices=True)
        assert torch.equal(i, torch.tensor(expected))


def pt_indices(n: int, x: torch.Tensor, call: dict[str, Any]) -> Any:
    return getattr(pt, f"max_pool{n}d")(x, **call, return_indices=True)


def test_dilated_means_and_their_gradients() -> None:
    x = torch.randn(2, 3, 9, 10, dtype=torch.float64, requires_grad=True)
    for include in (True, False):
        y = pt.avg_pool2d(x, 3, 2, 1, count_include_pad=include, dilation=2)
        numpy = x.detach().numpy()
        expected = pw.avg_pool(numpy, 3, 2, 1, dilation=2, count_include_pad=include)
        close(y, expected)
        windows = pw.Windows.sliding(3, 2, 1, 2)
        reducer = pw.reducers.mean_with(include)
        dy = torch.randn(y.shape, dtype=torch.float64)
        (dx,) = torch.autograd.grad(y, x, dy)
        close(dx, pw.pool_vjp(numpy, windows, reducer, axes=(2, 3))[1](dy.numpy()))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_at_their_limits(dtype: torch.dtype) -> None:
    limits = torch.iinfo(dtype)
    rng = np.random.default_rng(3)
    values = rng.choice(np.array([limits.min, limits.max, 0, 1]), (2, 3, 12, 13))
    x = torch.tensor(values).to(dtype)
    for name in ("max_pool2d", "min_pool2d"):
        for padding in (0, 1):
            y = getattr(pt, name)(x, 3, 2, padding)
            expected = getattr(pw, name[:-2])(x.numpy(), 3, 2, padding)
            assert y.dtype == dtype
            assert np.array_equal(y.numpy(), expected)
    total = pt.sum_pool2d(x, 3, 2, 1)
    assert total.dtype == torch.int64
    assert np.array_equal(total.numpy(), pw.sum_pool(x.numpy(), 3, 2, 1).astype(np.int64))
    mean = pt.avg_pool2d(x, 3, 2, 1)
    assert mean.dtype == (torch.float32 if dtype.itemsize <= 2 else torch.float64)
    expected = pw.avg_pool(x.numpy(), 3, 2, 1)
    assert np.allclose(mean.numpy(), expected, rtol=1e-6)
    y, i = pt.adaptive_max_pool2d(x, (5, 20), return_indices=True)
    assert torch.equal(x.flatten(2).gather(2, i.flatten(2)), y.flatten(2))
    assert np.array_equal(y.numpy(), pw.adaptive_max_pool(x.numpy(), (5, 20)))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_and_indices_have_no_gradient(dtype: torch.dtype) -> None:
    x = torch.ones(1, 2, 6, 6, dtype=dtype)
    results = (pt.max_pool2d(x, 2), pt.min_pool2d(x, 2), pt.sum_pool2d(x, 2), pt.avg_pool2d(x, 2))
    assert not any(y.requires_grad for y in results)
    floating = torch.randn(1, 2, 6, 6, requires_grad=True)
    for pooling in (pt.max_pool2d, pt.min_pool2d):
        y, i = pooling(floating, 2, return_indices=True)
        assert y.requires_grad
        assert not i.requires_grad
    assert not pt.adaptive_max_pool2d(floating, 2, return_indices=True)[1].requires_grad


MAPS = [(3, 14, 14), (3, 10, 13), (3, 3, 3), (3, 5, 1), (3, 14, 14)]
PYRAMIDS: list[tuple[Any, str]] = [((1, 2, 4), "max"), ((3,), "mean"), (((2, 3), 1), "sum")]


def maps(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in MAPS]


@pytest.mark.parametrize(("levels", "reducer"), [*PYRAMIDS, ((2, 1), "min"), ((1, 2), "avg")])
def test_pyramids_of_a_map_a_batch_and_a_list(levels: Any, reducer: str) -> None:
    given = maps()
    expected = pw.spatial_pyramid_pool([m.numpy() for m in given], levels, reducer)
    rows = pt.spatial_pyramid_pool2d(given, levels, reducer)
    close(rows, expected)
    close(pt.spatial_pyramid_pool2d(tuple(given), levels, reducer), expected)
    for one, row in zip(given, rows, strict=True):
        close(pt.spatial_pyramid_pool2d(one, levels, reducer), row.numpy())
    batch = torch.stack([given[0], given[-1]])
    close(pt.spatial_pyramid_pool2d(batch, levels, reducer), expected[[0, -1]])
    if reducer in ("max", "min"):
        assert np.array_equal(rows.numpy(), expected)
    module = pt.SpatialPyramidPool2d(levels, reducer)
    assert torch.equal(module(given), rows)


def test_pyramid_defaults_and_layouts() -> None:
    x = torch.randn(2, 5, 9, 8)
    expected = pw.spatial_pyramid_pool(x.numpy())
    assert np.array_equal(pt.spatial_pyramid_pool2d(x).numpy(), expected)
    last = x.contiguous(memory_format=torch.channels_last)
    assert np.array_equal(pt.spatial_pyramid_pool2d(last).numpy(), expected)
    views = [last[0], x[1].mT.contiguous().mT, x[1].repeat_interleave(2, -1)[..., ::2]]
    rows = pt.spatial_pyramid_pool2d(views)
    assert np.array_equal(rows.numpy(), expected[[0, 1, 1]])
    levels = torch.cat([functional.adaptive_max_pool2d(x, n).flatten(1) for n in (1, 2, 4)], dim=1)
    assert torch.equal(pt.SpatialPyramidPool2d()(x), levels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int16], ids=str)
def test_pyramids_of_other_dtypes(dtype: torch.dtype) -> None:
    given = [(m * 4).to(dtype) for m in maps()]
    rows = pt.spatial_pyramid_pool2d(given, (1, 3))
    assert rows.dtype == dtype
    wide = pw.spatial_pyramid_pool([m.double().numpy() for m in given], (1, 3))
    assert np.array_equal(rows.double().numpy(), wide)


@pytest.mark.filterwarnings(PROTOTYPE)
@pytest.mark.parametrize(("levels", "reducer"), PYRAMIDS)
def test_pyramids_of_nested_tensors(levels: Any, reducer: str) -> None:
    strided = maps()
    ragged_rows = [torch.randn(rows, 3, 6) for rows in (4, 9, 2)]
    nested = {
        torch.strided: (strided, lambda t: torch.nested.as_nested_tensor(t, layout=torch.strided)),
        # A jagged tensor has one ragged axis, the first as it is made: (rows, C, columns).
        torch.jagged: (
            ragged_rows,
            lambda t: torch.nested.as_nested_tensor(t, layout=torch.jagged).transpose(1, 2),
        ),
    }
    for layout, (tensors, make) in nested.items():
        leaves = [t.clone().requires_grad_() for t in tensors]
        together = make(leaves)
        assert together.layout == layout
        y = pt.spatial_pyramid_pool2d(together, levels, reducer)
        plain = [t.clone().requires_grad_() for t in tensors]
        chw = plain if layout == torch.strided else [t.transpose(0, 1) for t in plain]
        expected = pt.spatial_pyramid_pool2d(chw, levels, reducer)
        assert not y.is_nested
        close(y, expected.detach().numpy())
        dy = torch.randn(y.shape)
        y.backward(dy)
        expected.backward(dy)
        for leaf, other in zip(leaves, plain, strict=True):
            close(leaf.grad, other.grad.numpy())
        assert torch.equal(pt.SpatialPyramidPool2d(levels, reducer)(together), y)


def test_the_training_formula() -> None:
    x = torch.randn(2, 3, 14, 12)
    y = pt.spatial_pyramid_pool2d(x, (1, 2, 4), bins="training")
    assert np.array_equal(y.numpy(), pw.spatial_pyramid_pool(x.numpy(), (1, 2, 4), bins="training"))
    assert not torch.equal(y, pt.spatial_pyramid_pool2d(x, (1, 2, 4)))
    module = pt.SpatialPyramidPool2d((1, 2, 4), "max", "training")
    assert torch.equal(module([x[0], x[1]]), y)
    for size, n in [(10, 6), (11, 4), (3, 4)]:
        square = torch.randn(3, size, size)
        for given in (square, square[None], [square]):
            with pytest.raises(ValueError, match="bins"):
                pt.spatial_pyramid_pool2d(given, (n,), bins="training")


def test_a_list_has_the_gradient_of_its_maps() -> None:
    given = [m.requires_grad_() for m in maps(torch.float64)]
    y = pt.spatial_pyramid_pool2d(given, (1, 2), "mean")
    dy = torch.randn(y.shape, dtype=torch.float64)
    together = torch.autograd.grad(y, given, dy)
    for one, row, dx in zip(given, dy, together, strict=True):
        alone = torch.autograd.grad(pt.spatial_pyramid_pool2d(one, (1, 2), "mean"), one, row)
        close(dx, alone[0].numpy())
        assert dx.any()
