"""Which methods of a module lead to a pooling function: read from their code, without running it.

A name in the code is enough. What the code's names stand for is followed: helper functions, modules
of helpers, callables kept in tables, attributes, partials and closures, a few steps deep. To take
one too many costs a little time and nothing else.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ._serving import FUNCTIONS, NAMES, SPACES, is_pooling
from .modules import CALLS

_DEEPEST = 6  # steps from a method, through helpers and tables, that are followed
_WIDEST = 256  # entries of a table that are looked at
# Modules made inside `forward`, for the one call.
_CLASSES = frozenset(cls.__name__ for cls in CALLS)
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_NOT_RUN = frozenset({"__init__", "__new__", "__setstate__"})  # whatever these meet is kept
# What looks past the names that a function is given.
_LOOKS_AROUND = frozenset({"super", "globals", "locals", "vars", "eval", "exec"})
_REBINDS = frozenset({"IMPORT_NAME", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_BUILD_CLASS"})


def pooling_methods(module: nn.Module) -> dict[str, bool]:
    """Return a module's methods to serve, each with whether its own names are all to be served.

    Empty if the module's code leads to no pooling. Where pooling is met elsewhere (in `__init__` or
    an attribute, both kept for later) `forward` is what will call it, by no name of its own.
    """
    search = _Search()
    cls = type(module)
    leading: dict[str, list[Any]] = {}
    of_class: list[Any] = []
    for base in cls.__mro__:
        if _is_torchs(base.__module__) and base not in CALLS:
            continue  # torch's layers pool only where they are pooling layers
        for name, member in vars(base).items():
            function = _function(member)
            if not isinstance(function, types.FunctionType):
                of_class.append(function)
            elif search.method(name, function):
                leading.setdefault(name, []).append(member)
    found = {name: _member(cls, name) for name in leading}
    kept = [value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE]
    kept += of_class
    methods = {
        name: leading[name] == [found[name]] and _names_all(found[name])
        for name in leading.keys() - _NOT_RUN
        if isinstance(found[name], types.FunctionType)
    }
    if not isinstance(_member(cls, "forward"), types.FunctionType):
        return methods  # a descriptor of the user's own, which cannot be wrapped
    if leading.keys() - methods.keys() or any(search.leads(value) for value in kept):
        methods["forward"] = False
    return methods


def _names_all(function: types.FunctionType) -> bool:
    """Whether a function only ever calls pooling, and by its own names: ``F.max_pool2d(x, 2)``.

    Then it is enough to give those names another meaning, and to leave alone all that it calls. A
    function that is kept, compared or handed on by such a name would take the meaning with it.
    """
    if _names(function) & (_LOOKS_AROUND | _CLASSES):
        return False
    if not all(_only_calls(code, function.__globals__) for code in _codes(function.__code__)):
        return False
    search = _Search()
    by_name = (value for value in _globals(function) if not is_pooling(value))
    return not any(search.leads(value) for value in (*by_name, *_beyond(function)))


def _only_calls(code: types.CodeType, names: dict[str, Any]) -> bool:
    chain: object = None  # the module of torch's that the last instructions fetched
    room = False  # made by the compiler, before the chain, for what it is about to call
    steps = list(dis.get_instructions(code))
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        if step.opname in _REBINDS:
            return False
        fetches = step.opname in ("LOAD_ATTR", "LOAD_METHOD")
        if chain is not None and not fetches:
            return False  # a module of torch's as a value
        if step.opname == "LOAD_GLOBAL":
            found = names.get(step.argval)
            room = bool((step.arg or 0) & 1)
        elif fetches and chain is not None:
            found = getattr(chain, step.argval, None)
        else:
            if fetches and step.argval in NAMES:
                return False  # fetched from we know not where
            continue
        if is_pooling(found) and not (room or _is_callee(step, after)):
            return False
        chain = found if isinstance(found, types.ModuleType) and found in SPACES else None
    return True


def _is_callee(step: dis.Instruction, after: dis.Instruction | None) -> bool:
    """Whether what an instruction fetches is called next, as each version of Python says it."""
    if step.opname == "LOAD_METHOD":  # to Python 3.11
        return True
    if step.opname == "LOAD_ATTR" and sys.version_info >= (3, 12) and (step.arg or 0) & 1:
        return True
    return after is not None and after.opname == "PUSH_NULL"  # from Python 3.13 on


def _member(cls: type, name: str) -> Any:
    return next(vars(base)[name] for base in cls.__mro__ if name in vars(base))


def _is_torchs(module: str | None) -> bool:
    """Whether code is torch's own, but for the graphs of `torch.fx`, which are the user's."""
    return (module or "").partition(".")[0] == "torch" and module != "torch.fx.graph_module"


class _Search:
    """A walk over functions and what they name, each once."""

    def __init__(self) -> None:
        self._found: dict[int, bool] = {}
        self._alive: list[object] = []  # so that no identity is given out twice

    def method(self, name: str, function: types.FunctionType) -> bool:
        """Whether a method leads to a pooling function, also one of torch's pooling layers."""
        if name == "forward" and _names(function) & _CLASSES:
            return True
        return any(self.leads(value, 1) for value in _named(function))

    def leads(self, value: object, depth: int = 0) -> bool:
        """Whether a value is, holds or calls a pooling function."""
        if is_pooling(value):
            return True
        if depth > _DEEPEST or isinstance(value, nn.Module):
            return False
        if id(value) not in self._found:
            self._found[id(value)] = False  # as long as it is being looked at
            self._alive.append(value)
            found = any(self.leads(one, depth + 1) for one in _within(value))
            self._found[id(value)] = found
        return self._found[id(value)]


def _within(value: object) -> Iterator[object]:
    """What a value holds or, if it is a function, names."""
    if isinstance(value, types.FunctionType):
        if not _is_torchs(value.__module__):
            yield from _named(value)
    elif isinstance(value, types.MethodType):
        yield value.__func__
    elif isinstance(value, functools.partial | functools.partialmethod):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, dict):
        yield from list(value.values())[:_WIDEST]
    elif isinstance(value, list | tuple | set | frozenset):
        yield from list(value)[:_WIDEST]
    elif not isinstance(value, type) and not _is_torchs(type(value).__module__):
        call = vars(type(value)).get("__call__")
        if isinstance(call, types.FunctionType):
            yield from (call, *_attributes(value).values())


def _named(function: types.FunctionType) -> Iterator[object]:
    """All that a function's names may stand for: for a name of torch's, whatever it comes from."""
    if _names(function) & NAMES:
        yield next(iter(FUNCTIONS))
    yield from _globals(function)
    yield from _beyond(function)


def _globals(function: types.FunctionType) -> Iterator[object]:
    """What a function's global names stand for."""
    return (function.__globals__.get(name) for name in _names(function))


def _beyond(function: types.FunctionType) -> Iterator[object]:
    """What a function may fetch from what its names stand for, got by default or from around it."""
    names = _names(function)
    for found in _globals(function):
        space = _attributes(found)  # of a module of helpers, a class, a config
        if not (isinstance(found, types.ModuleType | type) and _is_torchs(found.__name__)):
            yield from (_function(space[name]) for name in names if name in space)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


def _attributes(value: object) -> Mapping[str, Any]:
    """The attributes that an object has itself, as they are, whatever it says when asked."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict | types.MappingProxyType) else {}


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
