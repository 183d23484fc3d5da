"""The operators that torch knows poolwise by: schema, kernels, shapes, gradients, vmap.

Everything above calls these, and whatever works on operators (autograd, `torch.compile`, export,
functorch, fake tensors) finds its rule here, once per operator. Each pools the last axes of its
tensor, whatever stands before them, so a batch of `vmap` is one more axis in front. The gradients
are each other's: of a sum, a sum over the windows that see a cell; of a winner, a gather, and back.
"""

from __future__ import annotations

import math
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import _calls, composed
from .spelling import reducer_of, windows_of

__all__ = ["LIBRARY", "call", "plain", "pool_plain"]

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


def call(name: str, *args: Any) -> Any:
    """Call an operator, also under the transforms of `torch.func`.

    Those want an `autograd.Function` where an operator has a gradient written in Python.
    """
    if torch.compiler.is_compiling():
        return getattr(_ops, name)(*args)
    if torch._C._are_functorch_transforms_active():
        return _FUNCTIONS[name].apply(*args)
    first = args[0]
    if type(first) is Tensor and plain(first):
        wanted = any(type(a) is not str and getattr(a, "requires_grad", False) for a in args)
        if not (wanted and torch.is_grad_enabled()) and all(
            type(a) is not Tensor or plain(a) for a in args[1:]
        ):
            return _CPU[name](*args)
    return getattr(_ops, name)(*args)


# ---- on a CPU: the core


def _check_floating(x: Tensor, name: str) -> None:
    _calls.check_dtype(x.dtype, name)
    if not x.is_floating_point():
        raise TypeError(f"{name} has dtype {x.dtype}; give a floating tensor")


def _lp_backward(dy: Tensor, x: Tensor, windows: str, reducer: str) -> Tensor:
    _check_floating(x, "x")
    if dy.dtype != x.dtype:
        raise TypeError(f"dy has dtype {dy.dtype}, but x has {x.dtype}; make them alike")
    if reducer_of(reducer).name != "lp":
        raise ValueError(f"lp_backward is of lp pooling, not of {reducer!r}")
    return _calls.backward(dy, x.shape, windows, reducer, x)


def _pool_backward(dy: Tensor, sizes: Sequence[int], windows: str, reducer: str) -> Tensor:
    if reducer_of(reducer).name not in ("sum", "mean"):
        raise ValueError(f"pool_backward is of sum and mean pooling, not of {reducer!r}")
    return _calls.backward(dy, sizes, windows, reducer)


def _winners_gather(x: Tensor, winners: Tensor, windows: str) -> Tensor:
    if winners.dtype not in _calls.FORMS:
        raise TypeError(f"winners have dtype {winners.dtype}; give what pool_winners returned")
    expected = _calls.output_shape(x.shape, windows_of(windows))
    if tuple(winners.shape) != expected:
        raise ValueError(f"winners have shape {tuple(winners.shape)}, not {expected}")
    _check_winners(x, winners, windows)
    return _like_output(composed.winners_gather(x, winners, windows), x, windows)


def _check_winners(x: Tensor, winners: Tensor, windows: str) -> None:
    if winners.numel() == 0:
        return
    made = windows_of(windows)
    sizes = x.shape[x.dim() - _calls.pooled_ndim(made, x.dim()) :]
    empty = any((axis.counts == 0).any() for grid in made.over(sizes).grids for axis in grid.axes)
    taps = winners.dtype == torch.uint8
    end = _calls.window_cells(made, sizes) if taps else sizes.numel()
    least, most = winners.aminmax()
    if least < (-1 if empty else 0) or most >= end:
        raise ValueError(
            f"winners must lie in 0 to {end - 1}, got {least.item()} to {most.item()}; give what "
            "pool_winners returned"
        )


def _like_output(y: Tensor, x: Tensor, windows: str) -> Tensor:
    _, strides = _calls.output_layout(x.shape, x.stride(), windows_of(windows))
    return (
        y
        if y.stride() == strides
        else torch.empty_strided(y.shape, strides, dtype=y.dtype, device=y.device).copy_(y)
    )


def _unpool(y: Tensor, indices: Tensor, sizes: Sequence[int]) -> Tensor:
    _calls.check_dtype(y.dtype, "y")
    _check_unpool(y, indices, sizes)
    return _calls.unpool(y, indices, sizes)


def _check_unpool(y: Tensor, indices: Tensor, sizes: Sequence[int]) -> None:
    if indices.dtype != torch.int64:
        raise TypeError(f"indices have dtype {indices.dtype}; give torch.int64")
    if indices.shape != y.shape:
        raise ValueError(f"indices have shape {tuple(indices.shape)}, but y {tuple(y.shape)}")
    if not 1 <= len(sizes) <= min(3, y.dim()) or any(n < 1 for n in sizes):
        raise ValueError(f"sizes must name one to three sizes of at least 1, got {list(sizes)}")


_CPU: dict[str, Callable[..., Any]] = {
    "pool": _calls.forward,
    "pool_winners": _calls.forward_winners,
    "pool_backward": _pool_backward,
    "winners_backward": _calls.scatter,
    "winners_gather": _winners_gather,
    "lp_backward": _lp_backward,
    "unpool": _unpool,
}


# ---- anywhere else: compositions, laid out in memory as the core would


def _elsewhere(name: str) -> Callable[..., Any]:
    function = getattr(composed, name)

    def run(x: Tensor, *args: Any) -> Any:
        made = function(x, *args)
        shapes = _FAKE[name](x, *args)
        if isinstance(made, tuple):
            return tuple(_laid(m, s) for m, s in zip(made, shapes, strict=True))
        return _laid(made, shapes)

    return run


def _laid(made: Tensor, like: Tensor) -> Tensor:
    if made.stride() == like.stride():
        return made
    strides = tuple(like.stride())
    empty = torch.empty_strided(tuple(like.shape), strides, dtype=made.dtype, device=made.device)
    return empty.copy_(made)


# ---- shapes


def _empty(x: Tensor, shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty_strided(tuple(shape), tuple(strides), dtype=dtype, device=x.device)


def _fake_pool(x: Tensor, windows: str, reducer: str) -> Tensor:
    shape, strides = _calls.output_layout(x.shape, x.stride(), windows_of(windows))
    return _empty(x, shape, strides, _calls.result_dtype(reducer_of(reducer), x.dtype))


def _fake_pool_winners(
    x: Tensor, windows: str, reducer: str, indices: bool
) -> tuple[Tensor, Tensor]:
    made = windows_of(windows)
    shape, strides = _calls.output_layout(x.shape, x.stride(), made)
    n = _calls.pooled_ndim(made, x.dim())
    form = "index64" if indices else _calls.winner_form(made, x.shape[x.dim() - n :])
    return (
        _empty(x, shape, strides, x.dtype),
        _empty(x, shape, strides, _calls.WINNER_DTYPES[form]),
    )


def _fake_gradient(dy: Tensor, sizes: Sequence[int]) -> Tensor:
    last = dy.dim() == len(sizes) and _calls.channels_last(dy.shape, dy.stride())
    return _empty(dy, sizes, _calls.strides_of(sizes, last), dy.dtype)


def _fake_unpool(y: Tensor, indices: Tensor, sizes: Sequence[int]) -> Tensor:
    shape = (*y.shape[: y.dim() - len(sizes)], *sizes)
    return _empty(
        y, shape, _calls.strides_of(shape, _calls.channels_last(y.shape, y.stride())), y.dtype
    )


_FAKE: dict[str, Callable[..., Any]] = {
    "pool": _fake_pool,
    "pool_winners": _fake_pool_winners,
    "pool_backward": lambda dy, sizes, windows, reducer: _fake_gradient(dy, sizes),
    "winners_backward": lambda dy, winners, sizes, windows: _fake_gradient(dy, sizes),
    "winners_gather": lambda x, winners, windows: _fake_pool(x, windows, "max"),
    "lp_backward": lambda dy, x, windows, reducer: _fake_gradient(dy, x.shape),
    "unpool": _fake_unpool,
}


# ---- gradients


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


_GRADIENTS: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
    "pool": (_pool_gradient, _keep_pool),
    "pool_winners": (_pool_winners_gradient, _keep_pool_winners),
    "pool_backward": (_pool_backward_gradient, _keep_pool_backward),
    "winners_backward": (_winners_backward_gradient, _keep_winners_backward),
    "winners_gather": (_winners_gather_gradient, _keep_winners_gather),
    "lp_backward": (_lp_backward_gradient, _keep_lp_backward),
    "unpool": (_unpool_gradient, _keep_unpool),
}


# ---- vmap: the batch is one more axis in front


def _vmap_rule(name: str) -> Callable[..., Any]:
    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        moved = []
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
    gradient, keep = _GRADIENTS[name]
    members = {
        "forward": staticmethod(getattr(_ops, name)),
        "setup_context": staticmethod(keep),
        "backward": staticmethod(gradient),
        "vmap": staticmethod(_vmap_rule(name)),
    }
    return type(name, (torch.autograd.Function,), members)


_FUNCTIONS = {_name: _function(_name) for _name in _SCHEMAS}

for _name in _SCHEMAS:
    _gradient, _keep = _GRADIENTS[_name]
    LIBRARY.impl(_name, _CPU[_name], "CPU")
    LIBRARY.impl(_name, _elsewhere(_name), "CompositeExplicitAutograd")
    torch.library.register_fake(f"poolwise::{_name}", _FAKE[_name], lib=LIBRARY)
    torch.library.register_autograd(
        f"poolwise::{_name}", _gradient, setup_context=_keep, lib=LIBRARY
    )
    if hasattr(torch.library, "register_vmap"):  # torch 2.5
        torch.library.register_vmap(f"poolwise::{_name}", _vmap_rule(_name), lib=LIBRARY)


# ---- past the dispatcher

# The dispatcher costs more than pooling a small tensor. For a plain CPU tensor, with no mode, no
# transform, no tracing and no profiler at work, it would only call the kernel above, so that is what
# is done. Whatever is not known to be plain takes the usual way; so does every torch without these
# functions.


def _plain_keys() -> frozenset[int]:
    """The dispatch keys of plain CPU tensors; none where torch does not tell."""
    try:
        keys = {torch._C._dispatch_keys(torch.zeros(1)).raw_repr()}
        with torch.inference_mode():
            keys.add(torch._C._dispatch_keys(torch.zeros(1)).raw_repr())
        for look in ("_are_functorch_transforms_active", "_len_torch_dispatch_stack"):
            getattr(torch._C, look)()
        torch._C._get_tracing_state()
        torch.autograd._profiler_enabled()
    except (AttributeError, RuntimeError):  # pragma: no cover - a torch without them
        return frozenset()
    return frozenset(keys)


_PLAIN = _plain_keys()
if _PLAIN:
    _keys_of = torch._C._dispatch_keys
    _transforms = torch._C._are_functorch_transforms_active
    _modes = torch._C._len_torch_dispatch_stack
    _tracing = torch._C._get_tracing_state
    _profiling = torch.autograd._profiler_enabled


def plain(x: Tensor) -> bool:
    """Whether, but for gradients, the dispatcher would only call the CPU kernel for this tensor."""
    return bool(
        _PLAIN
        and _keys_of(x).raw_repr() in _PLAIN
        and not _modes()
        and not _transforms()
        and not _profiling()
        and _tracing() is None
    )


class _PickPlain(torch.autograd.Function):
    """max and min of a plain tensor: the winners, of one byte each, are all that is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ndim: int, windows: str, reducer: str) -> Tensor:  # type: ignore[override]
        y, winners = _calls.forward_winners(x, windows, reducer, False, ndim)
        ctx.save_for_backward(winners)
        ctx.windows, ctx.sizes = windows, x.shape
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (winners,) = ctx.saved_tensors
        return call("winners_backward", dy, winners, ctx.sizes, ctx.windows), None, None, None


class _AddPlain(torch.autograd.Function):
    """Sums and means of a plain tensor: nothing is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ndim: int, windows: str, reducer: str) -> Tensor:  # type: ignore[override]
        ctx.windows, ctx.reducer, ctx.sizes = windows, reducer, x.shape
        return _calls.forward(x, windows, reducer, ndim)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        dx = call("pool_backward", dy, ctx.sizes, ctx.windows, ctx.reducer)
        return dx, None, None, None


def pool_plain(x: Tensor, ndim: int, windows: str, reducer: str) -> Tensor:
    """Pool a plain tensor: the core, and a gradient where one is wanted."""
    if not (x.requires_grad and torch.is_grad_enabled()):
        return _calls.forward(x, windows, reducer, ndim)
    if reducer in ("max", "min"):
        return _PickPlain.apply(x, ndim, windows, reducer)  # type: ignore[no-any-return]
    if reducer.startswith("lp"):
        return call("pool", x, windows, reducer)  # type: ignore[no-any-return]
    return _AddPlain.apply(x, ndim, windows, reducer)  # type: ignore[no-any-return]
