"""The operators' kernels: the core on a CPU, compositions elsewhere, and shapes alone for fakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import _calls, _layout, composed
from .spelling import reducer_of, windows_of

# ---- on a CPU: the core


def _check_floating(x: Tensor, name: str) -> None:
    _layout.check_dtype(x.dtype, name)
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
    if winners.dtype not in _layout.FORMS:
        raise TypeError(f"winners have dtype {winners.dtype}; give what pool_winners returned")
    expected = _layout.output_shape(x.shape, windows_of(windows))
    if tuple(winners.shape) != expected:
        raise ValueError(f"winners have shape {tuple(winners.shape)}, not {expected}")
    _check_winners(x, winners, windows)
    made: Tensor = elsewhere("winners_gather")(x, winners, windows)  # the core has none
    return made


def _check_winners(x: Tensor, winners: Tensor, windows: str) -> None:
    if winners.numel() == 0:
        return
    made = windows_of(windows)
    sizes = x.shape[x.dim() - _layout.pooled_ndim(made, x.dim()) :]
    empty = any((axis.counts == 0).any() for grid in made.over(sizes).grids for axis in grid.axes)
    taps = winners.dtype == torch.uint8
    end = _layout.window_cells(made, sizes) if taps else sizes.numel()
    least, most = winners.aminmax()
    if least < (-1 if empty else 0) or most >= end:
        raise ValueError(
            f"winners must lie in 0 to {end - 1}, got {least.item()} to {most.item()}; give what "
            "pool_winners returned"
        )


def _unpool(y: Tensor, indices: Tensor, sizes: Sequence[int]) -> Tensor:
    _layout.check_dtype(y.dtype, "y")
    _check_unpool(y, indices, sizes)
    return _calls.unpool(y, indices, sizes)


def _check_unpool(y: Tensor, indices: Tensor, sizes: Sequence[int]) -> None:
    if indices.dtype != torch.int64:
        raise TypeError(f"indices have dtype {indices.dtype}; give torch.int64")
    if indices.shape != y.shape:
        raise ValueError(f"indices have shape {tuple(indices.shape)}, but y {tuple(y.shape)}")
    if not 1 <= len(sizes) <= min(3, y.dim()) or any(n < 1 for n in sizes):
        raise ValueError(f"sizes must name one to three sizes of at least 1, got {list(sizes)}")


CPU: dict[str, Callable[..., Any]] = {
    "pool": _calls.forward,
    "pool_winners": _calls.forward_winners,
    "pool_backward": _pool_backward,
    "winners_backward": _calls.scatter,
    "winners_gather": _winners_gather,
    "lp_backward": _lp_backward,
    "unpool": _unpool,
}


# ---- anywhere else: compositions, laid out in memory as the core would


def elsewhere(name: str) -> Callable[..., Any]:
    function = getattr(composed, name)

    def run(x: Tensor, *args: Any) -> Any:
        made = function(x, *args)
        shapes = FAKE[name](x, *args)
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
    shape, strides = _layout.output_layout(x.shape, x.stride(), windows_of(windows))
    return _empty(x, shape, strides, _layout.result_dtype(reducer_of(reducer), x.dtype))


def _fake_pool_winners(
    x: Tensor, windows: str, reducer: str, indices: bool
) -> tuple[Tensor, Tensor]:
    made = windows_of(windows)
    shape, strides = _layout.output_layout(x.shape, x.stride(), made)
    n = _layout.pooled_ndim(made, x.dim())
    form = "index64" if indices else _layout.winner_form(made, x.shape[x.dim() - n :])
    return (
        _empty(x, shape, strides, x.dtype),
        _empty(x, shape, strides, _layout.WINNER_DTYPES[form]),
    )


def _fake_gradient(dy: Tensor, sizes: Sequence[int], windows: str) -> Tensor:
    made = windows_of(windows)
    strides = _layout.gradient_strides(sizes, dy.shape, dy.stride(), made)
    return _empty(dy, sizes, strides, dy.dtype)


def _fake_unpool(y: Tensor, indices: Tensor, sizes: Sequence[int]) -> Tensor:
    shape = (*y.shape[: y.dim() - len(sizes)], *sizes)
    last = _layout.channels_last(y.shape, y.stride(), len(sizes))
    return _empty(y, shape, _layout.strides_of(shape, last), y.dtype)


FAKE: dict[str, Callable[..., Any]] = {
    "pool": _fake_pool,
    "pool_winners": _fake_pool_winners,
    "pool_backward": lambda dy, sizes, windows, reducer: _fake_gradient(dy, sizes, windows),
    "winners_backward": lambda dy, winners, sizes, windows: _fake_gradient(dy, sizes, windows),
    "winners_gather": lambda x, winners, windows: _fake_pool(x, windows, "max"),
    "lp_backward": lambda dy, x, windows, reducer: _fake_gradient(dy, x.shape, windows),
    "unpool": _fake_unpool,
}
