"""One way to call an operator from Python, whoever is watching: transforms, tracing, or nobody."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._kernels import CPU
from ._plain import plain

# The operators as `autograd.Function`; `ops` fills it.
FUNCTIONS: dict[str, type[torch.autograd.Function]] = {}
_ops = torch.ops.poolwise


def call(name: str, *args: Any) -> Any:
    """Call an operator, also under the transforms of `torch.func`.

    Those want an `autograd.Function` where an operator has a gradient written in Python.
    """
    if torch.compiler.is_compiling():
        return getattr(_ops, name)(*args)
    if torch._C._are_functorch_transforms_active():
        return FUNCTIONS[name].apply(*args)
    first = args[0]
    if type(first) is Tensor and plain(first):
        wanted = any(type(a) is not str and getattr(a, "requires_grad", False) for a in args)
        if not (wanted and torch.is_grad_enabled()) and all(
            type(a) is not Tensor or plain(a) for a in args[1:]
        ):
            return CPU[name](*args)
    return getattr(_ops, name)(*args)
