"""The operators' gradients, each made of operators again, so that derivatives of any order exist.

Of a sum, it is a sum over the windows that see a cell; of a winner, a gather; and back. Rules have
the form that `torch.library.register_autograd` and `autograd.Function` share: what to keep, and the
way back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import composed
from ._dispatch import call
from .spelling import reducer_of


def _keep_pool(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.windows, ctx.reducer = inputs
    ctx.sizes = x.shape
    if reducer_of(ctx.reducer).name not in ("sum", "mean"):
        ctx.save_for_backward(x)


def _pool_gradient(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
    name = reducer_of(ctx.reducer).name
    if name in ("sum", "mean"):
        return call("pool_backward", dy, ctx.sizes, ctx.windows, ctx.reducer), None, None
    (x,) = ctx.saved_tensors
    if name == "lp":
        return call("lp_backward", dy, x, ctx.windows, ctx.reducer), None, None
    winners = call("pool_winners", x.detach(), ctx.windows, ctx.reducer, False)[1]
    return call("winners_backward", dy, winners, ctx.sizes, ctx.windows), None, None


def _keep_pool_winners(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.windows, _, _ = inputs
    ctx.sizes = x.shape
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _pool_winners_gradient(ctx: Any, dy: Tensor, _: object) -> tuple[Tensor, None, None, None]:
    (winners,) = ctx.saved_tensors
    return call("winners_backward", dy, winners, ctx.sizes, ctx.windows), None, None, None


def _keep_pool_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, _, ctx.windows, ctx.reducer = inputs


def _pool_backward_gradient(ctx: Any, ddx: Tensor) -> tuple[Tensor, None, None, None]:
    return call("pool", ddx, ctx.windows, ctx.reducer), None, None, None


def _keep_winners_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, winners, _, ctx.windows = inputs
    ctx.save_for_backward(winners)


def _winners_backward_gradient(ctx: Any, ddx: Tensor) -> tuple[Tensor, None, None, None]:
    (winners,) = ctx.saved_tensors
    return call("winners_gather", ddx, winners, ctx.windows), None, None, None


def _keep_winners_gather(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, winners, ctx.windows = inputs
    ctx.sizes = x.shape
    ctx.save_for_backward(winners)


def _winners_gather_gradient(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
    (winners,) = ctx.saved_tensors
    return call("winners_backward", dy, winners, ctx.sizes, ctx.windows), None, None


def _keep_lp_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    dy, x, ctx.windows, ctx.reducer = inputs
    ctx.save_for_backward(dy, x)


def _lp_backward_gradient(ctx: Any, ddx: Tensor) -> tuple[Tensor, Tensor, None, None]:
    """Differentiate ``dx = s(x) sum(dy y^(1-p))``, where ``s(x) = sign(x) |x|^(p-1)``.

    By dy: ``y^(1-p) sum(ddx s)``. By x, once through s and once through y:
    ``ddx (p-1) |x|^(p-2) sum(dy y^(1-p)) + (1-p) s sum(dy y^(1-2p) sum(ddx s))``.
    """
    dy, x = ctx.saved_tensors
    windows, p = ctx.windows, reducer_of(ctx.reducer).p
    y = call("pool", x, windows, ctx.reducer)
    if p == math.inf:
        return composed.largest_gather(ddx, x, y, windows), torch.zeros_like(x), None, None

    def power(base: Tensor, exponent: float) -> Tensor:  # 0 where the base is, without its gradient
        return torch.where(base == 0, 0, torch.where(base == 0, 1, base).pow(exponent))

    def spread(gradient: Tensor) -> Tensor:
        made: Tensor = call("pool_backward", gradient, x.shape, windows, "sum")
        return made

    size, slope = x.abs(), x.sign() * power(x.abs(), p - 1)
    total = call("pool", ddx * slope, windows, "sum")
    direct = ddx * (p - 1) * power(size, p - 2) * spread(dy * power(y, 1 - p))
    through_y = (1 - p) * slope * spread(dy * power(y, 1 - 2 * p) * total)
    return power(y, 1 - p) * total, direct + through_y, None, None


def _keep_unpool(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, indices, sizes = inputs
    ctx.n = len(sizes)
    ctx.save_for_backward(indices)


def _unpool_gradient(ctx: Any, dx: Tensor) -> tuple[Tensor, None, None]:
    (indices,) = ctx.saved_tensors
    lead = dx.shape[: dx.dim() - ctx.n]  # reshape, because the vmap of gradcheck knows no flatten
    flat = dx.reshape(*lead, -1).gather(-1, indices.reshape(*lead, -1))
    return flat.reshape(indices.shape), None, None


GRADIENTS: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
    "pool": (_pool_gradient, _keep_pool),
    "pool_winners": (_pool_winners_gradient, _keep_pool_winners),
    "pool_backward": (_pool_backward_gradient, _keep_pool_backward),
    "winners_backward": (_winners_backward_gradient, _keep_winners_backward),
    "winners_gather": (_winners_gather_gradient, _keep_winners_gather),
    "lp_backward": (_lp_backward_gradient, _keep_lp_backward),
    "unpool": (_unpool_gradient, _keep_unpool),
}
