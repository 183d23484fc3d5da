"""Which methods of a module lead to a pooling function: read from their code, without running it.

A name in the code is enough. What the code's names stand for is followed: helper functions, modules
of helpers, callables kept in tables, attributes, partials and closures, a few steps deep. To take
one too many costs a little time and nothing else.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

from torch import nn

from ._serving import FUNCTIONS, NAMES, is_pooling
from .modules import CALLS

_DEEPEST = 6  # steps from a method, through helpers and tables, that are followed
_WIDEST = 256  # entries of a table that are looked at
# Modules made inside `forward`, for the one call.
_CLASSES = frozenset(cls.__name__ for cls in CALLS)
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def pooling_methods(module: nn.Module) -> list[str]:
    """Return the names of a module's methods to serve: none if its code leads to no pooling.

    Where pooling is met elsewhere (in `__init__` or an attribute, both kept for later), `forward`
    is what will call it.
    """
    search = _Search()
    found = set()
    for base in type(module).__mro__:
        if _is_torchs(base.__module__) and base not in CALLS:
            continue  # torch's layers pool only where they are pooling layers
        for name, member in vars(base).items():
            function = _function(member)
            if isinstance(function, types.FunctionType) and (
                search.calls(function) or (name == "forward" and _names(function) & _CLASSES)
            ):
                found.add(name)
    kept = [value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE]
    if not found and not any(search.leads(value) for value in kept):
        return []
    cls = type(module)
    methods = {n for n in found if isinstance(_plain_member(cls, n), types.FunctionType)}
    return sorted({"forward", *methods} - {"__init__", "__new__", "__setstate__"})


def _plain_member(cls: type, name: str) -> Any:
    return next(vars(base)[name] for base in cls.__mro__ if name in vars(base))


def _is_torchs(module: str | None) -> bool:
    """Whether code is torch's own, but for the graphs of `torch.fx`, which are the user's."""
    return (module or "").partition(".")[0] == "torch" and module != "torch.fx.graph_module"


class _Search:
    """A walk over functions and what they name, each once."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._alive: list[object] = []  # so that no identity is given out twice

    def calls(self, method: types.FunctionType) -> bool:
        """Whether a method leads to a pooling function, also one of torch's pooling layers."""
        return any(self.leads(one, 1) for one in self._named(method))

    def leads(self, value: object, depth: int = 0) -> bool:
        """Whether a value is, holds or calls a pooling function."""
        if is_pooling(value):
            return True
        if depth > _DEEPEST or isinstance(value, nn.Module) or id(value) in self._seen:
            return False
        self._seen.add(id(value))
        self._alive.append(value)
        return any(self.leads(one, depth + 1) for one in self._within(value))

    def _within(self, value: object) -> Iterator[object]:
        if isinstance(value, types.FunctionType):
            if not _is_torchs(value.__module__):
                yield from self._named(value)
        elif isinstance(value, types.MethodType):
            yield value.__func__
        elif isinstance(value, functools.partial):
            yield from (value.func, *value.args, *value.keywords.values())
        elif isinstance(value, dict):
            yield from list(value.values())[:_WIDEST]
        elif isinstance(value, list | tuple | set | frozenset):
            yield from list(value)[:_WIDEST]
        elif not isinstance(value, type) and not _is_torchs(type(value).__module__):
            call = vars(type(value)).get("__call__")
            if isinstance(call, types.FunctionType):
                yield from (call, *getattr(value, "__dict__", {}).values())

    def _named(self, function: types.FunctionType) -> Iterator[object]:
        """What a function's code names, and what it got by default or from around it."""
        names = _names(function)
        if names & NAMES:  # whatever it is fetched from
            yield next(iter(FUNCTIONS))
        for name in names:
            found = function.__globals__.get(name)
            yield found
            space = getattr(found, "__dict__", None)  # of a module of helpers, a class, a config
            if space is not None and not _is_torchs(getattr(found, "__name__", None)):
                yield from (_function(space[other]) for other in names if other in space)
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:
                continue
        yield from function.__defaults__ or ()
        yield from (function.__kwdefaults__ or {}).values()


def _function(member: Any) -> Any:
    """What a member of a class stands for: the function in a static method, a property, ..."""
    function = getattr(member, "__func__", member)
    return getattr(function, "fget", function)


def _names(function: types.FunctionType) -> frozenset[str]:
    return frozenset(name for code in _codes(function.__code__) for name in code.co_names)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
