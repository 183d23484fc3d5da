"""`accelerate`, `restore` and `pooling_report`: whole models served by poolwise, and given back.

What served a pooling is read from the dispatcher: a `TorchDispatchMode` sees every operator by its
name, poolwise's as ``poolwise::...`` and torch's as ``aten::...pool...``.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional
import torch.nn.functional as F  # noqa: N812
from torch import max_pool2d as torch_max_pool2d
from torch import nn
from torch.nn import functional
from torch.nn.functional import avg_pool2d
from torch.nn.functional import max_pool2d as named_otherwise
from torch.utils._python_dispatch import TorchDispatchMode

import poolwise.torch as pt

FORWARD = ("poolwise::pool", "poolwise::pool_winners", "poolwise::unpool")


class Recorder(TorchDispatchMode):
    """Notes the name of every operator that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def poolings(model: nn.Module, x: torch.Tensor) -> tuple[int, int]:
    """How many poolings of one run poolwise served, and how many torch."""
    with Recorder() as recorder:
        model(x)
    ours = sum(name in FORWARD for name in recorder.names)
    theirs = {n for n in recorder.names if n.startswith("aten::") and "pool" in n}
    return ours, sum(n in theirs for n in recorder.names)


class Shared(nn.Module):
    """One pooling module used twice, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.same = self.pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.same(self.pool(x))


class Plain(nn.MaxPool2d):
    """A subclass that changes nothing."""


class Doubled(nn.AvgPool2d):
    """A subclass with a forward of its own, over its parent's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Own(nn.MaxPool2d):
    """A subclass whose forward calls the function itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride) + 1


class Unpooling(nn.Module):
    """Indices from one module to another, as in SegNet."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.MaxPool2d(2, return_indices=True)
        self.up = nn.MaxUnpool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, i = self.down(x)
        return self.up(y, i, output_size=x.shape)


def helper(x: torch.Tensor) -> torch.Tensor:
    return deeper(F.avg_pool2d(x, 3, 1, 1))


def deeper(x: torch.Tensor) -> torch.Tensor:
    return functional.adaptive_avg_pool2d(x, (4, 3))


class Functional(nn.Module):
    """Poolings called as functions, through every way to import them, in forward and helpers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.conv(x), 3, stride=1, padding=1)
        x = torch.nn.functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        x = avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        x = named_otherwise(x, 2, 1)
        x = torch.max_pool2d(x, 2, 1)
        x = torch_max_pool2d(x, 2, 1)
        return self.finish(x)

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as late

        x = late.adaptive_max_pool2d(x, 6)
        y, _ = functional.max_pool2d(x, 2, 1, return_indices=True)
        return helper(y)


class OneDimension(nn.Module):
    """Audio: 1-D modules and functions, also torch.avg_pool1d, which F only re-exports."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.MaxPool1d(2), nn.AvgPool1d(2), nn.AdaptiveMaxPool1d(9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.avg_pool1d(self.layers(x.flatten(2)), 2)
        return F.adaptive_avg_pool1d(F.max_pool1d(x, 2, 1), 2)


class Kept(nn.Module):
    """A function kept as an attribute, as configurable networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = F.avg_pool2d  # F.max_pool2d cannot be pickled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reduce(x, 2)


def nested() -> nn.Module:
    block = nn.Sequential(nn.MaxPool2d(2), nn.Sequential(nn.AvgPool2d(2, 1), nn.LPPool2d(2, 2)))
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), block, nn.ModuleDict({"a": nn.AdaptiveMaxPool2d(2)})["a"]
    )


MODELS: dict[str, tuple[Any, int]] = {
    "one module": (lambda: nn.MaxPool2d(2), 1),
    "shared": (Shared, 2),
    "nested": (nested, 4),
    "plain subclass": (lambda: nn.Sequential(Plain(2), Plain(3, 1)), 2),
    "own forward": (lambda: nn.Sequential(Doubled(2), Own(2)), 2),
    "unpooling": (Unpooling, 2),
    "functional": (Functional, 10),
    "functional within": (lambda: nn.Sequential(nn.MaxPool2d(2), Functional()), 11),
    "one dimension": (OneDimension, 6),
    "kept function": (Kept, 1),
}


def made(name: str) -> tuple[nn.Module, torch.Tensor, int]:
    torch.manual_seed(5)
    make, count = MODELS[name]
    return make(), torch.randn(2, 3, 22, 24), count


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, torch.Tensor, int]:
    return made(request.param)


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def close(x: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-6)


def run(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, gradient of the input and of the parameters."""
    x = x.detach().clone().requires_grad_()
    model.zero_grad()
    y = model(x)
    y.square().mean().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in model.parameters())]


def looks(model: nn.Module) -> list[Any]:
    """Everything of a model that must be as before after `restore`."""
    return [
        (name, type(m), list(vars(m)), m.forward.__func__, m.training, repr(m), id(m))
        for name, m in model.named_modules()
    ]


def test_every_pooling_is_served_and_equal(case: Any) -> None:
    model, x, count = case
    model.eval()
    ours, theirs = poolings(model, x)
    assert ours == 0
    assert theirs > 0
    expected, output = run(model, x), model(x)
    assert pt.accelerate(model) is model
    assert poolings(model, x) == (count, 0)
    assert poolings(model, x.requires_grad_()) == (count, 0)
    for found, wanted in zip(run(model, x), expected, strict=True):
        close(found, wanted)
    close(model(x), output)
    assert pt.restore(model) is model
    assert poolings(model, x) == (0, theirs)
    assert torch.equal(model(x), output)


def test_the_model_stays_what_it_is(case: Any) -> None:
    model, x, count = case
    before, keys = looks(model), list(model.state_dict())
    parameters = [id(p) for p in model.parameters()]
    pt.accelerate(model)
    assert list(model.state_dict()) == keys
    assert [id(p) for p in model.parameters()] == parameters
    for (name, kind, _, _, mode, text, where), now in zip(before, looks(model), strict=True):
        assert (name, mode, text, where) == (now[0], *now[4:])
        assert isinstance(model.get_submodule(name), kind)
    once = looks(model)
    assert looks(pt.accelerate(model)) == once  # twice is once
    assert poolings(model, x) == (count, 0)
    for _ in range(2):
        assert looks(pt.restore(model)) == before


def test_copies_and_pickles_stay_accelerated(case: Any) -> None:
    model, x, count = case
    before = [type(m) for m in model.modules()]
    pt.accelerate(model).eval()
    expected = model(x)
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    copies = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(saved, weights_only=False),
    ]
    for one in copies:
        assert poolings(one, x) == (count, 0)
        assert torch.equal(one(x), expected)
        pt.restore(one)
        assert [type(m) for m in one.modules()] == before
        assert poolings(one, x)[0] == 0
    assert poolings(model, x) == (count, 0)


def test_other_models_of_the_class_are_torchs(case: Any, request: Any) -> None:
    model, x, count = case
    other = made(request.node.callspec.params["case"])[0]
    pt.accelerate(model)
    new = made(request.node.callspec.params["case"])[0]
    for one in (other, new):
        assert poolings(one, x)[0] == 0
    pt.accelerate(new)
    pt.restore(model)
    assert poolings(new, x) == (count, 0)


COMPILED = ["shared", "nested", "own forward", "unpooling", "functional within", "one dimension"]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled(name: str) -> None:
    model, x, _ = made(name)
    expected = run(model, x)
    compiled = torch.compile(pt.accelerate(model), fullgraph=True, backend="aot_eager")
    for found, wanted in zip(run(compiled, x), expected, strict=True):
        close(found, wanted)


# Strict export remarks on the mode that forward enters and leaves again; the program is the same.
@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects:UserWarning")
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", COMPILED)
def test_exported(name: str, strict: bool) -> None:
    model, x, count = made(name)
    model.eval()
    expected = model(x)
    program = torch.export.export(pt.accelerate(model), (x,), strict=strict)
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum(name.startswith("poolwise.") for name in names) == count
    assert not any("aten" in name and "pool" in name for name in names)
    close(program.module()(x), expected)


@pytest.mark.filterwarnings("ignore:.*(jit|trac|Trac|TorchScript).*")
def test_traced_by_jit() -> None:
    """The same graph with and without gradients, which is what `torch.jit.trace` checks."""
    model = pt.accelerate(nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.AvgPool2d(2)))
    x = torch.rand(1, 3, 14, 14)
    traced = torch.jit.trace(model, x)
    assert "poolwise::pool" in str(traced.inlined_graph)
    close(traced(x), model(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own
def test_forward_mode_derivatives_stay_torchs() -> None:
    from torch.autograd import forward_ad

    x = torch.rand(1, 2, 8, 8)
    model = pt.accelerate(nn.AvgPool2d(2))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        assert torch.equal(forward_ad.unpack_dual(model(dual)).tangent, torch.ones(1, 2, 4, 4))
