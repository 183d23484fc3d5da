"""`accelerate`: a model's poolings on a CPU, all served by poolwise; `restore` undoes it.

Nothing is wrapped, replaced or traced: a module's class is changed in place, so the module stays
the same object with the same parameters, hooks, names and attributes.

- A pooling module of torch.nn gets a subclass whose `forward` asks poolwise.
- A module whose code calls pooling functions gets a subclass of its class. Methods that call them
  by name (``F.max_pool2d``) run with names that mean poolwise's functions; methods that reach them
  in other ways, through helpers or tables, run under a mode that sees every call to a torch
  function (`_serving`). Which methods those are is read from their code (`_finding`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.fx
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ._finding import pooling_methods
from ._serving import answer, renamed, under_mode
from .modules import CALLS

__all__ = ["accelerate", "restore"]

M = TypeVar("M", bound=nn.Module)
Function = Callable[..., Any]
_OURS = "poolwise.torch.modules"


class _Accelerated:
    """Marks the subclasses that `accelerate` makes of a user's classes."""

    _poolwise_class: type[nn.Module]
    _poolwise_methods: dict[str, bool]

    def __init_subclass__(cls) -> None:
        """Keep quiet: to the user's class, and whatever registers its subclasses, none is made."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Pickled and copied as the user's class, and accelerated again where it is made.
        with _as_it_was(self):
            reduced = self.__reduce_ex__(max(protocol, 2))
        if isinstance(reduced, str):
            return reduced
        return (_remade, (*reduced[:2], type(self)._poolwise_methods), *reduced[2:])

    def __prepare_scriptable__(self) -> Any:
        raise TypeError(
            "torch.jit.script compiles source text, where accelerate changed nothing; script "
            "poolwise.torch.restore(copy.deepcopy(model)), or use torch.jit.trace"
        )


@contextmanager
def _as_it_was(module: Any) -> Iterator[None]:
    accelerated = type(module)
    _become(module, accelerated._poolwise_class)
    try:
        yield
    finally:
        _become(module, accelerated)


def _become(module: object, cls: type) -> None:
    object.__setattr__(module, "__class__", cls)  # past any __setattr__ of the user's


def _remade(make: Function, args: tuple[Any, ...], methods: dict[str, bool]) -> Any:
    module = make(*args)
    if isinstance(module, nn.Module) and not isinstance(module, _Accelerated):
        _become(module, _subclass(type(module), methods))
    return module


def _subclass(cls: type[nn.Module], methods: dict[str, bool]) -> type[nn.Module]:
    """Return the accelerated subclass of a class: one for all its modules with these methods."""
    codes = [getattr(cls, name).__code__ for name in methods]  # a class may change its methods
    for made in type.__subclasses__(cls):
        own = vars(made)
        alike = own.get("_poolwise_class") is cls and own["_poolwise_methods"] == methods
        if alike and own["_poolwise_codes"] == codes:
            return made
    members: dict[str, Any] = {
        "_poolwise_class": cls,
        "_poolwise_methods": methods,
        "_poolwise_codes": codes,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    if cls in CALLS:
        members["forward"] = _pooling_forward(cls)
    for name, named in methods.items():
        members[name] = (renamed if named else under_mode)(getattr(cls, name))
    if hasattr(cls, "__deepcopy__"):
        members["__deepcopy__"] = _deepcopy
    if issubclass(cls, torch.fx.GraphModule):
        members["recompile"] = _recompile
    return _new_class(cls, (_Accelerated, cls), members)


def _recompile(self: Any) -> Any:
    """Compile a graph that was changed, into the user's class, and serve what came of it."""
    with _as_it_was(self):
        made = self.recompile()
        cls = _subclass(type(self), pooling_methods(self))
    _become(self, cls)
    return made


def _new_class(like: type, bases: tuple[type, ...], members: dict[str, Any]) -> type[nn.Module]:
    made: type[nn.Module] = type(like)(like.__name__, bases, members)
    return made


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    with _as_it_was(self):
        made = self.__deepcopy__(memo)
    return _remade(lambda: made, (), type(self)._poolwise_methods)


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


def _accelerated(module: nn.Module) -> type[nn.Module] | None:
    """Return the class to serve a module, or None if it pools nothing itself or is served."""
    if isinstance(module, _Accelerated | torch.jit.ScriptModule):
        return None
    if not is_parametrized(module):
        return _served_class(module)
    # torch puts a class of its own over a parametrized module's, and takes it off to uncover the
    # one below: that one is accelerated, so the order in which the two are undone is free.
    with _uncovered(module) as cover:
        below = _served_class(module)
    return below and _cover(cover, below)


def _served_class(module: nn.Module) -> type[nn.Module] | None:
    cls = type(module)
    if cls in CALLS:
        return _subclass(cls, {})
    methods = {} if cls.__module__ == _OURS else pooling_methods(module)
    return _subclass(cls, methods) if methods else None


def _restored(module: nn.Module) -> type[nn.Module] | None:
    cls = type(module)
    if isinstance(module, _Accelerated) and is_parametrized(module):
        return _cover(cls, cls.__bases__[0]._poolwise_class)  # type: ignore[attr-defined]
    original: type[nn.Module] | None = vars(cls).get("_poolwise_class")  # its own, not inherited
    return original


@contextmanager
def _uncovered(module: nn.Module) -> Iterator[type[nn.Module]]:
    cover = type(module)
    _become(module, cover.__bases__[0])
    try:
        yield cover
    finally:
        _become(module, cover)


def _cover(cover: type[nn.Module], below: type[nn.Module]) -> type[nn.Module]:
    return _new_class(cover, (below,), dict(vars(cover)))


def accelerate(model: M) -> M:
    """Let poolwise serve every pooling that a model runs on a CPU.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place, submodules too, or, if anything is raised, not at all. Weights,
        `state_dict` keys, hooks, modes, names and outputs stay; so do pickling, copying,
        `torch.compile` and `torch.export`.

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
    _change_classes(model, _accelerated)
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
    _change_classes(model, _restored)
    return model


def _change_classes(
    model: nn.Module, class_for: Callable[[nn.Module], type[nn.Module] | None]
) -> None:
    """Give every module the class for it, if any; none is changed before all are known."""
    changes = [(module, class_for(module)) for module in model.modules()]
    for module, cls in changes:
        if cls is not None:
            _become(module, cls)


def _check_module(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
