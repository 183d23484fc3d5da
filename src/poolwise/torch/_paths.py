"""The paths that pooling functions take: pool, pool with indices, a pyramid's order, unpool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._checks import show
from . import _arguments as arguments
from . import _layout, ops
from ._plain import plain

_is_compiling = torch.compiler.is_compiling


def pool(input: Tensor, ndim: int, windows: str, reducer: str) -> Tensor:
    if ndim == 3:
        input = autocast(input)
    if not _is_compiling() and type(input) is Tensor and plain(input):
        return ops.pool_plain(input, ndim, windows, reducer)
    check_input(input, ndim)
    # (torch.jit.trace checks that it sees one graph, with gradients or without.)
    tracing = not _is_compiling() and torch._C._get_tracing_state() is not None
    wanted = input.requires_grad and torch.is_grad_enabled() and not tracing
    if reducer in ("max", "min") and wanted:
        # The winners, of one byte each, are all that the way back needs.
        return ops.call("pool_winners", input, windows, reducer, False)[0]  # type: ignore[no-any-return]
    return ops.call("pool", input, windows, reducer)  # type: ignore[no-any-return]


def autocast(input: Tensor) -> Tensor:
    """Widen half types where torch's autocast does on a CPU: 3-D pooling, and unpooling."""
    if (
        isinstance(input, Tensor)
        and input.dtype in (torch.float16, torch.bfloat16)
        and input.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
    ):
        return input.float()
    return input


def check_input(input: Tensor, ndim: int) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a torch.Tensor, got {show(input)}")
    _layout.check_sizes(input.shape, ndim)


def mean(
    input: Tensor, ndim: int, windows: str, count_include_pad: bool, divisor: int | None
) -> Tensor:
    if divisor is not None and isinstance(divisor, int) and divisor < 0:  # torch takes those too
        return -mean(input, ndim, windows, count_include_pad, -divisor)
    usual = divisor is None and count_include_pad is True
    reducer = "mean" if usual else arguments.mean(count_include_pad, divisor)
    return pool(input, ndim, windows, reducer)


def pick(
    input: Tensor, ndim: int, windows: str, reducer: str, return_indices: bool
) -> Tensor | tuple[Tensor, Tensor]:
    if not return_indices:
        return pool(input, ndim, windows, reducer)
    if ndim == 3:
        input = autocast(input)
    check_input(input, ndim)
    y, indices = ops.call("pool_winners", input, windows, reducer, True)
    return y, indices


def level_order(y: Tensor, counts: tuple[int, ...]) -> Tensor:
    """Return (..., C, bins) as SPP-net's vectors: level by level, channel-major."""
    return torch.cat([level.flatten(-2) for level in y.split(list(counts), dim=-1)], dim=-1)


def unpool(
    input: Tensor,
    indices: Tensor,
    ndim: int,
    kernel_size: Any,
    stride: Any | None,
    padding: Any,
    output_size: Sequence[int] | None,
) -> Tensor:
    input = autocast(input)
    check_input(input, ndim)
    if not isinstance(indices, Tensor):
        raise TypeError(f"indices must be a torch.Tensor, got {show(indices)}")
    _layout.check_dtype(input.dtype)
    sizes = arguments.unpooled(
        input.shape[input.dim() - ndim :], kernel_size, stride, padding, output_size
    )
    x: Tensor = ops.call("unpool", input, indices, sizes)
    return x
