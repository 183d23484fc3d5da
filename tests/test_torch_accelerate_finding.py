"""Where poolings hide in a model's code, and what `accelerate` makes of each way to reach them."""

from __future__ import annotations

import copy
import functools
import pickle
import types
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import poolwise.torch as pt
from test_torch_accelerate import close, poolings

OPS = types.ModuleType("ops")
OPS.down = lambda x: F.avg_pool2d(x, 2)  # type: ignore[attr-defined]
HALVE = functools.partial(F.avg_pool2d, kernel_size=2)
TABLE = {"avg": [F.avg_pool2d], "none": None}


class Halver:
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2)


class Config:
    pool = staticmethod(F.avg_pool2d)


HALVER = Halver()


class ThroughModule(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return OPS.down(x)


class ThroughPartial(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return HALVE(x)


class ThroughTable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return TABLE["avg"][0](x, 2)  # type: ignore[index]


class ThroughObject(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return HALVER(x)


class ThroughClass(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Config.pool(x, 2)


class ThroughDefault(nn.Module):
    def forward(self, x: torch.Tensor, reduce: Any = F.avg_pool2d) -> torch.Tensor:
        return reduce(x, 2)


class ThroughAttribute(nn.Module):
    def __init__(self, reduce: Any) -> None:
        super().__init__()
        self.reduce = reduce

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reduce(x, 2)


class ThroughCall(nn.Module):
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(super().__call__(x), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


class MadeInForward(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.AvgPool2d(2)(x)


class Base(nn.Module):
    def pool(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(x)


class Derived(Base):
    def pool(self, x: torch.Tensor) -> torch.Tensor:
        return super().pool(x) + 1


HIDDEN: dict[str, Any] = {
    "a module of helpers": ThroughModule,
    "a partial": ThroughPartial,
    "a table": ThroughTable,
    "a callable object": ThroughObject,
    "a class": ThroughClass,
    "a default": ThroughDefault,
    "an attribute": lambda: ThroughAttribute(F.avg_pool2d),
    "a partial in an attribute": lambda: ThroughAttribute(
        functools.partial(F.avg_pool2d, ceil_mode=True)
    ),
    "__call__": ThroughCall,
    "a module made in forward": MadeInForward,
    "a parent's method": Derived,
    "a traced graph": lambda: torch.fx.symbolic_trace(Base()),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_found_where_it_hides(name: str) -> None:
    model, x = HIDDEN[name](), torch.rand(1, 2, 8, 8)
    before = [type(m) for m in model.modules()]
    expected = model(x)
    assert poolings(model, x) == (0, 1)
    pt.accelerate(model)
    assert poolings(model, x) == (1, 0)
    close(model(x), expected)
    copied = copy.deepcopy(model)
    assert poolings(copied, x) == (1, 0)
    assert poolings(pt.restore(copied), x) == (0, 1)
    pt.restore(model)
    assert [type(m) for m in model.modules()] == before


def test_other_layers_of_torch_are_left_alone() -> None:
    layers = [nn.Conv2d(3, 3, 3), nn.TransformerEncoderLayer(8, 2), nn.LSTM(3, 3), nn.Softmax2d()]
    for layer in layers:
        kinds = [type(m) for m in layer.modules()]
        assert [type(m) for m in pt.accelerate(layer).modules()] == kinds


def test_methods_called_by_name_are_served() -> None:
    class Extractor(nn.Module):
        def features(self, x: torch.Tensor) -> torch.Tensor:
            return F.max_pool2d(x, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.features(x).flatten(1)

    model, x = pt.accelerate(Extractor()), torch.rand(1, 2, 8, 8)
    assert poolings(model.features, x) == (1, 0)
    assert poolings(model, x) == (1, 0)


class Compares(nn.Module):
    def forward(self, x: torch.Tensor, reduce: Any = None) -> torch.Tensor:
        reduce = reduce or F.avg_pool2d
        return F.avg_pool2d(x, 2) if reduce is F.avg_pool2d else x


class Keeps(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = F.avg_pool2d
        return self.kept(x, 2)


class ThroughGetattr(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(F, "avg" + "_pool2d")(F.max_pool2d(x, 2), 2)


def test_names_that_are_not_called_mean_torchs() -> None:
    x = torch.rand(1, 2, 8, 8)
    for make, count in ((Compares, 1), (Keeps, 1), (ThroughGetattr, 2)):
        model = pt.accelerate(make())
        assert poolings(model, x) == (count, 0)
        if isinstance(model, Keeps):
            assert model.kept is F.avg_pool2d
            pickle.loads(pickle.dumps(model))
    assert poolings(lambda x: pt.accelerate(Compares())(x, F.avg_pool2d), x) == (1, 0)


class CalledByName(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.avg_pool2d(x, 2, padding=1))
        return torch.nn.functional.max_pool2d(x, kernel_size=2).flatten(1)


class Twice(nn.Module):
    """Two methods that share a helper; tables and partial methods of the class."""

    table: ClassVar[dict[str, Any]] = {"avg": F.avg_pool2d}

    def half(self, x: torch.Tensor) -> torch.Tensor:
        return OPS.down(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table["avg"](self.half(OPS.down(x)), 2)


def test_modes_are_for_those_who_need_them() -> None:
    x = torch.rand(1, 2, 16, 16)
    model = pt.accelerate(CalledByName())
    assert vars(type(model))["_poolwise_methods"] == {"forward": True}
    assert poolings(model, x) == (2, 0)
    assert poolings(pt.accelerate(Twice()), x) == (3, 0)


def test_modules_of_one_class_may_need_different_help() -> None:
    x = torch.rand(1, 2, 8, 8)
    one, other = ThroughAttribute(lambda x, k: x), ThroughAttribute(F.avg_pool2d)
    model = pt.accelerate(nn.Sequential(one, other))
    assert poolings(model, x) == (1, 0)
    assert poolings(pickle.loads(pickle.dumps(pt.accelerate(other))), x) == (1, 0)


def test_what_changes_after_accelerate_counts() -> None:
    class Changing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.max_pool2d(x, 2)

    x = torch.rand(1, 2, 8, 8)
    model = pt.restore(pt.accelerate(Changing()))
    Changing.forward = lambda self, x: F.avg_pool2d(x, 2)  # type: ignore[method-assign]
    close(pt.accelerate(model)(x), F.avg_pool2d(x, 2))

    graph = pt.accelerate(torch.fx.symbolic_trace(Base()))
    for node in graph.graph.nodes:
        if node.target is F.avg_pool2d:
            node.target = F.max_pool2d
    graph.recompile()
    close(graph(x), F.max_pool2d(x, 2))
    assert poolings(graph, x) == (1, 0)
    assert poolings(pt.restore(graph), x) == (0, 1)
    close(graph(x), F.max_pool2d(x, 2))


class Awkward:
    """Answers to everything, and hashes to nothing."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


AWKWARD = Awkward()


class Named(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2) if AWKWARD is not None else x


class Static(nn.Module):
    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2)


def test_objects_that_look_like_anything_are_not_asked() -> None:
    x = torch.rand(1, 2, 8, 8)
    assert poolings(pt.accelerate(Named()), x) == (1, 0)
    close(pt.accelerate(Static())(x), F.avg_pool2d(x, 2))
