"""The torch face under torch.func, fake and meta tensors and autocast, and its modules as objects.

What is not data must look as torch's: shapes, dtypes and strides without values, the dtype that
autocast picks, signatures, reprs, copies.
"""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import grad, jacrev, vmap
from torch.nn import functional

import poolwise.torch as pt

DIMS = [1, 2, 3]
SIZES = {1: (9,), 2: (8, 9), 3: (6, 7, 8)}
LAST = {1: None, 2: torch.channels_last, 3: torch.channels_last_3d}
Call = Callable[..., Any]

# What torch has too: positional arguments after the input.
BOTH: dict[str, tuple[Any, ...]] = {
    "max_pool": (3, 2, 1, 1, True),
    "avg_pool": (3, 2, 1, True, False),
    "adaptive_max_pool": (4,),
    "adaptive_avg_pool": (3,),
    "lp_pool": (2.0, 3, 2),
}
OURS: dict[str, tuple[Any, ...]] = {**BOTH, "min_pool": (3, 2), "sum_pool": (2,)}
CASES = [(name, n) for n in DIMS for name in OURS]


def ours(name: str, n: int) -> Call:
    function, arguments = getattr(pt, f"{name}{n}d"), OURS[name]
    return lambda x: function(x, *arguments)


def image(n: int, *lead: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(*lead, *SIZES[n], generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("name", "n"), CASES)
def test_vmap(name: str, n: int) -> None:
    call = ours(name, n)
    x = image(n, 4, 2, 3)
    expected = torch.stack([call(one) for one in x])
    for axis in range(-1, x.ndim - 1):
        assert torch.equal(vmap(call, in_dims=axis)(x.movedim(0, axis)), expected)
    assert torch.equal(vmap(call, out_dims=1)(x), expected.movedim(0, 1))
    assert torch.equal(vmap(call)(x[:, 0]), torch.stack([call(one) for one in x[:, 0]]))
    assert torch.equal(vmap(call, chunk_size=3)(x), expected)
    x = image(n, 2, 3, 4, 2)
    nested = vmap(vmap(call, in_dims=1), in_dims=2)(x)
    rows = [torch.stack([call(x[:, j, i]) for j in range(3)]) for i in range(4)]
    assert torch.equal(nested, torch.stack(rows))


@pytest.mark.parametrize("n", DIMS)
def test_vmap_over_indices_and_pairs(n: int) -> None:
    pool, unpool = getattr(pt, f"max_pool{n}d"), getattr(pt, f"max_unpool{n}d")
    x = image(n, 4, 2, 3)[..., :8]
    y, i = vmap(lambda x: pool(x, 2, return_indices=True), in_dims=1)(x.movedim(0, 1))
    pairs = [pool(one, 2, return_indices=True) for one in x]
    assert torch.equal(y, torch.stack([values for values, _ in pairs]))
    assert torch.equal(i, torch.stack([where for _, where in pairs]))
    size = x.shape[3:]

    def back(y: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
        return unpool(y, i, 2, output_size=size)

    expected = torch.stack([back(*pair) for pair in pairs])
    assert torch.equal(vmap(back)(y, i), expected)
    assert torch.equal(vmap(back, in_dims=(0, 1))(y, i.movedim(0, 1)), expected)
    one = vmap(back, in_dims=(0, None))(y, i[0])
    assert torch.equal(one, torch.stack([back(values, i[0]) for values in y]))
    one = vmap(back, in_dims=(None, 0))(y[0], i)
    assert torch.equal(one, torch.stack([back(y[0], where) for where in i]))
    twice = vmap(vmap(back))(y[None], i[None])
    assert torch.equal(twice[0], expected)


@pytest.mark.parametrize(("name", "n"), CASES)
def test_grad_and_vmap_of_grad(name: str, n: int) -> None:
    call = ours(name, n)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return call(x).square().sum()

    x = image(n, 3, 2, 2)

    def by_autograd(x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(loss(x), x)[0]

    close(grad(loss)(x[0]), by_autograd(x[0]))
    expected = torch.stack([by_autograd(one) for one in x])
    close(vmap(grad(loss))(x), expected)
    close(vmap(grad(loss), in_dims=1, out_dims=1)(x.movedim(0, 1)), expected.movedim(0, 1))
    close(grad(lambda x: vmap(loss)(x).sum())(x), expected)

    def second(x: torch.Tensor) -> torch.Tensor:
        return grad(lambda x: grad(loss)(x).square().sum())(x)

    close(vmap(second)(x), torch.stack([second(one) for one in x]))
    if name in BOTH:
        theirs = getattr(functional, f"{name}{n}d")

        def torchs(x: torch.Tensor) -> torch.Tensor:
            x = x.abs() if name == "lp_pool" else x
            return theirs(x, *BOTH[name]).square().sum()

        close(grad(loss)(x[0]), grad(torchs)(x[0]))


@pytest.mark.parametrize("name", OURS)
def test_jacobians(name: str) -> None:
    x = image(2, 1)[..., :5, :6]
    call = ours(name, 2)
    expected = torch.autograd.functional.jacobian(call, x)
    close(jacrev(call)(x), expected)
    close(vmap(jacrev(call))(torch.stack([x, x])), torch.stack([expected, expected]))


def test_pyramids_under_transforms() -> None:
    x = image(2, 3, 2)

    def call(x: torch.Tensor) -> torch.Tensor:
        return pt.spatial_pyramid_pool2d(x, (1, 3))

    assert torch.equal(vmap(call)(x), call(x))
    close(vmap(grad(lambda x: call(x).sum()))(x), grad(lambda x: call(x).sum())(x))


def close(x: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(x, expected, rtol=1e-12, atol=1e-12)


def seen(result: Any) -> list[tuple[Any, ...]]:
    tensors = result if isinstance(result, tuple) else (result,)
    return [(t.shape, t.dtype, t.stride(), t.requires_grad) for t in tensors]


def shape_cases(n: int) -> list[Call]:
    calls = [ours(name, n) for name in OURS]
    pool, adaptive = (getattr(pt, f"{name}_pool{n}d") for name in ("max", "adaptive_max"))
    calls.append(lambda x: pool(x, 3, 1, 1, return_indices=True))
    calls.append(lambda x: adaptive(x, 5, return_indices=True))
    calls.append(lambda x: pool(x, 3, 2, "same"))
    unpool = getattr(pt, f"max_unpool{n}d")
    calls.append(lambda x: unpool(*pool(x, 2, return_indices=True), 2, output_size=x.shape[-n:]))
    if n == 2:
        calls.append(lambda x: pt.spatial_pyramid_pool2d(x, (1, (2, 3)), "mean"))
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("n", DIMS)
def test_meta_and_fake_tensors(n: int, dtype: torch.dtype) -> None:
    batch = image(n, 2, 3, dtype=dtype)
    given = [batch, batch[0], batch[:0], batch[..., ::2], batch.mT if n > 1 else batch]
    if LAST[n]:
        given.append(batch.contiguous(memory_format=LAST[n]))
    for real in given:
        for requires_grad in (False, True):
            x = real.detach().requires_grad_(requires_grad)
            for call in shape_cases(n):
                expected = seen(call(x))
                meta = torch.empty_strided(x.shape, x.stride(), dtype=dtype, device="meta")
                assert seen(call(meta.requires_grad_(requires_grad))) == expected
                with FakeTensorMode() as mode:
                    assert seen(call(mode.from_tensor(x))) == expected


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64, torch.uint8], ids=str)
def test_meta_integers(dtype: torch.dtype) -> None:
    x = image(2, 2, 3).abs().to(dtype)
    for call in (
        lambda x: pt.max_pool2d(x, 3, 2, return_indices=True),
        lambda x: pt.sum_pool2d(x, 3),
        lambda x: pt.avg_pool2d(x, 3),
    ):
        assert seen(call(x.to("meta"))) == seen(call(x))


@pytest.mark.parametrize("n", DIMS)
def test_backward_of_meta_tensors(n: int) -> None:
    for call in shape_cases(n):
        x = image(n, 2, 3).to("meta").requires_grad_()
        y = call(x)
        y = y[0] if isinstance(y, tuple) else y
        y.sum().backward()
        assert (x.grad.shape, x.grad.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize("n", DIMS)
@pytest.mark.parametrize("name", BOTH)
def test_autocast_gives_torchs_dtype(name: str, n: int) -> None:
    function, theirs = (getattr(module, f"{name}{n}d") for module in (pt, functional))
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        x = image(n, 2, 3, dtype=dtype)
        with torch.autocast("cpu", torch.bfloat16):
            expected = theirs(x.abs(), *BOTH[name])
            y = function(x.abs(), *BOTH[name])
        assert y.dtype == expected.dtype
        torch.testing.assert_close(y, expected, rtol=0.02, atol=0.02)


def test_autocast_in_a_network() -> None:
    networks = [
        nn.Sequential(
            nn.Conv2d(3, 4, 3), module.MaxPool2d(2), nn.Conv2d(4, 4, 3), module.AvgPool2d(2)
        )
        for module in (nn, pt)
    ]
    networks[1].load_state_dict(networks[0].state_dict())
    x = torch.randn(2, 3, 16, 16)
    gradients = []
    for network in networks:
        with torch.autocast("cpu", torch.bfloat16):
            y = network(x)
        assert y.dtype == torch.bfloat16
        y.float().square().mean().backward()
        gradients.append([y.detach(), *(p.grad for p in network.parameters())])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)


KINDS = {
    "MaxPool": [(3,), (2, 2, 1), (3, 2, 1, 2, True, True)],
    "AvgPool": [(3,), (2, 1, 1, True, False)],
    "AdaptiveMaxPool": [(3,), (2, True)],
    "AdaptiveAvgPool": [(4,)],
    "LPPool": [(2, 3), (3.0, 2, 1, True)],
    "MaxUnpool": [(2,), (3, 2, 1)],
}
TORCHS = [(f"{kind}{n}d", arguments) for n in DIMS for kind in KINDS for arguments in KINDS[kind]]


@pytest.mark.parametrize(("name", "arguments"), TORCHS)
def test_modules_are_torchs(name: str, arguments: tuple[Any, ...]) -> None:
    ours, theirs = (getattr(module, name) for module in (pt, nn))
    assert issubclass(ours, theirs)
    assert (ours.__name__, ours.__qualname__) == (name, name)
    assert ours.__module__.startswith("poolwise.torch")
    assert inspect.signature(ours) == inspect.signature(theirs)
    module, expected = ours(*arguments), theirs(*arguments)
    assert repr(module) == repr(expected)
    assert {k: v for k, v in vars(module).items() if k in vars(expected)} == vars(expected)
    assert module.state_dict() == {}
    assert list(module.parameters()) == []
    n = int(name[-2])
    x = image(n, 2, 3).abs()
    given: tuple[torch.Tensor, ...] = (x,)
    if "Unpool" in name:  # of a size that the unpooling infers
        cells = slice(0, 6 if len(arguments) == 1 else 5)
        pool = getattr(functional, f"max_pool{n}d")
        given = pool(x[(..., *(cells,) * n)], *arguments, return_indices=True)
    for one in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert type(one) is ours
        results = [r if isinstance(r, tuple) else (r,) for r in (one(*given), expected(*given))]
        for y, wanted in zip(*results, strict=True):
            close(y, wanted)


@pytest.mark.parametrize("n", DIMS)
def test_modules_that_torch_lacks(n: int) -> None:
    x = image(n, 2, 3)
    for name in ("Min", "Sum"):
        module = getattr(pt, f"{name}Pool{n}d")(3, 2, 1)
        expected = getattr(pt, f"{name.lower()}_pool{n}d")(x, 3, 2, 1)
        assert repr(module).startswith(f"{name}Pool{n}d(kernel_size=3, stride=2, padding=1")
        for one in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(one(x), expected)
        assert module.state_dict() == {}


def test_the_pyramid_module() -> None:
    x = image(2, 2, 3)
    module = pt.SpatialPyramidPool2d(levels=(1, (2, 3)), reducer="mean", bins="adaptive")
    assert "(1, (2, 3))" in repr(module)
    assert "mean" in repr(module)
    assert module.state_dict() == {}
    for one in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(one(x), pt.spatial_pyramid_pool2d(x, (1, (2, 3)), "mean"))
