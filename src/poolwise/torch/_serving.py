"""torch's pooling functions served by poolwise: which calls are, and two ways to hand them over.

A call that poolwise would answer otherwise than torch, or not at all, goes to torch: other devices,
quantised or complex numbers, tensors with a behaviour of their own, forward-mode derivatives.

`renamed` gives a function's own names another meaning and costs nothing but the look-up of a name;
`under_mode` sees every call made inside, and costs each of them microseconds.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from . import _layout, functional

Function = Callable[..., Any]


class _Served(NamedTuple):
    ours: Function
    family: str
    ndim: int


def _with_indices(function: Function) -> Function:
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **{**kwargs, "return_indices": True})

    return call


def _table() -> dict[Function, _Served]:
    """torch's pooling functions, under all their names, and ours for each."""
    table: dict[Function, _Served] = {}
    for ndim in (1, 2, 3):
        for family in ("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool", "lp_pool"):
            name = f"{family}{ndim}d"
            ours = getattr(functional, name)
            table[getattr(F, name)] = _Served(ours, family, ndim)
            plain = getattr(torch, name, None)
            # torch.adaptive_max_pool1d is the one that always returns the indices too.
            if plain is not None and plain is not getattr(F, name):
                indexed = family == "adaptive_max_pool"
                table[plain] = _Served(_with_indices(ours) if indexed else ours, family, ndim)
            for space in (F, torch):
                both = getattr(space, f"{name}_with_indices", None)
                if both is not None:
                    table[both] = _Served(_with_indices(ours), family, ndim)
        name = f"max_unpool{ndim}d"
        table[getattr(F, name)] = _Served(getattr(functional, name), "max_unpool", ndim)
    return table


FUNCTIONS = _table()
_IDENTITIES = frozenset(map(id, FUNCTIONS))


def is_pooling(found: object) -> bool:
    """Whether an object is one of torch's pooling functions; it is not asked anything."""
    return id(found) in _IDENTITIES


NAMES = frozenset(
    name for space in (F, torch) for name, value in vars(space).items() if is_pooling(value)
)


@lru_cache(maxsize=256)
def _behaves(kind: type[Tensor]) -> bool:
    """Whether a kind of tensor leaves torch's functions and operators as they are."""
    if kind in (FakeTensor, FunctionalTensor):
        return True  # these only watch
    function, usual = (
        getattr(k.__torch_function__, "__func__", k.__torch_function__) for k in (kind, Tensor)
    )
    known = (usual, torch._C._disabled_torch_function_impl)
    return function in known and kind.__torch_dispatch__ is Tensor.__torch_dispatch__


def _exporting_to_onnx() -> bool:
    # Export traces, by one tracer or the other: only then is it worth the microsecond of asking.
    tracing = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    return tracing and torch.onnx.is_in_onnx_export()


def _functionalizing() -> bool:
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return any(layer.key() == torch._C._functorch.TransformType.Functionalize for layer in stack)


def serves(family: str, input: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether poolwise answers this call, and as torch would."""
    if not isinstance(input, Tensor) or input.device.type != "cpu":
        return False
    if type(input) is not Tensor and not _behaves(type(input)):
        return False
    if forward_ad._current_level >= 0 or _exporting_to_onnx():
        return False  # forward-mode derivatives are torch's; ONNX knows torch's operators
    if torch._C._are_functorch_transforms_active() and _functionalizing():
        return False  # torch has no rule for functions with a gradient of their own there
    if input.layout != torch.strided or input.is_nested or input.dtype not in _layout.CORE_NAMES:
        return False
    if family in ("max_pool", "adaptive_max_pool", "max_unpool"):
        return True
    if not input.dtype.is_floating_point:
        return False  # torch divides integers as integers
    if family == "lp_pool":
        names = ("norm_type", "kernel_size", "stride", "ceil_mode")
        given = {**dict(zip(names, args[1:], strict=False)), **kwargs}
        p = given.get("norm_type")
        even = isinstance(p, int | float) and math.isfinite(p) and p > 0 and p % 2 == 0
        return even and not given.get("ceil_mode", False)
    return True


def answer(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call poolwise in place of torch's pooling function, or that function itself."""
    ours, family, ndim = FUNCTIONS[function]
    input = args[0] if args else kwargs.get("input")
    if not serves(family, input, args, kwargs):
        return function(*args, **kwargs)
    if torch.compiler.is_compiling():
        made = ours(*args, **kwargs)
    else:
        try:
            made = ours(*args, **kwargs)
        except (TypeError, ValueError):
            return function(*args, **kwargs)  # what torch accepts beyond this, or its own error
    if ndim == 3 and family not in ("max_pool", "max_unpool"):
        return _contiguous(made)  # as torch, so that `view` works where it did
    return made


def _contiguous(made: Any) -> Any:
    return tuple(m.contiguous() for m in made) if isinstance(made, tuple) else made.contiguous()


class _Serve(TorchFunctionMode):
    """Hands torch's pooling functions to poolwise, and leaves everything else alone."""

    def __torch_function__(
        self,
        func: Any,
        kinds: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in FUNCTIONS:
            return answer(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


_SERVE = _Serve()


def _is_serving() -> bool:
    """Whether the mode is entered already: every level of it would cost each call its time."""
    if torch.compiler.is_compiling():
        return False
    depth = torch._C._len_torch_function_stack()
    return any(torch._C._get_function_stack_at(k) is _SERVE for k in range(depth))


def under_mode(function: types.FunctionType) -> Function:
    """Return a function that has all torch's pooling functions called inside it served."""
    mode, is_serving = _SERVE, _is_serving

    def call(*args: Any, **kwargs: Any) -> Any:
        if is_serving():
            return function(*args, **kwargs)
        with mode:
            return function(*args, **kwargs)

    return _standing_for(function, call)


def _standing_for(function: types.FunctionType, call: Any) -> Function:
    """Return `call`, which names no globals, as what reads functions would find the original."""
    found = types.FunctionType(
        call.__code__, function.__globals__, function.__name__, None, call.__closure__
    )
    return wraps(function)(found)


# ---- names with another meaning


class _Space:
    """A module of torch in which the pooling functions are served."""

    __slots__ = ("_module",)

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        return _MEANT.get(id(found), found)


class _Globals(dict[str, Any]):
    """A module's names, at any time those of the module, but that those of torch are served.

    What is in the dictionary itself is for the interpreter, which looks up `__name__` there.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__(names)
        self._names = names

    def __getitem__(self, name: str) -> Any:
        found = self._names[name]
        return _MEANT.get(id(found), found)


def _answering(function: Function) -> Function:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return answer(function, args, kwargs)

    return call


SPACES = frozenset({torch, nn, F})
# What a name of torch's means in a renamed function, by identity: none of them ever goes away.
_MEANT: dict[int, Any] = {
    **{id(space): _Space(space) for space in SPACES},
    **{id(function): _answering(function) for function in FUNCTIONS},
}


def renamed(function: types.FunctionType) -> Function:
    """Return a function in which torch's pooling functions, called by name, are served.

    It has the same code, run with other globals. `torch.compile` reads code and globals itself, so
    there, and wherever the interpreter wants a plain dictionary, it is the mode.
    """
    compiling = under_mode(function)
    if not _NAMES_CAN_MEAN:
        return compiling
    ours = types.FunctionType(
        function.__code__,
        _Globals(function.__globals__),
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    ours.__kwdefaults__ = function.__kwdefaults__

    is_compiling = torch.compiler.is_compiling

    def call(*args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            return compiling(*args, **kwargs)
        return ours(*args, **kwargs)

    return _standing_for(function, call)


def _names_can_mean() -> bool:
    """Whether this interpreter asks a dictionary of ours for a global name."""

    def look() -> Any:
        return F

    return types.FunctionType(look.__code__, _Globals(globals()))() is _MEANT[id(F)]


_NAMES_CAN_MEAN = _names_can_mean()
