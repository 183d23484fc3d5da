"""The operators that torch knows poolwise by: schema, kernels, shapes, gradients, vmap.

Everything above calls these, and whatever works on operators (autograd, `torch.compile`, export,
functorch, fake tensors) finds its rule here, once per operator. Each pools the last axes of its
tensor, whatever stands before them, so a batch of `vmap` is one more axis in front. The gradients
are each other's: of a sum, a sum over the windows that see a cell; of a winner, a gather, and back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _calls, _threads  # noqa: F401  (lends the core torch's threads)
from ._dispatch import FUNCTIONS, call
from ._gradients import GRADIENTS
from ._kernels import CPU, FAKE, elsewhere

__all__ = ["LIBRARY", "call", "pool_plain"]

LIBRARY = torch.library.Library("poolwise", "DEF")

_SCHEMAS = {
    "pool": "(Tensor x, str windows, str reducer) -> Tensor",
    "pool_winners": "(Tensor x, str windows, str reducer, bool indices) -> (Tensor, Tensor)",
    "pool_backward": "(Tensor dy, SymInt[] sizes, str windows, str reducer) -> Tensor",
    "winners_backward": "(Tensor dy, Tensor winners, SymInt[] sizes, str windows) -> Tensor",
    "winners_gather": "(Tensor x, Tensor winners, str windows) -> Tensor",
    "lp_backward": "(Tensor dy, Tensor x, str windows, str reducer) -> Tensor",
    "unpool": "(Tensor y, Tensor indices, SymInt[] sizes) -> Tensor",
}
for _name, _schema in _SCHEMAS.items():
    LIBRARY.define(_name + _schema, tags=(torch.Tag.pt2_compliant_tag,))
_ops = torch.ops.poolwise


# ---- vmap: the batch is one more axis in front


def _vmap_rule(name: str) -> Callable[..., Any]:
    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        moved: list[Any] = []
        for argument, dim in zip(args, in_dims, strict=True):
            if isinstance(argument, Tensor):
                batched = argument.movedim(dim, 0) if dim is not None else argument.unsqueeze(0)
                moved.append(batched.expand(info.batch_size, *batched.shape[1:]))
            elif name.endswith("_backward") and not isinstance(argument, str):
                moved.append([info.batch_size, *argument])  # sizes name every axis
            else:
                moved.append(argument)
        made = call(name, *moved)
        return made, tuple(0 for _ in made) if isinstance(made, tuple) else 0

    return rule


# ---- all of it, registered


def _function(name: str) -> type[torch.autograd.Function]:
    """Return an operator as the `autograd.Function` that `torch.func` wants."""
    gradient, keep = GRADIENTS[name]
    members = {
        "forward": staticmethod(getattr(_ops, name)),
        "setup_context": staticmethod(keep),
        "backward": staticmethod(gradient),
        "vmap": staticmethod(_vmap_rule(name)),
    }
    return type(name, (torch.autograd.Function,), members)


FUNCTIONS.update({_name: _function(_name) for _name in _SCHEMAS})

for _name in _SCHEMAS:
    _gradient, _keep = GRADIENTS[_name]
    LIBRARY.impl(_name, CPU[_name], "CPU")
    LIBRARY.impl(_name, elsewhere(_name), "CompositeExplicitAutograd")
    torch.library.register_fake(f"poolwise::{_name}", FAKE[_name], lib=LIBRARY)
    torch.library.register_autograd(
        f"poolwise::{_name}", _gradient, setup_context=_keep, lib=LIBRARY
    )
    if hasattr(torch.library, "register_vmap"):  # torch 2.5
        torch.library.register_vmap(f"poolwise::{_name}", _vmap_rule(_name), lib=LIBRARY)


# ---- plain tensors that want a gradient


class _PickPlain(torch.autograd.Function):
    """max and min of a plain tensor: the winners, of one byte each, are all that is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ndim: int, windows: str, reducer: str) -> Tensor:
        y, winners = _calls.forward_winners(x, windows, reducer, False, ndim)
        ctx.save_for_backward(winners)
        ctx.windows, ctx.sizes = windows, x.shape
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        (winners,) = ctx.saved_tensors
        return call("winners_backward", dy, winners, ctx.sizes, ctx.windows), None, None, None


class _AddPlain(torch.autograd.Function):
    """Sums and means of a plain tensor: nothing is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ndim: int, windows: str, reducer: str) -> Tensor:
        ctx.windows, ctx.reducer, ctx.sizes = windows, reducer, x.shape
        return _calls.forward(x, windows, reducer, ndim)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        dx = call("pool_backward", dy, ctx.sizes, ctx.windows, ctx.reducer)
        return dx, None, None, None


def pool_plain(x: Tensor, ndim: int, windows: str, reducer: str) -> Tensor:
    """Pool a plain tensor: the core, and a gradient where one is wanted."""
    if not (x.requires_grad and torch.is_grad_enabled()):
        return _calls.forward(x, windows, reducer, ndim)
    y: Tensor
    if reducer in ("max", "min"):
        y = _PickPlain.apply(x, ndim, windows, reducer)
    elif reducer.startswith("lp"):
        y = call("pool", x, windows, reducer)
    else:
        y = _AddPlain.apply(x, ndim, windows, reducer)
    return y
