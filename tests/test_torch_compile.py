"""The torch face under `torch.compile` and `torch.export`, with static and dynamic shapes.

Whole graphs only (``fullgraph=True``): a graph break is an error. The eager result is the standard;
the numbers themselves are tested elsewhere.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import poolwise.torch as pt

DIMS = [1, 2, 3]
Call = Callable[[torch.Tensor], Any]

CALLS: dict[str, tuple[int, Call]] = {
    "pyramid": (2, lambda x: pt.spatial_pyramid_pool2d(x, (1, 2, 4), "mean")),
    "pyramid of a list": (2, lambda x: pt.spatial_pyramid_pool2d([x[0], x[1][:, :-2]], (1, 3))),
    "same padding": (2, lambda x: pt.max_pool2d(x, 3, 2, "same")),
    "pairs of padding": (2, lambda x: pt.avg_pool2d(x, 3, 1, [(0, 1), (1, 0)])),
    "dilated mean": (2, lambda x: pt.avg_pool2d(x, 3, 1, 1, dilation=2)),
    "beyond a byte": (2, lambda x: pt.max_pool2d(x, (17, 16), 1)),
    "two in a row": (2, lambda x: pt.avg_pool2d(pt.max_pool2d(x * 2, 3, 2, 1), 2).relu()),
}
for n in DIMS:  # the numbers stand in the code: what comes from outside is a symbol to dynamo
    ending = f"pool{n}d"
    functions = {name[:-2]: getattr(pt, name) for name in dir(pt) if name.endswith(ending)}
    literal: dict[str, Callable[..., Any]] = {
        "max_pool": lambda x, f: f(x, 3, 2, 1),
        "max_pool with indices": lambda x, f: f(x, 3, 2, 1, 1, True, True),
        "min_pool": lambda x, f: f(x, 2),
        "avg_pool": lambda x, f: f(x, 3, 2, 1, True, False),
        "sum_pool": lambda x, f: f(x, 3, 2, 1),
        "lp_pool": lambda x, f: f(x, 2.0, 3, 2),
        "adaptive_max_pool": lambda x, f: f(x, 4, True),
        "adaptive_avg_pool": lambda x, f: f(x, 5),
    }
    if n != 2:  # the rest is in the number of axes, and compiling takes its time
        literal = {title: literal[title] for title in ("max_pool", "avg_pool", "adaptive_max_pool")}
    for title, call in literal.items():
        name = title.split()[0]
        CALLS[f"{title} {n}d"] = (n, lambda x, f=functions[name], call=call: call(x, f))

    def unpooled(x: torch.Tensor, f: Any = functions) -> Any:
        y, i = f["max_pool"](x, 2, return_indices=True)
        return f["max_unpool"](y * 2, i, 2, output_size=x.shape[2:])

    CALLS[f"max_unpool {n}d"] = (n, unpooled)


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def image(n: int, batch: int = 2, more: int = 0, grad: bool = True) -> torch.Tensor:
    sizes = {1: (33,), 2: (18, 21), 3: (8, 9, 10)}[n]
    generator = torch.Generator().manual_seed(batch)
    sizes = tuple(size + more for size in sizes)
    return torch.randn(batch, 3, *sizes, generator=generator).requires_grad_(grad)


def check(compiled: Call, eager: Call, x: torch.Tensor) -> None:
    """Equal values, indices, memory layout and gradients."""
    other = x.detach().clone().requires_grad_(x.requires_grad)
    results, expected = compiled(x), eager(other)
    pair = [r if isinstance(r, tuple) else (r,) for r in (results, expected)]
    for y, wanted in zip(*pair, strict=True):
        assert torch.equal(y, wanted)
        assert y.stride() == wanted.stride()
        assert y.requires_grad == wanted.requires_grad
    if x.requires_grad:
        dy = torch.randn_like(pair[0][0])
        pair[0][0].backward(dy)
        pair[1][0].backward(dy)
        torch.testing.assert_close(x.grad, other.grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CALLS)
def test_static_shapes(name: str) -> None:
    n, call = CALLS[name]
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager", dynamic=False)
    for grad in (True, False):
        check(compiled, call, image(n, grad=grad))


@pytest.mark.parametrize("name", CALLS)
def test_dynamic_shapes_compile_once(name: str) -> None:
    n, call = CALLS[name]
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(call, fullgraph=True, backend=counter, dynamic=True)
    counts = []
    for batch, more in ((2, 0), (3, 1), (5, 2), (4, 4)):
        check(compiled, call, image(n, batch, more))
        counts.append(counter.frame_count)
    assert counts == counts[:1] * 4


def test_sizes_that_turn_out_to_vary() -> None:
    call = CALLS["two in a row"][1]
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(call, fullgraph=True, backend=counter)
    counts = []
    for batch, more in ((2, 0), (3, 1), (4, 2), (5, 3), (6, 5)):
        check(compiled, call, image(2, batch, more))
        counts.append(counter.frame_count)
    assert counts[1:] == counts[1:2] * 4  # once for the first sizes, once for all others


def test_numbers_from_outside() -> None:
    def call(x: torch.Tensor, kernel: int, padding: tuple[int, int], bins: int) -> torch.Tensor:
        y = pt.max_pool2d(x, kernel, padding=padding)
        return pt.adaptive_avg_pool2d(pt.avg_pool2d(y, kernel, 1), bins)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager", dynamic=True)
    x = image(2, grad=False)
    for numbers in ((3, (1, 0), 2), (2, (0, 1), 3), (4, (2, 1), 2)):
        assert torch.equal(compiled(x, *numbers), call(x, *numbers))


def test_channels_last_stays() -> None:
    x = image(2, grad=False).contiguous(memory_format=torch.channels_last).requires_grad_()
    for name in ("max_pool 2d", "avg_pool 2d"):
        call = CALLS[name][1]
        compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
        check(compiled, call, x.detach().clone().requires_grad_())
        assert compiled(x).is_contiguous(memory_format=torch.channels_last)


def test_integers() -> None:
    x = (image(2, grad=False) * 9).to(torch.int32)
    for call in (lambda x: pt.max_pool2d(x, 3, 2), lambda x: pt.sum_pool2d(x, 3, 2)):
        for dynamic in (False, True):
            check(
                torch.compile(call, fullgraph=True, backend="aot_eager", dynamic=dynamic), call, x
            )


def test_a_training_step_of_a_network() -> None:
    model = Network()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in (32, 40):
        x = torch.randn(3, 3, size, size + 3)
        gradients = []
        for network in (compiled, model):
            model.zero_grad()
            network(x).square().mean().backward()
            gradients.append([p.grad.clone() for p in model.parameters()])
        for found, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_inductor() -> None:
    model = Network()
    compiled = torch.compile(model, fullgraph=True)
    x = torch.randn(2, 3, 32, 35)
    gradients = []
    for network in (compiled, model):
        model.zero_grad()
        y = network(x)
        y.square().mean().backward()
        gradients.append([y.detach(), *(p.grad.clone() for p in model.parameters())])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Network(nn.Module):
    """Several poolings around two small convolutions, for images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3, padding=1)
        self.max = pt.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.two = nn.Conv2d(6, 4, 3, padding=1)
        self.mean = pt.AvgPool2d(2, count_include_pad=False)
        self.pyramid = pt.SpatialPyramidPool2d((1, 2), "max")
        self.lp = pt.LPPool2d(2, 2)
        self.bins = pt.AdaptiveAvgPool2d((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.mean(self.two(self.max(self.one(x)).relu()))
        rest = pt.min_pool2d(self.lp(x), 2, 1, "same")
        return torch.cat([self.pyramid(x), self.bins(rest).flatten(1)], dim=1)


def operators(program: Any) -> set[str]:
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
def test_export(strict: bool, dynamic: bool) -> None:
    model = Network().eval()
    x = torch.randn(2, 3, 32, 35)
    varies = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    shapes = {"x": varies} if dynamic else None
    program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=strict)
    found = operators(program)
    assert any("poolwise" in name for name in found)
    assert not any("aten" in name and "pool" in name for name in found)
    again = io.BytesIO()
    torch.export.save(program, again)
    again.seek(0)
    inputs = [x]
    if dynamic:
        inputs += [torch.randn(1, 3, 32, 35), torch.randn(5, 3, 47, 64), torch.randn(3, 3, 33, 21)]
    for exported in (program.module(), torch.export.load(again).module()):
        for given in inputs:
            assert torch.equal(exported(given), model(given))


@pytest.mark.parametrize("strict", [False, True])
def test_export_of_indices_and_unpooling(strict: bool) -> None:
    class Unpooling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = pt.MaxPool2d(2, return_indices=True)
            self.unpool = pt.MaxUnpool2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, i = self.pool(x)
            return self.unpool(y, i, output_size=x.shape)

    model = Unpooling()
    x = torch.randn(2, 3, 8, 10)
    program = torch.export.export(model, (x,), strict=strict)
    assert sum("poolwise" in name for name in operators(program)) == 2
    assert torch.equal(program.module()(x), model(x))
