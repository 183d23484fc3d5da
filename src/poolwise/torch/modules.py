"""Pooling modules: torch.nn's own with their forward served by poolwise, and what torch.nn lacks.

See the functions of the same name in :mod:`poolwise.torch`. A module here is its torch.nn
namesake in all but `forward` (constructor, attributes, repr, `isinstance`), so the classes are
generated from the table below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ..windows import BinRule
from . import _arguments, functional

Forward = Callable[..., Any]

# Families of torch.nn, and the attributes that their functions take, in order.
_FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "MaxPool": (
        "max_pool",
        ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    ),
    "AvgPool": (
        "avg_pool",
        ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    "AdaptiveMaxPool": ("adaptive_max_pool", ("output_size", "return_indices")),
    "AdaptiveAvgPool": ("adaptive_avg_pool", ("output_size",)),
    "LPPool": ("lp_pool", ("norm_type", "kernel_size", "stride", "ceil_mode")),
}


def _wanted(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n for n in names if not (name == "AvgPool1d" and n == "divisor_override"))


def _forward(function: Forward, names: tuple[str, ...]) -> Forward:
    def forward(self: nn.Module, input: Tensor) -> Any:
        return function(input, *[getattr(self, name) for name in names])

    return forward


def _unpool_forward(function: Forward) -> Forward:
    def forward(
        self: Any, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        made: Tensor = function(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )
        return made

    return forward


def _module(base: type[nn.Module], forward: Forward, name: str, function: str) -> type[nn.Module]:
    doc = f"`torch.nn.{base.__name__}` served by poolwise; see :func:`poolwise.torch.{function}`."
    if base.__name__ != name:
        doc = f"See :func:`poolwise.torch.{function}`."
    return type(name, (base,), {"forward": forward, "__doc__": doc, "__module__": __name__})


def _generate() -> dict[str, type[nn.Module]]:
    made: dict[str, type[nn.Module]] = {}
    for ndim in (1, 2, 3):
        for family, (prefix, names) in _FAMILIES.items():
            name, function = f"{family}{ndim}d", f"{prefix}{ndim}d"
            forward = _forward(getattr(functional, function), _wanted(name, names))
            made[name] = _module(getattr(nn, name), forward, name, function)
        name, function = f"MaxUnpool{ndim}d", f"max_unpool{ndim}d"
        forward = _unpool_forward(getattr(functional, function))
        made[name] = _module(getattr(nn, name), forward, name, function)
        for family, prefix in (("MinPool", "min_pool"), ("SumPool", "sum_pool")):
            name, function = f"{family}{ndim}d", f"{prefix}{ndim}d"
            names = _FAMILIES["MaxPool"][1][: 6 if family == "MinPool" else 5]
            forward = _forward(getattr(functional, function), names)
            made[name] = _module(_SlidingPool, forward, name, function)
    return made


class _SlidingPool(nn.Module):
    """What sliding modules that torch.nn lacks have in common."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class SpatialPyramidPool2d(nn.Module):
    """Maps of any size to vectors of one length; see :func:`poolwise.torch.spatial_pyramid_pool2d`.

    Parameters
    ----------
    levels, reducer, bins
        As for the function.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> spp = pt.SpatialPyramidPool2d((1, 2, 4))
    >>> spp(torch.rand(8, 256, 13, 9)).shape
    torch.Size([8, 5376])
    """

    def __init__(
        self,
        levels: Sequence[int | Sequence[int]] = (1, 2, 4),
        reducer: Any = "max",
        bins: BinRule = "adaptive",
    ) -> None:
        super().__init__()
        _arguments.pyramid(levels, bins)
        _arguments.named(reducer)
        self.levels, self.reducer, self.bins = tuple(levels), reducer, bins

    def forward(self, input: Tensor | Sequence[Tensor]) -> Tensor:
        return functional.spatial_pyramid_pool2d(input, self.levels, self.reducer, bins=self.bins)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, reducer={self.reducer!r}, bins={self.bins!r}"


GENERATED = _generate()
globals().update(GENERATED)
# What `forward` of each pooling module of torch.nn hands on: the function's name, and attributes.
CALLS: dict[type[nn.Module], tuple[str, tuple[str, ...]]] = {
    getattr(nn, f"{family}{ndim}d"): (f"{prefix}{ndim}d", _wanted(f"{family}{ndim}d", names))
    for ndim in (1, 2, 3)
    for family, (prefix, names) in {
        **_FAMILIES,
        "MaxUnpool": ("max_unpool", ("kernel_size", "stride", "padding")),
    }.items()
}
