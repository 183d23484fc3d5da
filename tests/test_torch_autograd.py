"""Derivatives of the torch face: first and second, what they keep, and that they repeat.

gradcheck and gradgradcheck compare with finite differences in float64 at points where the pooling
is smooth: no ties for selections, no zeros for lp.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import poolwise.torch as pt

DIMS = [1, 2, 3]
SHAPES = {1: (2, 2, 8), 2: (1, 2, 5, 6), 3: (1, 1, 3, 4, 5)}
Call = Callable[..., torch.Tensor]


def distinct(*shape: int) -> torch.Tensor:
    """Numbers at least 0.05 apart and from zero, of either sign: finite differences see no kink."""
    generator = torch.Generator().manual_seed(3)
    count = torch.Size(shape).numel()
    numbers = torch.randperm(count, generator=generator).double() / 10 + 0.5
    signs = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
    return (numbers * signs).reshape(shape).requires_grad_()


def unpool(n: int, y: torch.Tensor) -> torch.Tensor:
    places = torch.randperm(y[0, 0].numel(), generator=torch.Generator().manual_seed(4))
    where = places.reshape(y.shape[2:]).expand(y.shape)
    size = [2 * s for s in y.shape[2:]]
    return getattr(pt, f"max_unpool{n}d")(y, where, 2, output_size=size)


# A shape and what is done with a tensor of it. 272 cells in a window are too many for one byte.
CALLS: dict[str, tuple[tuple[int, ...], Call]] = {
    "max_pool2d of 272 cells": ((1, 1, 16, 18), lambda x: pt.max_pool2d(x, (16, 17), 1)),
    "min_pool1d of 257 cells": ((1, 258), lambda x: pt.min_pool1d(x, 257, 1)),
}
for n in DIMS:

    def add(name: str, *args: Any, n: int = n, **more: Any) -> None:
        title = " ".join(map(str, (f"{name}{n}d", *args, *more.items())))
        function = getattr(pt, f"{name}{n}d")
        CALLS[title] = (SHAPES[n], lambda x: function(x, *args, **more))

    for name in ("max_pool", "min_pool"):
        add(name, 2)
        add(name, 3, 1, 1)
        add(name, 2, 2, 1, dilation=2, ceil_mode=True)
        add(name, 2, 1, "same")
    for include in (True, False):
        add("avg_pool", 2, 2, 1, ceil_mode=True, count_include_pad=include)
        add("avg_pool", 2, 1, count_include_pad=include, dilation=2)
        add("avg_pool", 3, 2, "same", count_include_pad=include)
    if n > 1:
        add("avg_pool", 2, 1, 1, divisor_override=5)
        add("avg_pool", 3, 3, 1, True, False, 1)
    add("sum_pool", 3, 2, 1)
    for p in (1.5, 2, 3):
        add("lp_pool", p, 2)
        add("lp_pool", p, 3, 1)
    add("lp_pool", 2.0, 2, 2, ceil_mode=True)
    for name in ("adaptive_max_pool", "adaptive_avg_pool"):
        add(name, 2)
        add(name, 7)
    CALLS[f"max_unpool{n}d"] = (SHAPES[n], partial(unpool, n))
for reducer in ("max", "min", "mean", "sum"):
    CALLS[f"pyramid {reducer}"] = (
        SHAPES[2],
        lambda x, reducer=reducer: pt.spatial_pyramid_pool2d(x, (1, (2, 3)), reducer),
    )


@pytest.fixture
def threads() -> Iterator[None]:
    """Put torch's number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", CALLS)
def test_first_and_second_derivatives(name: str) -> None:
    shape, call = CALLS[name]
    x = distinct(*shape)
    how = {"check_batched_grad": True, "fast_mode": x.numel() > 59}
    assert gradcheck(call, x, **how)
    assert gradgradcheck(call, x, **how)


@pytest.mark.parametrize("reducer", ["max", "min", "mean", "sum"])
def test_derivatives_of_a_list(reducer: str) -> None:
    maps = tuple(distinct(2, *size) for size in ((4, 5), (3, 2), (2, 6)))

    def call(*maps: torch.Tensor) -> torch.Tensor:
        return pt.spatial_pyramid_pool2d(list(maps), (1, 2), reducer)

    assert gradcheck(call, maps)
    assert gradgradcheck(call, maps)


@pytest.mark.parametrize("name", CALLS)
def test_views_of_memory_have_the_same_derivatives(name: str) -> None:
    shape, call = CALLS[name]
    plain = distinct(*shape)
    dy = torch.randn_like(call(plain))
    (expected,) = torch.autograd.grad(call(plain), plain, dy)
    last, swapped = (plain.detach().movedim(a, -1).contiguous().movedim(-1, a) for a in (-2, 0))
    strided = plain.detach().repeat_interleave(2, -1)[..., ::2]
    for x in (last, swapped, strided):
        x.requires_grad_()
        (dx,) = torch.autograd.grad(call(x), x, dy)
        torch.testing.assert_close(dx, expected, rtol=1e-12, atol=1e-12)


def saved_bytes(call: Call, x: torch.Tensor) -> tuple[int, int]:
    """How many bytes the graph of a call holds on to besides x, and how many outputs it has."""
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(saved: torch.Tensor) -> torch.Tensor:
        storage = saved.untyped_storage()
        storages[storage.data_ptr()] = storage
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        y = call(x)
    storages.pop(x.untyped_storage().data_ptr(), None)
    assert y.requires_grad
    return sum(storage.nbytes() for storage in storages.values()), y.numel()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["max_pool2d", "min_pool2d"])
def test_selections_keep_a_byte_per_output(name: str, dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 40, 36, dtype=dtype, requires_grad=True)
    call = getattr(pt, name)
    for arguments in [(2,), (3, 2, 1), (5, 1, 2), (16,), (16, 1, 8), (2, 2, 0, 7), ((1, 36),)]:
        kept, outputs = saved_bytes(lambda x, a=arguments: call(x, *a), x)
        assert kept <= outputs, arguments
    kept, outputs = saved_bytes(lambda x: call(x, 17, 1), x)  # 289 cells do not fit in a byte
    assert kept <= 8 * outputs
    for size in (3, (20, 36), (41, 50)):
        kept, outputs = saved_bytes(lambda x, size=size: pt.adaptive_max_pool2d(x, size), x)
        assert kept <= outputs, size
    maps = [x[0, :, :16, :16], x[1, :, :3, :9]]
    kept, outputs = saved_bytes(lambda x: pt.spatial_pyramid_pool2d(maps, (1, 2, 4)), x)
    assert kept <= outputs


def test_other_dimensions_keep_a_byte_too() -> None:
    x = torch.randn(2, 3, 300, requires_grad=True)
    for arguments in [(2,), (256, 1), (3, 2, 1)]:
        kept, outputs = saved_bytes(lambda x, a=arguments: pt.max_pool1d(x, *a), x)
        assert kept <= outputs
    x = torch.randn(1, 2, 12, 13, 14, requires_grad=True)
    for arguments in [(2,), (6, 1), (3, 2, 1)]:
        kept, outputs = saved_bytes(lambda x, a=arguments: pt.max_pool3d(x, *a), x)
        assert kept <= outputs


def test_sums_keep_nothing() -> None:
    x = torch.randn(2, 3, 40, 36, requires_grad=True)
    for call in (
        lambda x: pt.avg_pool2d(x, 3, 2, 1),
        lambda x: pt.sum_pool2d(x, 3, 2, 1),
        lambda x: pt.adaptive_avg_pool2d(x, 5),
        lambda x: pt.spatial_pyramid_pool2d(x, (1, 2), "mean"),
    ):
        assert saved_bytes(call, x)[0] == 0


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("last", [False, True])
def test_same_bits_for_any_threads_and_on_every_run(last: bool) -> None:
    x = torch.randn(2, 8, 61, 60, requires_grad=True)
    if last:
        x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    for call in (
        lambda x: pt.max_pool2d(x, 3, 1, 1),
        lambda x: pt.min_pool2d(x, 5, 2, 2),
        lambda x: pt.avg_pool2d(x, 3, 1, 1),
        lambda x: pt.lp_pool2d(x, 2, 3, 2),
        lambda x: pt.adaptive_avg_pool2d(x, 7),
        lambda x: pt.adaptive_max_pool2d(x, (70, 9)),
        lambda x: pt.spatial_pyramid_pool2d(x, (1, 2, 3)),
    ):
        dy = torch.randn_like(call(x))
        results = []
        for count in (1, 2, 2, 1):
            torch.set_num_threads(count)
            y = call(x)
            results.append((y.detach(), torch.autograd.grad(y, x, dy)[0]))
        for y, dx in results[1:]:
            assert torch.equal(y, results[0][0])
            assert torch.equal(dx, results[0][1])


@pytest.mark.parametrize("name", CALLS)
def test_gradients_of_any_layout(name: str) -> None:
    shape, call = CALLS[name]
    x = distinct(*shape)
    y = call(x)
    dense = torch.randn_like(y)
    row = dense[:, :1].expand_as(y)
    same = torch.ones((), dtype=y.dtype).expand_as(y)
    last = dense.movedim(-2, -1).contiguous().movedim(-1, -2)
    strided = dense.repeat_interleave(3, -1)[..., ::3]
    for dy in (row, same, last, strided):
        (dx,) = torch.autograd.grad(y, x, dy, retain_graph=True)
        (expected,) = torch.autograd.grad(y, x, dy.contiguous().clone(), retain_graph=True)
        torch.testing.assert_close(dx, expected, rtol=1e-13, atol=1e-13)
    (dx,) = torch.autograd.grad(y.sum(), x)
    (expected,) = torch.autograd.grad(call(x), x, torch.ones_like(y))
    torch.testing.assert_close(dx, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", CALLS)
def test_twice_through_one_graph(name: str) -> None:
    shape, call = CALLS[name]
    x = distinct(*shape)
    y = call(x)
    dy = torch.randn_like(y)
    y.backward(dy, retain_graph=True)
    once = x.grad.clone()
    y.backward(dy)
    assert torch.equal(x.grad, 2 * once)
    # lp keeps its input and selections their winners, which are gone after the second time.
    if any(kind in name for kind in ("max_pool", "min_pool", "lp_pool")):
        with pytest.raises(RuntimeError, match="second time"):
            y.backward(dy)
    remains = [weakref.ref(t) for t in (x, y, dy)]
    del x, y, dy
    gc.collect()
    assert [r() for r in remains] == [None] * 3


def test_only_what_is_asked_for_has_a_gradient() -> None:
    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    with torch.no_grad():
        assert not pt.max_pool2d(x, 2).requires_grad
    with torch.inference_mode():
        assert not pt.avg_pool2d(torch.randn(1, 2, 6, 6), 2).requires_grad
    assert not pt.max_pool2d(x.detach(), 2).requires_grad
    y, i = pt.max_pool2d(x, 2, return_indices=True)
    assert not i.requires_grad
    back = pt.max_unpool2d(y, i, 2)
    (dx,) = torch.autograd.grad(back.sum(), x)
    assert dx.sum() == y.numel()
    changed = x * 1
    y = pt.lp_pool2d(changed, 2, 2)
    changed += 1
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        y.sum().backward()
