"""`accelerate` beside everything else that is done to models: who copies, inspects, checkpoints,
parametrizes, scripts and transforms them."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from math import sqrt
from typing import Any, ClassVar

import onnxruntime
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils import parametrize
from torch.utils import checkpoint

import poolwise.torch as pt
from test_torch_accelerate import close, poolings, run
from test_torch_accelerate_finding import Base

# ---- who looks at models


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def body(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(self.conv(x).relu(), 2)

    def forward(self, x: torch.Tensor, scale: float = 1.0, *, flag: bool = False) -> torch.Tensor:
        y: torch.Tensor = checkpoint.checkpoint(self.body, x, use_reentrant=False)
        return y * scale


def test_checkpointing_recomputes_what_it_computed() -> None:
    torch.manual_seed(1)
    model, x = Checkpointed(), torch.rand(2, 3, 12, 12)
    expected = run(model, x)
    for found, wanted in zip(run(pt.accelerate(model), x), expected, strict=True):
        close(found, wanted)


class Signed(nn.Module):
    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return F.max_pool2d(x, 2) * scale


def test_the_signature_stays() -> None:
    before = inspect.signature(Signed().forward)
    model = pt.accelerate(Signed())
    assert inspect.signature(model.forward) == before
    x = torch.rand(2, 3, 8, 8)
    shapes = {"x": {0: torch.export.Dim("batch")}, "scale": None}
    program = torch.export.export(model, (x, 2.0), dynamic_shapes=shapes)
    close(program.module()(torch.cat([x, x]), 2.0), model(torch.cat([x, x]), 2.0))
    graph = torch.fx.symbolic_trace(model)
    close(graph(x, 3.0), model(x, 3.0))


class Rooted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, 2) * sqrt(x.shape[1])  # sqrt of a proxy, while tracing


def test_traced_by_fx_with_functions_of_math() -> None:
    model, x = pt.accelerate(Rooted()), torch.rand(1, 2, 8, 8)
    close(torch.fx.symbolic_trace(model)(x), model(x))


@pytest.mark.filterwarnings("ignore:.*(jit|trac|Trac|TorchScript).*")
def test_traced_by_keyword() -> None:
    model, x = pt.accelerate(Base()), torch.rand(1, 2, 8, 8)
    traced = torch.jit.trace(model, example_kwarg_inputs={"x": x})
    close(traced(x=x), model(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_scripting_says_what_to_do() -> None:
    model = pt.accelerate(nn.Sequential(nn.MaxPool2d(2), Base()))
    with pytest.raises(TypeError, match="restore"):
        torch.jit.script(model)
    x = torch.rand(1, 2, 8, 8)
    scripted = torch.jit.script(pt.restore(copy.deepcopy(model)))
    close(scripted(x), model(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own
@pytest.mark.parametrize("dynamo", [False, True])
def test_onnx_gets_torchs_own_operators(dynamo: bool) -> None:
    if dynamo:
        pytest.importorskip("onnxscript")
    model, x = pt.accelerate(nn.Sequential(nn.MaxPool2d(2), Base())).eval(), torch.rand(1, 2, 8, 8)
    made = io.BytesIO()
    torch.onnx.export(model, (x,), made, dynamo=dynamo)
    session = onnxruntime.InferenceSession(made.getvalue())
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    close(torch.from_numpy(found), model(x))


# ---- who changes classes too


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2) * self.scale


class Square(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.square()


@pytest.mark.parametrize(
    "order",
    ["PARU", "APRU", "APUR", "PAUR"],  # Parametrize, Accelerate, Restore, Unparametrize
)
def test_parametrizations_come_and_go_in_any_order(order: str) -> None:
    model, x = Scaled(), torch.rand(1, 2, 8, 8)
    kind, parametrized, accelerated = type(model), False, False
    for step in order:
        if step == "P":
            parametrize.register_parametrization(model, "scale", Square())
        elif step == "U":
            parametrize.remove_parametrizations(model, "scale", leave_parametrized=False)
        else:
            (pt.accelerate if step == "A" else pt.restore)(model)
        parametrized = parametrized != (step in "PU")
        accelerated = accelerated != (step in "AR")
        assert poolings(model, x) == ((1, 0) if accelerated else (0, 1))
        close(model(x), F.avg_pool2d(x, 2) * (4 if parametrized else 2))
        assert isinstance(model, kind)
    assert type(model) is kind


REGISTERED: list[str] = []


class Registering(nn.Module):
    def __init_subclass__(cls, **kwargs: Any) -> None:
        REGISTERED.append(cls.__name__)


class Pooled(Registering):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2)


class Frozen(Base):
    def __setattr__(self, name: str, value: Any) -> None:
        if "training" in vars(self):
            raise AttributeError(f"{name} cannot be set")
        super().__setattr__(name, value)


class Final(type):
    def __new__(cls, name: str, bases: tuple[type, ...], members: Any) -> Any:
        if any(isinstance(base, Final) for base in bases):
            raise TypeError("no subclasses")
        return super().__new__(cls, name, bases, members)


class Last(nn.Module, metaclass=Final):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2)


def test_classes_with_rules_of_their_own() -> None:
    before, x = list(REGISTERED), torch.rand(1, 2, 8, 8)
    assert poolings(pt.accelerate(Pooled()), x) == (1, 0)
    assert before == REGISTERED
    frozen = pt.accelerate(Frozen())
    assert poolings(frozen, x) == (1, 0)
    assert type(pt.restore(frozen)) is Frozen


def test_all_or_nothing() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), Last())
    with pytest.raises(TypeError, match="no subclasses"):
        pt.accelerate(model)
    assert [type(m) for m in model] == [nn.MaxPool2d, Last]


class Reduced(Base):
    """Made anew from what it was made of."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def __reduce__(self) -> Any:
        return type(self), (self.factor,)


class Newed(Base):
    def __new__(cls, factor: int) -> Any:
        made = super().__new__(cls)
        made.made_with = factor
        return made

    def __init__(self, factor: int) -> None:
        factor_kept = self.__dict__["made_with"]
        super().__init__()
        self.factor = factor_kept

    def __getnewargs__(self) -> tuple[int]:
        return (self.factor,)


class Copied(Base):
    copies: ClassVar[list[int]] = []

    def __deepcopy__(self, memo: Any) -> Any:
        self.copies.append(1)
        return type(self)()


@pytest.mark.parametrize("make", [lambda: Reduced(3), lambda: Newed(3), Copied])
def test_classes_that_copy_themselves(make: Any) -> None:
    model, x = pt.accelerate(make()), torch.rand(1, 2, 8, 8)
    kind = type(pt.restore(copy.copy(model)))
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert poolings(copied, x) == (1, 0)
        assert getattr(copied, "factor", 3) == 3
        assert type(pt.restore(copied)) is kind
    assert poolings(model, x) == (1, 0)


# ---- who transforms tensors


class Tagged(torch.Tensor):
    """Counts torch's functions called on it."""

    seen: ClassVar[list[str]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


class Plain(torch.Tensor):
    """A subclass that changes nothing."""


@pytest.mark.parametrize("make", [lambda: nn.AvgPool2d(2), Base])
def test_tensors_of_other_kinds(make: Any) -> None:
    model, x = pt.accelerate(make()), torch.rand(1, 2, 8, 8)
    Tagged.seen.clear()
    assert isinstance(model(x.as_subclass(Tagged)), Tagged)
    assert "avg_pool2d" in Tagged.seen
    assert isinstance(model(x.as_subclass(Plain)), Plain)
    close(model(nn.Parameter(x)), model(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr:UserWarning")
@pytest.mark.parametrize("make", [lambda: nn.AvgPool2d(2), lambda: nn.MaxPool2d(2), Base])
@pytest.mark.parametrize("transform", ["jvp", "hessian", "jacfwd", "functionalize", "linearize"])
def test_transforms_of_functions(make: Any, transform: str) -> None:
    torch.manual_seed(3)
    model, x = make(), torch.rand(1, 1, 4, 4, dtype=torch.float64)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return model(x).pow(3).sum()

    def result() -> Any:
        if transform == "jvp":
            return torch.func.jvp(loss, (x,), (torch.ones_like(x),))[1]
        if transform == "hessian":
            return torch.func.hessian(loss)(x)
        if transform == "jacfwd":
            return torch.func.jacfwd(loss)(x)
        if transform == "linearize":
            return torch.func.linearize(loss, x)[1](torch.ones_like(x))
        return torch.func.functionalize(loss)(x)

    expected = result()
    pt.accelerate(model)
    torch.testing.assert_close(result(), expected)


# ---- layouts in memory


def _layouts(n: int) -> dict[str, torch.Tensor]:
    sizes = {1: (8,), 2: (8, 9), 3: (6, 8, 5)}[n]
    batch, crop = torch.rand(2, 3, *sizes), torch.rand(2, 3, *(s + 2 for s in sizes))
    last = torch.rand(2, *sizes, 3).movedim(-1, 1)
    return {
        "contiguous": batch,
        "channels last": last,
        "one image, channels last": last[:1],
        "channels last, cropped": torch.rand(2, *(s + 2 for s in sizes), 3).movedim(-1, 1)[
            (..., *(slice(0, s) for s in sizes))
        ],
        "cropped": crop[(..., *(slice(1, s + 1) for s in sizes))],
        "transposed": batch.transpose(-1, -2).contiguous().transpose(-1, -2),
        "one channel": batch[:, :1],
        "unbatched": batch[0],
        "channels last, one cell": torch.rand(2, *([2] * n), 3).movedim(-1, 1),
        "unbatched, second axis innermost": torch.rand(3, *sizes[1:], sizes[0]).movedim(-1, 1),
    }


CALLS = {
    "max_pool": (2,),
    "avg_pool": (2,),
    "adaptive_max_pool": (1,),
    "adaptive_avg_pool": (1,),
    "lp_pool": (2, 2),
}


@pytest.mark.parametrize("layout", _layouts(2))
@pytest.mark.parametrize("family", CALLS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_outputs_lie_in_memory_as_torchs(ndim: int, family: str, layout: str) -> None:
    """So that `view` and the layers after them find what they found."""

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return getattr(F, f"{family}{ndim}d")(x, *CALLS[family])

    torch.manual_seed(2)
    x = _layouts(ndim)[layout].requires_grad_(ndim == 1)  # max_pool1d differs without
    model = Model()
    try:
        expected = model(x)
    except RuntimeError as error:
        pytest.skip(f"torch: {error}")
    model.__class__.pool = staticmethod(F.avg_pool2d)  # type: ignore[attr-defined]  # a mention
    found = pt.accelerate(model)(x)
    close(found, expected)
    mine, theirs = (
        [step for step, size in zip(y.stride(), y.shape, strict=True) if size > 1]
        for y in (found, expected)
    )
    assert mine == theirs
