"""`accelerate`: a model's poolings on a CPU, all served by poolwise; `restore` undoes it.

Nothing is wrapped, replaced or traced: a module's class is changed in place, so the module stays
the same object with the same parameters, hooks, names and attributes.

- A pooling module of torch.nn gets a subclass whose `forward` asks poolwise.
- A module whose `forward` calls pooling functions gets a subclass of its class whose `forward` runs
  the original under a `TorchFunctionMode` that hands those calls to poolwise. It sees every call to
  a torch function made inside, in helpers and in submodules too, whatever name it goes by.

Which modules those are is read from their code (`_mentions`). A call that poolwise does not serve
(another device, quantised or complex numbers, arguments whose answer would differ) goes to torch.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from . import _layout, functional
from .modules import CALLS

__all__ = ["accelerate", "restore"]

M = TypeVar("M", bound=nn.Module)
Function = Callable[..., Any]


def _with_indices(function: Function) -> Function:
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **{**kwargs, "return_indices": True})

    return call


def _table() -> dict[Function, tuple[Function, str]]:
    """torch's function -> poolwise's, and the family that says which calls are served."""
    table: dict[Function, tuple[Function, str]] = {}
    for ndim in (1, 2, 3):
        for family in ("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool", "lp_pool"):
            name = f"{family}{ndim}d"
            ours = getattr(functional, name)
            table[getattr(F, name)] = (ours, family)
            plain = getattr(torch, name, None)
            # torch.adaptive_max_pool1d is the one that always returns the indices too.
            if plain is not None and plain is not getattr(F, name):
                indexed = family == "adaptive_max_pool"
                table[plain] = (_with_indices(ours) if indexed else ours, family)
            for space in (F, torch):
                both = getattr(space, f"{name}_with_indices", None)
                if both is not None:
                    table[both] = (_with_indices(ours), family)
        name = f"max_unpool{ndim}d"
        table[getattr(F, name)] = (getattr(functional, name), "max_unpool")
    return table


FUNCTIONS = _table()


def _is_pooling(found: object) -> bool:
    try:
        return found in FUNCTIONS
    except TypeError:
        return False


NAMES = frozenset(
    name for space in (F, torch) for name, value in vars(space).items() if _is_pooling(value)
)


def serves(family: str, input: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether poolwise answers this call, and as torch would."""
    if not isinstance(input, Tensor) or input.device.type != "cpu":
        return False
    if forward_ad._current_level >= 0:
        return False  # forward-mode derivatives are torch's
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
    ours, family = FUNCTIONS[function]
    input = args[0] if args else kwargs.get("input")
    if not serves(family, input, args, kwargs):
        return function(*args, **kwargs)
    if torch.compiler.is_compiling():
        return ours(*args, **kwargs)
    try:
        return ours(*args, **kwargs)
    except (TypeError, ValueError):
        return function(*args, **kwargs)  # what torch accepts beyond this, or its own error


class _Serve(TorchFunctionMode):
    """Hands torch's pooling functions to poolwise, and leaves everything else alone."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in FUNCTIONS:
            return answer(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


_SERVE = _Serve()


class _Accelerated:
    """Marks the subclasses that `accelerate` makes of a user's classes."""

    _poolwise_class: type[nn.Module]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Pickled and copied as the user's class, and accelerated again where it is unpickled.
        reduced = super().__reduce_ex__(2)
        assert isinstance(reduced, tuple)
        return (_rebuild, (self._poolwise_class,), *reduced[2:])


def _rebuild(cls: type[nn.Module]) -> nn.Module:
    served = _subclass(cls)
    return served.__new__(served)


_SUBCLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def _subclass(cls: type[nn.Module]) -> type[nn.Module]:
    """Return the accelerated subclass of a class: one for all its modules."""
    made = _SUBCLASSES.get(cls)
    if made is None:
        members = {
            "forward": _pooling_forward(cls) if cls in CALLS else _served_forward(cls),
            "_poolwise_class": cls,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
        }
        made = _SUBCLASSES[cls] = type(cls.__name__, (_Accelerated, cls), members)
    return made


def _pooling_forward(cls: type[nn.Module]) -> Function:
    name, attributes = CALLS[cls]
    function = getattr(F, name)
    if name.startswith("max_unpool"):

        def unpool(self: Any, input: Tensor, indices: Tensor, output_size: Any = None) -> Any:
            geometry = [getattr(self, n) for n in attributes]
            return answer(function, (input, indices, *geometry, output_size), {})

        return unpool

    def forward(self: Any, input: Tensor) -> Any:
        return answer(function, (input, *[getattr(self, n) for n in attributes]), {})

    return forward


def _served_forward(cls: type[nn.Module]) -> Function:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _SERVE:
            return cls.forward(self, *args, **kwargs)

    return forward


def _class_for(module: nn.Module) -> type[nn.Module] | None:
    """Return the class that serves this module, or None if it pools nothing itself."""
    cls = type(module)
    if cls in CALLS:
        return _subclass(cls)
    if isinstance(module, _Accelerated | torch.jit.ScriptModule) or cls.__module__ == _OURS:
        return None
    return _subclass(cls) if _mentions(cls) else None


_OURS = "poolwise.torch.modules"
_DEEPEST = 4  # calls from forward to helper to helper that are followed


def _mentions(cls: type[nn.Module]) -> bool:
    """Whether the code of a class, or of the helpers it calls, names a pooling function."""
    seen: set[types.CodeType] = set()
    for base in cls.__mro__:
        own = base.__module__.partition(".")[0] == "torch"
        if own and base not in CALLS:
            continue  # torch's layers pool only where they are pooling layers
        for member in vars(base).values():
            function = getattr(member, "__func__", member)
            function = getattr(function, "fget", function)
            if isinstance(function, types.FunctionType) and _names_pooling(function, seen, 0):
                return True
    return False


def _names_pooling(function: types.FunctionType, seen: set[types.CodeType], depth: int) -> bool:
    if function.__code__ in seen or depth > _DEEPEST:
        return False
    seen.add(function.__code__)
    for code in _codes(function.__code__):
        for name in code.co_names:
            if name in NAMES:
                return True
            found = function.__globals__.get(name)
            if _is_pooling(found):
                return True
            if _is_helper(found) and _names_pooling(found, seen, depth + 1):
                return True
    for cell in function.__closure__ or ():
        try:
            found = cell.cell_contents
        except ValueError:
            continue
        if _is_pooling(found) or (_is_helper(found) and _names_pooling(found, seen, depth + 1)):
            return True
    return False


def _is_helper(found: object) -> TypeGuard[types.FunctionType]:
    return isinstance(found, types.FunctionType) and not (found.__module__ or "").startswith(
        "torch."
    )


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def accelerate(model: M) -> M:
    """Let poolwise serve every pooling that a model runs on a CPU.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place, submodules too. Weights, `state_dict` keys, hooks, modes, names and
        outputs stay; so do pickling, copying, `torch.compile` and `torch.export`.

    Returns
    -------
    torch.nn.Module
        The same object.

    Raises
    ------
    TypeError
        If `model` is no module.

    Notes
    -----
    Classes are changed, nothing is replaced; see docs/torch.md for how, and for what cannot be
    reached: TorchScript, calls of ``torch.ops.aten``, functions named only at run time.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> net = torch.nn.Sequential(torch.nn.MaxPool2d(2))
    >>> pt.accelerate(net) is net, isinstance(net[0], torch.nn.MaxPool2d)
    (True, True)
    """
    _check_module(model)
    for module in model.modules():
        served = _class_for(module)
        if served is not None:
            module.__class__ = served
    return model


def restore(model: M) -> M:
    """Undo `accelerate`, exactly; a model that was never accelerated is left as it is.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> net = pt.accelerate(torch.nn.Sequential(torch.nn.MaxPool2d(2)))
    >>> type(pt.restore(net)[0]) is torch.nn.MaxPool2d
    True
    """
    _check_module(model)
    for module in model.modules():
        original = vars(type(module)).get("_poolwise_class")  # its own, not a subclass's
        if original is not None:
            module.__class__ = original
    return model


def _check_module(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
